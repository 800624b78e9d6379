"""What measures the speed, and what publishes presets, still fits the package."""

import contextlib
import functools
import importlib.util
import io
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from benchmarks import serve, train
from benchmarks.loops import BareLoop, TutorialModel
from serving import saved_model
from zoo import presets
from zoo.variants import VARIANTS

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .*eagerly")

ROOT = pathlib.Path(__file__).parents[1]
IMAGE_SHAPE = (16, 16, 1)


@pytest.fixture(autouse=True)
def eager():
    """Runs everything as it is written: to compile it would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def small(monkeypatch):
    """Narrow networks on small images, and few of them."""
    monkeypatch.setattr(train, "FILTERS", 2)
    monkeypatch.setattr(train, "dcgan", functools.partial(train.dcgan, IMAGE_SHAPE))
    few = train.batches(4, IMAGE_SHAPE)
    monkeypatch.setattr(train, "batches", lambda batch_size=4, steps=1: few)


@pytest.mark.usefixtures("small")
def test_the_loops_are_compared():
    done = CliRunner().invoke(train.main, ["loop", "--rounds", "1", "--steps", "1"])
    assert done.exit_code == 0, done.output
    for update in ("alternate", "simultaneous"):
        assert done.output.count(f"\n{update}") == 2


def test_an_unknown_section_is_refused():
    done = CliRunner().invoke(train.main, ["loops"])
    assert done.exit_code == 2
    assert "['loops'] are not of ['loop'," in done.output


@pytest.mark.parametrize(
    ("benchmark", "arguments", "words"),
    [
        (train, ["--rounds", "0"], "'--rounds': 0 is not in the range x>=1"),
        (train, ["--steps", "0"], "'--steps': 0 is not in the range x>=1"),
        (serve, ["--rounds", "0"], "'--rounds': 0 is not in the range x>=1"),
        (serve, ["--seconds", "0"], "'--seconds': 0.0 is not in the range x>=0.1"),
        (serve, ["--soak", "-1"], "'--soak': -1 is not in the range x>=0"),
        (serve, ["--threads", "-1"], "'--threads': -1 is not in the range x>=0"),
        (serve, ["dcgan28"], "unexpected arguments: dcgan28"),
    ],
)
def test_what_cannot_be_measured_is_refused(monkeypatch, benchmark, arguments, words):
    monkeypatch.setattr(train, "SECTIONS", {})
    monkeypatch.setattr(serve, "Worker", None)  # Nothing is started.
    done = CliRunner().invoke(benchmark.main, arguments)
    assert done.exit_code == 2
    assert words in done.output


class FakeWorker:
    """Notes how workers are started, and what they are asked."""

    started, asked = [], []

    def __init__(self, role, *arguments, **question):
        self.role = role
        self.hello = {"address": f"{role}:1"}
        self.started.append((role, *arguments))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    def ask(self, **question):
        if "rows" in question:
            self.asked.append((self.role, question["rows"], question["callers"]))
        return {"rate": 1.0, "p50": 1.0, "p99": 1.0}


@pytest.fixture
def fake_workers(monkeypatch):
    monkeypatch.setattr(FakeWorker, "started", [])
    monkeypatch.setattr(FakeWorker, "asked", [])
    monkeypatch.setattr(serve, "Worker", FakeWorker)


@pytest.mark.usefixtures("fake_workers")
def test_all_that_compute_have_the_same_threads():
    serve.compare("folder", ["a"], threads=1, seconds=1, rounds=1, soak=0)
    started = [start for start in FakeWorker.started if start[1] == "folder"]
    roles = ("serve", "direct", "runner")
    assert started == [(role, "folder", "1") for role in roles]


@pytest.mark.usefixtures("fake_workers")
def test_every_other_round_is_measured_backwards():
    serve.compare("folder", ["a"], threads=0, seconds=1, rounds=3, soak=0)
    a_round = len(FakeWorker.asked) // 3
    first, second, third = (
        FakeWorker.asked[k * a_round : (k + 1) * a_round] for k in range(3)
    )
    assert first == second[::-1] == third
    assert len(first) == 5 * len(serve.CALLERS)


@pytest.mark.parametrize("role", [serve.direct, serve.runner])
@pytest.mark.parametrize(("threads", "expected"), [("0", []), ("1", [1])])
def test_direct_calls_share_operations_as_told(monkeypatch, role, threads, expected):
    found = []
    monkeypatch.setattr(saved_model, "set_intra_op_parallelism", found.append)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    role("folder", threads)
    assert found == expected


def test_a_benchmark_that_is_ended_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "benchmarks.serve", "--model", "dcgan28_narrow"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    try:
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)  # Now a process of its own exports.
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
        assert not list(tmp_path.iterdir())
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def assert_moves(model, run):
    networks = (model.generator, model.discriminator)
    before = [w.numpy() for network in networks for w in network.trainable_weights]
    run()
    after = [w.numpy() for network in networks for w in network.trainable_weights]
    for old, new in zip(before, after, strict=True):
        assert np.isfinite(new).all()
        assert (old != new).any()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("update", ["alternate", "simultaneous"])
def test_the_bare_loop_trains_both_networks(update):
    model = train.dcgan()
    bare = BareLoop(model, update)
    assert_moves(model, lambda: bare.run(train.batches()))


@pytest.mark.usefixtures("small")
def test_the_tutorial_trains_both_networks():
    model = train.dcgan()
    tutorial = TutorialModel(model)
    (images,) = train.batches()
    assert_moves(model, lambda: tutorial.train_step(images))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_has_a_narrow_form_that_trains(name):
    model, data = train._narrow(name, VARIANTS[name])
    logs = model.train_step(next(iter(data)))
    assert all(np.isfinite(value) for value in logs.values())


def test_the_licences_of_the_weights_are_those_that_publishing_writes():
    path = ROOT / "packaging" / "publish.py"
    spec = importlib.util.spec_from_file_location("publish", path)
    publish = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(publish)
    assert (presets.BUILT_IN / publish.LICENCES).read_text() == publish.licences()
