"""Predict under whatever may be sent: the server answers, and goes on answering."""

import grpc
import numpy as np
import pytest
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import messages, tensors

# Only these mean that the caller was told what is wrong.
CALLERS_MISTAKE = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)

text = st.text(max_size=8)
names = st.sampled_from(["seeds", "latents", "images", "labels", "x"]) | text
sizes = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 4, 2**31, 2**62, 2**63 - 1])
small = st.integers(0, 5)


@st.composite
def tensor_protos(draw):
    proto = messages.TensorProto()
    proto.dtype = draw(st.sampled_from([0, 1, 3, 4, 7, 9, 10, 14, 19, 20, 21, 101]))
    for size in draw(st.lists(small | sizes, max_size=5)):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.booleans()) and draw(st.booleans())
    proto.tensor_content = draw(st.binary(max_size=64))
    proto.float_val.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    proto.int64_val.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)))
    proto.int_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)))
    proto.half_val.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)))
    proto.string_val.extend(draw(st.lists(st.binary(max_size=4), max_size=3)))
    return proto


@st.composite
def predict_requests(draw):
    request = messages.PredictRequest()
    request.model_spec.name = draw(st.sampled_from(["good", "conditional"]) | text)
    request.model_spec.signature_name = draw(
        st.sampled_from(["", "sample", "encode", "fragile", "scalar", "png"]) | text
    )
    choice = draw(st.sampled_from(["none", "version", "label"]))
    if choice == "version":
        request.model_spec.version.value = draw(st.sampled_from([-1, 0, 2, 2**62]))
    elif choice == "label":
        request.model_spec.version_label = draw(text)
    for name in draw(st.lists(names, max_size=3)):
        request.inputs[name].CopyFrom(draw(tensor_protos()))
    request.output_filter.extend(draw(st.lists(names, max_size=2)))
    return request


@pytest.fixture(scope="module")
def predict(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel.unary_unary("/tensorflow.serving.PredictionService/Predict")


def _answered(predict, content):
    code, details, response = None, None, None
    try:
        response = messages.PredictResponse.FromString(predict(content, timeout=60))
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
    if response is None:
        assert code in CALLERS_MISTAKE, details
        assert details
        return
    assert response.model_spec.name in ("good", "conditional")
    for proto in response.outputs.values():
        tensors.decode(proto)


@given(request=predict_requests())
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_request_is_answered(predict, request):
    _answered(predict, request.SerializeToString())


@given(
    signature=st.sampled_from(["sample", "encode", "fragile", "serving_default"]),
    proto=tensor_protos(),
)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_tensor_under_the_right_name_is_answered(predict, signature, proto):
    name = {
        "sample": "seeds",
        "encode": "images",
        "fragile": "indexes",
        "serving_default": "latents",
    }[signature]
    request = tiny_models.predict_request("good", signature)
    request.inputs[name].CopyFrom(proto)
    _answered(predict, request.SerializeToString())


@given(content=st.binary(max_size=300))
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_bytes_are_answered(predict, content):
    _answered(predict, content)


def test_good_requests_are_still_answered(client, tiny):
    np.testing.assert_array_equal(client.generate("good", 3), tiny.expected(range(3)))
