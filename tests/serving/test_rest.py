"""The REST API, over real HTTP."""

import base64
import contextlib
import http.client
import json
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import errors, rest, signatures, tensors


@pytest.fixture
def ask(server):
    def ask(path, body=None):
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{server.rest_address}{path}", data=data
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    return ask


def test_rows(ask, tiny):
    status, answer = ask(
        "/v1/models/good:predict", {"signature_name": "sample", "instances": [3, 4]}
    )
    assert status == 200
    np.testing.assert_array_equal(answer["predictions"], tiny.expected([3, 4]))


def test_columns(ask, tiny):
    for inputs in ([3, 4], {"seeds": [3, 4]}):
        status, answer = ask(
            "/v1/models/good/versions/2:predict",
            {"signature_name": "sample", "inputs": inputs},
        )
        assert status == 200
        np.testing.assert_array_equal(answer["outputs"], tiny.expected([3, 4]))


def test_several_inputs_and_outputs(ask):
    body = {
        "signature_name": "sample",
        "instances": [{"seeds": 0, "labels": 1}, {"seeds": 1, "labels": 2}],
    }
    status, answer = ask("/v1/models/conditional:predict", body)
    assert status == 200
    first = [np.array(row)[0, 0, 0] for row in answer["predictions"]]
    assert first == [30, 60]
    pictures = np.zeros((2, 4, 4, 1), int).tolist()
    body = {"signature_name": "both", "instances": pictures}
    _, answer = ask("/v1/models/good:predict", body)
    assert [sorted(row) for row in answer["predictions"]] == [["images", "level"]] * 2
    body = {"signature_name": "both", "inputs": pictures}
    _, answer = ask("/v1/models/good:predict", body)
    assert answer["outputs"]["level"] == [0.0, 0.0]


def test_binary_strings_are_base64(ask):
    _, answer = ask(
        "/v1/models/good:predict", {"signature_name": "png", "instances": [1]}
    )
    content = base64.b64decode(answer["predictions"][0]["b64"])
    assert tiny_models.png_size(content) == (4, 4)


def test_the_default_signature_and_floats(ask):
    _, answer = ask("/v1/models/good:predict", {"instances": [[0.1, 0, 0]]})
    assert answer["predictions"][0][0][0] == [1]
    _, answer = ask(
        "/v1/models/good:predict",
        {"signature_name": "scalar", "inputs": 0.1},
    )
    assert answer == {"outputs": 1.1}  # And not 1.100000023841858.


def test_not_a_number_travels_both_ways(ask):
    body = b'{"signature_name": "scalar", "inputs": NaN}'
    assert np.isnan(ask("/v1/models/good:predict", body)[1]["outputs"])


def test_status(ask):
    expected = {
        "version": "2",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in ("/v1/models/good", "/v1/models/good/versions/2"):
        assert ask(path) == (200, {"model_version_status": [expected]})


def test_metadata(ask):
    status, answer = ask("/v1/models/good/metadata")
    assert status == 200
    assert answer["model_spec"] == {
        "name": "good",
        "signature_name": "",
        "version": "2",
    }
    found = answer["metadata"]["signature_def"]["signature_def"]
    assert found["sample"]["inputs"]["seeds"]["dtype"] == "DT_INT64"
    assert found["sample"]["method_name"] == "tensorflow/serving/predict"


def test_metrics(ask, server):
    ask("/v1/models/good:predict", {"signature_name": "sample", "instances": [1]})
    url = f"http://{server.rest_address}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    assert 'serving_requests_total{api="rest",code="OK",method="Predict"' in text
    assert 'serving_model_version{model="good",version="2"} 1.0' in text
    assert "nope" not in text


GOOD = "/v1/models/good:predict"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "Latest(nope)"),
        ("/v1/models/good/versions/9:predict", {"inputs": [1]}, 404, "(good, 9)"),
        ("/v1/models/good/labels/x:predict", {"inputs": [1]}, 400, "label: x"),
        ("/v1/models/nope", None, 404, "any versions of model nope"),
        ("/v1/models/good/versions/9", None, 404, "version 9 of model good"),
        ("/v1/models", None, 400, "Malformed request: GET /v1/models"),
        ("/v1/models/../../etc/passwd", None, 400, "Malformed request"),
        ("/v1/models/..%2f..:predict", {"inputs": [1]}, 404, "Latest(../..)"),
        (GOOD, b"{", 400, "JSON Parse error"),
        (GOOD, b"[" * 100_000, 400, "JSON Parse error"),
        (GOOD, b"\xff\xfe", 400, "JSON Parse error"),
        (GOOD, [1], 400, "must be an object"),
        (GOOD, {}, 400, "one of 'instances'"),
        (GOOD, {"instances": [1], "inputs": [1]}, 400, "one of 'instances'"),
        (GOOD, {"instances": 1}, 400, "to be a list/array"),
        (GOOD, {"instances": [[1, 2], [3]]}, 400, "regular list"),
        (GOOD, {"instances": [["a"]]}, 400, "expected type: float"),
        (GOOD, {"instances": [[1, 2]]}, 400, "cannot take the shape [1, 2]"),
        (GOOD, {"signature_name": "sample", "instances": [1.5]}, 400, "type: int64"),
        (GOOD, {"signature_name": "sample", "instances": [2**63]}, 400, "range"),
        (GOOD, {"signature_name": "sample", "instances": [None]}, 400, "int64"),
        (GOOD, {"signature_name": "zzz", "instances": [1]}, 400, '"zzz" not found'),
        (GOOD, {"signature_name": 1, "instances": [1]}, 400, "string value"),
        (GOOD, {"inputs": {"x": [1]}}, 400, "named input: x"),
        (GOOD, {"instances": [{"x": 1}]}, 400, "named input: x"),
        ("/v1/models/good:classify", {"examples": [{}]}, 400, "Ask Predict instead"),
        ("/v1/models/good:regress", {"examples": [{}]}, 400, "Ask Predict instead"),
        ("/v1/models/good:predict", None, 405, "POST"),
        ("/v1/models/good", {"inputs": [1]}, 405, "GET"),
    ],
)
def test_errors(ask, path, body, status, words):
    got, answer = ask(path, body)
    assert got == status
    assert words in answer["error"]


def raw(server, content):
    host, _, port = server.rest_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"POST %s HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
        (b"POST %s HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"411"),
        (b"POST %s HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", b"413"),
        (b"POST %s HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", b"400"),
        (b"DELETE %s HTTP/1.1\r\n\r\n", b"501"),
        (b"\x16\x03\x01\x02\x00\x01\x00 %s\r\n\r\n", b"400"),
    ],
)
def test_http_that_is_wrong(server, content, status):
    answer = raw(server, content % GOOD.encode())
    assert status in answer.split(b"\r\n", 1)[0] or b"Error code: 400" in answer


def test_one_connection_carries_many_requests(server):
    connection = http.client.HTTPConnection(server.rest_address)
    for _ in range(3):
        body = json.dumps({"signature_name": "sample", "instances": [1]})
        connection.request("POST", GOOD, body)
        assert connection.getresponse().read()
    connection.close()


SPECS = {
    "sample": signatures.Signature(
        "sample",
        "tensorflow/serving/predict",
        {"seeds": signatures.TensorSpec("seeds", 9, (None,))},
        {},
    ),
    "two": signatures.Signature(
        "two",
        "tensorflow/serving/predict",
        {
            "latents": signatures.TensorSpec("latents", 1, (None, 2)),
            "names": signatures.TensorSpec("names", tensors.DT_STRING, (None,)),
        },
        {},
    ),
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.fixed_dictionaries({"b64": st.text(max_size=8)}),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["seeds", "latents", "names", "b64", "x"]),
            children,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(
    body=st.fixed_dictionaries(
        {},
        optional={
            "signature_name": st.sampled_from(["sample", "two", "zzz"]) | json_values,
            "instances": json_values,
            "inputs": json_values,
            "x": json_values,
        },
    )
)
@settings(max_examples=400, deadline=None)
def test_any_json_is_a_request_or_an_error_in_words(body):
    with contextlib.suppress(errors.ServingError):
        request, _ = rest.parse_predict(json.dumps(body).encode(), lambda: SPECS)
        for proto in request.inputs.values():
            tensors.decode(proto)


@given(body=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_error_in_words(body):
    with contextlib.suppress(errors.ServingError):
        rest.parse_predict(body, lambda: SPECS)
