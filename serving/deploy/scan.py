"""Looks at a folder of models without loading them."""

import dataclasses
import itertools
import os
import pathlib
import struct

import google.protobuf.message

from serving import errors, links, messages, signatures
from serving.versions import (
    VARIABLES_FILE,
    WARMUP_FILE,
    check_models_dir,
    is_hidden,
    versions_in,
)

#: How many versions of a model are served, the newest.
SERVED = 2

# The operations of graphs that hold variables.
_VARIABLES = (b"VarHandleOp", b"VariableV2")


@dataclasses.dataclass(frozen=True)
class FoundVersion:
    """One version of a model.

    Attributes:
        number: Of the version.
        signatures: Dict of its signatures.
        warm_rows: How many rows its warmup records have.
        xla: Whether parts of it have to be compiled by XLA.
    """

    number: int
    signatures: dict
    warm_rows: frozenset
    xla: bool

    @property
    def unbatchable(self):
        """Signatures that a TensorFlow Serving with batching would fail."""
        return [
            signature.key
            for signature in self.signatures.values()
            if signature.method in signatures.PREDICT_METHODS
            and not (
                signature.inputs
                and all(spec.has_free_rows for spec in signature.inputs.values())
            )
        ]


@dataclasses.dataclass(frozen=True)
class FoundModel:
    """One model of the folder, and the versions of it that are to be served."""

    name: str
    versions: tuple


def scan(models_dir):
    """Returns the FoundModels of a folder, by name, with the newest versions."""
    check_models_dir(models_dir)
    models_dir = pathlib.Path(models_dir)
    found = []
    for base_path in sorted(models_dir.iterdir()):
        may_be_model = base_path.is_dir() and not is_hidden(base_path.name)
        paths = _versions(base_path) if may_be_model else {}
        if any(map(_is_whole, paths.values())):
            for path in (base_path, *itertools.chain(*map(links.walk, paths.values()))):
                _refuse_link_out(path, models_dir)
            served = [_version(number, paths[number]) for number in sorted(paths)]
            found.append(FoundModel(base_path.name, tuple(served)))
    if not found:
        raise FileNotFoundError(
            f"{models_dir} holds no models (MODEL/VERSION/saved_model.pb); "
            f"`python -m export PRESET {models_dir}` writes one"
        )
    return found


def _versions(base_path):
    """Returns {version: path} of those that a server takes, which asks for no more."""
    found = versions_in(base_path)
    return {
        version: pathlib.Path(found[version]) for version in sorted(found)[-SERVED:]
    }


def _refuse_link_out(path, models_dir):
    """Raises if a path is a link that leads nowhere once the folder is copied."""
    if os.path.islink(path):
        absolute = os.path.isabs(os.readlink(path))
        if absolute or not links.lies_in(path, [models_dir]):
            raise errors.RequestError(
                f"{path} is a link {'by an absolute path' if absolute else 'out'}, "
                f"which leads nowhere where {models_dir} is mounted or copied to: put "
                "the files there instead"
            )


def _is_whole(path):
    return (path / "saved_model.pb").exists()


def _version(number, path):
    file = path / "saved_model.pb"
    if not _is_whole(path):
        raise _still_lacks(path, file.name)
    content = file.read_bytes()
    # Without the values the model loads, and every use of the variables fails.
    has_variables = any(name in content for name in _VARIABLES)
    if has_variables and not (path / VARIABLES_FILE).exists():
        raise _still_lacks(path, VARIABLES_FILE)
    return FoundVersion(
        number,
        _signatures(file, content),
        _rows(path),
        # TensorFlow writes this attribute into functions that XLA must compile.
        xla=b"_XlaMustCompile" in content,
    )


def _still_lacks(path, name):
    return errors.RequestError(
        f"{path} would be served, and there is no {name} in it: is it still being "
        "copied? Wait for that, or delete it"
    )


def _signatures(file, content):
    try:
        saved = messages.SavedModel.FromString(content)
    except google.protobuf.message.DecodeError as error:
        raise errors.invalid_argument(f"{file} is no SavedModel") from error
    for meta_graph in saved.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return signatures.parse(meta_graph.signature_def)
    raise errors.invalid_argument(f"{file} has no graph with the tag serve")


def _rows(path):
    """Returns the numbers of rows that a version's warmup records have."""
    file = path / WARMUP_FILE
    if not file.exists():
        return frozenset()
    try:
        logs = [messages.PredictionLog.FromString(r) for r in _records(file)]
    except (google.protobuf.message.DecodeError, struct.error) as error:
        raise errors.invalid_argument(f"{file} holds no warmup records") from error
    shapes = (
        tensor.tensor_shape.dim
        for log in logs
        for tensor in log.predict_log.request.inputs.values()
    )
    return frozenset(shape[0].size for shape in shapes if shape)


def _records(file):
    """Yields the records of a TFRecord file.

    Each is its length, 8 bytes, their checksum of 4, itself, and its own checksum.
    """
    content = file.read_bytes()
    start = 0
    while start < len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        # An error where the file was cut.
        yield from struct.unpack_from(f"{length}s4x", content, start + 12)
        start += 12 + length + 4
