"""Predict under whatever may be sent: the server answers, and goes on answering."""

import http.client
import json
import socket

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


def _rest_address(server):
    host, _, port = server.rest_address.rpartition(":")
    return host, int(port)


# Halves of surrogate pairs, too, which JSON can write and UTF-8 cannot.
json_text = st.text(max_size=3) | st.text("a\ud800\udfff", max_size=3)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 0.5, 2**31, 2**63, 1e40, float("nan"), float("inf")])
    | json_text,
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["seeds", "latents", "images", "b64"]) | json_text,
            children,
            max_size=2,
        )
    ),
    max_leaves=10,
)
signature_names = st.sampled_from(["", "sample", "encode", "scalar", "fragile", "both"])


@given(
    call=st.sampled_from(["predict", "classify", "regress"]),
    rows=st.sampled_from(["instances", "inputs"]),
    signature=signature_names | json_values,
    values=json_values,
)
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_json_is_answered(server, call, rows, signature, values):
    connection = http.client.HTTPConnection(*_rest_address(server), timeout=60)
    body = json.dumps({"signature_name": signature, rows: values})
    connection.request("POST", f"/v1/models/good:{call}", body)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    if answer.status == 200:
        assert list(content) == [{"instances": "predictions"}.get(rows, "outputs")]
    else:
        assert answer.status == 400
        assert content["error"]


def joined(parts, most):
    return st.lists(st.sampled_from(parts) | st.binary(max_size=4), max_size=most).map(
        b"".join
    )


http_requests = st.tuples(
    st.sampled_from([b"GET ", b"POST ", b"HEAD ", b"PUT ", b"BREW ", b"", b"\r\n"]),
    joined(
        [b"http://[", b"http://h", b"/v1/models/good", b":predict", b"/labels/%ff"], 4
    ),
    st.sampled_from([b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/9.9\r\n", b"\r\n"]),
    joined(
        [
            *(b"Content-Length: 2\r\n", b"Content-Length: 22\r\n", b"Content-Length:"),
            *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
            *(b"Content-Type: multipart/x\r\n", b" \r\n"),
        ],
        3,
    ),
    st.just(b"\r\n"),
    st.sampled_from([b"", b"{}", b'{"inputs": [[1, 2, 3]]}']) | st.binary(max_size=4),
).map(b"".join)


@given(content=st.lists(http_requests, max_size=3).map(b"".join))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_bytes_over_http_are_answered(server, content):
    with socket.create_connection(_rest_address(server), timeout=60) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500 " not in answer


def test_good_requests_are_still_answered(client, tiny):
    np.testing.assert_array_equal(client.generate("good", 3), tiny.expected(range(3)))
