"""Between numpy arrays and TensorProto, without TensorFlow.

Decoding follows TensorFlow's own rules: values come from `tensor_content` or from
the typed field of the dtype, a shape with no values is zeros, and too few values
repeat the last. Encoding always uses `tensor_content` (strings excepted), which
`numpy.frombuffer` reads 10 to 100 times faster than the typed fields.
"""

import math

import numpy as np

from serving import messages

try:  # numpy has no bfloat16 of its own; TensorFlow brings this package.
    from ml_dtypes import bfloat16
except ImportError:
    bfloat16 = None

# Where one tensor may end: far above any picture, far below memory.
MAX_BYTES = 1 << 30

_NUMBER = {value.name: value.number for value in messages.DataType.values}
_NAME = {number: name for name, number in _NUMBER.items()}

DT_STRING = _NUMBER["DT_STRING"]
DT_HALF = _NUMBER["DT_HALF"]
DT_BFLOAT16 = _NUMBER["DT_BFLOAT16"]

# DataType -> (numpy dtype, the field of TensorProto that holds its values).
_FIELDS = {
    _NUMBER["DT_FLOAT"]: (np.dtype(np.float32), "float_val"),
    _NUMBER["DT_DOUBLE"]: (np.dtype(np.float64), "double_val"),
    _NUMBER["DT_INT8"]: (np.dtype(np.int8), "int_val"),
    _NUMBER["DT_INT16"]: (np.dtype(np.int16), "int_val"),
    _NUMBER["DT_INT32"]: (np.dtype(np.int32), "int_val"),
    _NUMBER["DT_UINT8"]: (np.dtype(np.uint8), "int_val"),
    _NUMBER["DT_UINT16"]: (np.dtype(np.uint16), "int_val"),
    _NUMBER["DT_UINT32"]: (np.dtype(np.uint32), "uint32_val"),
    _NUMBER["DT_INT64"]: (np.dtype(np.int64), "int64_val"),
    _NUMBER["DT_UINT64"]: (np.dtype(np.uint64), "uint64_val"),
    _NUMBER["DT_BOOL"]: (np.dtype(np.bool_), "bool_val"),
    DT_HALF: (np.dtype(np.float16), "half_val"),
    DT_STRING: (np.dtype(object), "string_val"),
}
if bfloat16 is not None:
    _FIELDS[DT_BFLOAT16] = (np.dtype(bfloat16), "half_val")

_DATA_TYPE = {dtype: number for number, (dtype, _) in _FIELDS.items()}


def type_name(data_type):
    """Returns TensorFlow's name of a DataType, such as `float` for DT_FLOAT."""
    return _NAME.get(data_type, str(data_type)).removeprefix("DT_").lower()


def numpy_type(data_type):
    """Returns the numpy dtype of a DataType; strings are objects holding bytes."""
    if data_type not in _FIELDS:
        raise ValueError(f"the dtype {type_name(data_type)} has no numpy counterpart")
    return _FIELDS[data_type][0]


def is_foreign(data_type):
    """Whether TensorFlow has tensors of a DataType that numpy has no counterpart of."""
    name = _NAME.get(data_type, "DT_INVALID")
    is_known = name != "DT_INVALID" and not name.endswith("_REF")
    return is_known and data_type not in _FIELDS


def typed_field(data_type):
    """Returns the name of the TensorProto field that holds values of a DataType."""
    return _FIELDS[data_type][1]


def data_type(array):
    """Returns the DataType of an array."""
    if array.dtype.kind in "SU":
        return DT_STRING
    if array.dtype not in _DATA_TYPE:
        raise ValueError(f"arrays of dtype {array.dtype} cannot be sent")
    return _DATA_TYPE[array.dtype]


def from_numbers(values, dtype):
    """Returns Python's numbers, in nested lists, as an array of a numeric dtype.

    numpy's own guess at their type is float64 for whole numbers of which some need 64
    bits and others are negative, and object for larger ones.

    Raises:
        TypeError: If they are of another kind: lists of truth values alone are for bool
            alone, and for integers whole numbers.
        ValueError: If the lists are of unequal lengths.
        OverflowError: If the dtype has no room for some.
    """
    array = np.array(values)
    if array.size == 0:
        return array.astype(dtype)
    if dtype.kind == "b" or array.dtype.kind == "b":
        if dtype.kind != array.dtype.kind:
            raise TypeError
        return array
    if dtype.kind in "iu":
        if array.dtype.kind not in "iu":
            array = np.array(values, object)
            if not all(isinstance(value, int | np.integer) for value in array.flat):
                raise TypeError
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise OverflowError
        return array.astype(dtype)
    if array.dtype.kind == "O" and all(
        isinstance(value, int | float | np.number) for value in array.flat
    ):
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        raise TypeError
    return rounded(array, dtype)


def rounded(array, dtype):
    """Returns numbers as an array of a floating point dtype, or of their own.

    Raises:
        OverflowError: If the dtype has no room for some.
    """
    with np.errstate(over="ignore"):
        found = array.astype(dtype, copy=False)
    if dtype.kind not in "iub" and np.any(np.isinf(found) & np.isfinite(array)):
        raise OverflowError
    return found


def declared_shape(proto):
    """Returns the shape a TensorProto declares, whatever it holds."""
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise ValueError(f"the shape {list(shape)} has a negative dimension")
    if len(shape) > 32:
        raise ValueError(f"{len(shape)} dimensions are more than 32")
    return shape


def checked_shape(proto, max_bytes=MAX_BYTES):
    """Returns the shape a TensorProto declares, if `decode` can make an array of it.

    Nothing is allocated: a few bytes can declare a large shape.

    Args:
        proto: The TensorProto.
        max_bytes: The largest array that may be made.

    Raises:
        ValueError: Where shape, dtype and content do not fit each other.
    """
    shape = declared_shape(proto)
    dtype = numpy_type(proto.dtype)
    size = math.prod(shape)
    if size * dtype.itemsize > max_bytes:
        raise ValueError(
            f"the shape {list(shape)} needs {size * dtype.itemsize} bytes, "
            f"more than the {max_bytes} allowed"
        )
    if not size and math.prod(filter(None, shape)) * dtype.itemsize >= 1 << 63:
        raise ValueError(f"the shape {list(shape)} is too big, though empty")
    content = proto.tensor_content
    if content and proto.dtype == DT_STRING:
        _strings(content, size)
    elif content and len(content) != size * dtype.itemsize:
        raise ValueError(
            f"tensor_content has {len(content)} bytes where the shape "
            f"{list(shape)} of {type_name(proto.dtype)} needs "
            f"{size * dtype.itemsize}"
        )
    elif content and dtype == np.bool_ and content.strip(b"\0\1"):
        raise ValueError("tensor_content of bool has bytes other than 0 and 1")
    return shape


def decode(proto, max_bytes=MAX_BYTES):
    """Returns the array a TensorProto stands for.

    Args:
        proto: The TensorProto.
        max_bytes: The largest array to allocate.

    Raises:
        ValueError: Where shape, dtype and values do not fit each other.
    """
    return filled(proto, checked_shape(proto, max_bytes))


def filled(proto, shape):
    """Returns the array of a TensorProto whose shape `checked_shape` has given.

    It may be read only.
    """
    dtype, field = _FIELDS[proto.dtype]
    size = math.prod(shape)
    content = proto.tensor_content
    if content and proto.dtype != DT_STRING:
        return np.frombuffer(content, dtype).reshape(shape)
    values = _strings(content, size) if content else getattr(proto, field)[:size]
    if proto.dtype in (DT_HALF, DT_BFLOAT16):
        found = np.array(values, np.int64).astype(np.uint16).view(dtype)
    elif proto.dtype == DT_STRING:
        found = np.empty(len(values), object)
        found[:] = values
    else:
        # int8 and its like travel in 32 bits, and wrap.
        width = np.int32 if field == "int_val" else dtype
        found = np.array(values, width).astype(dtype)
    if len(found) == size:
        return found.reshape(shape)
    if len(found) <= 1:  # One value stands for all, and takes no more memory.
        if not len(found):
            found = np.array([b"" if dtype.kind == "O" else 0], dtype)
        return np.broadcast_to(found.reshape(()), shape)
    array = np.empty(size, dtype)
    array[: len(found)] = found
    array[len(found) :] = found[-1]
    return array.reshape(shape)


def _strings(content, count):
    """Splits strings as TensorFlow joins them: every length, a varint, then all bytes.

    TensorFlow Serving answers so with --enable_serialization_as_tensor_content.

    Raises:
        ValueError: If `content` is no such `count` strings.
    """
    ends, end, start = [], 0, 0
    for _ in range(count):
        length, start = _varint(content, start)
        end += length
        ends.append(end)
    if start + end != len(content):
        raise ValueError(
            f"tensor_content has {len(content)} bytes where {count} strings need "
            f"{start + end}"
        )
    return [
        content[start + first : start + last]
        for first, last in zip([0, *ends], ends, strict=False)
    ]


def _varint(content, start):
    """Returns the number, of 32 bits at most, at a place, and the place behind it."""
    number = 0
    for shift in range(0, 35, 7):
        if start == len(content):
            break
        byte = content[start]
        start += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, start
    raise ValueError("tensor_content holds no strings, each with its length")


def encode(array, proto):
    """Writes an array into a TensorProto."""
    # As an array of its own kind, bytes lose the zeros at their end.
    array = np.asarray(array, object if isinstance(array, bytes) else None)
    proto.dtype = data_type(array)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if proto.dtype == DT_STRING:
        proto.string_val.extend(
            value if isinstance(value, bytes) else str(value).encode("utf-8")
            for value in array.ravel().tolist()
        )
    else:
        proto.tensor_content = array.tobytes()
