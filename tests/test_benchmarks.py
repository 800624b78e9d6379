"""What measures the speed, and what publishes presets, still fits the package."""

import functools
import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from benchmarks import train
from benchmarks.loops import BareLoop, TutorialModel
from zoo import presets
from zoo.variants import VARIANTS

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
