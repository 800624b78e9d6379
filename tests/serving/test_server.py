"""The embedded server against its specification, over real gRPC."""

import concurrent.futures
import contextlib
import logging
import random
import socket
import threading
import time
import tracemalloc
import types

import grpc
import numpy as np
import pytest
import tiny_models
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from waiting import until

import serving
from serving import messages, tensors
from serving.conformance import grpc_calls, grpc_cases
from serving.server import _is_loopback, _on_cancel


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def predict(channel):
    return channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=lambda request: (
            request if isinstance(request, bytes) else request.SerializeToString()
        ),
        response_deserializer=messages.PredictResponse.FromString,
    )


@pytest.mark.parametrize(
    ("model", "signature"),
    [("good", None), ("good", "sample"), ("good", "encode"), ("conditional", "sample")],
)
def test_every_row_of_the_specification(channel, client, model, signature):
    metadata = client.metadata(model)
    chosen = grpc_cases.cases(model, metadata.version, metadata.signatures, signature)
    results = list(grpc_calls.run(channel, chosen))
    assert len(results) >= 30
    assert [r for r in results if r.outcome == "fails"] == []
    deliberate = {r.case.name for r in results if r.outcome == "deliberate"}
    assert deliberate == {r.case.name for r in results if r.case.deliberate}


def test_seeds_give_the_pictures_the_model_computes(client, tiny):
    seeds = [3, 1, 4, 1, 5, -9]
    images = client.generate("good", seeds=seeds)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, tiny.expected(seeds))


def test_requests_in_one_batch_get_their_own_rows(server, tiny):
    with (
        serving.Client(server.address) as client,
        concurrent.futures.ThreadPoolExecutor(24) as callers,
    ):
        futures = [
            callers.submit(client.generate, "good", 1 + seed % 3, seed)
            for seed in range(300)
        ]
        for seed, future in enumerate(futures):
            expected = tiny.expected(range(seed, seed + 1 + seed % 3))
            np.testing.assert_array_equal(future.result(), expected)


def test_a_bad_request_never_harms_its_batch_mates(server):
    """Neither by its shape, which is checked, nor by a value that no check knows."""

    def ask(k):
        indexes = np.array([k % 12], np.int64)  # 10 and 11 are not in the table.
        with serving.Client(server.address) as client:
            if k % 5 == 4:
                indexes = np.zeros((1, 2), np.int64)
                request = tiny_models.predict_request(
                    "good", "fragile", indexes=indexes
                )
                with grpc.insecure_channel(server.address) as channel:
                    call = channel.unary_unary(
                        "/tensorflow.serving.PredictionService/Predict"
                    )
                    with pytest.raises(grpc.RpcError) as caught:
                        call(request.SerializeToString())
                return caught.value.code()
            try:
                answer = client.predict("good", {"indexes": indexes}, "fragile")
            except serving.ServingError as error:
                return error.code
            return answer["found"].tolist()

    with concurrent.futures.ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(ask, range(120)))
    for k, answer in enumerate(answers):
        if k % 5 == 4 or k % 12 >= 10:
            assert answer == grpc.StatusCode.INVALID_ARGUMENT
        else:
            assert answer == [k % 12]


def test_large_requests_are_split(client, tiny):
    images = client.generate("good", 200, seed=0)
    np.testing.assert_array_equal(images, tiny.expected(range(200)))


def test_zero_rows_are_answered(predict):
    request = tiny_models.predict_request("good", seeds=np.zeros(0, np.int64))
    images = tensors.decode(predict(request).outputs["images"])
    assert images.shape == (0, 4, 4, 1)


def test_strings_travel(client):
    files = client.predict("good", {"seeds": [1, 2]}, "png")["png_bytes"]
    assert [tiny_models.png_size(content) for content in files] == [(4, 4)] * 2


def test_scalar_inputs_are_computed_alone(client):
    assert client.predict("good", {"x": 1.5}, "scalar")["y"] == 2.5


def test_nan_latents_are_answered(client):
    latents = np.full((2, tiny_models.LATENT_DIM), np.nan, np.float32)
    assert client.predict("good", {"latents": latents})["images"].shape == (2, 4, 4, 1)


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        ([-1], grpc.StatusCode.INVALID_ARGUMENT),
        ([1 << 62, 1 << 62], grpc.StatusCode.INVALID_ARGUMENT),
        ([1 << 40], grpc.StatusCode.INVALID_ARGUMENT),
        # Fits as input, but its answer would fit in no message.
        ([10_000_000], grpc.StatusCode.RESOURCE_EXHAUSTED),
        ([0, 1 << 62], grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_huge_and_negative_shapes_are_refused(predict, sizes, code):
    request = tiny_models.predict_request("good")
    proto = request.inputs["seeds"]
    proto.dtype = 9
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    with pytest.raises(grpc.RpcError) as caught:
        predict(request)
    assert caught.value.code() == code


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((15 << 20, 1), "cannot take the shape"), ((15 << 20,), "than the queue ever")],
    ids=["wrong", "too many rows"],
)
def test_a_refused_shape_takes_no_memory(server, predict, sizes, words):
    """A few bytes that stand for 120 MiB of numbers."""
    request = tiny_models.predict_request("good", signature="fragile")
    proto = request.inputs["indexes"]
    proto.dtype = 9
    proto.int64_val.extend([0, 1])
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    tracemalloc.start()
    with pytest.raises(grpc.RpcError, match=words):
        predict(request)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def test_garbage_and_truncated_requests_are_refused(predict):
    good = tiny_models.predict_request("good", seeds=np.arange(4)).SerializeToString()
    allowed = (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    for content in [good[:cut] for cut in range(len(good))] + [b"\xff" * 99]:
        with pytest.raises(grpc.RpcError) as caught:
            predict(content)
        assert caught.value.code() in allowed
    assert predict(good).model_spec.name == "good"


@pytest.mark.parametrize("name", ["../good", "good/1", "/etc", "..", ".", "good\0"])
def test_names_cannot_leave_the_folder(predict, name):
    with pytest.raises(grpc.RpcError) as caught:
        predict(tiny_models.predict_request(name, seeds=np.arange(1)))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_deadline_is_kept_while_others_compute(server, held):
    """The waiting request is dropped when its time is up, uncomputed."""
    with (
        serving.Client(server.address) as client,
        concurrent.futures.ThreadPoolExecutor(1) as caller,
    ):
        client.metadata("good")
        before = _begun(server, "slow")
        busy = caller.submit(client.predict, "good", {"turns": np.array([7])}, "slow")
        until(lambda: _begun(server, "slow") != before)
        with pytest.raises(serving.ServingError) as caught:
            client.predict("good", {"turns": np.array([1])}, "slow", timeout=0.05)
        assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert not busy.done()
        held.set()
        assert busy.result()["turns"] == [7]


@pytest.mark.parametrize("is_queued", [True, False])
@pytest.mark.parametrize(
    ("timeout", "code"),
    [
        (0.5, grpc.StatusCode.DEADLINE_EXCEEDED),
        # Of a second or more, what the server is told is rounded up.
        (1.2311, grpc.StatusCode.DEADLINE_EXCEEDED),
        (60, grpc.StatusCode.CANCELLED),
    ],
)
def test_calls_are_counted_by_what_their_callers_got(
    server, predict, held, is_queued, timeout, code
):
    until(lambda: not server.metrics.in_flight)
    labels = {"api": "grpc", "method": "Predict", "model": "good", "code": code.name}

    def counted():
        registry = server.metrics.registry
        return registry.get_sample_value("serving_requests_total", labels) or 0

    before = counted()
    request = tiny_models.predict_request("good", "slow", turns=np.array([1]))
    if is_queued:
        busy = predict.future(request)
        assert held.begun.wait(60)
    call = predict.future(request, timeout=timeout)
    if code == grpc.StatusCode.CANCELLED:
        until(lambda: server.metrics.in_flight == 1 + is_queued)
        call.cancel()
    until(call.done)
    assert call.code() == code
    until(lambda: server._messages_in_time.in_flight == is_queued)
    held.set()
    until(lambda: not server.metrics.in_flight)
    assert counted() == before + 1
    if is_queued:
        assert busy.result().outputs


def test_one_connection_does_not_take_the_threads_of_others(
    server, client, predict, held
):
    until(lambda: not server.metrics.in_flight)
    request = tiny_models.predict_request("good", "slow", turns=np.array([1]))
    calls = [predict.future(request) for _ in range(200)]
    until(lambda: server.metrics.in_flight >= 128)
    for seed in range(10):
        client.generate("good", 1, seed)
    assert server.metrics.in_flight == 128
    held.set()
    assert all(call.result().outputs for call in calls)


def _begun(server, signature):
    """What the metrics say of batches of this signature, which they count at once."""
    start = f'serving_batch_rows_count{{model="good",signature="{signature}"}}'
    lines = server.metrics.render().decode().splitlines()
    return [line for line in lines if line.startswith(start)]


def test_health(channel, server):
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", messages.PREDICTION_SERVICE, messages.MODEL_SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_and_describes_the_services(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert services >= {
        messages.PREDICTION_SERVICE,
        messages.MODEL_SERVICE,
        "grpc.health.v1.Health",
    }
    for service in services:
        assert database.FindFileContainingSymbol(service).service


def test_left_open_reflection_streams_do_not_block_requests(server, client):
    """Each holds a thread of the server, so their number is limited."""
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        end = threading.Event()

        def nothing():
            end.wait()

        streams = [call(iter(nothing, None)) for _ in range(300)]
        assert len(client.generate("good", 2)) == 2
        end.set()
        for stream in streams:
            stream.cancel()


PREDICT = "/tensorflow.serving.PredictionService/Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


def test_calls_whose_message_never_comes_are_cancelled(publish, monkeypatch):
    monkeypatch.setattr("serving.interceptors._PRESSED_SECONDS", 0.5)
    monkeypatch.setattr("serving.interceptors._MESSAGE_SECONDS", 2.0)
    publish("good", 1)
    never = threading.Event()

    def nothing():
        never.wait()

    with (
        serving.Server(publish.models, port=0, max_concurrent_requests=2) as server,
        serving.Client(server.address, attempts=1) as client,
    ):
        call = client.channel.stream_unary(PREDICT)
        stalled = [call.future(iter(nothing, None)) for _ in range(100)]
        codes = {each.code() for each in stalled}
        assert codes == {
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,  # More than there are threads.
        }
        assert len(client.generate("good", 2)) == 2
        never.set()


def test_a_slow_message_is_waited_for_where_others_find_threads(publish, monkeypatch):
    monkeypatch.setattr("serving.interceptors._PRESSED_SECONDS", 0.1)
    publish("good", 1)
    request = tiny_models.predict_request("good", "sample", seeds=np.arange(2))

    def slowly():
        time.sleep(1)
        yield request.SerializeToString()

    with (
        serving.Server(publish.models, port=0) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        answer = channel.stream_unary(PREDICT)(slowly())
        assert messages.PredictResponse.FromString(answer).outputs["images"]


@contextlib.contextmanager
def slowed(address, bytes_per_second):
    """A proxy through which what callers send arrives slowly; yields its address."""

    def forward(source, target, pause):
        with contextlib.suppress(OSError):
            while content := source.recv(1024):
                target.sendall(content)
                time.sleep(len(content) * pause)
            target.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                host, _, port = address.rpartition(":")
                server = socket.create_connection((host, int(port)))
                for ends in (
                    (caller, server, 1 / bytes_per_second),
                    (server, caller, 0),
                ):
                    threading.Thread(target=forward, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def stopped_amid_calls(server, clients, ask, when):
    """Returns the codes of the errors that callers see of a server that stops."""

    def ask_on(client):
        try:
            while True:
                ask(client)
        except serving.ServingError as error:
            return error.code

    with contextlib.ExitStack() as stack:
        # Left last: its threads end with the server.
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(clients))
        stack.enter_context(server)
        asking = [
            pool.submit(
                ask_on,
                stack.enter_context(serving.Client(server.address, attempts=1)),
            )
            for _ in range(clients)
        ]
        time.sleep(0.2)
        until(lambda: when(server))
        server.stop()
        return {each.result() for each in asking}


def test_calls_at_the_moment_of_a_stop_are_answered_or_may_be_tried_again(publish):
    publish("m", 1)
    codes = stopped_amid_calls(
        serving.Server(publish.models, port=0),
        32,
        lambda client: client.generate("m", 4),
        when=lambda server: server.metrics.in_flight > 4,
    )
    assert codes == {grpc.StatusCode.UNAVAILABLE}


def test_so_may_calls_that_grpc_alone_knows_of(publish):
    publish("m", 1)

    def ask(client):
        client.status("m")
        time.sleep(random.uniform(0, 0.006))

    for _ in range(8):
        codes = stopped_amid_calls(
            serving.Server(publish.models, port=0),
            4,
            ask,
            when=lambda server: server._messages_in_time.in_flight == 0,
        )
        assert codes == {grpc.StatusCode.UNAVAILABLE}


def test_a_stop_waits_for_calls_whose_message_is_on_its_way(publish, tiny):
    publish("m", 1)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving.Server(publish.models, port=0))
        address = stack.enter_context(slowed(server.address, 20_000))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor())
        channel = stack.enter_context(grpc.insecure_channel(address))
        grpc.channel_ready_future(channel).result()
        seeds = np.arange(3000)  # 24 kB, which take more than a second.
        request = tiny_models.predict_request("m", "sample", seeds=seeds)
        answer = pool.submit(channel.unary_unary(PREDICT), request.SerializeToString())
        until(lambda: server._messages_in_time.in_flight == 1)
        assert server.metrics.in_flight == 0
        server.stop(grace=30)
        found = messages.PredictResponse.FromString(answer.result()).outputs["images"]
        np.testing.assert_array_equal(tensors.decode(found), tiny.expected(seeds))
        assert server._messages_in_time.in_flight == 0


def test_a_stop_leaves_a_version_that_still_loads(publish, held):
    publish("m", 1)
    server = serving.Server(publish.models, port=0, poll_seconds=0.02).start()
    record = tiny_models.predict_request("m", "slow", turns=np.array([1]))
    publish("m", 2, change=lambda path: tiny_models.write_warmup(path, [record]))
    spec = record.model_spec
    loading = messages.ModelVersionStatus.State.LOADING
    until(lambda: server.models.statuses(spec)[0].state == loading)
    server.stop(grace=0)
    assert server.models.statuses(spec)[0].state == loading
    assert server.models.available() == {"m": []}
    held.set()
    server._poller.join()  # Of the process, which goes on here.
    publish("m", 3)
    server.models.poll()
    assert server.models.available() == {"m": []}
    (newest, _) = server.models.statuses(spec)
    assert (newest.version, newest.state) == (2, messages.ModelVersionStatus.State.END)


def test_a_stop_while_it_starts_gives_up_the_ports(publish, held):
    record = tiny_models.predict_request("m", "slow", turns=np.array([1]))
    publish("m", 1, change=lambda path: tiny_models.write_warmup(path, [record]))
    server = serving.Server(publish.models, port=0, rest_port=0)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        starting = threads.submit(server.start)
        until(lambda: "m" in server.models.available())
        server.stop(grace=0)
        assert not starting.done()
        held.set()
        with pytest.raises(RuntimeError, match="was stopped while it started"):
            starting.result()
    server.stop()
    assert server.rest_address is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.address.split(":")[1])))


def test_a_second_stop_waits_for_the_first(publish):
    publish("m", 1)
    server = serving.Server(publish.models, port=0).start()
    stopping = threading.Thread(target=server.stop, kwargs={"drain": 1.0})
    stopping.start()
    until(server._stopping.is_set)
    server.stop()
    assert server.models.available() == {"m": []}
    stopping.join()


def test_an_answer_above_the_limit_is_refused_in_words(publish):
    """How large PNG files are is known when they are there."""
    publish("good", 1)
    with (
        serving.Server(publish.models, port=0, max_message_bytes=100_000) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        request = tiny_models.predict_request("good", "png", seeds=np.arange(3000))
        with pytest.raises(grpc.RpcError, match="more than the 100000 of one message"):
            channel.unary_unary(PREDICT)(request.SerializeToString())
        assert b'code="RESOURCE_EXHAUSTED"' in server.metrics.render()


def test_requests_above_the_limit_are_refused(publish):
    publish("good", 1)
    with (
        serving.Server(publish.models, port=0, max_message_bytes=1 << 20) as server,
        serving.Client(server.address) as client,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary(PREDICT)(bytes(2 << 20))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(client.generate("good", 2)) == 2


def test_watches_of_health_are_few_and_harm_nobody(publish):
    publish("good", 1)
    state = health_pb2.HealthCheckResponse
    with (
        serving.Server(publish.models, port=0) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("nobody", "x" * 1000):
            answers = list(stub.Watch(health_pb2.HealthCheckRequest(service=name)))
            assert [answer.status for answer in answers] == [state.SERVICE_UNKNOWN]
        for _ in range(100):  # Cancelled before, while and after it is set up.
            stub.Watch(health_pb2.HealthCheckRequest()).cancel()
        watches = []

        def sixteen_watch():
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            with contextlib.suppress(grpc.RpcError):  # Those before may be ending yet.
                assert next(watch).status == state.SERVING
                watches.append(watch)
            return len(watches) == 16

        until(sixteen_watch)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Watch(health_pb2.HealthCheckRequest()))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.Check(health_pb2.HealthCheckRequest()).status == state.SERVING
        for watch in watches:
            watch.cancel()
        for _ in range(300):  # Watches that begin while others end.
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            with contextlib.suppress(grpc.RpcError):
                next(watch)
            watch.cancel()
        assert stub.Check(health_pb2.HealthCheckRequest()).status == state.SERVING


def test_watches_whose_message_never_comes_hold_no_threads(publish):
    publish("good", 1)
    never = threading.Event()

    def nothing():
        never.wait()
        yield from ()

    with (
        serving.Server(publish.models, port=0, max_concurrent_requests=1) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = channel.stream_stream("/grpc.health.v1.Health/Watch")
        watches = [call(nothing()) for _ in range(100)]
        refused = [watch.code() for watch in watches[-50:]]
        assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        stub = health_pb2_grpc.HealthStub(channel)
        state = health_pb2.HealthCheckResponse
        assert stub.Check(health_pb2.HealthCheckRequest()).status == state.SERVING
        never.set()


def test_health_turns_with_a_reload(publish):
    publish("good", 1)
    state = health_pb2.HealthCheckResponse
    with (
        serving.Server(publish.models, port=0, poll_seconds=1e6) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == state.SERVING
        request = messages.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        channel.unary_unary(RELOAD)(request.SerializeToString())
        assert stub.Check(health_pb2.HealthCheckRequest()).status == state.NOT_SERVING


def test_health_turns_with_the_first_model_and_while_draining(publish, monkeypatch):
    state = health_pb2.HealthCheckResponse
    drained = threading.Event()
    clock = types.SimpleNamespace(sleep=drained.wait, monotonic=time.monotonic)
    monkeypatch.setattr("serving.server.time", clock)
    with serving.Server(publish.models, port=0, poll_seconds=0.05) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == state.NOT_SERVING
            publish("good", 1)
            assert next(watch).status == state.SERVING
            stopping = threading.Thread(target=server.stop, kwargs={"drain": 60})
            stopping.start()
            assert next(watch).status == state.NOT_SERVING
            # Load balancers have not noticed yet, and are served.
            with serving.Client(server.address) as client:
                assert len(client.generate("good", 2)) == 2
            watch.cancel()
        drained.set()
        stopping.join()


def test_a_call_without_a_message_is_refused(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.stream_unary(PREDICT)(iter(()))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_multi_inference_is_unimplemented(channel):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/MultiInference")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_taken_port_is_an_error_in_words(server, models_dir):
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(OSError, match="is the port taken"):
        serving.Server(models_dir, port=port).start()


def test_a_server_starts_once(models_dir, tiny):
    with serving.Server(models_dir, port=0).start() as server:
        with pytest.raises(RuntimeError, match="starts once"):
            server.start()
        with serving.Client(server.address) as client:
            np.testing.assert_array_equal(
                client.generate("good", 1), tiny.expected([0])
            )
    with pytest.raises(RuntimeError, match="starts once"), server:
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 70_000}, "port must be 0 or more, and 65535 at most; it is 70000"),
        ({"port": 0, "rest_port": -1}, "rest_port must be"),
        ({"poll_seconds": -1}, "poll_seconds must be 0.001 or more"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests must be 1 or more"),
    ],
)
def test_options_out_of_range_are_errors_in_words(models_dir, options, words):
    with pytest.raises(ValueError, match=words):
        serving.Server(models_dir, **options)


def test_a_missing_folder_is_an_error_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m export"):
        serving.Server(tmp_path / "absent")


def test_the_folder_of_one_model_is_an_error_in_words(models_dir):
    with pytest.raises(ValueError, match="give the folder of models"):
        serving.Server(models_dir / "good")
    with pytest.raises(ValueError, match=f"give the folder of models, {models_dir}"):
        serving.Server(models_dir / "good" / "1")


def test_listening_to_others_without_tls_warns(publish, caplog):
    with (
        caplog.at_level(logging.WARNING, "serving"),
        serving.Server(publish.models, host="0.0.0.0", port=0),
    ):
        pass
    assert "without TLS" in caplog.text


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("127.0.0.2", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("gan.example", False),
    ],
)
def test_only_addresses_of_the_machine_alone_need_no_tls(host, is_own):
    assert _is_loopback(host) == is_own


def test_who_has_gone_before_it_is_asked_for_is_told_of_at_once():
    told = []
    gone = types.SimpleNamespace(add_callback=lambda callback: False)
    _on_cancel(gone)(lambda: told.append("gone"))
    assert told == ["gone"]


def test_too_many_requests_at_once_are_refused_at_once(publish, held):
    publish("good", 1)
    with (
        serving.Server(publish.models, port=0, max_concurrent_requests=2) as server,
        serving.Client(server.address) as client,
        concurrent.futures.ThreadPoolExecutor(2) as callers,
    ):
        client.metadata("good")
        slow = {"turns": np.array([7])}
        busy = [callers.submit(client.predict, "good", slow, "slow") for _ in range(2)]
        until(lambda: server.metrics.in_flight == 2)
        with pytest.raises(serving.ServingError) as caught:
            client.status("good")
        assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 'code="RESOURCE_EXHAUSTED"' in server.metrics.render().decode()
        # Whoever probes a busy server finds it healthy.
        health = health_pb2_grpc.HealthStub(client.channel)
        answer = health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        held.set()
        for call in busy:
            assert call.result()["turns"] == [7]
        assert client.status("good")[0].state == "AVAILABLE"
