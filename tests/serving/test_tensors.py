"""Tensors on the wire, against TensorFlow's own reading and writing of them.

`tf.io.parse_tensor` reads a TensorProto with the C++ code that TensorFlow Serving uses;
`tf.make_ndarray` is a second reading, in Python.
"""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving import messages, tensors

ARRAYS = [
    np.array([[1.5, -0.0], [np.inf, 3e-45]], np.float32),
    np.array([[1.5, np.nan]], np.float64),
    np.array([0.1, -65504, 6e-8, np.inf], np.float16),
    np.array([0.1, -3e38, 1e-40, 2], ml_dtypes.bfloat16),
    np.array([-128, 0, 127], np.int8),
    np.array([-(2**15), 2**15 - 1], np.int16),
    np.array([-(2**31), 2**31 - 1], np.int32),
    np.array([-(2**63), 2**63 - 1], np.int64),
    np.array([0, 255], np.uint8),
    np.array([0, 2**16 - 1], np.uint16),
    np.array([0, 2**32 - 1], np.uint32),
    np.array([2**63 + 1, 2**64 - 1], np.uint64),
    np.array([[True], [False]]),
    np.array(7, np.int64),
    np.zeros((2, 0, 3), np.float32),
    np.array([[b"", b"\xff\x00"], [b"two", b" words "]], object),
]
WITH_DTYPE = pytest.mark.parametrize(
    "array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}"
)


def ours(proto):
    return messages.TensorProto.FromString(proto.SerializeToString())


def theirs(proto):
    return tensor_pb2.TensorProto.FromString(proto.SerializeToString())


def proto_of(data_type, shape, **values):
    proto = messages.TensorProto(dtype=getattr(tf, data_type).as_datatype_enum)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    proto.MergeFrom(messages.TensorProto(**values))
    return proto


def parsed(proto):
    """What TensorFlow reads."""
    data_type = tf.dtypes.as_dtype(proto.dtype)
    found = tf.io.parse_tensor(proto.SerializeToString(), data_type).numpy()
    return np.array(found, object) if isinstance(found, bytes) else found


def assert_same(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if found.dtype == object:
        assert found.tolist() == expected.tolist()
    else:  # The bits, of NaN and -0 too.
        assert found.tobytes() == expected.tobytes()


@WITH_DTYPE
def test_what_is_written_is_read_by_tensorflow_and_by_us(array):
    proto = messages.TensorProto()
    tensors.encode(array, proto)
    assert_same(tf.make_ndarray(theirs(proto)), array)
    assert_same(tensors.decode(proto), array)


@WITH_DTYPE
def test_what_tensorflow_writes_is_read(array):
    written = tf.make_tensor_proto(array)
    assert_same(tensors.decode(ours(written)), array)


@pytest.mark.parametrize(
    "values",
    [
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(12).reshape(3, 4)[:, ::2],
    ],
    ids=["fortran", "strided"],
)
def test_arrays_of_any_layout_are_written_row_by_row(values):
    proto = messages.TensorProto()
    tensors.encode(values, proto)
    np.testing.assert_array_equal(tf.make_ndarray(theirs(proto)), values)


def test_text_is_written_as_utf8():
    proto = messages.TensorProto()
    tensors.encode(np.array(["a", "Ä€"]), proto)
    assert list(proto.string_val) == [b"a", "Ä€".encode()]


# One value or two for four places: the last of them is repeated.
TYPED = [
    ("float32", {"float_val": [1.5, -2.5]}),
    ("float64", {"double_val": [0.1]}),
    ("half", {"half_val": [0x3C00, 0xC000]}),
    ("half", {"half_val": [0x10000 + 0x3C00, -1]}),  # Cut to 16 bits.
    ("bfloat16", {"half_val": [0x3F80, 0xC000]}),
    ("int8", {"int_val": [-1, 127]}),
    ("int8", {"int_val": [128, 300]}),  # Cut to 8 bits.
    ("uint8", {"int_val": [200]}),
    ("uint8", {"int_val": [-1, 256]}),
    ("int16", {"int_val": [-5, 40_000]}),
    ("uint16", {"int_val": [65_535]}),
    ("int32", {"int_val": [-(2**31)]}),
    ("uint32", {"uint32_val": [2**32 - 1]}),
    ("uint64", {"uint64_val": [1, 2**64 - 1]}),
    ("int64", {"int64_val": [-(2**63), 2**63 - 1]}),
    ("uint64", {"uint64_val": [2**64 - 1]}),
    ("bool", {"bool_val": [True, False]}),
    ("bool", {"bool_val": [True]}),
    ("string", {"string_val": [b"\xff", b"last"]}),
]


@pytest.mark.parametrize(("data_type", "values"), TYPED)
def test_too_few_typed_values_repeat_the_last(data_type, values):
    proto = proto_of(data_type, [2, 2], **values)
    assert_same(tensors.decode(proto), parsed(proto))


@pytest.mark.parametrize(("data_type", "values"), TYPED)
def test_too_many_typed_values_are_cut(data_type, values):
    proto = proto_of(data_type, [1], **values)
    assert_same(tensors.decode(proto), parsed(proto))


@pytest.mark.parametrize("data_type", sorted({data_type for data_type, _ in TYPED}))
@pytest.mark.parametrize("shape", [[], [2, 3], [0, 4]])
def test_no_values_are_zeros(data_type, shape):
    proto = proto_of(data_type, shape)
    assert_same(tensors.decode(proto), parsed(proto))


def test_strings_in_tensor_content_are_read_as_by_tensorflow():
    content = b"\x00\x02\xac\x02\x01" + b"\xff\x00" + b"x" * 300 + b"y"
    proto = proto_of("string", [2, 2], tensor_content=content)
    assert_same(tensors.decode(proto), parsed(proto))


@pytest.mark.parametrize("content", [b"ab", b"\x01", b"\x00\x00\x00", b"\xff" * 9])
def test_tensorflow_refuses_strings_that_do_not_fit_too(content):
    proto = proto_of("string", [2], tensor_content=content)
    with pytest.raises(tf.errors.InvalidArgumentError):
        parsed(proto)
    with pytest.raises(ValueError, match=r"2 strings need|holds no strings"):
        tensors.decode(proto)


def test_one_value_for_a_large_shape_takes_no_memory():
    zeros = tensors.decode(proto_of("float32", [1000, 28, 28]))
    sevens = tensors.decode(proto_of("uint8", [1000, 28, 28], int_val=[7]))
    assert zeros.shape == sevens.shape == (1000, 28, 28)
    assert not zeros.any()
    assert (sevens == 7).all()
    assert zeros.base.nbytes == 4
    assert sevens.base.nbytes == 1


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (proto_of("float32", [2], tensor_content=b"1234567"), "has 7 bytes where"),
        (proto_of("float32", [2], tensor_content=b"123456789"), "has 9 bytes where"),
        (proto_of("half", [3], tensor_content=b"1234"), "needs 6"),
        (proto_of("bool", [3], tensor_content=b"\0\1\2"), "other than 0 and 1"),
        (
            proto_of("int64", [], tensor_content=b"1"),
            r"the shape \[\] of int64 needs 8",
        ),
        (proto_of("float32", [2, -1]), r"\[2, -1\] has a negative dimension"),
        (proto_of("float32", [-1], float_val=[1]), "negative dimension"),
        (proto_of("float32", [1] * 300), "more than 32"),
        (messages.TensorProto(tensor_shape={"dim": [{"size": 1}]}), "invalid has no"),
        (proto_of("complex64", [1]), "complex64 has no numpy counterpart"),
    ],
)
def test_what_does_not_fit_is_an_error_in_words(proto, words):
    with pytest.raises(ValueError, match=words):
        tensors.decode(proto)


@pytest.mark.parametrize(
    "content", [b"1234567", b"123456789"], ids=["too short", "too long"]
)
def test_tensorflow_refuses_content_of_another_length_too(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        parsed(proto_of("float32", [2], tensor_content=content))


@pytest.mark.parametrize("shape", [[], [2], [0]])
def test_an_unknown_rank_is_read_as_by_tensorflow(shape):
    proto = proto_of("float32", shape, float_val=[1])
    proto.tensor_shape.unknown_rank = True
    assert_same(tensors.decode(proto), parsed(proto))


def test_dtypes_that_only_tensorflow_has_are_those_it_reads():
    for number in range(150):
        shape = {"dim": [{"size": 2}]}
        proto = tensor_pb2.TensorProto(dtype=number, tensor_shape=shape)
        asked = tf.int32 if number == tf.float32.as_datatype_enum else tf.float32
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            tf.raw_ops.ParseTensor(serialized=proto.SerializeToString(), out_type=asked)
        name = tensors.type_name(number)
        is_read = f"mismatch between parsed tensor ({name})" in caught.value.message
        assert is_read == (tensors.is_foreign(number) or number in tensors._FIELDS)


@pytest.mark.parametrize(
    "shape", [[1 << 40], [1 << 62, 1 << 62], [0, 1 << 62], [1 << 40, 1 << 40, 0]]
)
def test_a_few_bytes_cannot_ask_for_all_memory(shape):
    with pytest.raises(ValueError, match=r"more than the|too big"):
        tensors.decode(proto_of("float64", shape, double_val=[1]))


def test_the_limit_is_in_bytes():
    proto = proto_of("float32", [5, 5], float_val=[2])
    assert tensors.decode(proto, max_bytes=100).sum() == 50
    with pytest.raises(ValueError, match="needs 100 bytes, more than the 99 allowed"):
        tensors.decode(proto, max_bytes=99)


def test_arrays_of_other_dtypes_cannot_be_sent():
    for array in (np.zeros(1, complex), np.zeros(1, "M8[s]")):
        with pytest.raises(ValueError, match="cannot be sent"):
            tensors.encode(array, messages.TensorProto())
