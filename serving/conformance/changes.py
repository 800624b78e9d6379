"""Changes to requests: of a whole one, which is returned, or of one TensorProto."""

import numpy as np

from serving import messages, tensors

_COMPLEX = messages.DataType.values_by_name["DT_COMPLEX64"].number


def addressed(request, **fields):
    """Fills in the version of a request's model_spec, and returns the request."""
    if "version" in fields:
        request.model_spec.version.value = fields["version"]
    if "label" in fields:
        request.model_spec.version_label = fields["label"]
    return request


def without_inputs(request):
    """Leaves out all inputs."""
    request.inputs.clear()
    return request


def renamed(request, name):
    """Gives an input a name that the signature has not."""
    request.inputs["no_such_input"].CopyFrom(request.inputs[name])
    del request.inputs[name]
    return request


def everywhere(request, change):
    """Returns a copy of a request, each of whose inputs was changed by a function."""
    changed = messages.PredictRequest()
    changed.CopyFrom(request)
    for proto in changed.inputs.values():
        change(proto)
    return changed


def filtered(request, *outputs):
    """Asks for some outputs."""
    request.output_filter.extend(outputs)
    return request


def break_content(proto):
    """Gives a shape that the content does not fit."""
    proto.tensor_content = b"123"
    proto.tensor_shape.dim[0].size = 1000


def change_dtype(proto):
    """Gives another dtype, in the same shape."""
    wanted = np.int32 if tensors.numpy_type(proto.dtype) != np.int32 else np.int64
    shape = tensors.declared_shape(proto)
    proto.Clear()
    tensors.encode(np.zeros(shape, wanted), proto)


def add_dimensions(proto):
    """Gives two more dimensions to the shape."""
    proto.tensor_shape.dim.add(size=1)
    proto.tensor_shape.dim.add(size=1)


def make_complex(proto):
    """Gives a dtype of complex numbers."""
    empty(proto)
    proto.dtype = _COMPLEX


def empty(proto):
    """Takes the content out; the shape stays."""
    proto.ClearField("tensor_content")
    proto.ClearField("string_val")


def use_typed_field(proto):
    """Moves the values from tensor_content to the field of their dtype."""
    values = tensors.decode(proto).ravel()
    if proto.dtype in (tensors.DT_HALF, tensors.DT_BFLOAT16):
        values = values.view(np.uint16)
    empty(proto)
    getattr(proto, tensors.typed_field(proto.dtype)).extend(values.tolist())


def use_typed(count):
    """Leaves the first values alone, so many, in the field of their dtype."""

    def change(proto):
        use_typed_field(proto)
        del getattr(proto, tensors.typed_field(proto.dtype))[count:]

    return change


def begin_with_zero(proto):
    """Makes the first value zero, or an empty string."""
    array = tensors.decode(proto).copy()
    array.flat[:1] = b"" if proto.dtype == tensors.DT_STRING else 0
    proto.Clear()
    tensors.encode(array, proto)
