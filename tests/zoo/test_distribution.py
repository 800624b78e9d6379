"""Strategies by name: what is refused, and what the command line makes of them."""

import functools
import json
import types
from unittest import mock

import pytest
import tensorflow as tf
from click.testing import CliRunner

import zoo
from zoo import distribution
from zoo.__main__ import main
from zoo.training_loop import refuse_unsupported


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match=r"'mirrored'.*strategy='mirrorred'"):
        zoo.strategy("mirrorred")


@pytest.mark.parametrize("name", ["none", "multi_worker_mirrored", "tpu"])
def test_replicas_are_those_of_mirrored(name):
    with pytest.raises(ValueError, match=rf"for the strategy 'mirrored'.*'{name}'.*2"):
        zoo.strategy(name, replicas=2)


def test_none_is_one_device():
    assert zoo.strategy().num_replicas_in_sync == 1


def test_as_many_replicas_as_asked_for_and_one_strategy_for_the_same_devices():
    assert [zoo.strategy("mirrored", k).num_replicas_in_sync for k in (1, 2)] == [1, 2]
    assert zoo.strategy("mirrored", 2) is zoo.strategy("mirrored", 2)


@pytest.mark.parametrize("replicas", [0, -1, "2"])
def test_replicas_are_counted(replicas):
    with pytest.raises(ValueError, match=f"of 1 or more.*replicas={replicas!r}"):
        zoo.strategy("mirrored", replicas)


def test_more_replicas_than_devices_are_refused():
    tf.config.list_logical_devices()  # Now there are no more of them.
    with pytest.raises(ValueError, match=r"999 replicas .*need 999 .*Ask for the str"):
        zoo.strategy("mirrored", 999)


@pytest.fixture
def two_gpus(monkeypatch):
    def of_kind(kind):
        return [types.SimpleNamespace(name=f"{kind}:{k}") for k in range(2)]

    monkeypatch.setattr(tf.config, "list_physical_devices", of_kind)
    monkeypatch.setattr(tf.config, "list_logical_devices", of_kind)


@pytest.mark.usefixtures("two_gpus")
def test_replicas_are_gpus_where_there_are_some():
    assert distribution._devices(None) == ("GPU:0", "GPU:1")
    assert distribution._devices(1) == ("GPU:0",)
    with pytest.raises(ValueError, match="3 replicas need 3 GPUs; here are 2"):
        distribution._devices(3)


WORKERS = {"worker": ["host0:2222", "host1:2222"]}


@pytest.mark.parametrize(
    "config",
    [
        None,
        "cluster",
        "[]",
        "{}",
        json.dumps({"cluster": WORKERS}),
        json.dumps({"cluster": {}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": -1}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": "0"}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}),
    ],
)
def test_a_cluster_that_is_not_described_is_refused(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=r"such as .*Received: TF_CONFIG=") as caught:
        zoo.strategy("multi_worker_mirrored")
    assert str(caught.value).endswith(repr(config))


def test_a_described_cluster_is_joined(monkeypatch):
    joined = mock.Mock()
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", joined)
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": WORKERS, "task": task}))
    assert zoo.strategy("multi_worker_mirrored") is joined.return_value


def test_the_first_worker_is_the_chief():
    def worker(task_id):
        resolver = types.SimpleNamespace(task_id=task_id)
        return types.SimpleNamespace(cluster_resolver=resolver)

    assert distribution.is_chief(zoo.strategy())
    assert distribution.is_chief(worker(0))
    assert not distribution.is_chief(worker(1))


def test_a_parameter_server_is_refused():
    strategy = mock.Mock(spec=tf.distribute.ParameterServerStrategy)
    with pytest.raises(ValueError, match="ParameterServerStrategy cannot run `fit`"):
        refuse_unsupported(strategy, {})


def test_the_command_line_trains_on_the_replicas_asked_for(tmp_path, monkeypatch):
    strategy = mock.Mock(wraps=distribution.strategy)
    monkeypatch.setattr(distribution, "strategy", strategy)
    replicas = []
    compile_ = zoo.GAN.compile

    @functools.wraps(compile_)
    def counted(model, *args, **kwargs):
        replicas.append(tf.distribute.get_strategy().num_replicas_in_sync)
        compile_(model, *args, **kwargs)

    monkeypatch.setattr(zoo.GAN, "compile", counted)
    narrow = ["--generator-units", "4", "--discriminator-units", "4"]
    data = ["--image-size", "8", "--batch-size", "500", "--epochs", "1"]
    where = ["--strategy", "mirrored", "--replicas", "2", "--out", f"{tmp_path}/run"]
    done = CliRunner().invoke(main, ["train", "gan", *narrow, *data, *where])
    assert done.exit_code == 0, done.output
    strategy.assert_called_once_with("mirrored", 2)
    assert replicas[0] == 2
    assert zoo.from_preset(tmp_path / "run").generate(1).shape == (1, 8, 8, 1)
