"""The REST API, over real HTTP."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

import serving
from serving import (
    connections,
    errors,
    messages,
    metrics,
    rest,
    rest_json,
    signatures,
    tensors,
)


def ask_at(address, path, body=None):
    data = None
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data=data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def ask(server):
    return lambda path, body=None: ask_at(server.rest_address, path, body)


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
    body = {"signature_name": "scalar", "inputs": 123456791}
    _, answer = ask("/v1/models/good:predict", body)
    assert answer == {"outputs": 123456792}  # As float32 has it, and not ...790.


def test_not_a_number_travels_both_ways(ask):
    body = b'{"signature_name": "scalar", "inputs": NaN}'
    assert np.isnan(ask("/v1/models/good:predict", body)[1]["outputs"])


def test_what_tensorflow_serving_ignores_and_stands(ask, tiny):
    for body in (
        {"signature_name": "sample", "instances": [3, 4], "x": 1},
        {"signature_name": "sample", "inputs": {"seeds": [3, 4], "x": 1}},
        b'\xef\xbb\xbf{"signature_name": "sample", "instances": [3, 4]}',
    ):
        status, answer = ask("/v1/models/good:predict", body)
        assert status == 200
        found = answer.get("predictions") or answer["outputs"]
        np.testing.assert_array_equal(found, tiny.expected([3, 4]))
    body = {"signature_name": "", "instances": [[0, 0, 0]]}
    assert ask("/v1/models/good:predict", body)[0] == 200


def test_no_rows_are_answered_with_none(ask):
    body = {"signature_name": "sample", "instances": []}
    assert ask("/v1/models/good:predict", body) == (200, {"predictions": []})


def test_labels(publish):
    publish("m", 1)
    publish("m", 2, "other")
    file = publish.models.parent / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{publish.models}/m" '
        'model_platform: "tensorflow" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } '
        'version_labels { key: "the new" value: 2 } } }'
    )
    with serving.Server(
        publish.models, port=0, rest_port=0, model_config_file=file
    ) as server:
        for label, version, pixel in (("stable", "1", 10), ("the%20new", "2", 60)):
            path = f"{server.rest_address}", f"/v1/models/m/labels/{label}"
            body = {"signature_name": "sample", "instances": [0]}
            status, answer = ask_at(path[0], path[1] + ":predict", body)
            assert status == 200
            assert answer["predictions"][0][0][0] == [pixel]
            status, answer = ask_at(*path)
            assert status == 200
            assert [v["version"] for v in answer["model_version_status"]] == [version]
            status, answer = ask_at(path[0], path[1] + "/metadata")
            assert status == 200
            assert answer["model_spec"]["version"] == version


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
    for name in ("good", "nope"):  # What strangers write does not become a label.
        body = {"signature_name": "sample", "instances": [1]}
        ask(f"/v1/models/{name}:predict", body)
    url = f"http://{server.rest_address}/monitoring/prometheus/metrics?x=1"
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    assert 'serving_requests_total{api="rest",code="OK",method="Predict"' in text
    assert 'serving_model_version{model="good",version="2"} 1.0' in text
    assert "nope" not in text


PAGE = pathlib.Path(__file__).parents[2] / "docs" / "serving.md"


def test_metrics_are_those_that_the_page_lists_and_count_what_it_says(publish):
    def damage(path):
        (path / "saved_model.pb").write_bytes(b"no model")

    def warm(path):
        samples = [
            tiny_models.predict_request("good", seeds=np.arange(rows))
            for rows in (1, 4)
        ]
        tiny_models.write_warmup(path, samples)

    publish("good", 1, change=warm)
    publish("broken", 1, change=damage)
    three = {"signature_name": "sample", "instances": [1, 2, 3]}
    with serving.Server(publish.models, port=0, rest_port=0) as server:
        assert ask_at(server.rest_address, GOOD, three)[0] == 200
        url = f"http://{server.rest_address}{rest.METRICS_PATH}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
    batch = '{model="good",signature="sample"}'
    assert f"serving_batch_rows_sum{batch} 3.0" in lines
    assert f"serving_padding_rows_total{batch} 1.0" in lines  # Computed as 4.
    failures = [line for line in lines if line.startswith("serving_model_load_failu")]
    assert failures == ['serving_model_load_failures{model="broken"} 1.0']
    _, _, section = PAGE.read_text().partition("\n### REST and metrics\n")
    table = section.partition("\n### ")[0]
    listed = re.findall(r"^\| `(serving_\w+)`", table, re.MULTILINE)
    told = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    # The time since when each is counted comes with it.
    assert set(listed) == {name for name in told if not name.endswith("_created")}


GOOD = "/v1/models/good:predict"


def test_an_unforeseen_error_is_counted_as_internal():
    counted = metrics.Metrics(max_concurrent_requests=1)
    with pytest.raises(ZeroDivisionError), counted.request("rest", "Predict"):
        1 / 0  # noqa: B018
    assert b'code="INTERNAL",method="Predict",model=""} 1.0' in counted.render()
    assert counted.in_flight == 0


def test_outputs_that_no_array_holds_are_not_implemented(tmp_path, prompt_stops):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def wave(x):
        return {"y": tf.complex(x, x)}

    folder = str(tmp_path / "waves" / "1")
    tf.saved_model.save(tf.Module(), folder, {"serving_default": wave})
    with serving.Server(tmp_path, port=0, rest_port=0) as server:
        path = "/v1/models/waves:predict"
        status, answer = ask_at(server.rest_address, path, {"instances": [1.0]})
    assert status == 501
    assert "output y: the dtype complex64" in answer["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "Latest(nope)"),
        ("/v1/models/good/versions/9:predict", {"inputs": [1]}, 404, "(good, 9)"),
        ("/v1/models/good/labels/x:predict", {"inputs": [1]}, 400, "label: x"),
        ("/v1/models/nope", None, 404, "any versions of model nope"),
        ("/v1/models/good/versions/9", None, 404, "version 9 of model good"),
        (f"/v1/models/good/versions/{2**63}", None, 400, "not one of 64 bits"),
        (f"/v1/models/good/versions/{2**63 - 1}", None, 404, "of model good"),
        ("/v1/models", None, 400, "Malformed request: GET /v1/models"),
        ("/v1/models/../../etc/passwd", None, 400, "Malformed request"),
        ("/v1/models/..%2f..:predict", {"inputs": [1]}, 404, "Latest(../..)"),
        (GOOD, b"{", 400, "JSON Parse error"),
        # Of equal keys the first counts.
        (
            GOOD,
            b'{"signature_name": "no_such", "inputs": [1], "signature_name": ""}',
            400,
            "no_such",
        ),
        (GOOD, b"[" * 100_000, 400, "JSON Parse error"),
        (GOOD, b"\xff\xfe", 400, "JSON Parse error"),
        (GOOD, [1], 400, "must be an object"),
        (GOOD, {}, 400, "one of 'instances'"),
        (GOOD, {"instances": [1], "inputs": [1]}, 400, "one of 'instances'"),
        (GOOD, {"instances": 1}, 400, "to be a list/array"),
        (GOOD, {"instances": [[1, 2], [3]]}, 400, "regular list"),
        (GOOD, {"instances": [["a"]]}, 400, "expected type: float"),
        (GOOD, b'{"instances": [[1e400, 0, 0]]}', 400, "too big"),
        (GOOD, {"instances": [None] * 3}, 400, "expected type: float"),
        (GOOD, b'{"instances": %s1%s}' % (b"[" * 700, b"]" * 700), 400, ""),
        (GOOD, {"instances": [[1, 2]]}, 400, "cannot take the shape [1, 2]"),
        (GOOD, {"signature_name": "sample", "instances": [1.5]}, 400, "type: int64"),
        (GOOD, {"signature_name": "sample", "instances": [2**63]}, 400, "range"),
        (GOOD, {"signature_name": "sample", "instances": [None]}, 400, "int64"),
        (GOOD, {"instances": [[1e39, 0, 0]]}, 400, "range"),
        (
            *(GOOD, {"signature_name": "zzz"}, 400),
            'Serving signature name: "zzz" not found in signature def',
        ),
        (GOOD, {"signature_name": 1, "instances": [1]}, 400, "string value"),
        (GOOD, {"inputs": {"x": [1]}}, 400, "Missing named input: latents"),
        (GOOD, {"instances": [{"x": 1}]}, 400, "named input: x"),
        ("/v1/models/good:classify", {"examples": [{}]}, 400, "Ask Predict instead"),
        ("/v1/models/good:regress", {"examples": [{}]}, 400, "Ask Predict instead"),
        (GOOD, None, 400, "Malformed request: GET /v1/models/good:predict"),
        ("/v1/models/good", {}, 400, "Malformed request: POST /v1/models/good"),
        (rest.METRICS_PATH, {}, 400, f"Malformed request: POST {rest.METRICS_PATH}"),
        # Halves of surrogate pairs, escaped and not, where strings are looked at and
        # where they are not.
        (GOOD, b'{"signature_name": "\\ud800"}', 400, "JSON Parse error"),
        (GOOD, b'{"signature_name": "\xed\xa0\x80"}', 400, "JSON Parse error"),
        (GOOD, {"inputs": {"latents": "\udfff"}}, 400, "JSON Parse error"),
        (GOOD, {"inputs": [1], "\ud800": 1}, 400, "JSON Parse error"),
        ("/v1/models/good:classify", b'["\\ud800"]', 400, "JSON Parse error"),
    ],
)
def test_errors(ask, path, body, status, words):
    got, answer = ask(path, body)
    assert got == status
    assert words in answer["error"]


def open_at(address):
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=60)


def read_to_end(connection):
    """Returns what comes until the server closes the connection."""
    content = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            content += part
    return content


def answered(connection, request):
    """Returns the status, the headers and the content of one answer."""
    connection.sendall(request)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.headers, answer.read()


STATUS = b"GET /v1/models/good HTTP/1.1\r\n\r\n"
# The answer 100 says that the server has read the headers and waits for the body.
POST_EXPECT = (
    b"POST /v1/models/good:predict HTTP/1.1\r\nContent-Length: %d\r\n"
    b"Expect: 100-continue\r\n\r\n"
)
SAMPLE = b'{"signature_name": "sample", "instances": [0]}'


def begin_post(address, body=SAMPLE):
    """Returns a connection with a request of which only the body is missing."""
    connection = open_at(address)
    connection.sendall(POST_EXPECT % len(body))
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"POST %s HTTP/1.1\r\nHost: x\r\n\r\n", 411, b"Content-Length"),
        (b"POST %s HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400, b"not one number"),
        (b"GET %s HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, b"not one number"),
        (
            b"POST %s HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            *(400, b"not one number"),
        ),
        (
            b"POST %s HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
            *(413, b"larger than"),
        ),
        # More digits than Python makes a number of.
        (
            b"POST %%s HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000),
            *(413, b"larger than"),
        ),
        # A superscript is a digit, but makes no number.
        (
            b"POST %s HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n{}",
            *(400, b"not one number"),
        ),
        (b"POST %s HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", 400, b"ended early"),
        (
            b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Length: 9\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            *(501, b"Transfer-Encoding is not supported"),
        ),
        (
            b"GET %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + STATUS,
            *(501, b"Transfer-Encoding is not supported"),
        ),
        (
            b"POST %s HTTP/1.1\r\nContent-Encoding: GZIP\r\n"
            b"Content-Length: 2\r\n\r\n\x1f\x8b",
            *(400, b"gzip is not supported"),
        ),
        # With a blank before the colon it is no header, to some servers.
        (
            b"GET %%s HTTP/1.1\r\nContent-Length : %d\r\n\r\n" % len(STATUS) + STATUS,
            *(400, b"headers are malformed"),
        ),
        # Nor is it one behind a carriage return.
        (
            b"GET %%s HTTP/1.1\r\nX: a\rContent-Length: %d\r\n\r\n" % len(STATUS)
            + STATUS,
            *(400, b"carriage return"),
        ),
        # Without the answer 100, after which the body would come.
        (
            b"POST %s HTTP/1.1\r\nContent-Length: 99999999999999\r\n"
            b"Expect: 100-continue\r\n\r\n",
            *(413, b"larger than"),
        ),
        (b"BREW %s HTTP/1.1\r\n\r\n", 501, b"BREW"),
        (b"\x16\x03\x01\x02\x00\x01\x00 %s\r\n\r\n", 400, b"Bad "),
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"x" * 70000), 414, b"Too Long"),
    ],
)
def test_http_that_is_wrong_is_refused_and_the_connection_closed(
    server, content, status, words
):
    with open_at(server.rest_address) as connection:
        connection.sendall(content.replace(b"%s", GOOD.encode()))
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert head.endswith(b"\r\nConnection: close")
    # One answer: nothing of the rest is taken for a request.
    assert words in json.loads(body)["error"].encode()


def test_every_method_and_url_is_answered_in_words(server):
    with open_at(server.rest_address) as connection:
        for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
            for path in (
                GOOD,
                "http://[/v1/models/good",
                "/v1/models/good:x",
                "/v1/models/good:predict?x=1",
            ):
                line = f"{method} {path} HTTP/1.1\r\n\r\n".encode()
                status, _, content = answered(connection, line)
                assert status == 400
                error = json.loads(content)["error"]
                assert error == f"Malformed request: {method} {path}"
        # A digit, but not of ASCII.
        line = "GET /v1/models/good/versions/١ HTTP/1.1\r\n\r\n".encode()
        assert answered(connection, line)[0] == 400
        absolute = STATUS.replace(b"/v1", b"http://host:1/v1")
        assert answered(connection, absolute)[0] == 200
        for name in ("mü", "m%C3%BC"):
            line = f"GET /v1/models/{name} HTTP/1.1\r\n\r\n".encode()
            status, _, content = answered(connection, line)
            assert (status, json.loads(content)["error"][-2:]) == (404, "mü")
        connection.sendall(b"HEAD /v1/models/good HTTP/1.1\r\n\r\n")
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert head.endswith(b"\r\n\r\n")  # And no content, by HTTP.
        assert answered(connection, STATUS)[0] == 200


def test_the_body_of_a_get_is_not_the_next_request(server):
    with_body = STATUS[:-2] + b"Content-Length: %d\r\n\r\n" % len(STATUS) + STATUS
    with open_at(server.rest_address) as connection:
        connection.sendall(with_body + with_body)
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection).count(b"HTTP/1.1 200 ") == 2


def test_an_empty_line_between_requests_is_left_out(server):
    with open_at(server.rest_address) as connection:
        connection.sendall(STATUS + b"\r\n\r\n" + STATUS + b"\r")
        time.sleep(0.2)  # So that the line comes in two parts.
        connection.sendall(b"\n" + STATUS)
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection).count(b"HTTP/1.1 200 ") == 3


@pytest.mark.parametrize("options", [b"close", b"keep-alive, Close"])
def test_a_connection_is_closed_where_the_caller_asks_for_it(server, options):
    asking = STATUS[:-2] + b"Connection: " + options + b"\r\n\r\n"
    with open_at(server.rest_address) as connection:
        connection.sendall(asking + STATUS)
        assert read_to_end(connection).count(b"HTTP/1.1 200 ") == 1


def test_one_connection_carries_many_requests(server):
    connection = http.client.HTTPConnection(server.rest_address)
    for _ in range(3):
        body = json.dumps({"signature_name": "sample", "instances": [1]})
        connection.request("POST", GOOD, body)
        assert connection.getresponse().read()
    connection.close()


def test_an_answer_leaves_in_one_write(server):
    """Where it left in two, what had come first was the headers alone."""
    with open_at(server.rest_address) as connection:
        for _ in range(20):
            connection.sendall(STATUS)
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert b"Content-Length: %d" % len(body) in head
            assert body


@pytest.fixture
def start(server):
    """Starts a REST server of its own, with the models of `server`."""
    with contextlib.ExitStack() as stack:

        def start(host="127.0.0.1", max_body_bytes=1 << 20, tls=(None, None, None)):
            made = rest.RestServer(
                server.services, server.metrics, host, 0, max_body_bytes, tls
            )
            made.start()
            stack.callback(made.stop, grace=0)
            made.address = f"{host}:{made.port}"
            return made

        yield start


def test_too_long_an_answer_is_told_so(start):
    address = start(max_body_bytes=200_000).address
    path = "/v1/models/good:predict"
    few, many = (
        ask_at(address, path, {"signature_name": name, "instances": rows})
        for name, rows in (("sample", [0] * 100), ("png", [0] * 2000))
    )
    assert few[0] == 200
    assert many[0] == 429
    assert "longer than 200000 bytes as JSON" in many[1]["error"]


def test_more_requests_than_may_be_at_once_are_told_so(models_dir):
    request = {"signature_name": "sample", "instances": [1]}
    with serving.Server(
        models_dir, port=0, rest_port=0, max_concurrent_requests=1
    ) as server:
        assert ask_at(server.rest_address, GOOD, request)[0] == 200
        with server.metrics.request("grpc", "Predict"):
            status, answer = ask_at(server.rest_address, GOOD, request)
    assert status == 429
    assert "1 requests are being answered" in answer["error"]


def test_an_answer_takes_little_more_memory_than_its_text():
    response = messages.PredictResponse()
    tensors.encode(np.full((50, 28, 28, 1), 200, np.uint8), response.outputs["images"])
    tracemalloc.start()
    text = rest_json.render_predict(response, by_rows=True, max_bytes=1 << 30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array(json.loads(text)["predictions"]).shape == (50, 28, 28, 1)
    assert peak < 6 * len(text)  # As lists it would take more than 15.


@pytest.mark.parametrize("other", [np.zeros(3), np.float64(0)])
def test_outputs_that_make_no_rows_are_refused_as_rows(other):
    response = messages.PredictResponse()
    tensors.encode(np.zeros(2), response.outputs["one"])
    tensors.encode(other, response.outputs["other"])
    with pytest.raises(serving.ServingError, match="no common 0th dimension"):
        rest_json.render_predict(response, by_rows=True, max_bytes=1000)
    text = rest_json.render_predict(response, by_rows=False, max_bytes=1000)
    outputs = {"one": [0.0, 0.0], "other": np.asarray(other).tolist()}
    assert json.loads(text) == {"outputs": outputs}


def test_one_string_among_numbers_takes_no_memory():
    """As an array, each of the numbers would take the room of the string."""
    int64 = tensors.data_type(np.zeros(1, np.int64))
    spec = signatures.TensorSpec("seeds", int64, (None,))
    tracemalloc.start()
    with pytest.raises(serving.ServingError, match="expected type: int64"):
        rest_json._to_array(["a" * 20_000] + [1] * 20_000, spec)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_computing_for_too_long_is_told_so(start, monkeypatch):
    monkeypatch.setattr(rest, "_MAX_SECONDS", 0.05)
    body = {"signature_name": "slow", "instances": [20_000]}
    status, answer = ask_at(start().address, GOOD, body)
    assert status == 504
    assert "longer than 0.05 seconds" in answer["error"]


def test_large_bodies_share_their_room(start, monkeypatch):
    monkeypatch.setattr(rest, "_MAX_BODIES_BYTES", 100_000)
    made = start()
    seeds = {"signature_name": "sample", "instances": [0] * 30_000}
    body = json.dumps(seeds).encode()
    assert 64 << 10 < len(body) < 100_000
    for _ in range(2):  # What one took, the next has.
        status, _ = ask_at(made.address, GOOD, body)
        assert status in (200, 429)
    with begin_post(made.address, body):
        until(lambda: made._http.bodies._free < 100_000)
        status, answer = ask_at(made.address, GOOD, body)
        assert status == 503
        assert "Too many large bodies" in answer["error"]
        small = {"signature_name": "sample", "instances": [0]}
        assert ask_at(made.address, GOOD, small)[0] == 200
    until(lambda: made._http.bodies._free == 100_000)


def test_an_idle_connection_keeps_no_body(start):
    address = start(max_body_bytes=4 << 20).address
    body = SAMPLE + b" " * (3 << 20)
    head = f"POST {GOOD} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with contextlib.ExitStack() as stack:
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for _ in range(4):
            connection = stack.enter_context(open_at(address))
            assert answered(connection, request)[0] == 200
        held, _ = tracemalloc.get_traced_memory()
    assert held < len(body)


def test_large_bodies_wait_for_their_turn_no_longer_than_for_an_answer(
    start, monkeypatch
):
    monkeypatch.setattr(rest, "_MAX_SECONDS", 0.2)
    made = start()
    large = json.dumps({"signature_name": "sample", "instances": [0] * 30_000})
    with made._http.reading:
        status, answer = ask_at(made.address, GOOD, large.encode())
    assert status == 504
    assert "longer than 0.2 seconds to read" in answer["error"]


def test_a_large_body_that_is_no_json_keeps_no_other_waiting(start, monkeypatch):
    monkeypatch.setattr(rest, "_MAX_SECONDS", 5)
    address = start().address
    for _ in range(2):
        status, answer = ask_at(address, GOOD, b"[" + b" " * (65 << 10))
        assert status == 400, answer


def test_without_file_descriptors_connections_wait_and_nobody_spins():
    """In a process of its own, whose descriptors are used up."""
    script = """
import resource, socket, time, types
from serving import messages, metrics, rest
services = types.SimpleNamespace(
    get_model_status=lambda request: messages.GetModelStatusResponse()
)
server = rest.RestServer(
    services, metrics.Metrics(8), "127.0.0.1", 0, 1 << 20, (None, None, None)
)
server.start()
host, port = "127.0.0.1", server.port
callers = [socket.create_connection((host, int(port))) for _ in range(2)]
callers.append(socket.socket())
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (512, most))
taken = []
try:
    while True:
        taken.append(open("/dev/null"))
except OSError:
    pass
tries = []
class Counting(type(server._http)):
    def get_request(self):
        tries.append(self)
        return super().get_request()
server._http.__class__ = Counting
callers[-1].connect((host, int(port)))
time.sleep(0.5)
print(len(tries))
for file in taken:
    file.close()
callers[-1].sendall(b"GET /v1/models/good HTTP/1.1\\r\\n\\r\\n")
print(callers[-1].recv(12))
server.stop(grace=10)
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    tries, answer = ended.stdout.split("\n")[:2]
    assert 1 <= int(tries) <= 10
    assert answer == "b'HTTP/1.1 200'"


def test_without_threads_a_connection_is_closed_and_the_log_says_why(
    start, monkeypatch, caplog
):
    address = start().address
    with monkeypatch.context() as patch:

        def fail(thread):
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", fail)
        with open_at(address) as connection:
            assert read_to_end(connection) == b""
    assert "can't start new thread" in caplog.text
    with open_at(address) as connection:
        assert answered(connection, STATUS)[0] == 200


def test_a_caller_of_http_1_0_sees_the_end(server):
    with open_at(server.rest_address) as connection:
        connection.sendall(
            b"GET /v1/models/good HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        )
        assert b"Connection: close" in read_to_end(connection)


@pytest.mark.parametrize(("length", "status"), [(4096, 200), (4097, 413)])
def test_a_body_may_be_as_large_as_is_said(start, length, status):
    address = start(max_body_bytes=4096).address
    assert ask_at(address, GOOD, SAMPLE.ljust(length))[0] == status


def test_a_body_has_a_limit_of_its_own_where_messages_are_larger(start):
    with open_at(start(max_body_bytes=1 << 30).address) as connection:
        connection.sendall(POST_EXPECT % (rest.MAX_BODY_BYTES + 1))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_too_large_a_body_is_told_so(start):
    """Though it goes on arriving long after the answer."""
    body = b" " * (16 << 20)
    status, answer = ask_at(start().address, GOOD, body)
    assert status == 413
    assert answer == {"error": "The body is larger than 1048576 bytes"}


def test_a_newcomer_takes_the_place_of_the_longest_silent(start, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    address = start().address
    with (
        open_at(address) as first,
        open_at(address) as second,
        open_at(address) as third,
    ):
        assert answered(third, STATUS)[0] == 200
        assert read_to_end(first) == b""
        assert answered(second, STATUS)[0] == 200


def test_a_connection_between_requests_makes_room(start, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    address = start().address
    with open_at(address) as first:
        assert answered(first, STATUS)[0] == 200
        for _ in range(1000):  # Until it is idle, which is after its answer.
            with open_at(address) as second:
                if answered(second, STATUS)[0] == 200:
                    break
        else:
            pytest.fail("the idle connection kept its place")
        assert read_to_end(first) == b""


def test_a_refused_caller_that_does_not_hang_up_makes_room(start, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    address = start().address
    with open_at(address) as first:
        first.sendall(STATUS.replace(b"GET", b"BREW"))
        assert read_to_end(first).startswith(b"HTTP/1.1 501 ")
        with open_at(address) as second:
            assert answered(second, STATUS)[0] == 200


def test_requests_that_arrive_keep_their_connections(start, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    address = start().address
    with begin_post(address) as first:
        with open_at(address) as second:
            head, _, body = read_to_end(second).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nContent-Length: %d\r\nConnection: close" % len(body) in head
        assert json.loads(body) == {"error": "Too many connections"}
        assert answered(first, SAMPLE)[0] == 200


def test_a_request_that_nobody_has_seen_yet_keeps_its_connection(monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    found = connections.Connections()
    with contextlib.ExitStack() as stack:

        def connect(request):
            ends = [stack.enter_context(end) for end in socket.socketpair()]
            ends[0].settimeout(10)
            ends[0].sendall(request)
            return ends

        (_, sent), (caller, silent) = connect(STATUS), connect(b"")
        assert found.add(sent)
        assert found.add(silent)
        assert found.add(newcomer := connect(STATUS)[1])
        assert read_to_end(caller) == b""
        assert not found.begin(silent)
        assert not found.add(connect(STATUS)[1])
        assert found.begin(sent)
        assert found.begin(newcomer)


def test_a_request_is_noted_before_it_is_read(start, monkeypatch):
    """Else it might be cut off in between."""
    begin, unread = connections.Connections.begin, []

    def begins(self, connection):
        unread.append(connection in connections.readable([connection]))
        return begin(self, connection)

    monkeypatch.setattr(connections.Connections, "begin", begins)
    with open_at(start().address) as connection:
        for _ in range(3):
            unread.clear()
            assert answered(connection, STATUS)[0] == 200
            assert unread[0]


def test_a_silent_connection_is_closed(start, monkeypatch):
    monkeypatch.setattr(rest, "_IDLE_SECONDS", 0.1)
    with open_at(start().address) as connection:
        assert read_to_end(connection) == b""


@pytest.mark.parametrize(
    ("request_begins", "answer_begins"),
    [
        (b"GET /v1/models/good HTTP/1.1\r\nX: ", b""),
        (POST_EXPECT % 1_000_000, b"HTTP/1.1 408 Request Timeout\r\n"),
    ],
    ids=["headers", "body"],
)
def test_a_request_that_arrives_byte_by_byte_is_closed(
    start, monkeypatch, request_begins, answer_begins
):
    monkeypatch.setattr(rest, "_TRANSFER_SECONDS", 0.5)
    with open_at(start().address) as connection:
        connection.sendall(request_begins)
        if b"Expect" in request_begins:
            assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.settimeout(0.01)  # Between two bytes, far below half a second.
        for _ in range(6000):
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = read_to_end(connection)
                break
        else:
            pytest.fail("each byte gave the connection another lease of life")
    assert answer.startswith(answer_begins)
    assert bool(answer) == bool(answer_begins)


def test_stopping_closes_idle_connections_at_once(start, monkeypatch):
    monkeypatch.setattr(rest, "_IDLE_SECONDS", 600)
    server = start()
    with (
        concurrent.futures.ThreadPoolExecutor(1) as stopper,
        open_at(server.address) as silent,
        open_at(server.address) as kept_alive,
        begin_post(server.address),
    ):
        assert answered(kept_alive, STATUS)[0] == 200
        stopped = stopper.submit(server.stop, grace=600)
        assert read_to_end(silent) == b""
        assert read_to_end(kept_alive) == b""
        assert not stopped.done()  # There is a request in flight.


def test_requests_that_were_there_before_the_stop_are_answered(start):
    server = start()
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(open_at(server.address)) for _ in range(4)]
        for connection in kept:
            assert answered(connection, STATUS)[0] == 200
        fresh = [stack.enter_context(open_at(server.address)) for _ in range(4)]
        for connection in (*kept, *fresh):
            connection.sendall(STATUS)
        server.stop(grace=60)
        for connection in (*kept, *fresh):
            assert read_to_end(connection)[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 503")


def test_requests_that_arrive_after_the_stop_are_refused(start):
    server = start()
    with (
        concurrent.futures.ThreadPoolExecutor(1) as stopper,
        begin_post(server.address) as connection,
    ):
        stopped = stopper.submit(server.stop, grace=60)

        def listens_no_longer():
            try:
                open_at(server.address).close()
            except (ConnectionRefusedError, ConnectionResetError):
                return True
            return False

        until(listens_no_longer)
        assert not stopped.done()
        status, headers, content = answered(connection, SAMPLE)
        assert status == 503
        assert headers["Connection"] == "close"
        assert json.loads(content) == {"error": "The server is stopping"}
        assert read_to_end(connection) == b""
        stopped.result(timeout=60)


def test_a_stop_ends_with_its_grace(start):
    server = start()
    with begin_post(server.address) as connection:
        server.stop(grace=0.1)
        assert read_to_end(connection) == b""


def test_a_request_in_flight_is_answered_though_the_server_stops(publish):
    publish("good", 1)
    body = {"signature_name": "slow", "inputs": [30_000]}
    with (
        serving.Server(publish.models, port=0, rest_port=0) as server,
        concurrent.futures.ThreadPoolExecutor(1) as caller,
        open_at(server.rest_address) as connection,
    ):
        content = json.dumps(body).encode()
        head = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
        request = head % (GOOD.encode(), len(content)) + content
        answer = caller.submit(answered, connection, request)
        until(lambda: server.metrics.in_flight)
        server.stop(grace=60)
        status, headers, content = answer.result(timeout=60)
        assert status == 200
        assert headers["Connection"] == "close"
        assert json.loads(content) == {"outputs": [30_000]}


def test_ipv6(models_dir, start):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error}")
    with serving.Server(models_dir, host="::1", port=0, rest_port=0) as server:
        assert server.rest_address.startswith("[::1]:")
        assert ask_at(server.rest_address, "/v1/models/good")[0] == 200
    assert ask_at(start(host="[::1]").address, "/v1/models/good")[0] == 200


def test_an_address_of_nobody_is_an_error_in_words(start):
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        start(host="192.0.2.1")
    with pytest.raises(OSError, match="cannot listen on no such host:0: "):
        start(host="no such host")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Certificate and key of the server, of the client and of their authority."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"],
            *["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=test"],
            *["-addext", "subjectAltName=IP:127.0.0.1"],
            *["-addext", "keyUsage=digitalSignature,keyCertSign"],
            *["-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def ask_over_tls(start, certificate):
    """Asks a server of mutual TLS twice over one connection; a stranger shows none."""
    address = start(tls=(*certificate, certificate[0])).address

    def ask(stranger=False):
        context = ssl.create_default_context(cafile=certificate[0])
        if not stranger:
            context.load_cert_chain(*certificate)
        connection = http.client.HTTPSConnection(address, context=context, timeout=60)
        with contextlib.closing(connection):
            for _ in range(2):
                connection.request("POST", GOOD, SAMPLE)
                answer = connection.getresponse()
                assert answer.status == 200
                assert json.loads(answer.read())["predictions"]

    ask.address = address
    return ask


def test_mutual_tls(ask_over_tls):
    ask_over_tls()
    with pytest.raises(OSError, match=r"certificate required|reset|pipe|EOF|closed"):
        ask_over_tls(stranger=True)
    ask_over_tls()


def test_a_start_says_where_rest_is(models_dir, certificate):
    command = [
        *[sys.executable, "-m", "serving", "start", models_dir, "--port", "0"],
        *["--rest-port", "0"],
        *["--tls-certificate", certificate[0], "--tls-key", certificate[1]],
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            grpc_line, rest_line = (process.stdout.readline() for _ in range(2))
            assert grpc_line.startswith("gRPC on 127.0.0.1:")
            url = rest_line.split()[-1].replace("MODEL", "good")
            context = ssl.create_default_context(cafile=certificate[0])
            with urllib.request.urlopen(url, context=context, timeout=60) as answer:
                assert answer.status == 200
        finally:
            process.kill()


def test_who_never_begins_the_handshake_locks_nobody_out(ask_over_tls, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    with open_at(ask_over_tls.address) as silent:
        ask_over_tls()
        assert read_to_end(silent) == b""


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
    "waves": signatures.Signature(
        "waves",
        "tensorflow/serving/predict",
        {
            "waves": signatures.TensorSpec(
                "waves", messages.DataType.values_by_name["DT_COMPLEX64"].number, None
            )
        },
        {},
    ),
}

# Halves of surrogate pairs, too, which JSON can write and UTF-8 cannot.
any_text = st.text(max_size=5) | st.text("a\ud800\udfff", max_size=3)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | any_text
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


def bodies(*keys):
    return st.fixed_dictionaries(
        dict.fromkeys(keys, json_values),
        optional={
            "signature_name": st.sampled_from(list(SPECS)) | any_text,
            "x": json_values,
        },
    )


@given(body=bodies("instances") | bodies("inputs") | bodies("instances", "inputs"))
@settings(max_examples=400, deadline=None)
def test_any_json_is_a_request_or_an_error_in_words(body):
    with contextlib.suppress(errors.ServingError):
        request, _ = rest_json.parse_predict(json.dumps(body).encode(), lambda: SPECS)
        assert request.SerializeToString()
        for proto in request.inputs.values():
            tensors.decode(proto)


def test_what_json_has_no_numbers_for_is_refused_in_words():
    body = b'{"signature_name": "waves", "inputs": [1]}'
    with pytest.raises(errors.ServingError, match="complex64 has no numpy counterpart"):
        rest_json.parse_predict(body, lambda: SPECS)


@pytest.mark.parametrize(
    ("named", "words"), [("constant", "constant$"), ("", "DEFAULT$")]
)
@pytest.mark.parametrize("content", [{"inputs": {}}, {"instances": [{}]}, {}])
def test_a_signature_without_inputs_is_not_to_be_asked(named, words, content):
    key = named or "serving_default"
    method = "tensorflow/serving/predict"
    found = {key: signatures.Signature(key, method, inputs={}, outputs={})}
    body = json.dumps({"signature_name": named, **content}).encode()
    words = f"INVALID_ARGUMENT: Failed to get input map for signature: {words}"
    with pytest.raises(errors.ServingError, match=words):
        rest_json.parse_predict(body, lambda: found)


@pytest.mark.parametrize("rows", ["[[true, 2]]", "[[1.5, false]]"])
def test_true_is_no_number(rows):
    body = (
        f'{{"signature_name": "two", "inputs": {{"latents": {rows}, "names": ["a"]}}}}'
    )
    with pytest.raises(errors.ServingError, match="not of expected type: float"):
        rest_json.parse_predict(body.encode(), lambda: SPECS)


@pytest.mark.parametrize("text", ["/wA=", "/wA", "/w\\nA="])
def test_base64_needs_no_padding(text):
    inputs = f'{{"latents": [[1, 2]], "names": [{{"b64": "{text}"}}]}}'
    body = f'{{"signature_name": "two", "inputs": {inputs}}}'
    request, _ = rest_json.parse_predict(body.encode(), lambda: SPECS)
    assert request.inputs["names"].string_val == [b"\xff\x00"]


@pytest.mark.parametrize("text", ["/w@A=", "/", "\u00e9"])
def test_what_is_no_base64_is_refused(text):
    inputs = f'{{"latents": [[1, 2]], "names": [{{"b64": "{text}"}}]}}'
    body = f'{{"signature_name": "two", "inputs": {inputs}}}'
    with pytest.raises(errors.ServingError, match="Unable to base64 decode"):
        rest_json.parse_predict(body.encode(), lambda: SPECS)


@pytest.mark.parametrize(
    "body", ['"instances": [{"b64": 1}]', '"inputs": {"b64": [1]}']
)
def test_an_input_may_be_called_b64(body):
    specs = {
        "sample": signatures.Signature(
            "sample",
            "tensorflow/serving/predict",
            {"b64": signatures.TensorSpec("b64", 9, (None,))},
            {},
        )
    }
    body = f'{{"signature_name": "sample", {body}}}'
    request, _ = rest_json.parse_predict(body.encode(), lambda: specs)
    assert tensors.decode(request.inputs["b64"]).tolist() == [1]


def test_strings_beyond_the_basic_plane_arrive_whole():
    body = b'{"signature_name": "two", "inputs": {"latents": [[1, 2]], "names": %s}}'
    for names in (b'["\\ud83d\\ude00"]', '["\U0001f600"]'.encode()):
        request, _ = rest_json.parse_predict(body % names, lambda: SPECS)
        assert request.inputs["names"].string_val == ["\U0001f600".encode()]


@given(body=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_error_in_words(body):
    with contextlib.suppress(errors.ServingError):
        rest_json.parse_predict(body, lambda: SPECS)
