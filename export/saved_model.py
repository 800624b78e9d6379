"""Writes a model as a SavedModel in the layout that TensorFlow Serving hosts."""

import contextlib
import os
import pathlib
import shutil
import uuid

import numpy as np
import tensorflow as tf

import zoo
from export.signatures import signatures_of
from export.warmup import write_warmup
from zoo import locks
from zoo.convolutions import plain_gradients

#: Versions travel as int64.
_MAX_VERSION = 2**63 - 1
#: Operations that run in the Python of the process that made them.
_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}
#: Powers of two, to which a server pads its batches.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def to_saved_model(
    model, base_path, version=None, *, batch_sizes=BATCH_SIZES, jit_compile=False
):
    """Writes `base_path/<version>/`, whole or not at all.

    A process that is killed outright leaves a folder `.partial-...` behind, which no
    server takes for a version and the next export to this place removes.

    Args:
        model: A model of the zoo, or the name or folder of a preset or of a run.
        base_path: Folder of all versions of one model, made if missing. TensorFlow
            Serving calls it so too.
        version: Positive integer; None takes the number after the highest there.
        batch_sizes: Sequence or array of the batch sizes to warm up. Name the ones the
            model is to be served with.
        jit_compile: Compile the networks by XLA, once for each batch size and only for
            servers that have it. That is faster or slower, by processor and network:
            measure (benchmarks/README.md).

    Returns:
        `pathlib.Path` of the version's folder.

    Raises:
        FileExistsError: If the version is there already; versions never change.
        TypeError: If the model is none of the zoo's, and no name.
        ValueError: If the version or a batch size is not a positive integer, or a
            signature is one that no server could compute.
    """
    if isinstance(model, (str, os.PathLike)):
        model = zoo.from_preset(model)
    if not isinstance(model, zoo.Model):
        raise TypeError(
            "Expected a model of the zoo, or the name or folder of a preset or of a "
            f"run. Received: {type(model).__name__}"
        )
    # True is an int.
    if version is not None and not (
        isinstance(version, (int, np.integer))
        and not isinstance(version, bool)
        and 1 <= version <= _MAX_VERSION
    ):
        raise ValueError(
            f"A version is a positive integer of 63 bits. Received: version={version!r}"
        )
    sizes = np.asarray(batch_sizes)
    if (
        sizes.ndim != 1
        or not sizes.size
        or sizes.dtype.kind not in "iu"
        or sizes.min() < 1
    ):
        raise ValueError(
            "Expected a sequence of positive integers as batch sizes. "
            f"Received: batch_sizes={batch_sizes!r}"
        )
    base_path = pathlib.Path(base_path)
    is_new = not base_path.exists()
    base_path.mkdir(parents=True, exist_ok=True)
    _refuse_existing(base_path, version)

    try:
        with _unpublished(base_path) as partial:
            _write(model, partial, sizes.tolist(), jit_compile)
            return _publish(partial, base_path, version)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # It holds a version.
                base_path.rmdir()


def versions(base_path):
    """Returns the version numbers taken under a folder, sorted; `007` takes 7."""
    numbers = (
        int(entry.name)
        for entry in pathlib.Path(base_path).iterdir()
        if entry.name.isascii() and entry.name.isdigit()
    )
    return sorted(number for number in numbers if number <= _MAX_VERSION)


def _refuse_existing(base_path, version):
    if version is not None and version in versions(base_path):
        raise FileExistsError(
            f"Version {version} exists in {base_path}, and a published version never "
            "changes. Leave the version out to take the next number."
        )
    if version is None and _MAX_VERSION in versions(base_path):
        raise FileExistsError(
            f"No number comes after the version {_MAX_VERSION} in {base_path}. Say "
            "which version this is."
        )


@contextlib.contextmanager
def _unpublished(base_path):
    """Makes a folder to write a version in, and removes what is not published of it.

    A server polls the folder of all versions and ignores names that are not numbers, so
    a version is written beside its place and appears by one rename.
    """
    for abandoned in base_path.glob(".partial-*"):
        _remove_abandoned(abandoned)
    partial = base_path / f".partial-{uuid.uuid4().hex}"
    unlocked = base_path / f".new{partial.name}"
    try:
        unlocked.mkdir()
        with locks.alone_in(unlocked):
            # Others remove what goes by this name and is not locked.
            yield unlocked.rename(partial)
    finally:
        for folder in (unlocked, partial):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(partial):
    """Removes what an export that was killed has left; others hold the lock."""
    with contextlib.suppress(OSError), locks.alone_in(partial) as is_mine:
        if is_mine:
            shutil.rmtree(partial)


def _publish(partial, base_path, version):
    while True:
        number = version or max(versions(base_path), default=0) + 1
        _refuse_existing(base_path, version)
        try:
            return partial.rename(base_path / str(number))
        except OSError:
            # Somebody else published this number since it was looked up.
            if version is not None or not (base_path / str(number)).exists():
                raise


def _write(model, directory, batch_sizes, jit_compile):
    model = model.inference_copy()
    if jit_compile:
        for name, network in model.networks().items():
            setattr(model, name, _CompiledNetwork(network))
    signatures = signatures_of(model)
    with plain_gradients():  # Else every export would keep its graphs in memory.
        functions = {
            name: tf.function(
                signature.function, autograph=False
            ).get_concrete_function(
                **{
                    key: tf.TensorSpec(spec.shape, spec.dtype, name=key)
                    for key, spec in signature.inputs.items()
                }
            )
            for name, signature in signatures.items()
        }
    for name, function in functions.items():
        example = signatures[name].example(min(batch_sizes))
        _check_computable(name, function, example, jit_compile)
    module = tf.Module()
    # TensorFlow Serving cannot restore Keras's own variable objects, and holding the
    # model would write every variable twice, and adversaries that nothing here asks.
    module.used = list(
        {id(v): v for f in functions.values() for v in f.variables}.values()
    )
    try:
        tf.saved_model.save(module, os.fspath(directory), signatures=functions)
    except AssertionError as error:  # TensorFlow's word for it, with half the graph.
        raise ValueError(
            "A layer or the prior holds a resource that is no variable, such as the "
            "table of a Lookup layer: a SavedModel can't have it. Write it with "
            "weights, or with operations on constants."
        ) from error
    write_warmup(directory, signatures, batch_sizes)


def _check_computable(name, function, example, jit_compile):
    """Raises `ValueError` where a server could not compute a signature."""
    if called := sorted(_PYTHON & _operations(function.graph)):
        raise ValueError(
            f"The signature {name!r} calls Python ({', '.join(called)}), which no "
            "server has: write it in operations of TensorFlow or Keras."
        )
    try:
        function(**{key: tf.constant(value) for key, value in example.items()})
    except tf.errors.OpError as error:
        why = str(error.message).splitlines()[0]
        hint = " XLA compiles it: leave jit_compile out." if jit_compile else ""
        raise ValueError(
            f"The signature {name!r} can't be computed.{hint} TensorFlow says: {why}"
        ) from error


def _operations(graph):
    """Returns the kinds of operations in a graph and the functions that it calls."""
    match graph.as_graph_def():
        case tf.compat.v1.GraphDef(node=nodes, library=defined):
            bodies = [definition.node_def for definition in defined.function]
            return {node.op for body in (nodes, *bodies) for node in body}


class _CompiledNetwork:
    """A network whose calls XLA compiles; noise and PNG files stay outside of it."""

    def __init__(self, network):
        self._network = network
        self._call = tf.function(
            lambda inputs: network(inputs, training=False),
            autograph=False,
            jit_compile=True,
        )

    def __call__(self, inputs, training=False):
        del training
        return self._call(inputs)

    def __getattr__(self, name):
        return getattr(self._network, name)
