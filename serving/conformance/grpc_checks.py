"""Checks of answers over gRPC: each returns what is wrong, or None."""

import math

import grpc
import numpy as np

from serving import messages, signatures, tensors
from serving.conformance.grpc_calls import Answer

# What TensorFlow writes into SavedModels that have something to initialize.
INIT_OP = "__saved_model_init_op"

_AVAILABLE = messages.ModelVersionStatus.State.Value("AVAILABLE")


def answers(subject, rows=1):
    """All outputs, of so many rows, and a model_spec that says who answered."""

    def check(response):
        spec = response.model_spec
        if spec.name != subject.name or spec.signature_name != subject.signature.key:
            return f"model_spec says {spec.name} {spec.signature_name}"
        if spec.version.value != subject.version:
            return f"model_spec says version {spec.version.value}"
        return has_outputs(list(subject.signature.outputs.values()), rows)(response)

    return check


def has_outputs(specs, rows=1):
    """These outputs and no others, each with the dtype and shape of its TensorSpec."""

    def check(response):
        names = [spec.name for spec in specs]
        if sorted(response.outputs) != sorted(names):
            return f"the outputs are {sorted(response.outputs)}, not {sorted(names)}"
        misfits = [_misfit(spec, response.outputs[spec.name], rows) for spec in specs]
        return next(filter(None, misfits), None)

    return check


def _misfit(spec, proto, rows):
    """Returns how an output differs from its TensorSpec, or nothing."""
    if proto.dtype != spec.data_type:
        return f"output {spec} came as {tensors.type_name(proto.dtype)}"
    shape = tensors.checked_shape(proto)
    if shape[:1] != (rows,) or not spec.fits(shape):
        return f"output {spec} came in the shape {list(shape)} for {rows} rows"
    return None


def holds_every_value(response):
    """As many values as the shapes need."""
    for name, proto in response.outputs.items():
        try:
            size = math.prod(tensors.checked_shape(proto))
        except ValueError as error:
            return f"output {name}: {error}"
        held = len(getattr(proto, tensors.typed_field(proto.dtype)))
        if held != (0 if proto.tensor_content else size):
            return f"output {name} has {held} values in its typed field"
    return None


def same_outputs(reply, other):
    """What the same request is answered with, written out in full."""
    if other.code != reply.code:
        return f"written in full it is answered {other.code.name} {other.message!r}"
    if reply.code != grpc.StatusCode.OK:
        return None
    for name, found, expected in _pairs(reply, other):
        if found.shape != expected.shape or not close(found, expected):
            return f"written in full it is answered with other {name}"
    return None


def same_rows(values, others):
    """What equal rows are answered with in another order, or number.

    Args:
        values: What tells the rows of the first request, which may have been refused.
        others: What tells those of the second, in which each of them comes.
    """

    def compare(reply, other):
        if reply.code != grpc.StatusCode.OK:
            return None
        if other.code != grpc.StatusCode.OK:
            return f"in another order: {other.code.name} {other.message!r}"
        order = [others.index(value) for value in values]
        for name, found, expected in _pairs(reply, other):
            if len(expected) != len(others) or not close(found, expected[order]):
                return f"in another order the rows are answered with other {name}"
        return None

    return compare


def _pairs(reply, other):
    """Yields the name of each output, its array, and that of another answer."""
    for name, proto in reply.response.outputs.items():
        expected = tensors.decode(other.response.outputs[name])
        yield name, tensors.decode(proto), expected


def close(found, expected):
    """Whether arrays are equal but for what a batch of another size may change."""
    if found.dtype == object:
        return found.tolist() == expected.tolist()
    level, part = 1e-5, 1e-3
    if found.dtype.kind in "iu":  # Pixels are rounded, counts are not.
        level, part = int(found.dtype == np.uint8), 0
    elif found.dtype.itemsize == 2:  # Of half precision: a few of its steps.
        level = part = 3e-2
    pair = found.astype(float), expected.astype(float)
    return np.allclose(*pair, rtol=part, atol=level, equal_nan=True)


def describes(subject):
    """The metadata of the subject's version, with its signature."""

    def check(response):
        spec = response.model_spec
        if spec.name != subject.name or spec.version.value != subject.version:
            return f"model_spec is {spec}"
        if spec.signature_name:
            return "model_spec names a signature"
        found = messages.SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(found):
            return "signature_def is no SignatureDefMap"
        parsed = signatures.parse(found.signature_def)
        if parsed.get(subject.signature.key) != subject.signature:
            return f"the signature {subject.signature.key} is missing, or another"
        inputs, outputs = subject.signature.inputs, subject.signature.outputs
        if not all(spec.tensor for spec in (*inputs.values(), *outputs.values())):
            return f"the signature {subject.signature.key} names no tensors"
        return None

    return check


def lists_init_op(reply, other):
    """Looks for the init op, where Predict knows it (and refuses it)."""
    absent = Answer(
        grpc.StatusCode.FAILED_PRECONDITION,
        f'Serving signature key "{INIT_OP}" not found',
    )
    found = messages.SignatureDefMap()
    reply.response.metadata["signature_def"].Unpack(found)
    if absent.mismatch(other) is not None and INIT_OP not in found.signature_def:
        return f"the signature {INIT_OP} is missing"
    return None


def lists_versions(subject):
    """The subject's version, which is served, among others, each once, newest first."""

    def check(response):
        versions = [status.version for status in response.model_version_status]
        if versions != sorted(set(versions), reverse=True):
            return f"the versions are listed as {versions}"
        if subject.version not in versions:
            return f"version {subject.version} is missing"
        return _is_served(
            response.model_version_status[versions.index(subject.version)]
        )

    return check


def lists_only(subject):
    """The subject's version, which is served, and no other."""

    def check(response):
        versions = [status.version for status in response.model_version_status]
        if versions != [subject.version]:
            return f"the versions are listed as {versions}"
        return _is_served(response.model_version_status[0])

    return check


def _is_served(status):
    told = status.status.error_code or status.status.error_message
    if status.state != _AVAILABLE or told:
        return f"version {status.version} has the status {str(status)!r}"
    return None


def lists_too(version):
    """This version, if its metadata comes."""

    def compare(reply, other):
        listed = [status.version for status in reply.response.model_version_status]
        if other.code == grpc.StatusCode.OK and version not in listed:
            return f"version {version} is missing, but answers"
        return None

    return compare
