"""The embedded server: a folder of models behind TensorFlow Serving's protocol.

```python
with serving.Server("models/", port=0) as server:
    client = serving.Client(server.address)
    images = client.generate("dcgan", 64, seed=0)
```

Requests run in threads: gRPC's own thread pool parses, checks, computes or waits
(`serving.batching`) and encodes, and TensorFlow releases the interpreter lock while
it computes.
"""

import concurrent.futures
import contextlib
import functools
import ipaddress
import logging
import math
import os
import pathlib
import threading
import time

import google.protobuf.message
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from serving import (
    batching,
    certificates,
    errors,
    messages,
    model_config,
    prediction,
    versions,
)
from serving.health import Health
from serving.interceptors import MAX_STREAMS, LimitStreams, MessagesInTime
from serving.metrics import Metrics
from serving.models import ModelManager, models_in
from serving.services import Services

_log = logging.getLogger(__name__)

_GRPC_OPTIONS = (
    # A port in use is an error, not a share of somebody else's traffic.
    ("grpc.so_reuseport", 0),
    # Connections that never speak, and those that have gone silent, are closed.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # One connection alone cannot take every thread; its further calls wait in it.
    ("grpc.max_concurrent_streams", 128),
    # By default gRPC also counts calls that are answered and not freed yet, and then
    # refuses those that waited for these, one after the other. That keeps a caller from
    # hurting others by thousands of calls a second that it cancels, which strangers
    # may do, for whom this server is not made.
    ("grpc.http.overload_protection", 0),
    # Clients look up addresses anew when they connect, and so find new replicas.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 600_000),
)

# For how long calls are refused before gRPC stops, so that it hands out what it took.
_REFUSING_SECONDS = 0.2

# Threads for what is answered however many requests there are: health, and refusals.
_SPARE_THREADS = 24 + sum(MAX_STREAMS.values())


class Server:
    """Serves every model of a folder, and follows the folder as it changes.

    It answers as TensorFlow Serving does; `docs/tensorflow-serving-differences.md`
    lists what differs.

    Args:
        models_dir: The folder of `<model>/<version>/` SavedModels, as
            `python -m export` writes it.
        host: The address to listen on. Other machines reach the server only if
            this is one of the machine's own addresses, or `::` or `0.0.0.0` for all;
            use TLS then.
        port: The gRPC port; 0 picks a free one.
        rest_port: The port of the REST API and of the metrics; 0 picks a free one,
            None serves neither.
        model_config_file: A `models.config` in TensorFlow Serving's text format,
            instead of every folder in `models_dir`. Its base paths must lie in
            `models_dir`, where both are given; else they may be links.
        model_config_file_poll_wait_seconds: How often to read that file again, no
            oftener than `poll_seconds`; 0 reads it at the start alone. A file that
            cannot be followed is logged and changes nothing.
        enable_batching: Whether to join requests into batches.
        batching_parameters_file: A batching file in TensorFlow Serving's text format.
        per_model_batching: Whether a version's `batching_params.pbtxt` counts.
        allow_version_labels_for_unavailable_models: Whether a new label may name a
            version that is not loaded.
        poll_seconds: How often to look for new versions.
        max_message_bytes: The largest request and answer.
        max_concurrent_requests: Above this, requests are refused at once with
            RESOURCE_EXHAUSTED; those for health are not.
        tls_certificate: A PEM file, with `tls_key`: serve over TLS.
        tls_key: The PEM file of the certificate's key.
        tls_client_ca: A PEM file: serve only clients with a certificate of this
            authority (mutual TLS).

    Raises:
        FileNotFoundError: If `models_dir` is not there.
        ValueError: If it is the folder of one model, options contradict, or a TLS file
            is none.
        serving.ServingError: If a configuration file is wrong.
        OSError: If the port is taken.
    """

    def __init__(
        self,
        models_dir=None,
        host="127.0.0.1",
        port=8500,
        *,
        rest_port=None,
        model_config_file=None,
        model_config_file_poll_wait_seconds=0.0,
        enable_batching=True,
        batching_parameters_file=None,
        per_model_batching=False,
        allow_version_labels_for_unavailable_models=False,
        poll_seconds=1.0,
        max_message_bytes=prediction.MAX_MESSAGE_BYTES,
        max_concurrent_requests=256,
        tls_certificate=None,
        tls_key=None,
        tls_client_ca=None,
    ):
        if not host:
            raise ValueError("host is empty; 0.0.0.0 listens on all addresses")
        if (tls_certificate is None) != (tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if tls_client_ca is not None and tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if batching_parameters_file is not None and not enable_batching:
            raise ValueError("batching_parameters_file needs enable_batching")
        if per_model_batching and not enable_batching:
            raise ValueError("per_model_batching needs enable_batching")
        for name, value, least, most in (
            ("port", port, 0, 65535),
            ("rest_port", rest_port or 0, 0, 65535),
            ("max_concurrent_requests", max_concurrent_requests, 1, math.inf),
            ("max_message_bytes", max_message_bytes, 1, (1 << 31) - 1),
            ("poll_seconds", poll_seconds, 0.001, threading.TIMEOUT_MAX),
            (
                "model_config_file_poll_wait_seconds",
                model_config_file_poll_wait_seconds,
                0,
                math.inf,
            ),
        ):
            if not least <= value <= most:
                raise ValueError(
                    f"{name} must be {least} or more"
                    f"{'' if most == math.inf else f', and {most} at most'}; "
                    f"it is {value}"
                )
        if model_config_file_poll_wait_seconds and model_config_file is None:
            raise ValueError(
                "model_config_file_poll_wait_seconds needs model_config_file"
            )
        # Read again later, when the program may be in another folder.
        models_dir, model_config_file, *tls = (
            None if path is None else os.path.abspath(path)
            for path in (
                models_dir,
                model_config_file,
                tls_certificate,
                tls_key,
                tls_client_ca,
            )
        )
        find_models, roots = _source(models_dir, model_config_file)
        options = None
        if batching_parameters_file is not None:
            options = model_config.read_batching(batching_parameters_file)
        elif enable_batching:
            options = batching.BatchingOptions()
        self._host = host
        self._port = port
        self._rest_port = rest_port
        self._poll_seconds = poll_seconds
        self._model_config_file = model_config_file
        self._config_seconds = model_config_file_poll_wait_seconds
        self._max_message_bytes = max_message_bytes
        self._tls = tuple(tls)
        self.metrics = Metrics(max_concurrent_requests)
        self.models = ModelManager(
            find_models,
            roots=roots,
            batching_options=options,
            per_model_batching=per_model_batching,
            max_message_bytes=max_message_bytes,
            allow_labels_for_unavailable=allow_version_labels_for_unavailable_models,
            on_batch=self.metrics.observe_batch,
        )
        if model_config_file is not None:
            self.models.check_places(find_models())
        self.metrics.watch(self.models)
        self.services = Services(self.models, on_reload=self._report_health)
        self._health = Health((messages.PREDICTION_SERVICE, messages.MODEL_SERVICE))
        self._grpc = None
        self._rest = None
        # Guards whether it serves, or is stopping, against start and stop at once.
        self._lifecycle = threading.Lock()
        # Else a poll that found models to serve could say so after `stop` spoke.
        self._reporting = threading.Lock()
        self._starts = self._serving = False
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._messages_in_time = MessagesInTime()
        self._poller = threading.Thread(
            target=self._keep_polling, name="serving-poll", daemon=True
        )

    @property
    def address(self):
        """The `host:port` clients connect to."""
        return f"{_bracketed(self._host)}:{self._port}"

    @property
    def rest_address(self):
        """The `host:port` of the REST API, None if there is none."""
        return self._rest and f"{_bracketed(self._host)}:{self._rest.port}"

    def start(self):
        """Takes the ports, loads the models, then answers; once.

        Raises:
            RuntimeError: If it was started before, or is stopped meanwhile.
        """
        with self._lifecycle:
            if self._starts:
                raise RuntimeError("a Server starts once; make another one")
            self._starts = True
        if not _is_loopback(self._host) and self._tls[0] is None:
            _log.warning(
                "listening on %s without TLS: anybody who reaches this port can use "
                "it, and read along; give a certificate and a key, or listen on "
                "127.0.0.1",
                self._host,
            )
        try:
            # First, because it is quick to fail where a port is taken.
            self._bind()
            self._bind_rest()
            self.models.poll()
            with self._lifecycle:
                if self._stopping.is_set():
                    raise RuntimeError("the Server was stopped while it started")
                self._serve()
        except BaseException:
            self._give_up_ports()
            self.models.close(seconds=0)
            raise
        return self

    def _give_up_ports(self):
        self._messages_in_time.refuse()
        if self._grpc is not None:
            with contextlib.suppress(ValueError):  # It has begun to serve.
                self._grpc.start()  # gRPC gives up its port only where it has run.
            self._grpc.stop(None).wait()
        if self._rest is not None:
            self._rest.close()
            self._rest = None

    def _serve(self):
        self._messages_in_time.start()
        self._report_health()
        self._grpc.start()
        if self._rest is not None:
            self._rest.start()
        self._poller.start()
        self._serving = True

    def _bind(self):
        threads = self.metrics.max_concurrent_requests + _SPARE_THREADS
        self._grpc = grpc.server(
            concurrent.futures.ThreadPoolExecutor(
                threads, thread_name_prefix="serving"
            ),
            options=(
                *_GRPC_OPTIONS,
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", self._max_message_bytes),
            ),
            maximum_concurrent_rpcs=threads,
            interceptors=(LimitStreams(), self._messages_in_time),
        )
        self._grpc.add_generic_rpc_handlers(_handlers(self.services, self.metrics))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        pool = messages.new_pool(
            extra=(
                health_pb2.DESCRIPTOR.serialized_pb,
                reflection_pb2.DESCRIPTOR.serialized_pb,
            )
        )
        reflection.enable_server_reflection(
            (
                messages.PREDICTION_SERVICE,
                messages.MODEL_SERVICE,
                health.SERVICE_NAME,
                reflection.SERVICE_NAME,
            ),
            self._grpc,
            pool=pool,
        )
        credentials = None if self._tls[0] is None else _credentials(*self._tls)
        try:
            if credentials is None:
                self._port = self._grpc.add_insecure_port(self.address)
            else:
                self._port = self._grpc.add_secure_port(self.address, credentials)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {self.address}; is the port taken (0 picks a free "
                "one), or the address unknown, or another machine's?"
            ) from error

    def _bind_rest(self):
        if self._rest_port is None:
            return
        from serving.rest import RestServer

        self._rest = RestServer(
            self.services,
            self.metrics,
            self._host,
            self._rest_port,
            max_body_bytes=self._max_message_bytes,
            tls=self._tls,
        )

    def _keep_polling(self):
        config_errors, poll_errors = _LoggedOnce(), _LoggedOnce()
        config_read = time.monotonic()
        while not self._stopping.wait(self._poll_seconds):
            due = time.monotonic() >= config_read + self._config_seconds
            if self._config_seconds and due:
                config_read = time.monotonic()
                config_errors.run(self._read_config)
            # By itself: what the disk lacks must not keep the file from mending it.
            poll_errors.run(self.models.poll)
            self._report_health()

    def _read_config(self):
        self.models.reload(model_config.read_models(self._model_config_file))

    def _report_health(self):
        with self._reporting:
            available = any(self.models.available().values())
            self._health.report(available and not self._stopping.is_set())

    def stop(self, grace=10.0, drain=0.0):
        """Says NOT_SERVING, finishes what is in flight, and frees everything.

        Called again meanwhile, it waits for the first call to end. A `start` that is
        still loading raises `RuntimeError`.

        Args:
            grace: How many seconds requests in flight, and the loading of a version,
                may still take.
            drain: How many seconds to go on serving after health has turned, so
                that load balancers notice before connections close.
        """
        with self._lifecycle:
            if not self._starts:
                return
            is_first = not self._stopping.is_set()
            self._stopping.set()
        if not is_first:
            self._stopped.wait()
            return
        try:
            if self._serving:
                self._stop(grace, drain)
            else:  # `start` gives up the ports, where it is still loading.
                self.models.close(grace)
        finally:
            self._stopped.set()

    def _stop(self, grace, drain):
        self._report_health()
        time.sleep(drain)
        end = time.monotonic() + grace
        # gRPC drops the calls that it has taken in and not handed out yet, as CANCELLED
        # (grpc/grpc#41785). Where callers pause after UNAVAILABLE, as ours do, it has
        # handed out all by then; one that asks again at once may still be cut off. That
        # no call is in flight says nothing of those.
        self._messages_in_time.refuse()
        time.sleep(_REFUSING_SECONDS)
        stopped = self._grpc.stop(grace)
        if self._rest is not None:
            self._rest.stop(grace)
        # Watches of health and reflection are calls in flight, too, and never end by
        # themselves: only the others are waited for.
        while self._messages_in_time.in_flight and not stopped.wait(0.02):
            pass
        self._grpc.stop(0).wait()
        self._messages_in_time.stop()
        if self._poller.is_alive():
            self._poller.join(max(0, end - time.monotonic()))
        self.models.close(max(0, end - time.monotonic()))

    def __enter__(self):
        serves = self._serving and not self._stopping.is_set()
        return self if serves else self.start()

    def __exit__(self, *unused):
        self.stop()


class _LoggedOnce:
    """Runs what is tried again and again, and logs an error when it is a new one."""

    def __init__(self):
        self._last = None

    def run(self, function):
        try:
            function()
        except Exception as error:  # Whatever it is, the next poll may find it gone.
            if str(error) == self._last:
                return
            self._last = str(error)
            known = isinstance(error, (errors.ServingError, OSError))
            _log.error("%s", error, exc_info=None if known else error)
        else:
            self._last = None


def _source(models_dir, model_config_file):
    """Returns a function that finds the ModelConfigs, and the folders they lie in."""
    if models_dir is None and model_config_file is None:
        raise ValueError("give models_dir, or model_config_file")
    if models_dir is not None:
        versions.check_models_dir(models_dir)
    if model_config_file is None:
        return functools.partial(models_in, models_dir), [models_dir]
    configs = model_config.read_models(model_config_file)
    # A folder of the file may be a link, and its models lie elsewhere.
    folders = {
        of(config.base_path)
        for config in configs
        for of in (os.path.normpath, os.path.realpath)
    }
    beside = sorted(set(map(os.path.dirname, folders)))
    return (lambda: configs), beside if models_dir is None else [models_dir]


def _handlers(services, metrics):
    """Returns the generic handlers of both services, on raw bytes.

    Args:
        services: The Services.
        metrics: The Metrics.
    """
    predict = messages.PREDICTION_SERVICE
    model = messages.MODEL_SERVICE
    answers = {
        (predict, "Predict"): services.predict,
        (predict, "GetModelMetadata"): _plain(services.get_model_metadata),
        (predict, "Classify"): _plain(services.wrong_signature),
        (predict, "Regress"): _plain(services.wrong_signature),
        (model, "GetModelStatus"): _plain(services.get_model_status),
        (model, "HandleReloadConfigRequest"): _plain(services.reload_config),
    }
    handlers = []
    for service in (predict, model):
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                _behaviour(
                    name,
                    request_class,
                    answers[service, name],
                    metrics,
                    services,
                )
            )
            for name, request_class, _ in messages.methods(service)
            if (service, name) in answers
        }
        handlers.append(grpc.method_handlers_generic_handler(service, methods))
    return handlers


def _plain(answer):
    """Adapts an answer that takes no time worth a deadline."""
    return lambda request, deadline, on_cancel: answer(request)


def _behaviour(method, request_class, answer, metrics, services):
    """Returns the gRPC behaviour of one method.

    It takes and gives bytes: a message that cannot be parsed is then the caller's
    mistake in words, not an exception inside gRPC.
    """

    def behaviour(content, context):
        try:
            with metrics.request("grpc", method) as observed:
                observed.check_limit()
                request = _parsed(request_class, content)
                observed.model = services.known(_model_name(request))
                deadline = _deadline(context)
                response = answer(request, deadline, _on_cancel(context))
                content = response.SerializeToString()
                if not context.is_active():  # Computing could not be broken off.
                    raise errors.given_up(deadline)
                return content
        except errors.ServingError as error:
            context.abort(error.code, error.message)
        except Exception:
            _log.exception("answering %s", method)
            context.abort(
                grpc.StatusCode.INTERNAL,
                "Internal error; the server's log has the details",
            )

    return behaviour


def _parsed(request_class, content):
    try:
        return request_class.FromString(content)
    except google.protobuf.message.DecodeError as error:
        raise errors.invalid_argument(
            f"The request is not a {request_class.DESCRIPTOR.full_name}"
        ) from error


def _model_name(request):
    spec = getattr(request, "model_spec", None)  # A new configuration has none.
    return spec.name if spec is not None else ""


def _deadline(context):
    remaining = context.time_remaining()
    return math.inf if remaining is None else time.monotonic() + remaining


def _on_cancel(context):
    def register(callback):
        if not context.add_callback(callback):  # It is over already.
            callback()

    return register


def _bracketed(host):
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _credentials(certificate, key, client_ca):
    certificates.check(certificate, key, client_ca)
    return grpc.ssl_server_credentials(
        [(pathlib.Path(key).read_bytes(), pathlib.Path(certificate).read_bytes())],
        root_certificates=client_ca and pathlib.Path(client_ca).read_bytes(),
        require_client_auth=client_ca is not None,
    )
