"""The model and the signature that cases are about."""

import numpy as np

from serving import errors, messages, signatures, tensors

NO_MODEL = "no_such_model"
NO_VERSION = 987654321
NO_LABEL = "no_such_label"
NO_SIGNATURE = "no_such_signature"
NO_OUTPUT = "no_such_output"


class Subject:
    """The signature the cases are about, and valid requests for it.

    Args:
        name: The model's name.
        version: The version that has the signature.
        signature: One of the `usable` Signatures.
    """

    def __init__(self, name, version, signature):
        self.name = name
        self.version = version
        self.signature = signature
        self.specs = list(self.signature.inputs.values())

    def with_signature(self, signature):
        """Returns the Subject of another Signature of the same version."""
        return Subject(self.name, self.version, signature)

    def request(self, values=(0,), **changes):
        """Returns a valid PredictRequest, with a row full of each of the `values`."""
        request = messages.PredictRequest()
        request.model_spec.name = changes.get("name", self.name)
        request.model_spec.signature_name = changes.get("signature", self.signature.key)
        for spec in self.specs:
            tensors.encode(rows_of(spec, values), request.inputs[spec.name])
        return request

    def changed(self, *changes, name=None):
        """Returns a request one of whose inputs, or the first, functions changed."""
        request = self.request()
        for change in changes:
            change(request.inputs[name or self.specs[0].name])
        return request


def rows_of(spec, values):
    """Returns an array for an input: a row full of each of the `values`, 0 or 1."""
    if spec.data_type == tensors.DT_STRING:
        values = [b"x" * value for value in values]
    column = np.array(values, tensors.numpy_type(spec.data_type))
    shape = len(values), *spec.row_shape
    return np.broadcast_to(column.reshape(-1, *[1] * len(spec.row_shape)), shape)


def usable(found):
    """Returns those of {key: Signature} that cases can be about.

    The batch is the only free dimension of their inputs, and numpy has their dtypes.
    """
    return {
        key: candidate
        for key, candidate in found.items()
        if candidate.batchable
        and candidate.method in signatures.PREDICT_METHODS
        and all(map(_has_arrays, candidate.inputs.values()))
        and all(map(_has_arrays, candidate.outputs.values()))
    }


def _has_arrays(spec):
    """Whether numpy has the dtype."""
    try:
        tensors.numpy_type(spec.data_type)
    except ValueError:
        return False
    return True


def subject_of(model, version, found, signature=None):
    """Returns the Subject of one model of a server.

    Args:
        model: Its name.
        version: The version it answers with.
        found: {key: Signature}, as its metadata says.
        signature: The signature to ask; by default `serving_default`, or another.

    Raises:
        serving.RequestError: If no such signature is `usable`.
    """
    keys = list(usable(found))
    if signature is not None and signature not in keys:
        raise errors.RequestError(
            f"model {model!r} has no signature {signature!r} whose only free dimension "
            f"is the batch, in dtypes of numpy; it has {', '.join(keys) or 'none'}"
        )
    if not keys:
        raise errors.RequestError(
            f"model {model!r} has no signature whose only free dimension is the batch, "
            "in dtypes of numpy"
        )
    preferred = [key for key in (signature, signatures.DEFAULT) if key in keys]
    return Subject(model, version, found[(preferred or keys)[0]])
