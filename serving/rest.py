"""The REST API of TensorFlow Serving, and the metrics, on a port of their own.

Every call becomes the gRPC message it stands for and is answered by the same
`serving.services.Services`.
"""

import base64
import binascii
import contextlib
import http
import http.server
import json
import logging
import pathlib
import re
import ssl
import threading
import time
import urllib.parse

import grpc
import numpy as np
from google.protobuf import json_format

from serving import errors, messages, signatures, tensors

_log = logging.getLogger(__name__)

METRICS_PATH = "/monitoring/prometheus/metrics"

_MODEL_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
    r"(?P<call>:predict|:classify|:regress|/metadata)?"
)

# Connections beyond these are turned away, and silent ones closed.
_MAX_CONNECTIONS = 128
_SILENCE_SECONDS = 30
# How long computing one request may take: HTTP callers send no deadline.
_MAX_SECONDS = 300

_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DEADLINE_EXCEEDED: http.HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: http.HTTPStatus.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED: http.HTTPStatus.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: http.HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.FAILED_PRECONDITION: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: http.HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: http.HTTPStatus.SERVICE_UNAVAILABLE,
}


# JSON to tensors -------------------------------------------------------------------


def parse_predict(body, find_signatures):
    """Returns the PredictRequest of a JSON body, and whether it is in row format.

    Args:
        body: The bytes sent.
        find_signatures: Returns the model's {key: Signature}, whose names and dtypes
            say what the JSON values stand for.
    """
    content = _parse_json(body)
    if not isinstance(content, dict):
        raise errors.invalid_argument("The JSON body must be an object")
    unknown = set(content) - {"signature_name", "instances", "inputs"}
    if unknown:
        raise errors.invalid_argument(
            f"Unexpected keys in the JSON body: {', '.join(sorted(unknown))}"
        )
    key = content.get("signature_name", signatures.DEFAULT)
    if not isinstance(key, str):
        raise errors.invalid_argument("'signature_name' key must be a string value")
    by_rows = "instances" in content
    if by_rows == ("inputs" in content):
        raise errors.invalid_argument(
            "The JSON body must have one of 'instances' (rows) and 'inputs' (columns)"
        )
    found = find_signatures()
    request = messages.PredictRequest()
    request.model_spec.signature_name = key
    if key in found:  # Else the answer says so, in the same words as over gRPC.
        specs = found[key].inputs
        columns = (
            _columns_of_rows(content["instances"], specs)
            if by_rows
            else _columns(content["inputs"], specs)
        )
        for name, values in columns.items():
            tensors.encode(_to_array(values, specs[name]), request.inputs[name])
    return request, by_rows


def _parse_json(body):
    try:
        return json.loads(body)
    except RecursionError:
        raise errors.invalid_argument("JSON Parse error: nested too deeply") from None
    except ValueError as error:  # No JSON, no UTF-8, or a number of too many digits.
        raise errors.invalid_argument(f"JSON Parse error: {error}") from error


def _is_bytes(value):
    return isinstance(value, dict) and set(value) == {"b64"}


def _columns(inputs, specs):
    """Returns {name: values} of the column format."""
    if not isinstance(inputs, dict) or _is_bytes(inputs):
        if len(specs) != 1:
            raise errors.invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple "
                f"input tensors required: {', '.join(specs)}"
            )
        return {next(iter(specs)): inputs}
    _check_names(inputs, specs)
    return inputs


def _columns_of_rows(rows, specs):
    """Returns {name: values} of the row format."""
    if not isinstance(rows, list):
        raise errors.invalid_argument("Expecting 'instances' value to be a list/array")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in rows]
    if not any(named) and len(specs) == 1:
        return {next(iter(specs)): rows}
    if not all(named):
        raise errors.invalid_argument(
            "Every one of 'instances' must be an object with the inputs "
            f"{', '.join(specs)}"
        )
    for row in rows:
        _check_names(row, specs)
        if set(row) != set(rows[0]):
            raise errors.invalid_argument(
                "'instances' must all have the same inputs; found "
                f"{sorted(row)} and {sorted(rows[0])}"
            )
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else specs)}


def _check_names(given, specs):
    for name in given:
        if name not in specs:
            raise errors.invalid_argument(
                f"JSON object: does not have named input: {name}; the inputs are "
                f"{', '.join(specs)}"
            )


def _to_array(values, spec):
    """Returns nested lists as an array of the dtype of `spec`."""
    wanted = tensors.numpy_type(spec.data_type)
    if values == [] and spec.row_shape is not None:
        return spec.no_rows()
    is_text = spec.data_type == tensors.DT_STRING
    if is_text:
        values = _to_bytes(values, spec)
    try:
        array = np.array(values, object if is_text else None)
    except (ValueError, OverflowError) as error:
        raise errors.invalid_argument(
            f"JSON Value for {spec} is not a regular list: {error}"
        ) from error
    kinds = {"i": "iu", "u": "iu", "f": "iuf"}.get(wanted.kind, wanted.kind)
    if array.dtype.kind not in kinds or (
        is_text and any(not isinstance(v, bytes) for v in array.flat)
    ):
        raise errors.invalid_argument(
            f"JSON Value is not of expected type: {tensors.type_name(spec.data_type)} "
            f"(input {spec})"
        )
    if not tensors.in_range(array, wanted):
        raise errors.invalid_argument(f"JSON Value out of range for input {spec}")
    return array.astype(wanted)


def _to_bytes(values, spec):
    if isinstance(values, list):
        return [_to_bytes(value, spec) for value in values]
    if isinstance(values, str):
        return values.encode("utf-8", "surrogatepass")
    if _is_bytes(values) and isinstance(values["b64"], str):
        try:
            return base64.b64decode(values["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise errors.invalid_argument("Unable to base64 decode") from error
    raise errors.invalid_argument(
        f"JSON Value is not of expected type: string (input {spec})"
    )


# Tensors to JSON -------------------------------------------------------------------


def render_predict(response, by_rows):
    """Returns the JSON object of a PredictResponse."""
    columns = {
        name: _to_json(name, tensors.decode(proto))
        for name, proto in sorted(response.outputs.items())
    }
    if not by_rows:
        only = next(iter(columns.values())) if len(columns) == 1 else columns
        return {"outputs": only}
    counts = {len(v) if isinstance(v, list) else None for v in columns.values()}
    if len(counts) > 1 or None in counts:
        raise errors.invalid_argument(
            "The outputs have no common 0th dimension; ask with 'inputs' instead of "
            "'instances'"
        )
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def _to_json(name, array):
    if array.dtype == object:
        return _strings_to_json(array.tolist(), name.endswith("_bytes"))
    if array.dtype.kind not in "iufb":  # bfloat16
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        # Through text: 0.1 of 32 bits is to read 0.1, not 0.10000000149011612.
        array = array.astype(str).astype(np.float64)
    return array.tolist()


def _strings_to_json(value, binary):
    if isinstance(value, list):
        return [_strings_to_json(item, binary) for item in value]
    if binary:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def _message_to_json(message):
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


# HTTP ------------------------------------------------------------------------------


class _Refusal(Exception):
    """A request that HTTP itself can refuse."""

    def __init__(self, status, message):
        self.status = status
        super().__init__(message)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "serving"
    sys_version = ""
    timeout = _SILENCE_SECONDS

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def log_message(self, format, *arguments):
        _log.debug(format, *arguments)

    def _answer(self, respond):
        with self.server.request_in_progress():
            self._answer_now(respond)

    def _answer_now(self, respond):
        try:
            status, kind, content = http.HTTPStatus.OK, *respond()
        except _Refusal as refusal:
            # What was not read would be taken for the next request.
            self.close_connection = True
            status, kind, content = refusal.status, *_error(str(refusal))
        except errors.ServingError as error:
            status = _HTTP_STATUS.get(error.code, http.HTTPStatus.INTERNAL_SERVER_ERROR)
            kind, content = _error(error.message)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            _log.exception("answering %s %s", self.command, self.path)
            status = http.HTTPStatus.INTERNAL_SERVER_ERROR
            kind, content = _error("Internal error; the server's log has the details")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _path(self):
        path = urllib.parse.urlsplit(self.path).path
        match = _MODEL_PATH.fullmatch(path)
        if match is None:
            raise errors.invalid_argument(f"Malformed request: {self.command} {path}")
        return match

    def _get(self):
        if urllib.parse.urlsplit(self.path).path == METRICS_PATH:
            content = self.server.metrics.render()
            return "text/plain; version=0.0.4; charset=utf-8", content
        match = self._path()
        call = {None: self._status, "/metadata": self._metadata}.get(match["call"])
        if call is None:
            raise _Refusal(http.HTTPStatus.METHOD_NOT_ALLOWED, "Send it with POST")
        return _json(call(match))

    def _post(self):
        body = self._body()
        match = self._path()
        call = {
            ":predict": self._predict,
            ":classify": self._wrong_signature,
            ":regress": self._wrong_signature,
        }.get(match["call"])
        if call is None:
            raise _Refusal(http.HTTPStatus.METHOD_NOT_ALLOWED, "Ask for it with GET")
        return _json(call(match, body))

    def _body(self):
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refusal(
                http.HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length with the body"
            )
        if len(length) > 18 or int(length) > self.server.max_body_bytes:
            raise _Refusal(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body is larger than {self.server.max_body_bytes} bytes",
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _Refusal(http.HTTPStatus.BAD_REQUEST, "The body ended early")
        return body

    def _status(self, match):
        request = messages.GetModelStatusRequest()
        _fill_spec(request.model_spec, match)
        return _message_to_json(self.server.services.get_model_status(request))

    def _metadata(self, match):
        found, response = self._signature_defs(match)
        return {
            "model_spec": {
                "name": response.model_spec.name,
                "signature_name": "",
                "version": str(response.model_spec.version.value),
            },
            "metadata": {"signature_def": _message_to_json(found)},
        }

    def _signature_defs(self, match):
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        _fill_spec(request.model_spec, match)
        response = self.server.services.get_model_metadata(request)
        found = messages.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return found, response

    def _predict(self, match, body):
        services = self.server.services
        with self.server.metrics.request("rest", "Predict") as observed:
            observed.model = services.known(urllib.parse.unquote(match["name"]))
            request, by_rows = parse_predict(
                body,
                lambda: signatures.parse(self._signature_defs(match)[0].signature_def),
            )
            _fill_spec(request.model_spec, match)
            response = services.predict(
                request, time.monotonic() + _MAX_SECONDS, on_cancel=None
            )
            return render_predict(response, by_rows)

    def _wrong_signature(self, match, body):
        key = _parse_json(body)
        request = {
            ":classify": messages.ClassificationRequest,
            ":regress": messages.RegressionRequest,
        }[match["call"]]()
        _fill_spec(request.model_spec, match)
        if isinstance(key, dict) and isinstance(key.get("signature_name"), str):
            request.model_spec.signature_name = key["signature_name"]
        self.server.services.wrong_signature(request)


def _fill_spec(spec, match):
    spec.name = urllib.parse.unquote(match["name"])
    if match["version"] is not None:
        spec.version.value = int(match["version"])
    if match["label"] is not None:
        spec.version_label = urllib.parse.unquote(match["label"])


def _json(value):
    return "application/json", json.dumps(value).encode("ascii")


def _error(message):
    return _json({"error": message})


class _HttpServer(http.server.ThreadingHTTPServer):
    """A bounded number of connections, each in its thread."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, services, metrics, max_body_bytes, context):
        self.services = services
        self.metrics = metrics
        self.max_body_bytes = max_body_bytes
        self._context = context
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._idle = threading.Condition()
        self._busy = 0
        super().__init__(address, _Handler)

    def process_request(self, request, client_address):
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    @contextlib.contextmanager
    def request_in_progress(self):
        """Counts requests, not connections: an idle one need not be waited for."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def finish_request(self, request, client_address):
        if self._context is not None:
            # Here, in the connection's own thread, a slow handshake holds up nobody.
            request.settimeout(_SILENCE_SECONDS)
            request = self._context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        _log.debug("connection from %s", client_address, exc_info=True)

    def wait_idle(self, seconds):
        with self._idle:
            self._idle.wait_for(lambda: not self._busy, timeout=seconds)


class RestServer:
    """The REST API and the metrics, in a thread.

    Args:
        services: The Services that answer.
        metrics: The Metrics to count in and to show.
        host: The address to listen on.
        port: The port; 0 picks a free one.
        max_body_bytes: The largest request body.
        tls: (certificate, key, client authority), files or None each.
    """

    def __init__(self, services, metrics, host, port, max_body_bytes, tls):
        certificate, key, client_ca = tls
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            if client_ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(pathlib.Path(client_ca))
        try:
            self._http = _HttpServer(
                (host, port), services, metrics, max_body_bytes, context
            )
        except OSError as error:
            raise OSError(
                f"cannot listen on {host}:{port}: {error.strerror}"
            ) from error
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, name="serving-rest", daemon=True
        )

    def start(self):
        """Begins to answer."""
        self._thread.start()

    def stop(self, grace):
        """Stops listening, and gives open connections `grace` seconds."""
        self._http.shutdown()
        self._http.server_close()
        self._http.wait_idle(grace)
