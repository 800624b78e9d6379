"""Clients of the embedded server and of TensorFlow Serving.

Neither TensorFlow nor Keras is imported. `Client` blocks, `AsyncClient` is awaited;
both are the same code: every call is written once as a generator that yields what is
to be sent or slept through, and the two classes differ in how they do that.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import math
import numbers
import operator
import os
import pathlib
import random
import re
import time

import grpc
import numpy as np

from serving import certificates, errors, fitting, messages, signatures, tensors

MAX_MESSAGE_BYTES = 256 << 20
# Where a request is split. A client is not told what its server takes; 64 MiB stay
# well below the 128 that the embedded server takes and answers unless told otherwise.
MAX_PART_BYTES = 64 << 20
# Rows that travel in one message at most; more are asked for in several.
MAX_ROWS = 256

_FIRST_PAUSE = 0.1
_MAX_PAUSE = 5.0
# How often a part is sent before the version of the parts before it counts as gone.
_REPLICAS_ASKED = 3
# Refusals that may mean that by now another model is served under the name.
_OTHER_MODEL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)

# How long a call hears nothing before it asks whether its server is alive; the answer
# may take half as long. Servers take frequent questions for an attack: unless told
# otherwise, as by `python -m serving config`, gRPC's ended a call after 160 seconds.
_KEEPALIVE_SECONDS = 20

# The seeds there are, those of int64.
_MIN_SEED, _MAX_SEED = -(2**63), 2**63 - 1

# Longer than anybody waits, and not too long for gRPC: a year.
_LONGEST_SECONDS = 31_536_000

# The largest message that protobuf takes.
_LARGEST_MESSAGE = (1 << 31) - 1

# How long a new connection may take, TLS included, before it counts as failed.
_CONNECT_SECONDS = 10

# What is left of a call's time for its last attempt, in seconds.
_LAST_ATTEMPT = 0.25

# gRPC's own words where UNAVAILABLE is not a server's answer: there is none, it hung up
# before a call was sent, it and the client do not trust one another, or it speaks HTTP.
_NOT_REACHED = re.compile("connect|resol", re.IGNORECASE)
_HUNG_UP = re.compile("(to connect|connections to).*(Socket closed|reset by peer)")
_NOT_TRUSTED = re.compile("Tls handshake|SSL_ERROR|erification")
_NOT_GRPC = "http1.x server"
_NOT_SERVED = ("Servable not found", "Could not find")
_SERVABLE = re.compile(r"(?:Latest|Specific)\((.*?)(?:, (\d+))?\)$")
_NO_LABEL = "Unrecognized servable version label"

# Words where a message passes the limit of the client or of the server: gRPC's, and
# those of the embedded server.
_TOO_MANY_BYTES = re.compile(
    r"message larger than max|more than the \d+ of one message"
)

# What servers answer where their batching file allows fewer rows: TensorFlow Serving,
# and the embedded server of its queue.
_TOO_MANY_ROWS = re.compile(
    r"(?:larger than maximum input batch size|than the queue ever holds,) (\d+)"
)

# Environment variables of a proxy, in the order in which gRPC looks for one.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")

# Addresses that gRPC has a resolver of its own for.
_RESOLVED = re.compile("(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p):")

_METHODS = {
    name: (f"/{service}/{name}", request, response)
    for service in (messages.PREDICTION_SERVICE, messages.MODEL_SERVICE)
    for name, request, response in messages.methods(service)
}


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a server says about a model: the version it answers with, its signatures."""

    model: str
    version: int
    signatures: dict

    def __str__(self):
        listed = [str(signature) for signature in self.signatures.values()]
        return "\n  ".join([f"{self.model} version {self.version}", *listed])


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """The state of one version: LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    code: str
    message: str


@dataclasses.dataclass(frozen=True)
class _Send:
    """A step of a call: send `request`, and go on with the answer."""

    method: str
    request: object
    timeout: float


@dataclasses.dataclass(frozen=True)
class _Sleep:
    """A step of a call: pause."""

    seconds: float


class _Calls:
    """Everything both clients can do; they differ in how they take a step.

    Args:
        address: `host:port` of the server.
        timeout: How many seconds one call may take, retries and parts included;
            None for as long as it takes.
        attempts: How often to try in all while the server is UNAVAILABLE, or while
            the version that answered the first parts of a large request is gone before
            the others are, pausing longer each time, from 0.1 to 5 seconds. Nothing
            else is tried again, but once a request that was made for the model known
            before another came under its name.
        tls: Whether to speak TLS, checking the server against the system's
            authorities. Any of the next four switches it on.
        root_certificate: A PEM file of the authority to check the server against.
        client_certificate: A PEM file to show a server that asks for one, with
            `client_key` (mutual TLS).
        client_key: The PEM file of that certificate's key.
        server_name: The name in the server's certificate, if it is not the address.
        max_message_bytes: The largest message to send or take. Large requests are
            split before they reach it, at MAX_PART_BYTES.
    """

    def __init__(
        self,
        address,
        *,
        timeout=60.0,
        attempts=5,
        tls=False,
        root_certificate=None,
        client_certificate=None,
        client_key=None,
        server_name=None,
        max_message_bytes=MAX_MESSAGE_BYTES,
    ):
        check_address(address)
        if (client_certificate is None) != (client_key is None):
            raise errors.RequestError("client_certificate and client_key go together")
        if not _is_whole(attempts) or attempts < 1:
            raise errors.RequestError(
                f"attempts must be a whole number of 1 or more, not {attempts!r}"
            )
        self.address = address
        self._timeout = math.inf if timeout is None else _checked_timeout(timeout)
        self._attempts = attempts
        if not _is_whole(max_message_bytes) or not (
            1 <= max_message_bytes <= _LARGEST_MESSAGE
        ):
            raise errors.RequestError(
                f"max_message_bytes is a whole number from 1 to {_LARGEST_MESSAGE}, "
                f"not {max_message_bytes!r}"
            )
        self._max_message_bytes = max_message_bytes
        self._credentials = None
        if tls or root_certificate or client_certificate or server_name:
            try:
                certificates.check(client_certificate, client_key, root_certificate)
            except ValueError as error:
                raise errors.RequestError(str(error)) from error
            self._credentials = grpc.ssl_channel_credentials(
                *(
                    path and pathlib.Path(path).read_bytes()
                    for path in (root_certificate, client_key, client_certificate)
                )
            )
        self._options = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            # Retrying is done here, on UNAVAILABLE only.
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            # No pause, but the least that a connection being made is waited for.
            ("grpc.min_reconnect_backoff_ms", _CONNECT_SECONDS * 1000),
            # gRPC connects anew by pauses of its own. Were they longer, the last
            # attempt here could come before they end, to a server that is back.
            ("grpc.max_reconnect_backoff_ms", 250),
            # Otherwise the first address that answers gets everything.
            ("grpc.lb_policy_name", "round_robin"),
            # A replica that hangs would keep every call sent to it until its deadline.
            ("grpc.keepalive_time_ms", _KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_SECONDS * 500),
            ("grpc.http2.ping_timeout_ms", _KEEPALIVE_SECONDS * 500),
        ]
        if server_name is not None:
            self._options.append(("grpc.ssl_target_name_override", server_name))
        self._known = {}
        self._max_rows = {}
        self._closed = False

    # The calls -----------------------------------------------------------------

    def generate(
        self,
        model,
        n=None,
        seed=0,
        *,
        seeds=None,
        labels=None,
        conditions=None,
        categories=None,
        codes=None,
        version=None,
        version_label=None,
        timeout=None,
    ):
        """Draws pictures. The picture of a seed is the same in any call.

        Args:
            model: The model's name.
            n: How many.
            seed: The first row's seed; the others count on from it.
            seeds: The seed of each row, instead of `n` and `seed`.
            labels: The class of each row, or one for all, where the model is
                conditional; -1, or nothing, draws one from the row's seed, and so
                does a number that is no class.
            conditions: The condition vector of each row, or one for all, where the
                model takes one.
            categories: The categorical codes of each row, or those for all (InfoGAN);
                -1, or nothing, draws them from the row's seed.
            codes: The continuous codes of each row, or likewise one for all (InfoGAN);
                NaN, or nothing, draws them from the row's seed.
            version: A version number, instead of the newest.
            version_label: A version label, such as `stable`.
            timeout: Seconds, instead of the client's own.

        Returns:
            A numpy array of uint8 [n, height, width, channels]; for models of
            vectors, float32 [n, dimensions].
        """
        if seeds is None:
            if not _is_whole(n) or n < 0:
                raise errors.RequestError(
                    f"n must be a whole number of rows, not {n!r}; or give seeds"
                )
            if not _is_whole(seed):
                raise errors.RequestError(f"seed must be a whole number, not {seed!r}")
            if not _MIN_SEED <= seed <= _MAX_SEED - max(int(n) - 1, 0):
                raise errors.RequestError(
                    f"seeds lie between {_MIN_SEED} and {_MAX_SEED}. "
                    f"Received: seed={seed}, n={n}"
                )
            seeds = np.arange(n, dtype=np.int64) + int(seed)
        elif np.ndim(seeds) == 0:
            raise errors.RequestError(
                f"seeds are one a row, such as [{seeds}]; or give n and seed"
            )
        elif n is not None and n != len(seeds):
            raise errors.RequestError(f"n is {n}, but there are {len(seeds)} seeds")
        given = {
            "labels": labels,
            "conditions": conditions,
            "categories": categories,
            "codes": codes,
        }
        inputs = {"seeds": seeds}
        inputs |= {name: value for name, value in given.items() if value is not None}
        target = _Target(model, version, version_label)
        return self._run(self._only_output(target, inputs, "sample", timeout))

    def transfer(self, model, images, **options):
        """Carries pictures (uint8) into the model's other domain.

        It and the next three take `version`, `version_label` and `timeout`, too.
        """
        return self._images(model, images, "transfer", options)

    def encode(self, model, images, **options):
        """Returns the latents (float32) of pictures (uint8)."""
        return self._images(model, images, "encode", options)

    def reconstruct(self, model, images, labels=None, **options):
        """Encodes and decodes pictures (uint8), by labels if the decoder takes them."""
        return self._images(model, images, "reconstruct", options, labels)

    def classify(self, model, images, **options):
        """Returns the class probabilities (float32) of pictures (uint8)."""
        return self._images(model, images, "classify", options)

    def _images(self, model, images, signature, options, labels=None):
        unknown = options.keys() - {"version", "version_label", "timeout"}
        if unknown:
            raise TypeError(f"{signature}() takes no {', '.join(sorted(unknown))}")
        timeout = options.pop("timeout", None)
        target = _Target(model, **options)
        inputs = {"images": images} | ({} if labels is None else {"labels": labels})
        return self._run(self._only_output(target, inputs, signature, timeout))

    def predict(
        self,
        model,
        inputs,
        signature=signatures.DEFAULT,
        *,
        outputs=None,
        version=None,
        version_label=None,
        timeout=None,
    ):
        """Calls any signature.

        Args:
            model: The model's name.
            inputs: {name: array}; the first dimension of each is the batch.
            signature: The signature's name.
            outputs: The names of the outputs to send back; all if None.
            version: A version number, instead of the newest.
            version_label: A version label, such as `stable`.
            timeout: Seconds, instead of the client's own.

        Returns:
            {name: array}. Strings come as arrays of bytes objects.
        """
        target = _Target(model, version, version_label)
        return self._run(self._predict(target, inputs, signature, outputs, timeout))

    def metadata(self, model, *, version=None, version_label=None, timeout=None):
        """Asks for the Metadata of a model: its version and signatures."""
        target = _Target(model, version, version_label)
        return self._run(self._metadata(target, timeout))

    def status(self, model, *, version=None, version_label=None, timeout=None):
        """Asks for the VersionStatus of each version of a model, newest first."""
        target = _Target(model, version, version_label)
        return self._run(self._status(target, timeout))

    # As steps --------------------------------------------------------------------

    def _until(self, timeout):
        if self._closed:
            raise errors.RequestError(f"the client of {self.address} is closed")
        allowed = self._timeout if timeout is None else _checked_timeout(timeout)
        return time.monotonic() + allowed

    def _send(self, method, request, until):
        """Sends, and again with growing pauses while the server is UNAVAILABLE."""
        for attempt in itertools.count(1):
            if self._closed:
                raise self._closed_error()
            left = None
            if until < math.inf:
                left = min(max(until - time.monotonic(), 0), _LONGEST_SECONDS)
            try:
                return (yield _Send(method, request, left))
            except grpc.RpcError as error:
                if self._closed and error.code() == grpc.StatusCode.CANCELLED:
                    raise self._closed_error() from None
                pause = self._pause(attempt, until)
                if error.code() != grpc.StatusCode.UNAVAILABLE or pause is None:
                    raise _in_words(error, self.address) from None
            yield _Sleep(pause)

    def _pause(self, attempt, until):
        """Returns how many seconds to wait after an attempt; None if it was the last.

        Pauses grow, and differ from client to client.
        """
        left = until - time.monotonic() - _LAST_ATTEMPT
        if attempt == self._attempts or left <= 0:
            return None
        pause = min(_FIRST_PAUSE * 2 ** min(attempt - 1, 10), _MAX_PAUSE)
        return min(pause * random.uniform(0.8, 1.2), left)

    def _closed_error(self):
        return errors.ServingError(
            grpc.StatusCode.CANCELLED,
            f"the client of {self.address} was closed before the answer came",
        )

    def _metadata(self, target, timeout):
        return (yield from self._fetch_metadata(target, self._until(timeout)))

    def _fetch_metadata(self, target, until):
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        target.write(request.model_spec)
        response = yield from self._send("GetModelMetadata", request, until)
        found = messages.SignatureDefMap()
        found.ParseFromString(response.metadata["signature_def"].value)
        callable_ = {
            key: signature
            for key, signature in signatures.parse(found.signature_def).items()
            if signature.method in signatures.PREDICT_METHODS
        }
        metadata = Metadata(
            response.model_spec.name, response.model_spec.version.value, callable_
        )
        self._known[target] = metadata
        return metadata

    def _status(self, target, timeout):
        until = self._until(timeout)
        request = messages.GetModelStatusRequest()
        target.write(request.model_spec)
        response = yield from self._send("GetModelStatus", request, until)
        return [
            VersionStatus(
                status.version,
                messages.ModelVersionStatus.State.Name(status.state),
                errors.status_code(status.status.error_code).name,
                status.status.error_message,
            )
            for status in response.model_version_status
        ]

    def _checked(self, target, inputs, key, output_names, until):
        """Returns what `fitting.fitted` does, refusing by the newest metadata only."""
        known = self._known.get(target)
        if known is not None:
            # A version published since may take what the known one does not.
            with contextlib.suppress(errors.RequestError):
                return fitting.fitted(target, known, key, inputs, output_names)
        metadata = yield from self._fetch_metadata(target, until)
        return fitting.fitted(target, metadata, key, inputs, output_names)

    def _only_output(self, target, inputs, key, timeout):
        outputs = yield from self._predict(target, inputs, key, None, timeout)
        if len(outputs) == 1:
            return next(iter(outputs.values()))
        raise errors.RequestError(
            f"{target} answers {key} with {', '.join(outputs)}; call predict()"
        )

    def _predict(self, target, inputs, key, output_names, timeout):
        until = self._until(timeout)
        if output_names is not None and not isinstance(output_names, str):
            output_names = list(output_names)
        refused = False
        for attempt in itertools.count(1):
            known = self._known.get(target)
            try:
                return (yield from self._once(target, inputs, key, output_names, until))
            except _VersionGoneError:  # Again, whole, by the version that came.
                pause = self._pause(attempt, until)
                if pause is None:
                    raise
                yield _Sleep(pause)
            except errors.ServingError as error:
                # What fits the model known may not fit the one that came since.
                if refused or known is None or error.code not in _OTHER_MODEL:
                    raise
                refused = True
                self._known.pop(target, None)
                try:
                    newest = yield from self._fetch_metadata(target, until)
                except errors.ServingError:
                    raise error from None
                if newest == known:
                    raise

    def _once(self, target, inputs, key, output_names, until):
        """Asks in as many parts as it takes, all of the version that answers first."""
        signature, arrays, names, rows = yield from self._checked(
            target, inputs, key, output_names, until
        )
        if rows == 0 and all(
            signature.outputs[name].row_shape is not None for name in names
        ):
            return {name: signature.outputs[name].no_rows() for name in names}
        if rows is None:
            _, outputs = yield from self._predict_part(
                target, None, key, arrays, output_names, until
            )
            return outputs
        parts = []
        start = misses = 0
        version = None
        fewer = max(rows, 1)
        while start < max(rows, 1):
            step = min(fewer, self._rows_per_request(target, signature, names))
            part = {name: array[start : start + step] for name, array in arrays.items()}
            try:
                version, outputs = yield from self._predict_part(
                    target, version, key, part, output_names, until
                )
            except errors.ServingError as error:
                if parts and error.code == grpc.StatusCode.NOT_FOUND:
                    # Of several replicas another may have it still, or already.
                    misses += 1
                    if misses < _REPLICAS_ASKED:
                        continue
                    raise _VersionGoneError(error.code, error.message) from error
                sent = min(step, rows - start)
                if most := _rows_allowed(error, sent):
                    self._max_rows[target, key] = most
                elif _is_too_large(error) and sent > 1:
                    # How large strings are, such as PNG files, shows when they come.
                    fewer = sent // 2
                else:
                    raise
                continue
            if step < rows:
                _check_rows(outputs, names, min(step, rows - start))
            parts.append(outputs)
            start += step
            misses = 0
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _rows_per_request(self, target, signature, names):
        limit = self._max_rows.get((target, signature.key), MAX_ROWS)
        room = min(self._max_message_bytes, MAX_PART_BYTES) - messages.OVERHEAD_BYTES
        sent = sum(spec.row_bytes for spec in signature.inputs.values())
        received = sum(signature.outputs[name].row_bytes for name in names)
        return max(1, min(limit, room // max(sent, received, 1)))

    def _predict_part(self, target, version, key, arrays, output_names, until):
        """Returns the version that answered, and its outputs.

        Args:
            target: The _Target.
            version: The version that answered before, None if none did.
            key: The signature's name.
            arrays: The inputs.
            output_names: The names of the outputs to send back; all if None.
            until: The time to be done.
        """
        request = messages.PredictRequest()
        target.write(request.model_spec)
        if version is not None:
            request.model_spec.version.value = version
        request.model_spec.signature_name = key
        request.output_filter.extend(output_names or ())
        for name, array in arrays.items():
            tensors.encode(array, request.inputs[name])
        response = yield from self._send("Predict", request, until)
        version = response.model_spec.version.value
        known = self._known.get(target)
        if known and known.version != version:
            self._known.pop(target, None)
        # Decoded they may be views of the message, which is read-only.
        return version, {
            name: np.require(tensors.decode(proto), requirements="W")
            for name, proto in response.outputs.items()
        }


class Client(_Calls):
    """A blocking client. Safe to share between threads.

    ```python
    with serving.Client("127.0.0.1:8500") as client:
        images = client.generate("dcgan_mnist", 64, seed=0)
    ```

    Args:
        address: `host:port` of the server. Where it stands for several, such as
            `dns:///gan-serving:8500` or `ipv4:10.0.0.1:8500,10.0.0.2:8500`, they are
            asked in turn.
        **options: `timeout` (seconds one call may take, 60), `attempts` (5, while
            the server is UNAVAILABLE), and for TLS `tls`, `root_certificate`,
            `client_certificate`, `client_key`, `server_name` (files in PEM format),
            `max_message_bytes`.

    Attributes:
        channel: The gRPC channel, for calls of your own.
    """

    def __init__(self, address, **options):
        super().__init__(address, **options)
        if self._credentials is None:
            self.channel = grpc.insecure_channel(address, self._options)
        else:
            self.channel = grpc.secure_channel(
                address, self._credentials, self._options
            )
        self._stubs = _stubs(self.channel)

    def _run(self, steps):
        try:
            step = next(steps)
            while True:
                try:
                    answer = self._take(step)
                except grpc.RpcError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return end.value

    def _take(self, step):
        if isinstance(step, _Sleep):
            return time.sleep(step.seconds)
        try:
            return self._stubs[step.method](step.request, timeout=step.timeout)
        except ValueError:  # What gRPC raises where the channel was closed meanwhile.
            if not self._closed:
                raise
            raise self._closed_error() from None

    def close(self):
        """Closes the connection; a call after that raises `RequestError`."""
        self._closed = True
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class AsyncClient(_Calls):
    """The client for asyncio: every call of `Client`, awaited.

    ```python
    async with serving.AsyncClient("127.0.0.1:8500") as client:
        images = await client.generate("dcgan_mnist", 64, seed=0)
    ```

    It may be used in one event loop after another, and connects in each anew.

    Args:
        address: `host:port` of the server.
        **options: As of `Client`.
    """

    def __init__(self, address, **options):
        super().__init__(address, **options)
        # {event loop: (channel, stubs)}; a channel works in one loop only.
        self._connections = {}

    async def _run(self, steps):
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._take(step)
                except grpc.RpcError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return end.value

    async def _take(self, step):
        if isinstance(step, _Sleep):
            return await asyncio.sleep(step.seconds)
        _, stubs = self._connection()
        try:
            return await stubs[step.method](step.request, timeout=step.timeout)
        except asyncio.CancelledError:
            if not self._closed or asyncio.current_task().cancelling():
                raise
            raise self._closed_error() from None

    def _connection(self):
        """Returns the channel and the stubs of the running event loop."""
        running = asyncio.get_running_loop()
        if running not in self._connections:
            for loop in list(self._connections):
                if loop.is_closed():  # Its channel cannot be awaited any more.
                    self._connections.pop(loop, None)
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(self.address, self._options)
            else:
                channel = grpc.aio.secure_channel(
                    self.address, self._credentials, self._options
                )
            self._connections[running] = channel, _stubs(channel)
        return self._connections[running]

    async def close(self):
        """Closes the connection of the running event loop.

        A call after that raises `RequestError`, unless `async with` opens it again.
        """
        self._closed = True
        channel, _ = self._connections.pop(asyncio.get_running_loop(), (None, None))
        if channel is not None:
            await channel.close()

    async def __aenter__(self):
        self._closed = False
        return self

    async def __aexit__(self, *unused):
        await self.close()


def _stubs(channel):
    return {
        name: channel.unary_unary(
            path,
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        for name, (path, request, response) in _METHODS.items()
    }


@dataclasses.dataclass(frozen=True)
class _Target:
    """Which model a call is for."""

    model: str
    version: int | None = None
    version_label: str | None = None

    def __post_init__(self):
        if not isinstance(self.model, str) or not self.model:
            raise errors.RequestError(f"model must be a name, not {self.model!r}")
        if self.version is not None and self.version_label is not None:
            raise errors.RequestError("give version or version_label, not both")
        if self.version is not None and not (
            isinstance(self.version, (int, np.integer))
            and not isinstance(self.version, bool)
            and 0 <= self.version <= messages.MAX_VERSION
        ):
            raise errors.RequestError(
                f"version must be a whole number from 0 to {messages.MAX_VERSION}, "
                f"not {self.version!r}"
            )
        if not isinstance(self.version_label, str | None):
            raise errors.RequestError(
                f"version_label must be a name, not {self.version_label!r}"
            )

    def write(self, spec):
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        if self.version_label is not None:
            spec.version_label = self.version_label

    def __str__(self):
        if self.version is not None:
            return f"model {self.model!r} version {self.version}"
        if self.version_label is not None:
            return f"model {self.model!r} version {self.version_label!r}"
        return f"model {self.model!r}"


class _VersionGoneError(errors.ServingError):
    """The version that answered the first parts of a request is served no more."""


def _check_rows(outputs, names, rows):
    """Refuses an answer that can't be put behind others, a row for each that was sent.

    It is of another model than the one known, or of one that mixes rows.
    """
    if {name: array.shape[:1] for name, array in outputs.items()} != dict.fromkeys(
        names, (rows,)
    ):
        listed = ", ".join(f"{n} of shape {[*a.shape]}" for n, a in outputs.items())
        raise errors.ServingError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"a part of {rows} rows was answered by {listed}, where {', '.join(names)} "
            "was asked for with a row for each: ask for fewer rows at a time",
        )


def _rows_allowed(error, rows):
    """Returns how many rows a server takes that these were too many for, else None."""
    limit = _TOO_MANY_ROWS.search(error.message)
    return int(limit[1]) if limit and 0 < int(limit[1]) < rows else None


def _is_too_large(error):
    return (
        error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        and _TOO_MANY_BYTES.search(error.message) is not None
    )


def _asked_for(message):
    """Says what it is that a server has not found, by its message."""
    servable = _SERVABLE.search(message)
    if servable is None:
        return "such model, or not in that version"
    name, version = servable.groups()
    if version is None:
        return f"model {name!r}"
    return f"version {version} of {name!r}, or no such model"


def _in_words(error, address):
    """Returns a ServingError for a failed call, saying what a person can do."""
    code, message = error.code(), error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE and _NOT_TRUSTED.search(message):
        message = (
            f"no secure connection to {address}: both sides must speak TLS, by "
            "certificates that the other's authority signed, the server's for the "
            f"name it is asked by ({message})"
        )
    elif code == grpc.StatusCode.UNAVAILABLE and _HUNG_UP.search(message):
        message = (
            f"{address} hangs up: it may want TLS, or a certificate of the client, or "
            f"be no gRPC server ({message})"
        )
    elif code == grpc.StatusCode.UNAVAILABLE and _NOT_GRPC in message:
        message = (
            f"{address} speaks HTTP and not gRPC: it may be the port of a REST API "
            f"({message})"
        )
    elif code == grpc.StatusCode.UNAVAILABLE and _NOT_REACHED.search(message):
        message = f"no answer from {address}, is a server running there? ({message})"
        if variable := next(filter(os.environ.get, _PROXIES), None):
            message += (
                f"; gRPC asks through the proxy of {variable}, unless no_proxy names "
                "the server"
            )
    elif code == grpc.StatusCode.UNAVAILABLE:
        message = f"{address} cannot answer now, try again later ({message})"
    elif code == grpc.StatusCode.NOT_FOUND and message.startswith(_NOT_SERVED):
        message = f"{address} serves no {_asked_for(message)} ({message})"
    elif message.startswith(_NO_LABEL):
        message = f"{address} has no version with that label ({message})"
    elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
        message = (
            f"{address} did not answer in time ({message}); "
            "give a longer timeout=, or ask for fewer rows"
        )
    elif code == grpc.StatusCode.CANCELLED and message in ("", "CANCELLED"):
        message = (
            f"{address}, or something between, ended the call before it was answered"
        )
    return errors.ServingError(code, message)


def check_address(address):
    """Raises `RequestError` for what gRPC would take, and ask another port for."""
    if isinstance(address, str):
        host, _, port = address.rpartition(":")
        if _RESOLVED.match(address) or (
            re.fullmatch(r"[^:]+|\[[^\]]+\]", host)
            and re.fullmatch("[0-9]{1,5}", port)
            and 1 <= int(port) <= 65535
        ):
            return
    raise errors.RequestError(
        "address must be host:port with a port from 1 to 65535, such as "
        f"127.0.0.1:8500 or [::1]:8500, not {address!r}"
    )


def _checked_timeout(timeout):
    if not isinstance(timeout, numbers.Real) or not timeout > 0:
        raise errors.RequestError(
            f"timeout is a positive number of seconds, not {timeout!r}"
        )
    return timeout


def _is_whole(number):
    try:
        operator.index(number)
    except TypeError:
        return False
    return True
