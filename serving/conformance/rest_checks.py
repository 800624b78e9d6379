"""Checks of bodies over REST: each returns what is wrong, or None.

A body of another form makes them raise what `serving.conformance.judging` takes for a
malformed answer.
"""

import base64
import binascii
import http

import grpc
import numpy as np

from serving import signatures, tensors
from serving.conformance import grpc_checks

# What the rows of each valid request are full of.
VALUES = (0, 1)


def says(words=""):
    """An error in JSON, whose message starts with `words`."""

    def check(body):
        if not isinstance(body, dict) or not isinstance(body.get("error"), str):
            return f"the body {body!r:.200} has no error"
        if not body["error"].startswith(words):
            return f"the error {body['error']!r} instead of {words!r} …"
        return None

    return check


def is_no_rows(body):
    """Predictions, but none."""
    return None if body == {"predictions": []} else f"the body is {body!r:.200}"


def holds(subject, key):
    """All outputs under `key`, by rows or by columns."""
    outputs = subject.signature.outputs

    def check(body):
        columns = _columns(body, key, outputs)
        if columns.keys() != outputs.keys():
            return f"the outputs are {sorted(columns)}, not {sorted(outputs)}"
        misfits = (_misfit(spec, columns[name]) for name, spec in outputs.items())
        return next(filter(None, misfits), None)

    return check


def equals(subject, key):
    """The outputs under `key` are those of the same request over gRPC."""
    outputs = subject.signature.outputs

    def compare(reply, other):
        if (reply.status == http.HTTPStatus.OK) != (other.code == grpc.StatusCode.OK):
            return f"over gRPC it is answered {other.code.name} {other.message!r}"
        if other.code != grpc.StatusCode.OK:
            return None
        for name, values in _columns(reply.body, key, outputs).items():
            expected = tensors.decode(other.response.outputs[name])
            if not _equal(outputs[name], values, expected):
                return f"over gRPC it is answered with other {name}"
        return None

    return compare


def _columns(body, key, outputs):
    """Returns {output: its JSON values} of a body in row or in column format."""
    values = body[key]
    if len(outputs) == 1:
        return dict.fromkeys(outputs, values)
    if key == "outputs":
        return values
    return {name: [row[name] for row in values] for name in values[0]}


def _misfit(spec, values):
    """Returns how JSON values differ from rows of an output, or nothing."""
    try:
        shape = np.shape(values)
    except ValueError:  # Lists of different lengths.
        shape = ()
    if shape[:1] != (len(VALUES),) or not spec.fits(shape):
        return f"output {spec} came in the shape {list(shape)}"
    for value in np.array(values, object).flat:
        if not _is_of_type(spec, value):
            return f"output {spec} came as {value!r:.200}"
    return None


def _is_of_type(spec, value):
    """Whether a JSON value is one of an output's dtype."""
    if spec.data_type == tensors.DT_STRING:
        return _is_base64(value) if _is_binary(spec) else isinstance(value, str)
    kind = tensors.numpy_type(spec.data_type).kind
    return type(value) in {"b": (bool,), "i": (int,), "u": (int,)}.get(
        kind, (int, float)
    )


def _is_binary(spec):
    return spec.name.endswith("_bytes")


def _is_base64(value):
    if not isinstance(value, dict) or list(value) != ["b64"]:
        return False
    try:
        base64.b64decode(value["b64"], validate=True)
    except (TypeError, binascii.Error):
        return False
    return True


def _equal(spec, values, expected):
    """Whether JSON values are those of an array."""
    found = np.array(values, object)
    if found.shape != expected.shape:
        return False
    if spec.data_type != tensors.DT_STRING:
        return grpc_checks.close(found.astype(expected.dtype), expected)
    if _is_binary(spec):
        decoded = [base64.b64decode(value["b64"]) for value in found.flat]
        return decoded == list(expected.flat)
    return list(found.flat) == [
        value.decode("utf-8", "replace") for value in expected.flat
    ]


def lists(subject):
    """The subject's version, which is served, among others, each once, newest first."""

    def check(body):
        statuses = _statuses(body)
        versions = [int(version) for version, *_ in statuses]
        if versions != sorted(set(versions), reverse=True):
            return f"the versions are listed as {versions}"
        return _is_served(statuses, subject.version)

    return check


def lists_only(subject):
    """The subject's version, which is served, and no other."""

    def check(body):
        statuses = _statuses(body)
        if len(statuses) != 1:
            return f"the versions are listed as {statuses}"
        return _is_served(statuses, subject.version)

    return check


def _statuses(body):
    """Returns [(version, state, code, message)]."""
    return [
        (
            status["version"],
            status["state"],
            status["status"]["error_code"],
            status["status"]["error_message"],
        )
        for status in body["model_version_status"]
    ]


def _is_served(statuses, version):
    """Looks for a version, whose number is a string, as all of 64 bits in JSON are."""
    if (str(version), "AVAILABLE", "OK", "") not in statuses:
        return f"the versions are {statuses!r:.200}"
    return None


def describes(subject, found):
    """The metadata of the subject's version, with all its signatures.

    Args:
        subject: The Subject.
        found: {key: Signature}, as the metadata over gRPC says.
    """
    expected = {key: _form(signature) for key, signature in found.items()}

    def check(body):
        spec = body["model_spec"]
        named = spec["name"], spec["version"], spec["signature_name"]
        if named != (subject.name, str(subject.version), ""):
            return f"model_spec is {spec}"
        definitions = body["metadata"]["signature_def"]["signature_def"]
        for key in sorted(expected.keys() | definitions.keys()):
            definition = definitions.get(key, {"method_name": None})
            if definition["method_name"] in signatures.PREDICT_METHODS:
                definition = _form_in_json(definition)
            elif key not in expected:  # No call, and so not among the `found`.
                continue
            if definition != expected.get(key):
                return f"the signature {key} is {definitions.get(key)!r:.200}"
        return None

    return check


def _form(signature):
    """What JSON says of a Signature: numbers of 64 bits are strings there."""

    def form(spec):
        sizes = None
        if spec.shape is not None:
            sizes = [str(-1 if size is None else size) for size in spec.shape]
        return spec.tensor, f"DT_{tensors.type_name(spec.data_type).upper()}", sizes

    return (
        signature.method,
        {name: form(spec) for name, spec in signature.inputs.items()},
        {name: form(spec) for name, spec in signature.outputs.items()},
    )


def _form_in_json(definition):
    def form(info):
        shape = info.get("tensor_shape", {})
        sizes = [dim["size"] for dim in shape.get("dim", ())]
        sizes = None if shape.get("unknown_rank") else sizes
        return info.get("name", ""), info["dtype"], sizes

    return (
        definition["method_name"],
        {name: form(info) for name, info in definition["inputs"].items()},
        {name: form(info) for name, info in definition["outputs"].items()},
    )
