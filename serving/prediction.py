"""One loaded version answering requests, in TensorFlow Serving's words.

The checks stand in TensorFlow Serving's order. gRPC, REST and warmup records all
come through here.
"""

import math
import threading
import time

import grpc
import numpy as np

from serving import batching, errors, messages, signatures, tensors

# Large enough for 256 images of 128x128x3 ten times over.
MAX_MESSAGE_BYTES = 128 << 20

# What computes one selection of outputs is kept, with memory for it.
_MAX_SELECTIONS = 32


class Model:
    """A loaded SavedModel with its batchers.

    Args:
        loaded: The SavedModel.
        name: Its name, for the answers.
        version: Its version, for the answers.
        batching_options: How requests are joined (None: not at all).
        max_message_bytes: The largest answer that will be computed.
        on_batch: Called with (name, signature, rows, padded rows).
    """

    def __init__(
        self,
        loaded,
        name,
        version,
        batching_options=None,
        max_message_bytes=MAX_MESSAGE_BYTES,
        on_batch=None,
    ):
        self.signature_defs = loaded.signature_defs
        self.signatures = loaded.signatures
        self._loaded = loaded
        self._name = name
        self._version = version
        self._max_bytes = max_message_bytes
        self._on_batch = on_batch
        self._options = {}
        if batching_options is not None:
            self._options = dict.fromkeys(self.signatures, batching_options)
        self._selections = set()
        self._batchers = {}
        self._lock = threading.Lock()

    def warm_up(self, requests):
        """Answers recorded requests, so that the first real one finds all ready."""
        sizes = {}
        for request in requests:
            signature, arrays, names = self._check(request, answered=False)
            self._loaded.run(signature, arrays, names)
            if rows := _rows(signature, map(np.shape, arrays)):
                sizes.setdefault(signature.key, set()).add(rows)
        for key, options in self._options.items():
            self._options[key] = options.with_sizes(sizes.get(key, ()))

    def predict(self, request, deadline=math.inf, on_cancel=None):
        """Returns the PredictResponse for a PredictRequest."""
        signature, arrays, names = self._check(request)
        outputs = self._compute(signature, arrays, names, deadline, on_cancel)
        response = messages.PredictResponse()
        for name, output in zip(names, outputs, strict=True):
            tensors.encode(output, response.outputs[name])
        spec = response.model_spec
        spec.name = self._name
        spec.version.value = self._version
        spec.signature_name = signature.key
        if (size := response.ByteSize()) > self._max_bytes:  # Strings, for one.
            raise errors.ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The answer has {size} bytes, more than the {self._max_bytes} of one "
                "message; ask for fewer rows at a time",
            )
        return response

    def _compute(self, signature, arrays, names, deadline, on_cancel):
        rows = _rows(signature, map(np.shape, arrays))
        if rows == 0 and all(
            signature.outputs[name].row_shape is not None for name in names
        ):
            return [signature.outputs[name].no_rows() for name in names]
        computed = self._computed(signature, names)
        # A batch is padded by repeating a row, so what has none is asked alone.
        if not self._options or not rows:
            if deadline <= time.monotonic():
                raise errors.deadline_exceeded()
            outputs = self._loaded.run(signature, arrays, computed)
        else:
            batcher = self._batcher(signature, computed)
            outputs = batcher.submit(arrays, deadline, on_cancel)
        found = dict(zip(computed, outputs, strict=True))
        return [found[name] for name in names]

    def _computed(self, signature, names):
        """Returns the outputs to compute where some are asked for.

        All, where callers have asked for more selections than are kept.
        """
        selection = (signature.key, *names)
        if selection not in self._selections:
            if len(self._selections) >= _MAX_SELECTIONS:
                return list(signature.outputs)
            self._selections.add(selection)
        return names

    def _batcher(self, signature, names):
        key = (signature.key, *names)
        batcher = self._batchers.get(key)
        if batcher is None:
            with self._lock:
                batcher = self._batchers.setdefault(
                    key, self._new_batcher(signature, names)
                )
        return batcher

    def _new_batcher(self, signature, names):
        def on_batch(rows, padded):
            if self._on_batch is not None:
                self._on_batch(self._name, signature.key, rows, padded)

        return batching.Batcher(
            lambda inputs: self._loaded.run(signature, inputs, names),
            self._options[signature.key],
            on_batch,
        )

    def _check(self, request, answered=True):
        """Returns the signature, its input arrays and the asked outputs' names.

        Args:
            request: The PredictRequest.
            answered: Whether an answer will be sent, for which it may be too large.
        """
        key = request.model_spec.signature_name or signatures.DEFAULT
        signature = self.signatures.get(key)
        if signature is None:
            raise errors.failed_precondition(
                f'Serving signature key "{key}" not found.'
            )
        if signature.method not in signatures.PREDICT_METHODS:
            raise errors.ServingError(
                grpc.StatusCode.INTERNAL,
                "Expected prediction signature method_name to be one of {"
                f"{', '.join(signatures.PREDICT_METHODS)}}}. Was: {signature.method}",
            )
        _check_names(signature, request.inputs)
        inputs = {**signature.defaults, **request.inputs}
        shapes = [self._checked_shape(name, inputs[name]) for name in signature.inputs]
        _check_used(signature, request.inputs)
        _check_dtypes(signature, inputs)
        names = _outputs(signature, request.output_filter)
        _check_arrays(signature, names)
        _check_shapes(signature, shapes)
        rows = _rows(signature, shapes)
        if rows is not None:
            if answered:
                self._check_answer_size(signature, rows, names)
            if self._options:
                self._options[signature.key].check_rows(rows)
        # Only now is memory taken: a few bytes can declare a large shape.
        arrays = [
            tensors.filled(inputs[name], shape)
            for name, shape in zip(signature.inputs, shapes, strict=True)
        ]
        return signature, arrays, names

    def _checked_shape(self, name, proto):
        """Returns the shape of an input."""
        try:
            if tensors.is_foreign(proto.dtype):  # Refused by `_check_dtypes`, in words.
                return tensors.declared_shape(proto)
            return tensors.checked_shape(proto, self._max_bytes)
        except ValueError as error:
            raise errors.invalid_argument(
                f"tensor parsing error: {name} ({error})"
            ) from error

    def _check_answer_size(self, signature, rows, names):
        """Refuses what could be computed but never sent."""
        row_bytes = sum(signature.outputs[name].row_bytes for name in names)
        if rows * row_bytes + messages.OVERHEAD_BYTES > self._max_bytes:
            raise errors.ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The answer to {rows} rows needs {rows * row_bytes} bytes, more than "
                f"the {self._max_bytes} of one message; ask for fewer rows at a time",
            )

    def close(self):
        """Frees the model."""
        self._loaded.close()


def _braces(names):
    return "{" + ",".join(sorted(names)) + "}"


def _check_names(signature, inputs):
    expected = set(signature.inputs)
    sent = set(inputs)
    if len(sent) > len(expected) or (
        len(sent) < len(expected) and not signature.defaults
    ):
        raise errors.invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(expected)} "
            f"len({_braces(sent)}) != len({_braces(expected)}). "
            f"Sent extra: {_braces(sent - expected)}. "
            f"Missing but required: {_braces(expected - sent)}."
        )
    for name, spec in signature.inputs.items():
        if name not in sent and name not in signature.defaults:
            raise errors.invalid_argument(
                f"Signature input alias: {name}(feed name: {spec.tensor}) not found "
                "in request and no default value provided. Inputs expected to be in "
                f"the request {_braces(sent)}, or default input alias set: "
                f"{_braces(signature.defaults)}"
            )


def _check_used(signature, inputs):
    """Refuses names that no input has; another's default may make up their number."""
    expected = set(signature.inputs)
    sent = set(inputs)
    if not sent <= expected:
        raise errors.invalid_argument(
            "Inputs contains invalid name. Used request inputs: "
            f"{_braces(sent & expected)}, request input: {_braces(sent)}"
        )


def _outputs(signature, output_filter):
    """Returns the names of the asked outputs, in the signature's own order."""
    names = set()
    for name in output_filter:
        if name not in signature.outputs:
            raise errors.invalid_argument(
                f"output tensor alias not found in signature: {name} "
                "Outputs expected to be in the set "
                f"{_braces(signature.outputs)}."
            )
        if name in names:
            raise errors.invalid_argument(f"duplicate output tensor alias: {name}")
        names.add(name)
    return [name for name in signature.outputs if not names or name in names]


def _check_arrays(signature, names):
    """Refuses inputs and asked outputs that no array holds, such as complex numbers."""
    for kind, specs in (
        ("input", signature.inputs.values()),
        ("output", [signature.outputs[name] for name in names]),
    ):
        for spec in specs:
            try:
                tensors.numpy_type(spec.data_type)
            except ValueError as error:
                raise errors.ServingError(
                    grpc.StatusCode.UNIMPLEMENTED, f"{kind} {spec.name}: {error}"
                ) from error


def _check_dtypes(signature, inputs):
    for position, (name, spec) in enumerate(signature.inputs.items()):
        if inputs[name].dtype != spec.data_type:
            raise errors.invalid_argument(
                f"Expects arg[{position}] to be "
                f"{tensors.type_name(spec.data_type)} but "
                f"{tensors.type_name(inputs[name].dtype)} is provided"
            )


def _check_shapes(signature, shapes):
    """Checks what TensorFlow Serving leaves to the ops, and to the batch-mates."""
    for spec, shape in zip(signature.inputs.values(), shapes, strict=True):
        if not spec.fits(shape):
            raise errors.invalid_argument(
                f"input {spec} cannot take the shape {list(shape)}"
            )


def _rows(signature, shapes):
    """Returns how many rows a request has, None where it is no number of rows.

    Inputs of different lengths, as those of ragged tensors are, are computed alone.
    """
    counts = {shape[0] for shape in shapes} if signature.batchable else ()
    return counts.pop() if len(counts) == 1 else None
