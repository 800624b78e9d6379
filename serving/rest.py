"""The REST API of TensorFlow Serving, and the metrics, on a port of their own.

Every call becomes the gRPC message it stands for and is answered by the same
`serving.services.Services`.
"""

import contextlib
import email.utils
import errno
import http
import http.client
import http.server
import io
import json
import logging
import pathlib
import re
import selectors
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse

import grpc

from serving import connections, errors, messages, rest_json

_log = logging.getLogger(__name__)

METRICS_PATH = "/monitoring/prometheus/metrics"

# The largest body, however large messages over gRPC may be.
MAX_BODY_BYTES = 16 << 20

_MODEL_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?P<call>:predict|:classify|:regress|/metadata)?"
)

# How long a connection may wait for its next request, or for its TLS handshake.
_IDLE_SECONDS = 30
# How long a request, headers and body, may take to arrive, and an answer to leave.
_TRANSFER_SECONDS = 60
# How long a request may take, as in TensorFlow Serving: HTTP callers send no deadline.
_MAX_SECONDS = 30
# Read, the lists and numbers of a body take up to forty times its bytes. So bodies that
# are larger than this are read one at a time; the interpreter gains nothing by more.
_LARGE_BODY_BYTES = 64 << 10
# How many bytes such bodies may have together, however many connections there are.
_MAX_BODIES_BYTES = 256 << 20

# Where the process has no room for another connection, and how long it is left then.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_SECONDS = 0.1

# How often it looks whether it is to stop: for so long a stop may wait.
_POLL_SECONDS = 0.05

_STOPPING = "The server is stopping"

_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DEADLINE_EXCEEDED: http.HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: http.HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: http.HTTPStatus.CONFLICT,
    grpc.StatusCode.PERMISSION_DENIED: http.HTTPStatus.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: http.HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.FAILED_PRECONDITION: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.ABORTED: http.HTTPStatus.CONFLICT,
    grpc.StatusCode.OUT_OF_RANGE: http.HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: http.HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: http.HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: http.HTTPStatus.UNAUTHORIZED,
}


class _Refusal(Exception):
    """A request that HTTP itself can refuse; the rest of it is not read."""

    def __init__(self, status, message):
        self.status = status
        super().__init__(message)


class _Incoming(io.RawIOBase):
    """The bytes that come in over a connection until `deadline`, however slowly.

    Args:
        connection: The socket.
        others: The open connections, of which this is one.
    """

    #: Whether what is waited for is the next request, and not a part of this one.
    between = False

    def __init__(self, connection, others):
        self._connection = connection
        self._others = others
        self._selector = connections.Selector()
        self._selector.register(connection, selectors.EVENT_READ)
        self.deadline = 0.0

    def readable(self):
        return True

    def readinto(self, buffer):
        if self.between:
            self._others.end(self._connection)
        seconds = self.deadline - time.monotonic()
        is_tls = isinstance(self._connection, ssl.SSLSocket)
        # What TLS has read, and not handed out, is not there to be waited for.
        there = (is_tls and self._connection.pending()) or self._selector.select(
            max(0, seconds)
        )
        if seconds <= 0 or not there:
            raise TimeoutError("the time to read is over")
        if not self._others.begin(self._connection):
            return 0
        # Of TLS, what has come may be a part of what can be read.
        self._connection.settimeout(max(0.001, self.deadline - time.monotonic()))
        return self._connection.recv_into(buffer)


class _Lines(io.BufferedReader):
    """Reads lines, and remembers whether one has a carriage return within.

    Python ends a header there, and proxies may not: RFC 9112, section 2.2.
    """

    bare_return = False

    def readline(self, size=-1):
        line = super().readline(size)
        self.bare_return |= b"\r" in line.removesuffix(b"\n").removesuffix(b"\r")
        return line


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        if isinstance(self.request, ssl.SSLSocket):
            # Here, in the connection's own thread, a slow handshake holds up nobody.
            self.request.settimeout(_IDLE_SECONDS)
            self.request.do_handshake()
        super().setup()
        self.rfile.close()
        self._incoming = _Incoming(self.connection, self.server.connections)
        self.rfile = _Lines(self._incoming)

    def handle_one_request(self):
        self._incoming.deadline = time.monotonic() + _IDLE_SECONDS
        # Of a request that came with the one before nothing is to be waited for.
        self._incoming.between = True
        # Some callers end a body with an empty line, RFC 9112, section 2.2.
        while (begin := self.rfile.peek(1)[:1]) in (b"\r", b"\n"):
            self.rfile.read(1)
        self._incoming.between = False
        if not begin:
            self.close_connection = True
            return
        self._incoming.deadline = time.monotonic() + _TRANSFER_SECONDS
        super().handle_one_request()

    def parse_request(self):
        if not super().parse_request():
            return False
        options = ",".join(self.headers.get_all("Connection", ())).lower().split(",")
        self.close_connection |= "close" in map(str.strip, options)
        return True

    def handle_expect_100(self):
        try:
            self._checked_length()
        except _Refusal as refusal:
            self.send_error(refusal.status, str(refusal))
            return False
        return super().handle_expect_100()

    def do_GET(self):
        try:
            # The body of all: else it would be the next request.
            with self._body_length() as length:
                self._body = self._read_body(length)
                status, kind, content = http.HTTPStatus.OK, *self._answer()
        except _Refusal as refusal:
            self.send_error(refusal.status, str(refusal))
            return
        except errors.ServingError as error:
            status = _HTTP_STATUS.get(error.code, http.HTTPStatus.INTERNAL_SERVER_ERROR)
            kind, content = _error(error.message)
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            _log.exception("answering %s %s", self.command, self.path)
            status = http.HTTPStatus.INTERNAL_SERVER_ERROR
            kind, content = _error("Internal error; the server's log has the details")
        self._send(status, kind, content)

    # They differ in what `_answer` finds for them.
    do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET

    def log_message(self, format, *arguments):
        _log.debug(format, *arguments)

    def send_error(self, code, message=None, explain=None):
        """Refuses a request of which a part may not have been read."""
        self.close_connection = True
        self._send(code, *_error(message or http.HTTPStatus(code).phrase))
        # Closed at once, the connection would be reset by what is still to come, and
        # the caller might never read the answer.
        self._incoming.between = True
        socket.socket.shutdown(self.connection, socket.SHUT_WR)
        while self.rfile.read1():
            pass

    def _send(self, status, kind, content):
        self.log_request(status)
        # A caller of HTTP/1.0 waits for the end of the connection.
        self.close_connection |= self.request_version == "HTTP/1.0"
        self.close_connection |= self.server.connections.stopping
        head = _head(status, kind, len(content), self.close_connection)
        self.connection.settimeout(_TRANSFER_SECONDS)
        # In one write: the second of two would wait for the first to be acknowledged.
        self.wfile.write(head if self.command == "HEAD" else head + content)

    def _answer(self):
        """Returns the content type and the content for the request."""
        if self.server.connections.stopping:
            raise _Refusal(http.HTTPStatus.SERVICE_UNAVAILABLE, _STOPPING)
        malformed = errors.invalid_argument(
            f"Malformed request: {self.command} {self.path}"
        )
        try:
            url = urllib.parse.urlsplit(self.path)._replace(scheme="", netloc="")
            # To TensorFlow Serving a query is part of the path, and so of a name or of
            # no call. Sent as it is, UTF-8 has been read byte by byte.
            path = url.geturl().encode("latin-1").decode()
        except ValueError:
            raise malformed from None
        # Prometheus may be told to send parameters.
        if (self.command, url.path) == ("GET", METRICS_PATH):
            content = self.server.metrics.render()
            return "text/plain; version=0.0.4; charset=utf-8", content
        match = _MODEL_PATH.fullmatch(path)
        call = match and {
            ("GET", None): self._status,
            ("GET", "/metadata"): self._metadata,
            ("POST", ":predict"): self._predict,
            ("POST", ":classify"): self._wrong_signature,
            ("POST", ":regress"): self._wrong_signature,
        }.get((self.command, match["call"]))
        if call is None:
            raise malformed
        return "application/json", call(match).encode("ascii")

    @contextlib.contextmanager
    def _body_length(self):
        """Gives the length of the body, and keeps room for it meanwhile."""
        length = self._checked_length()
        if length <= _LARGE_BODY_BYTES:
            yield length
            return
        if not self.server.bodies.take(length):
            raise _Refusal(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many large bodies are being answered; try again later",
            )
        try:
            yield length
        finally:
            self._body = None  # Else it would stay for as long as the connection.
            self.server.bodies.give_back(length)

    def _checked_length(self):
        if self.headers.defects:  # Where they end is then a matter of opinion.
            raise _Refusal(
                http.HTTPStatus.BAD_REQUEST,
                f"The headers are malformed: {self.headers.defects[0]!r}",
            )
        if self.rfile.bare_return:
            raise _Refusal(
                http.HTTPStatus.BAD_REQUEST,
                "The headers are malformed: one has a carriage return within",
            )
        if "Transfer-Encoding" in self.headers:
            raise _Refusal(
                http.HTTPStatus.NOT_IMPLEMENTED,
                "Transfer-Encoding is not supported; send a Content-Length",
            )
        if "gzip" in self.headers.get("Content-Encoding", "").lower():
            raise _Refusal(
                http.HTTPStatus.BAD_REQUEST,
                "Content-Encoding: gzip is not supported; send the JSON as it is",
            )
        lengths = {v.strip() for v in self.headers.get_all("Content-Length", ())}
        if not lengths and self.command != "POST":
            return 0
        if not lengths:
            raise _Refusal(
                http.HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length with the body"
            )
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()):
            raise _Refusal(
                http.HTTPStatus.BAD_REQUEST, "The Content-Length is not one number"
            )
        if len(length) > 18 or int(length) > self.server.max_body_bytes:
            raise _Refusal(
                http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body is larger than {self.server.max_body_bytes} bytes",
            )
        return int(length)

    def _read_body(self, length):
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            raise _Refusal(
                http.HTTPStatus.REQUEST_TIMEOUT,
                f"The request did not arrive within {_TRANSFER_SECONDS} seconds",
            ) from None
        if len(body) < length and self.server.connections.stopping:
            raise _Refusal(http.HTTPStatus.SERVICE_UNAVAILABLE, _STOPPING)
        if len(body) < length:
            raise _Refusal(http.HTTPStatus.BAD_REQUEST, "The body ended early")
        return body

    def _status(self, match):
        request = messages.GetModelStatusRequest(model_spec=_spec(match))
        return rest_json.text_of(self.server.services.get_model_status(request))

    def _metadata(self, match):
        request = messages.GetModelMetadataRequest(
            model_spec=_spec(match), metadata_field=["signature_def"]
        )
        response = self.server.services.get_model_metadata(request)
        found = messages.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        spec = {
            "name": response.model_spec.name,
            "signature_name": "",
            "version": str(response.model_spec.version.value),
        }
        definitions = rest_json.object_of({"signature_def": rest_json.text_of(found)})
        return rest_json.object_of(
            {"model_spec": json.dumps(spec), "metadata": definitions}
        )

    def _predict(self, match):
        services = self.server.services
        with self.server.metrics.request("rest", "Predict") as observed:
            observed.check_limit()
            spec = _spec(match)
            observed.model = services.known(spec.name)
            deadline = time.monotonic() + _MAX_SECONDS
            with self._turn_to_read(deadline):
                request, by_rows = rest_json.parse_predict(
                    self._body, lambda: services.signatures(spec)
                )
            request.model_spec.MergeFrom(spec)
            response = services.predict(request, deadline, on_cancel=None)
            if deadline <= time.monotonic():  # Computing can't be broken off.
                raise errors.deadline_exceeded(
                    f"Computing took longer than {_MAX_SECONDS} seconds"
                )
            return rest_json.render_predict(
                response, by_rows, self.server.max_answer_bytes
            )

    @contextlib.contextmanager
    def _turn_to_read(self, deadline):
        """Waits until no other large body is read, if this is one."""
        if len(self._body) <= _LARGE_BODY_BYTES:
            yield
            return
        reading = self.server.reading
        if not reading.acquire(timeout=max(0, deadline - time.monotonic())):
            raise errors.deadline_exceeded(
                f"Other large bodies took longer than {_MAX_SECONDS} seconds to read"
            )
        try:
            yield
        finally:
            reading.release()

    def _wrong_signature(self, match):
        content = rest_json.parse_json(self._body)
        request = {
            ":classify": messages.ClassificationRequest,
            ":regress": messages.RegressionRequest,
        }[match["call"]](model_spec=_spec(match))
        if isinstance(content, dict) and isinstance(content.get("signature_name"), str):
            request.model_spec.signature_name = content["signature_name"]
        self.server.services.wrong_signature(request)


def _spec(match):
    """Returns the ModelSpec that a path names."""
    spec = messages.ModelSpec(name=urllib.parse.unquote(match["name"]))
    if match["version"] is not None:
        if int(match["version"]) > messages.MAX_VERSION:
            raise errors.invalid_argument(
                f"The version {match['version']} is not one of 64 bits"
            )
        spec.version.value = int(match["version"])
    if match["label"] is not None:
        spec.version_label = urllib.parse.unquote(match["label"])
    return spec


def _error(message):
    return "application/json", json.dumps({"error": message}).encode("ascii")


def _head(status, kind, length, close):
    """Returns an answer down to its empty line."""
    lines = [
        f"HTTP/1.1 {status:d} {http.client.responses.get(status, '')}",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Room:
    """A number of bytes that several threads share.

    Args:
        free: How many there are.
    """

    def __init__(self, free):
        self._free = free
        self._lock = threading.Lock()

    def take(self, count):
        """Takes so many, if there are; returns whether it did."""
        with self._lock:
            enough = count <= self._free
            self._free -= count * enough
        return enough

    def give_back(self, count):
        """Frees so many again."""
        with self._lock:
            self._free += count


class _HttpServer(socketserver.ThreadingTCPServer):
    """A bounded number of connections, each in its thread."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host, port, services, metrics, max_body_bytes, context):
        self.services = services
        self.metrics = metrics
        self.bodies = _Room(_MAX_BODIES_BYTES)
        self.reading = threading.Lock()
        self.max_body_bytes = min(max_body_bytes, MAX_BODY_BYTES)
        self.max_answer_bytes = max_body_bytes
        self.connections = connections.Connections()
        self._context = context
        self.address_family, address = _address(host, port)
        super().__init__(address, _Handler)

    def get_request(self):
        try:
            request, client_address = super().get_request()
        except OSError as error:
            # The connection waits on, and would be tried again at once.
            if error.errno in _EXHAUSTED and not self.connections.stopping:
                time.sleep(_EXHAUSTED_SECONDS)
            raise
        if self._context is not None:
            request = self._context.wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
        return request, client_address

    def process_request(self, request, client_address):
        if self.connections.add(request):
            super().process_request(request, client_address)
            return
        if self._context is None:  # Else a handshake would have to come first.
            kind, content = _error("Too many connections")
            status = http.HTTPStatus.SERVICE_UNAVAILABLE
            with contextlib.suppress(OSError):
                request.sendall(_head(status, kind, len(content), True) + content)
        self.shutdown_request(request)

    def take_in(self):
        """Takes in the connections that wait for it, and would be reset otherwise."""
        if self.fileno() == -1:  # Closed before.
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            # No more than can wait at a time: others come as long as it listens.
            for _ in range(self.request_queue_size):
                if not selector.select(0):
                    break
                self.handle_request()

    def close_request(self, request):
        self.connections.remove(request)
        super().close_request(request)

    def handle_error(self, request, client_address):
        # That callers hang up is no news; that there is no thread for them is.
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        _log.log(level, "connection from %s", client_address, exc_info=True)


def _address(host, port):
    """Returns the family and the address to listen on, of IPv4 where it has both."""
    found = {
        family: address
        for family, *_, address in socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )
    }
    family = socket.AF_INET if socket.AF_INET in found else socket.AF_INET6
    return family, found[family]


class RestServer:
    """The REST API and the metrics, in a thread.

    Args:
        services: The Services that answer.
        metrics: The Metrics to count in and to show.
        host: The address to listen on.
        port: The port; 0 picks a free one.
        max_body_bytes: The largest request body, where that is below
            `MAX_BODY_BYTES`, and answer.
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
                host, port, services, metrics, max_body_bytes, context
            )
        except OSError as error:
            raise OSError(
                f"cannot listen on {host}:{port}: {error.strerror}"
            ) from error
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            args=(_POLL_SECONDS,),
            name="serving-rest",
            daemon=True,
        )

    def start(self):
        """Begins to answer."""
        self._thread.start()

    def close(self):
        """Gives up the port, if it never began to answer."""
        self._http.server_close()

    def stop(self, grace):
        """Stops listening, and gives requests in flight `grace` seconds.

        Those that arrive meanwhile over open connections are answered with 503.
        """
        self._http.connections.stop()
        self._http.shutdown()
        self._http.take_in()
        self._http.server_close()
        self._http.connections.wait(grace)
