"""Presets: untrusted input, from a name, a folder or a server that breaks off."""

import functools
import hashlib
import http.server
import json
import pathlib
import shutil
import threading

import numpy as np
import pytest

import zoo
from zoo import presets


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small GAN and the folder of its preset."""
    gan = zoo.GAN((4, 4, 1), 3, generator_units=(8,), discriminator_units=(4,), seed=0)
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    gan.save_to_preset(folder, {"dataset": "none", "measured": {"x": 1}})
    return gan, folder


@pytest.fixture
def preset(saved, tmp_path):
    """A copy of the preset that a test may spoil."""
    return pathlib.Path(shutil.copytree(saved[1], tmp_path / "preset"))


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_preset_gives_the_model_back(saved, preset):
    loaded = zoo.from_preset(preset)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert type(zoo.GAN.from_preset(preset)) is zoo.GAN
    metadata = json.loads((preset / "metadata.json").read_text())
    assert metadata["dataset"] == "none"
    assert metadata["class"] == "GAN"
    assert set(metadata["files"]) == {"config.json", "model.weights.h5"}


def test_saving_again_replaces_a_preset_and_nothing_else(saved, preset, tmp_path):
    saved[0].save_to_preset(preset)
    assert zoo.from_preset(preset).latent_dim == 3
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]

    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("not yours")
    with pytest.raises(FileExistsError, match="no preset"):
        saved[0].save_to_preset(tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "not yours"


def test_damaged_weights_are_refused(preset):
    with open(preset / "model.weights.h5", "r+b") as file:
        file.seek(2000)
        file.write(b"\0\1\2\3")
    with pytest.raises(ValueError, match=r"damaged: model\.weights\.h5"):
        zoo.from_preset(preset)


def test_a_changed_config_is_refused(preset):
    edit(preset / "config.json", lambda config: config.update(class_name="DCGAN"))
    with pytest.raises(ValueError, match=r"damaged: config\.json"):
        zoo.from_preset(preset)


@pytest.mark.parametrize("name", ["model.weights.h5", "config.json"])
def test_missing_files_are_refused(preset, name):
    (preset / name).unlink()
    with pytest.raises(ValueError, match=f"incomplete: {name} is missing"):
        zoo.from_preset(preset)


def test_a_newer_layout_is_refused(preset):
    edit(preset / "metadata.json", lambda m: m.update(format=presets.FORMAT + 1))
    with pytest.raises(ValueError, match="Install a newer gan-zoo"):
        zoo.from_preset(preset)


def test_another_class_is_refused(preset):
    with pytest.raises(ValueError, match=r"of class .GAN.\. Expected: DCGAN"):
        zoo.DCGAN.from_preset(preset)


def test_a_class_that_is_not_the_zoo_s_is_refused(preset):
    def foreign(config):
        config["registered_name"] = "keras>Dense"

    edit(preset / "config.json", foreign)
    digest = hashlib.sha256((preset / "config.json").read_bytes()).hexdigest()
    edit(preset / "metadata.json", lambda m: m["files"].update({"config.json": digest}))
    with pytest.raises(ValueError, match="Expected: Model"):
        zoo.from_preset(preset)


def test_a_pinned_hash_must_match(preset):
    digest = hashlib.sha256((preset / "metadata.json").read_bytes()).hexdigest()
    assert zoo.from_preset(preset, sha256=digest)
    with pytest.raises(ValueError, match=f"{'0' * 64} was asked for"):
        zoo.from_preset(preset, sha256="0" * 64)


def test_unknown_names_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown preset. Expected one of \["):
        zoo.from_preset("dcgan_of_the_moon")
    with pytest.raises(ValueError, match="neither a preset nor a finished run"):
        zoo.from_preset(tmp_path)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files; breaks off after `limit` bytes of the weights; knows ranges."""

    limit = None
    ranges = True
    requests = []  # noqa: RUF012

    def do_GET(self):
        path = pathlib.Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = 0
        if self.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.requests.append((path.name, start))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        content = content[start:]
        if path.suffix == ".h5" and self.limit is not None:
            content = content[: self.limit]
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(preset, tmp_path, monkeypatch):
    """URL of a local server with the preset; the handler class; the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handler = type("Handler", (Server,), {"requests": []})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(preset))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", handler, tmp_path / "cache"
    server.shutdown()
    server.server_close()


def test_a_url_is_fetched_once(saved, site):
    url, handler, _ = site
    for _ in range(2):
        loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    names = [name for name, _ in handler.requests]
    assert names.count("model.weights.h5") == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(saved, site, ranges):
    url, handler, cache = site
    handler.ranges = ranges
    handler.limit = 5000
    with pytest.raises(ValueError, match="can't be fetched"):
        zoo.from_preset(url)
    assert not list(cache.rglob("model.weights.h5"))
    handler.limit = None
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    if ranges:
        assert ("model.weights.h5", 5000) in handler.requests
    assert not list(cache.rglob("*.partial"))


def test_wrong_bytes_from_a_server_are_dropped(site, preset):
    url, _, cache = site
    weights = preset / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged"):
        zoo.from_preset(url)
    assert not list(cache.rglob("model.weights.h5*"))


def test_a_url_without_a_preset_is_one_error(site):
    with pytest.raises(ValueError, match=r"metadata.json can't be fetched.*404"):
        zoo.from_preset(site[0] + "nothing_here")


def test_built_in_presets_are_whole():
    for name, metadata in zoo.list_presets().items():
        if metadata["trained"]:
            presets.check(presets.BUILT_IN / name)
            assert metadata["licence"], name
            assert metadata["dataset"], name
