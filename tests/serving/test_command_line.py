"""The command line: what it prints, where it fails, and the process it starts."""

import concurrent.futures
import contextlib
import itertools
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import click
import grpc
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tiny_models
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc

import serving
from serving import load
from serving.__main__ import main
from serving.services import Services
from zoo.plots import image_grid


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "")  # Else what `start` sets would stay.

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def test_generate_writes_a_grid_of_the_pictures_asked_for(
    run, server, client, tmp_path
):
    out = tmp_path / "new" / "grid.png"
    result = run("generate", server.address, "conditional", "-n", 5, "--labels", "0,1",
                 "--seed", 3, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "5 pictures of conditional, seeds 3 to 7" in result.output
    # The labels are repeated over the rows.
    pictures = client.generate("conditional", 5, seed=3, labels=[0, 1, 0, 1, 0])
    np.testing.assert_array_equal(PIL.Image.open(out), image_grid(pictures))


def test_generate_refuses_to_draw_vectors(run, tmp_path):
    class Vectors(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "seeds")])
        def sample(self, seeds):
            return {"samples": tf.cast(seeds, tf.float32)[:, None]}

    module = Vectors()
    tf.saved_model.save(
        module, str(tmp_path / "vectors" / "1"), signatures={"sample": module.sample}
    )
    with serving.Server(tmp_path, port=0) as server:
        result = run("generate", server.address, "vectors", "--out", tmp_path / "a.png")
    assert result.exit_code == 1
    assert "'vectors' draws vectors of shape [1], not pictures" in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_conformance(run, server):
    result = run("conformance", server.address, "good", "--verbose")
    assert result.exit_code == 0, result.output
    assert "5 differ deliberately, 0 fail" in result.output
    assert "agrees     unknown version label" in result.output


@pytest.mark.parametrize("model", ["good", "conditional"])
def test_bench(run, server, model):
    result = run("bench", server.address, model, "--callers", "1,2", "--seconds", 0.3)
    assert result.exit_code == 0, result.output
    assert "2 callers" in result.output
    assert "p99" in result.output
    assert "#" in result.output


def test_bench_asks_by_seeds_that_count_on(server, monkeypatch):
    asked = []

    def predict(client, model, inputs, signature):
        asked.append(inputs["seeds"].tolist())

    monkeypatch.setattr(load.Client, "predict", predict)
    list(load.bench(server.address, "good", [], seconds=1, rows=2, warm_up=3))
    assert asked == [[0, 1], [2, 3], [4, 5]]


def test_bench_measures_none_but_predictions(server, monkeypatch):
    others, measure = [], load.measure

    def metadata_requests():
        labels = {"api": "grpc", "method": "GetModelMetadata"}
        labels |= {"model": "good", "code": "OK"}
        registry = server.metrics.registry
        return registry.get_sample_value("serving_requests_total", labels)

    def counted(*arguments, seconds=None, **more):
        before = metadata_requests()
        report = measure(*arguments, seconds=seconds, **more)
        if seconds is not None:  # It is a level, and no warm-up.
            others.append(metadata_requests() - before)
        return report

    monkeypatch.setattr(load, "measure", counted)
    list(load.bench(server.address, "good", [4, 1], seconds=0.1))
    assert others == [0, 0]


def test_an_error_that_is_not_the_servers_ends_a_bench():
    def ask(k):
        if k == 5:
            raise ZeroDivisionError("five")

    with pytest.raises(ZeroDivisionError, match="five"):
        load.measure(ask, callers=3, seconds=60)


def test_bench_fails_where_requests_are_refused(run, publish, monkeypatch):
    numbers, answer = itertools.count(), Services.predict

    def predict(*arguments):
        number = next(numbers)
        if number >= 20 and number % 2:  # The first 20 count for nothing.
            raise serving.ServingError(grpc.StatusCode.UNAVAILABLE, "the queue is full")
        return answer(*arguments)

    monkeypatch.setattr(Services, "predict", predict)
    publish("m", 1)
    with serving.Server(publish.models, port=0) as server:
        asked = ["--callers", "1,2", "--seconds", 0.3]
        result = run("bench", server.address, "m", *asked)
    assert result.exit_code == 1
    one, two = map(int, re.findall(r"(\d+) failed", result.stdout))
    assert one
    assert two
    *counts, last = result.stderr.splitlines()
    assert len(counts) == 2
    assert all("UNAVAILABLE" in line for line in counts)
    assert re.fullmatch(rf"Error: {one + two} of \d+ requests failed", last)


def test_a_report_of_bench_says_how_long_most_and_nearly_all_took():
    latencies = np.arange(101) / 1000
    report = load.Report(3, 2.0, latencies, {"late": 4, "lost": 1})
    assert " ".join(str(report).split()) == (
        "3 callers 50.5 requests/s p50 50.00 ms p90 90.00 ms p99 99.00 ms 5 failed"
    )


def test_a_histogram_of_bench_has_every_latency_in_buckets_that_double():
    latencies = np.array([1.0, 1.5, 3.0, 9.0]) / 1000
    lines = load.Report(1, 1.0, latencies, {}).histogram(width=4).splitlines()
    assert [line.split() for line in lines] == [
        ["1.00", "to", "2.00", "ms", "2", "####"],
        ["2.00", "to", "4.00", "ms", "1", "##"],
        ["4.00", "to", "8.00", "ms", "0"],
        ["8.00", "to", "16.00", "ms", "1", "##"],
    ]


def test_latencies_of_bench_are_ascending_whatever_came_first():
    report = load.measure(lambda k: time.sleep(0.02 * (k == 0)), callers=1, requests=3)
    assert len(report.latencies) == 3
    assert (np.diff(report.latencies) >= 0).all()


def test_bench_of_models_that_draw_nothing(run, tmp_path):
    class Told(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2, 2, 1], tf.uint8, name="images"),
                tf.TensorSpec([None], tf.int64, name="labels"),
            ]
        )
        def classify(self, images, labels):
            tf.debugging.assert_equal(tf.shape(images)[0], 3)
            return {"probabilities": tf.zeros_like(labels, tf.float32)[:, None]}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.string, name="x")])
        def lengths(self, x):
            return {"lengths": tf.strings.length(x)}

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
        def scalar(self, x):
            return {"y": x}

    module = Told()
    for name, signatures in {
        "classifier": {"serving_default": module.classify, "classify": module.classify},
        "text": {"serving_default": module.lengths},
        "scalar": {"serving_default": module.scalar},
        "named": {"classify": module.classify},
    }.items():
        folder = str(tmp_path / name / "1")
        tf.saved_model.save(module, folder, signatures=signatures)
    with serving.Server(tmp_path, port=0, enable_batching=False) as server:
        asked = ["--callers", 2, "--seconds", 0.2, "-n", 3]
        for name in ("classifier", "text"):
            result = run("bench", server.address, name, *asked)
            assert result.exit_code == 0, result.output
            assert "2 callers" in result.stdout
            assert " 0 failed" in result.stdout
        for name in ("scalar", "named"):
            result = run("bench", server.address, name, *asked)
            assert result.exit_code == 1
            assert "no signature sample, and no serving_default" in result.stderr
            assert result.stderr.count("\n") == 1


def test_start_without_a_model_says_where_it_looks(tmp_path):
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}/m" '
        'model_platform: "tensorflow" } }'
    )
    (tmp_path / "m").mkdir()
    command = [sys.executable, "-m", "serving", "start", "--port", "0"]
    with subprocess.Popen(
        [*command, "--model-config-file", file], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            found = next(line for line in process.stderr if "no model" in line)
        finally:
            process.kill()
    assert found.startswith(f"no model of {file} is there yet; waiting for one, such")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["start", "{empty}", "--port", "99999"], 2, "not in the range 0<=x<=65535"),
        (["start", "{empty}", "--max-message-mib", "-1"], 2, "1<=x<=2047"),
        (["start", "{empty}", "--max-concurrent-requests", "0"], 2, "x>=1"),
        (
            ["start", "{empty}", "--tls-certificate", "{text}", "--tls-key", "{text}"],
            1,
            "must be a certificate and its key in PEM",
        ),
        (["generate", "{address}", "nope"], 1, "Latest(nope)"),
        (["generate", "{address}", "good", "--labels", "1"], 1, "takes no 'labels'"),
        (["generate", "127.0.0.1:1", "m", "--timeout", 0.2], 1, "no answer from"),
        (["generate", "nowhere", "m"], 1, "address must be host:port"),
        (["generate", "h:1", "m", "-n", "1" + "0" * 15], 1, "needs too much memory"),
        (["generate", "{address}", "good", "--labels", "a"], 2, "whole numbers"),
        (["generate", "{address}", "good", "--out", "grid"], 2, "names no picture"),
        (["generate", "{address}", "good", "--out", "g.psd"], 2, "names no picture"),
        (["generate", "{address}", "good", "-n", "0"], 2, "0 is not in the range"),
        (["generate", "{address}", "good", "--seed", 2**63], 1, "seeds lie between -9"),
        (["bench", "{address}", "nope"], 1, "Latest(nope)"),
        (["conformance", "{address}"], 2, "Missing argument 'MODEL...'"),
        (["conformance", "{address}", "nope"], 1, "Latest(nope)"),
        (["conformance", "{address}", "good", "--rest", "{address}"], 1, "is no REST"),
        (["config", "/no/such/folder"], 2, "does not exist"),
        (["config", "{empty}"], 1, "holds no models"),
        (["config", "{base}"], 1, "give the folder of models"),
        (["config", "{empty}", "--out", ""], 1, "--out is empty"),
        (["start"], 2, "give MODELS_DIR"),
        (["start", "/no/such/folder"], 2, "does not exist"),
        (["start", "{empty}", "--tls-key", "x"], 1, "belong together"),
        (["start", "{empty}", "--host", ""], 1, "host is empty"),
        (["start", "{empty}", "--poll-seconds", 0], 2, "0.0 is not in the range 0<x"),
        (["start", "{empty}", "--poll-seconds", "inf"], 2, "is not in the range"),
        (["start", "{empty}", "--grace-seconds", "nan"], 2, "nan is no time"),
        (["start", "{empty}", "--drain-seconds", "inf"], 2, "is not in the range"),
        (["bench", "{address}", "good", "--callers", "4,0"], 2, "1 or more"),
        (["bench", "{address}", "good", "--seconds", "-1"], 2, "not in the range"),
        (["config", "{empty}", "--image", "a b: c"], 2, "names no container image"),
        (["config", "{empty}", "--image", ""], 2, "names no container image"),
        (["config", "{empty}", "--image", "foo:"], 2, "names no container image"),
        (["config", "{empty}", "--baked-image", ":1"], 2, "names no container image"),
        (["start", "{empty}", "--model-config-file", "/no"], 1, "cannot be read"),
        (["start", "{base}"], 1, "give the folder of models"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_mistakes_are_one_line_on_stderr(
    run, server, models_dir, tmp_path, arguments, code, words
):
    (tmp_path / "text").write_text("text")
    names = {"address": server.address, "empty": tmp_path, "base": models_dir / "good"}
    names["text"] = tmp_path / "text"
    result = run(*[str(a).format(**names) for a in arguments])
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output
    if code == 1:
        assert result.stderr.count("\n") == 1


def test_help_is_enough(run):
    for command in ("start", "generate", "conformance", "config", "bench"):
        assert command in run("--help").output
        result = run(command, "--help")
        assert result.exit_code == 0
        for parameter in main.commands[command].params:
            if isinstance(parameter, click.Option):
                flag = re.escape(parameter.opts[0])
                assert re.search(rf"^ +{flag}(?![\w-])", result.output, re.MULTILINE)
                assert parameter.help
            else:
                words = parameter.metavar or parameter.name.upper()
                assert words in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_start_can_be_ended_while_models_load(saved_models, tmp_path, number):
    for k in range(100):
        shutil.copytree(saved_models / "tiny", tmp_path / f"m{k:03}" / "1")
    with subprocess.Popen(
        [sys.executable, "-m", "serving", "start", tmp_path, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            first = next(line for line in process.stderr if "serving m" in line)
            process.send_signal(number)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "serving m000 version 1" in first
    assert process.returncode == 128 + number
    assert "Traceback" not in rest
    assert "serving m099" not in rest


def test_an_ended_start_leaves_what_outlasts_its_grace(saved_models, tmp_path):
    shutil.copytree(saved_models / "tiny", tmp_path / "good" / "1")
    with subprocess.Popen(
        [
            *[sys.executable, "-m", "serving", "start", tmp_path, "--port", "0"],
            *["--grace-seconds", "0.1"],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            (address,) = re.findall(r"127\.0\.0\.1:\d+", process.stdout.readline())
            with (
                serving.Client(address, attempts=1) as client,
                concurrent.futures.ThreadPoolExecutor(1) as callers,
            ):
                client.metadata("good")
                endless = {"turns": np.array([10**12])}
                call = callers.submit(client.predict, "good", endless, "slow")
                time.sleep(1)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(serving.ServingError):
                    call.result()
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0


# Where tests run in the background, a shell has SIGINT ignored. Not by `preexec_fn`:
# the fork that it needs lets gRPC write into the child's stderr.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("serving", run_name="__main__", alter_sys=True)
"""


def test_a_bench_can_be_interrupted(server):
    command = [sys.executable, "-c", INTERRUPTIBLE, "bench", server.address, "good"]
    with subprocess.Popen(
        [*command, "--callers", "1,8", "--seconds", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "1 caller " in process.stdout.readline()  # Now eight of them ask.
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told.strip() == "Aborted!"


OPEN_CONNECTIONS = """
import resource, socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
preface = b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + settings
left = []
for k in range(count):
    try:
        left.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        if k % 2:
            left[-1].sendall(preface)
    except OSError as error:
        print(error, file=sys.stderr)
        break
print(len(left), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def started(saved_models, place):
    """A `python -m serving start`, which writes into a folder."""
    folder = place / "served"
    shutil.copytree(saved_models / "tiny", folder / "good" / "1")
    log = (place / "log.txt").open("w")
    command = [sys.executable, "-m", "serving", "start", folder, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--tensorflow-intra-op-parallelism", "1"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        line = process.stdout.readline()
        process.log = place / "log.txt"
        assert line.startswith("gRPC on 127.0.0.1:"), process.log.read_text()
        process.address = line.split()[-1]
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()


@pytest.fixture(scope="module")
def process(saved_models, tmp_path_factory):
    """A `python -m serving start` for the tests that let it run."""
    with started(saved_models, tmp_path_factory.mktemp("started")) as process:
        yield process


def _memory(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_start_is_the_quicker_for_no_keras(process):
    libraries = pathlib.Path(f"/proc/{process.pid}/maps").read_text()
    assert "/tensorflow/" in libraries
    assert "/optree/" not in libraries  # Keras has no library of its own.


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_10000_connections_opened_and_left(process, tiny):
    with serving.Client(process.address) as client:
        client.generate("good", 1)
        before = _memory(process)
    port = process.address.rpartition(":")[2]
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            opener = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", OPEN_CONNECTIONS, port, "2500"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            opened = int(opener.stdout.readline())
            assert opened == 2500 or "limit" in process.log.read_text()
        with serving.Client(process.address) as client:
            np.testing.assert_array_equal(
                client.generate("good", 4), tiny.expected(range(4))
            )
        assert _memory(process) < before + 1024
    assert process.poll() is None


@pytest.fixture
def ending(saved_models, tmp_path):
    """A `python -m serving start` for a test that ends it."""
    with started(saved_models, tmp_path) as process:
        yield process


def test_sigterm_turns_health_and_finishes_what_is_in_flight(ending):
    channel = grpc.insecure_channel(ending.address)
    statuses = queue.Queue()

    def watch():
        with contextlib.suppress(grpc.RpcError):
            stub = health_pb2_grpc.HealthStub(channel)
            for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                statuses.put(answer.status)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    state = health_pb2.HealthCheckResponse
    assert statuses.get(timeout=60) == state.SERVING
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    def slow(turns):
        request = tiny_models.predict_request(
            "good", "slow", turns=np.array([turns], np.int64)
        )
        return call.future(request.SerializeToString())

    slow(1).result()
    in_flight = slow(150_000)
    with pytest.raises(grpc.FutureTimeoutError):
        in_flight.result(timeout=0.3)
    ending.send_signal(signal.SIGTERM)
    assert statuses.get(timeout=60) == state.NOT_SERVING
    assert in_flight.result(timeout=60)
    assert ending.wait(timeout=60) == 0
    watcher.join(timeout=60)
    channel.close()
    assert "Traceback" not in ending.log.read_text()
