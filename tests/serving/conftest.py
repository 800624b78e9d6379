"""One set of SavedModels and one server for all tests that do not change them."""

import shutil
import sys
import threading

import pytest

sys.path.insert(0, __file__.rpartition("/")[0])

import tiny_models

import serving
from serving import saved_model


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory):
    """Folder of SavedModels to copy: `tiny` (offset 0), `other` (50), `conditional`."""
    folder = tmp_path_factory.mktemp("saved")
    tiny_models.save(folder / "tiny")
    tiny_models.save(folder / "other", offset=50)
    tiny_models.save(folder / "conditional", conditional=True)
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The module behind `tiny`, to work out what it answers."""
    return tiny_models.Tiny()


@pytest.fixture
def publish(saved_models, tmp_path):
    """Publishes a SavedModel as `models/<name>/<version>`; returns its folder."""

    def publish(name, version, source="tiny", change=None):
        partial = tmp_path / f".partial-{name}-{version}"
        shutil.copytree(saved_models / source, partial)
        if change is not None:
            change(partial)
        target = tmp_path / "models" / name / str(version)
        target.parent.mkdir(parents=True, exist_ok=True)
        return partial.rename(target)

    (tmp_path / "models").mkdir()
    publish.models = tmp_path / "models"
    return publish


@pytest.fixture
def prompt_stops(monkeypatch):
    """Servers that stop do not pause for calls that only gRPC knows of."""
    monkeypatch.setattr("serving.server._REFUSING_SECONDS", 0)


@pytest.fixture
def held(monkeypatch):
    """An event that the runs of `slow` wait for, rather than keep a processor busy.

    `begun` is another one, which they set first.
    """
    end = threading.Event()
    end.begun = threading.Event()
    run = saved_model.SavedModel.run

    def run_in_the_end(self, signature, arrays, outputs):
        if signature.key == "slow":
            end.begun.set()
            assert end.wait(60)
        return run(self, signature, arrays, outputs)

    monkeypatch.setattr(saved_model.SavedModel, "run", run_in_the_end)
    yield end
    end.set()


@pytest.fixture(scope="session")
def models_dir(saved_models, tmp_path_factory):
    """A folder with `good` (versions 1 and 2) and `conditional`."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(saved_models / "tiny", folder / "good" / "1")
    shutil.copytree(saved_models / "tiny", folder / "good" / "2")
    shutil.copytree(saved_models / "conditional", folder / "conditional" / "1")
    return folder


@pytest.fixture(scope="session")
def server(models_dir):
    """A running server over `models_dir`, with REST."""
    with serving.Server(models_dir, port=0, rest_port=0) as server:
        yield server


@pytest.fixture
def client(server):
    """A client of `server`."""
    with serving.Client(server.address) as client:
        yield client
