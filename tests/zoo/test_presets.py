"""Presets: untrusted input, from a name, a folder or a server that breaks off."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import http.server
import importlib.metadata
import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import threading
import time

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.saving.serialization_lib import SafeModeScope

import zoo
from zoo import downloads, presets


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


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edit_config(preset, change):
    """Changes the config as an author would, with a hash that fits."""
    edit(preset / "config.json", change)
    digest = sha256(preset / "config.json")
    edit(preset / "metadata.json", lambda m: m["files"].update({"config.json": digest}))


def test_presets_need_no_installed_distribution(saved, tmp_path, monkeypatch):
    assert zoo.__version__ == importlib.metadata.version("gan-zoo")

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    # So it is in a checkout that only has its requirements, and with tensorflow-cpu.
    monkeypatch.setattr(importlib.metadata, "version", version)
    saved[0].save_to_preset(tmp_path / "preset")
    metadata = json.loads((tmp_path / "preset" / "metadata.json").read_text())
    assert metadata["versions"] == {
        "gan-zoo": zoo.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def made_by(preset, version):
    edit(preset / "metadata.json", lambda m: m["versions"].update({"gan-zoo": version}))


def test_a_preset_gives_the_model_back(saved, preset):
    loaded = zoo.from_preset(preset)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert type(zoo.GAN.from_preset(preset)) is zoo.GAN
    metadata = json.loads((preset / "metadata.json").read_text())
    assert metadata["dataset"] == "none"
    assert metadata["class"] == "GAN"
    assert set(metadata["files"]) == {"config.json", "model.weights.h5"}
    # Of the networks, without the model's own counters.
    networks = saved[0].generator, saved[0].discriminator
    assert metadata["parameters"] == sum(n.count_params() for n in networks)


def test_a_preset_is_of_the_average(tmp_path):
    gan = zoo.GAN((3,), 3, generator_units=(8,), discriminator_units=(4,), seed=0)
    gan.compile(averaging=0.9)
    gan.fit(np.zeros((32, 3), np.float32), batch_size=4, verbose=0)
    gan.save_to_preset(tmp_path / "preset")
    loaded = zoo.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(loaded.generate(3), gan.generate(3))
    trained = gan.generator(gan.prior.sample([0, 1, 2])).numpy()
    assert np.abs(loaded.generate(3) - trained).max() > 1e-4


def test_a_preset_that_can_t_be_replaced_stays(saved, preset, monkeypatch):
    rename = pathlib.Path.rename

    def failing(path, target):
        if target == preset and path.name != "replaced":
            raise OSError("no more room")
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    other = zoo.GAN((3,), 3, generator_units=(8,), discriminator_units=(4,), seed=0)
    with pytest.raises(OSError, match="no more room"):
        other.save_to_preset(preset)
    loaded = zoo.from_preset(preset)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert [*preset.parent.iterdir()] == [preset]


def test_a_preset_is_saved_where_one_is_and_behind_a_link(saved, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    for folder in (".", tmp_path / "link"):
        saved[0].save_to_preset(folder)
        assert zoo.from_preset(str(tmp_path / "here")).latent_dim == 3
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"here", "link"}


def test_saving_again_replaces_a_preset_and_nothing_else(saved, preset, tmp_path):
    saved[0].save_to_preset(preset)
    assert zoo.from_preset(preset).latent_dim == 3
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]

    (preset / "notes.txt").write_text("keep")
    (preset / "old").mkdir()
    (preset / "old" / "config.json").write_text("this too")
    for folder in (preset, preset / "old"):
        (folder / "link").symlink_to("nowhere")
    other = zoo.GAN((4, 4, 1), 5, generator_units=(8,), seed=0)
    other.save_to_preset(preset)
    assert zoo.from_preset(preset).latent_dim == 5
    assert (preset / "notes.txt").read_text() == "keep"
    assert (preset / "old" / "config.json").read_text() == "this too"
    for folder in (preset, preset / "old"):
        assert (folder / "link").readlink() == pathlib.Path("nowhere")
    assert len(list(preset.iterdir())) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]

    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("not yours")
    with pytest.raises(FileExistsError, match="no preset"):
        saved[0].save_to_preset(tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "not yours"


@pytest.mark.parametrize("value", [np.nan, {1, 2}])
def test_metadata_that_json_cannot_hold_are_refused(saved, preset, value):
    before = (preset / "metadata.json").read_bytes()
    with pytest.raises(ValueError, match="what JSON can hold"):
        saved[0].save_to_preset(preset, {"x": value})
    assert (preset / "metadata.json").read_bytes() == before


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
    edit(
        preset / "metadata.json",
        # Whatever the newer layout has in place of a dict of files.
        lambda m: m.update(format=presets.FORMAT + 1, files=["config.json"]),
    )
    with pytest.raises(ValueError, match="Install a newer gan-zoo"):
        zoo.from_preset(preset)


def without_hash(metadata):
    del metadata["files"]["config.json"]


DAMAGED = {
    "format that is a string": lambda m: m.update(format="2"),
    "no format": lambda m: m.pop("format"),
    "format null": lambda m: m.update(format=None),
    "format that is a truth value": lambda m: m.update(format=True),
    "format 0": lambda m: m.update(format=0),
    "files that are a list": lambda m: m.update(files=["config.json"]),
    "files null": lambda m: m.update(files=None),
    "file without a hash": without_hash,
    "hash null": lambda m: m["files"].update({"config.json": None}),
    "truncated": lambda text: text[:-20],
    "empty": lambda text: b"",
    "not UTF-8": lambda text: text.replace(b"none", b"n\xf6ne"),
    "not an object": lambda text: b"[1, 2]",
    "nested too deep": lambda text: b"[" * 100_000,
}


def damage(preset, how):
    path = preset / "metadata.json"
    if how in ("truncated", "empty", "not UTF-8", "not an object", "nested too deep"):
        path.write_bytes(DAMAGED[how](path.read_bytes()))
    else:
        edit(path, DAMAGED[how])


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_metadata_is_one_error(preset, how):
    damage(preset, how)
    with pytest.raises(ValueError, match=r"metadata\.json is damaged: .*Get it again"):
        zoo.from_preset(preset)


@pytest.mark.parametrize("versions", [None, ["0.1.0"], {"gan-zoo": 3}])
def test_odd_versions_do_not_matter_to_what_loads(saved, preset, versions):
    edit(preset / "metadata.json", lambda m: m.update(versions=versions))
    loaded = zoo.from_preset(preset)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))


def test_another_class_is_refused(preset):
    with pytest.raises(ValueError, match=r"of class .GAN.\. Expected: DCGAN"):
        zoo.DCGAN.from_preset(preset)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine>BiGAN", "none of the zoo's. Import the module that defines it"),
        ("zoo>LeastSquares", "Expected: Model"),
        ("zoo>Future", "Expected: Model"),
    ],
)
def test_a_class_that_is_not_the_zoo_s_is_refused(preset, name, words):
    edit_config(preset, lambda config: config.update(registered_name=name))
    with pytest.raises(ValueError, match=words):
        zoo.from_preset(preset)


@pytest.mark.parametrize("name", [None, ["zoo>GAN"]])
def test_a_class_that_is_no_name_is_damage(preset, name):
    edit_config(preset, lambda config: config.update(registered_name=name))
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        zoo.from_preset(preset)


def future_class(config):
    config["registered_name"] = "zoo>Future"


def future_argument(config):
    config["config"]["dream"] = 1


def future_argument_within(config):
    config["config"]["prior"]["config"]["dream"] = 1


def future_prior(config):
    config["config"]["prior"].update(class_name="Future", registered_name="zoo>Future")


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        (future_class, "the class 'zoo>Future'"),
        (future_argument, "GAN.__init__() got an unexpected keyword argument 'dream'"),
        (
            future_argument_within,
            "Uniform.__init__() got an unexpected keyword argument 'dream'",
        ),
        (future_prior, "Could not locate class 'Future'"),
    ],
)
def test_what_a_newer_zoo_made_asks_for_an_upgrade(preset, change, unknown):
    edit_config(preset, change)
    made_by(preset, "99.0.0rc1")
    own = zoo.__version__
    expected = (
        f"made by gan-zoo 99.0.0rc1, newer than this {own}: upgrade gan-zoo. "
        f"It needs what this one doesn't know: {unknown}"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        zoo.from_preset(preset)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("generator_units", [1_000_000, 1_000_000], "does not fit into memory"),
        ("generator_units", [10**400], "does not fit this version of the zoo"),
        ("seed", float("inf"), r"does not fit this version .*: Expected .*seed=inf"),
    ],
)
def test_absurd_numbers_are_one_error(preset, name, value, words):
    edit_config(preset, lambda config: config["config"].update({name: value}))
    with pytest.raises(ValueError, match=words):
        zoo.from_preset(preset)


@pytest.mark.parametrize("version", ["0.0.9", None])
def test_what_an_older_zoo_made_asks_for_no_upgrade(preset, version):
    edit_config(preset, future_argument)
    made_by(preset, version or zoo.__version__ + "rc1")
    with pytest.raises(ValueError, match=r"does not fit this version.*'dream'"):
        zoo.from_preset(preset)


def test_versions_are_compared_number_by_number(preset, monkeypatch):
    monkeypatch.setattr(presets, "__version__", "0.10.0")
    edit_config(preset, future_argument)
    for older, words in (("0.9.9", "does not fit this"), ("0.11", "upgrade gan-zoo")):
        made_by(preset, older)
        with pytest.raises(ValueError, match=words):
            zoo.from_preset(preset)


def test_a_newer_preset_loads_where_it_fits_and_damage_stays_damage(saved, preset):
    made_by(preset, "99.0.0")
    loaded = zoo.from_preset(preset)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    with pytest.raises(ValueError, match="Expected: DCGAN"):
        zoo.DCGAN.from_preset(preset)
    edit(preset / "config.json", future_argument)
    with pytest.raises(ValueError, match=r"damaged: config\.json"):
        zoo.from_preset(preset)


@pytest.mark.parametrize("switched_off", [False, True])
def test_code_in_a_preset_does_not_run(preset, tmp_path, switched_off):
    trace = tmp_path / "trace"

    layers = [
        keras.Input((3,)),
        keras.layers.Dense(16),
        keras.layers.Lambda(
            lambda x, path: (open(path, "w").close(), x)[1],
            arguments={"path": str(trace)},
        ),
        keras.layers.Reshape((4, 4, 1)),
    ]
    trap = zoo.GAN(latent_dim=3, generator=keras.Sequential(layers))
    edit_config(preset, lambda config: config.update(config=trap.get_config()))
    made_by(preset, "99.0.0")

    # The trap works: where Keras is told to trust it, the code runs.
    trace.unlink(missing_ok=True)
    with SafeModeScope(False):
        zoo.GAN.from_config(json.loads((preset / "config.json").read_text())["config"])
    assert trace.exists()

    trace.unlink()
    # False is what `keras.config.enable_unsafe_deserialization()` leaves behind.
    with (
        SafeModeScope(False if switched_off else None),
        pytest.raises(ValueError, match=r"unsafe and not allowed.*a Python lambda"),
    ):
        zoo.from_preset(preset)
    assert not trace.exists()


@pytest.mark.parametrize("nested", [False, True])
def test_a_preset_names_no_other_preset(preset, nested):
    network = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten()])
    widths = {"generator_filters": 2, "discriminator_filters": 2, "kernel_size": 3}
    dtn = keras.saving.serialize_keras_object(zoo.DTN(network, seed=0, **widths))

    def name_another(config):
        # Itself, so that it would be asked for without an end.
        dtn["config"]["features"] = str(preset)
        if nested:
            config["config"]["generator"] = dtn
        else:
            config.update(dtn)
            edit(preset / "metadata.json", lambda m: m.update({"class": "DTN"}))

    edit_config(preset, name_another)
    with pytest.raises(ValueError, match="is not allowed to name a preset"):
        zoo.from_preset(preset)
    # What `keras.saving.load_model` builds of a `.keras` file.
    with pytest.raises(ValueError, match="is not allowed to name a preset"):
        keras.saving.deserialize_keras_object(dtn)


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("keras.src.utils.file_utils", "get_file")]
)
def test_objects_from_elsewhere_are_not_allowed(preset, module, name):
    foreign = {"class_name": name, "config": {}, "module": module}
    edit_config(preset, lambda c: c["config"].update(prior=foreign))
    with pytest.raises(ValueError, match=f"not allowed.*{name}"):
        zoo.from_preset(preset)


def test_a_pinned_hash_must_match(preset):
    pin = sha256(preset / "metadata.json")
    assert zoo.from_preset(preset, sha256=pin)
    assert zoo.from_preset(preset, sha256=pin.upper())
    with pytest.raises(ValueError, match=f"{'0' * 64} was asked for"):
        zoo.from_preset(preset, sha256="0" * 64)


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16", "float16"])
def test_a_model_computes_by_the_policy_that_is_asked_for(preset, dtype):
    ours, theirs = zoo.from_preset(preset), zoo.from_preset(preset, dtype=dtype)
    assert theirs.dtype_policy.name == dtype
    difference = ours.generate(16, seed=0) - theirs.generate(16, seed=0)
    assert 0 < np.abs(difference).max() < 0.1


def test_a_model_keeps_its_policy_unless_another_is_asked_for(tmp_path):
    path = tmp_path / "half"
    gan = zoo.GAN((8, 8, 1), generator_units=(4,), seed=0, dtype="mixed_bfloat16")
    gan.save_to_preset(path)
    assert zoo.from_preset(path).dtype_policy.name == "mixed_bfloat16"
    assert zoo.from_preset(path, dtype="float32").dtype_policy.name == "float32"


@pytest.mark.parametrize("dtype", ["bfloat", "int8", "int32", "int8_from_float32", 16])
def test_an_unknown_policy_is_named(preset, dtype):
    with pytest.raises(ValueError, match=f"of a dtype policy.*dtype={dtype!r}"):
        zoo.from_preset(preset, dtype=dtype)
    with pytest.raises(ValueError, match=f"of a dtype policy.*dtype={dtype!r}"):
        zoo.GAN((4, 4, 1), 3, dtype=dtype)


def test_unknown_names_say_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown preset: .* `python -m zoo list`"):
        zoo.from_preset("dcgan_of_the_moon")
    with pytest.raises(ValueError, match="Unknown preset: ''"):
        zoo.from_preset("")
    with pytest.raises(ValueError, match=r"name of a built-in .*Received: None"):
        zoo.from_preset(None)
    with pytest.raises(ValueError, match="neither a preset nor a finished run"):
        zoo.from_preset(tmp_path)
    (tmp_path / "run.json").touch()
    with pytest.raises(ValueError, match="has not ended, so it has no model yet"):
        zoo.from_preset(tmp_path)


def test_a_built_in_name_is_no_folder_s(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gan_mnist", "dcgan_svhn_32"):
        shutil.copytree(saved[1], name)
        for path in (f"./{name}", f"{name}/", pathlib.Path(name)):
            assert presets.resolve(path).absolute() == tmp_path / name
    assert presets.resolve("gan_mnist") == presets.BUILT_IN / "gan_mnist"
    with pytest.raises(ValueError, match=r"not been trained yet.* \./dcgan_svhn_32"):
        presets.resolve("dcgan_svhn_32")


def test_a_saved_model_is_no_preset(saved, tmp_path):
    path = tmp_path / "gan.keras"
    saved[0].save(path)
    with pytest.raises(ValueError, match=r"keras\.saving\.load_model\(.*gan\.keras"):
        zoo.from_preset(path)


def test_a_recipe_elsewhere_is_none_of_ours(tmp_path, monkeypatch):
    (tmp_path / "recipe.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for handle in (tmp_path, "../" + tmp_path.name):
        with pytest.raises(ValueError, match=r"it has no metadata\.json"):
            zoo.from_preset(handle)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///x"])
def test_other_schemes_are_named(url):
    with pytest.raises(ValueError, match=f"http:// or https:// only.*'{url}'"):
        zoo.from_preset(url)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves files; breaks off after the `limits` of some of them; knows ranges."""

    limits = {}  # noqa: RUF012
    #: Whether a limit holds for one request only.
    once = False
    #: Whether it says how long a file is.
    lengths = True
    #: Whether a file comes in chunks, each with its length, the last of none.
    chunked = False
    ranges = True
    #: How many requests are answered by an error before the first that is not.
    failures, error = 0, 503
    #: How many requests are left without an answer before, as long as nobody says.
    silences, said = 0, threading.Event()
    #: Bytes by which the length of the weights is said too long.
    excess = 0
    #: How many ask for metadata before the first is answered.
    meeting = threading.Barrier(1)
    #: Seconds that the weights take.
    seconds = 0
    requests = []  # noqa: RUF012

    def do_GET(self):
        path = pathlib.Path(self.translate_path(self.path))
        # To other servers an empty part of a path is a part.
        if not path.is_file() or "//" in self.requestline:
            self.send_error(404)
            return
        content = path.read_bytes()
        start = 0
        if self.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.requests.append((path.name, start))
        if self.failures:
            type(self).failures -= 1
            self.send_error(self.error)
            return
        if self.silences:
            type(self).silences -= 1
            self.said.wait(60)
            return
        if start and start >= len(content):
            self.send_error(416)
            return
        if path.name == "metadata.json":
            self.meeting.wait(240)
        self.send_response(206 if start else 200)
        if self.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif self.lengths:
            said = len(content) - start + (path.suffix == ".h5") * self.excess
            self.send_header("Content-Length", str(said))
        self.end_headers()
        content = content[start:][: self.limits.get(path.name)]
        if self.chunked:
            content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        if self.once:
            self.limits.pop(path.name, None)
        if path.suffix == ".h5" and self.seconds:
            for piece in np.array_split(np.frombuffer(content, "uint8"), 10):
                self.wfile.write(piece.tobytes())
                time.sleep(self.seconds / 10)
        else:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(preset, tmp_path, monkeypatch):
    """URL of a local server with the preset; the handler class; the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)
    handler = type("Handler", (Server,), {"requests": []})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(preset))
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
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


def test_a_pinned_url_needs_the_network_once(saved, site, preset):
    url, handler, cache = site
    pin = sha256(preset / "metadata.json")
    zoo.from_preset(url, sha256=pin)
    handler.requests.clear()
    loaded = zoo.from_preset(url, sha256=pin.upper())
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert handler.requests == []

    # What was damaged since is fetched again.
    (weights,) = cache.rglob("model.weights.h5")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    zoo.from_preset(url, sha256=pin)
    assert handler.requests == [("metadata.json", 0), ("model.weights.h5", 0)]


def test_a_pinned_url_must_match(site):
    url, handler, _ = site
    with pytest.raises(ValueError, match=f"{'0' * 64} was asked for"):
        zoo.from_preset(url, sha256="0" * 64)
    assert handler.requests == [("metadata.json", 0)]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(saved, site, ranges):
    url, handler, cache = site
    handler.ranges = ranges
    handler.limits = {"model.weights.h5": 5000}
    with pytest.raises(ValueError, match=r"can't be fetched: .* broke off \d+ bytes"):
        zoo.from_preset(url)
    assert not list(cache.rglob("model.weights.h5"))
    handler.limits = {}
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    if ranges:
        assert ("model.weights.h5", 5000) in handler.requests
    assert not list(cache.rglob("*.partial"))


@pytest.mark.parametrize("lengths", [True, False])
def test_a_connection_that_breaks_once_is_tried_again(saved, site, lengths):
    url, handler, _ = site
    handler.limits, handler.once = {"model.weights.h5": 5000}, True
    handler.lengths = lengths
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    tries = [start for name, start in handler.requests if name == "model.weights.h5"]
    assert tries == [0, 5000]


@pytest.mark.parametrize(
    "fault",
    [
        {"limits": {"metadata.json": 9}},
        {"failures": 1},
        {"failures": 1, "error": 500},
        {"silences": 1},
    ],
)
def test_metadata_are_asked_for_again(saved, site, fault, monkeypatch):
    url, handler, _ = site
    if "silences" in fault:
        monkeypatch.setattr(downloads, "_TIMEOUT", 0.5)
    handler.once = True
    handler.said = threading.Event()
    for switch, value in fault.items():
        setattr(handler, switch, value)
    start = time.monotonic()
    loaded = zoo.from_preset(url)
    # Not only once the silent server has given up.
    assert time.monotonic() - start < 30
    handler.said.set()
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    names = [name for name, _ in handler.requests]
    assert names[:2] == ["metadata.json"] * 2


def test_a_server_has_time_to_recover(site, monkeypatch):
    url, handler, _ = site
    monkeypatch.setattr(downloads, "_PAUSE", 0.2)
    handler.failures = 2
    start = time.monotonic()
    zoo.from_preset(url)
    assert time.monotonic() - start > 0.4


def test_a_length_that_is_said_wrong_does_not_matter(saved, site):
    url, handler, _ = site
    handler.excess = 1000
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert handler.requests.count(("model.weights.h5", 0)) == 1


def test_a_wrong_beginning_is_dropped(saved, site, killed):
    """As of another version, or after a power failure."""
    url, handler, _ = site
    killed.write_bytes(b"?" * 5000)
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    tries = [start for name, start in handler.requests if name == "model.weights.h5"]
    assert tries == [5000, 0]


def test_a_whole_cache_is_not_written_to(saved, site):
    """It may be mounted for reading alone."""
    url, _, cache = site
    zoo.from_preset(url)
    there = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == there


def test_an_end_without_a_length_is_not_called_damage(site):
    url, handler, cache = site
    handler.limits, handler.lengths = {"model.weights.h5": 0}, False
    with pytest.raises(ValueError, match=r"does not say how long.* broke off, or"):
        zoo.from_preset(url)
    assert not list(cache.rglob("model.weights.h5"))


def test_the_scheme_of_a_url_may_be_in_capitals(site):
    url, _, cache = site
    assert zoo.from_preset(url.replace("http", "HTTP"))
    assert list(cache.rglob("model.weights.h5"))


def test_an_empty_cache_folder_counts_as_unset(site, tmp_path, monkeypatch):
    url, _, _ = site
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    zoo.from_preset(url)
    assert not (tmp_path / "gan-zoo").exists()
    assert list((tmp_path / "home" / ".cache" / "gan-zoo").iterdir())


@pytest.fixture
def killed(site):
    """The partial weights of a process killed after their last byte."""
    url, handler, cache = site
    zoo.from_preset(url)
    handler.requests.clear()
    (weights,) = cache.rglob("model.weights.h5")
    (weights.parent / "metadata.json").unlink()
    return weights.rename(f"{weights}.partial")


def test_a_whole_partial_is_taken_as_it_is(saved, site, killed):
    url, handler, _ = site
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    assert handler.requests == [("metadata.json", 0)]
    assert not killed.exists()


@pytest.mark.parametrize("beyond", [0, 7])
def test_a_partial_past_the_end_is_dropped(saved, site, killed, beyond):
    url, handler, _ = site
    length = killed.stat().st_size + beyond
    killed.write_bytes(b"?" * length)
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    weights = "model.weights.h5"
    assert handler.requests == [("metadata.json", 0), (weights, length), (weights, 0)]
    assert not killed.exists()


def test_two_processes_fetch_one_preset_together(saved, site):
    url, handler, cache = site
    handler.meeting = threading.Barrier(2)
    handler.seconds = 2
    program = "import sys, zoo; print(zoo.presets.resolve(sys.argv[1]))"
    command = [sys.executable, "-c", program, url]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(2):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        folders = {process.communicate(timeout=300)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    (folder,) = folders
    loaded = zoo.from_preset(folder.strip())
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    names = [name for name, _ in handler.requests]
    assert names.count("metadata.json") == 2
    assert names.count("model.weights.h5") == 1
    assert not list(cache.rglob("*.partial"))


def test_a_cache_without_locks_goes_without(saved, site, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    loaded = zoo.from_preset(site[0])
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))


def test_a_full_cache_is_not_taken_for_a_broken_connection(saved, site):
    """A limit on the size of files stands for the disk."""
    url, handler, _ = site
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"can't be cached: .* too large"):
            zoo.from_preset(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    loaded = zoo.from_preset(url)
    np.testing.assert_array_equal(loaded.generate(3), saved[0].generate(3))
    tries = [start for name, start in handler.requests if name == "model.weights.h5"]
    assert tries == [0, 5000]


@pytest.mark.parametrize("chunked", [False, True])
def test_wrong_bytes_from_a_server_are_dropped(site, preset, chunked):
    url, handler, cache = site
    handler.chunked = chunked
    weights = preset / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged: it has the SHA-256"):
        zoo.from_preset(url)
    assert not list(cache.rglob("model.weights.h5*"))
    assert handler.requests.count(("model.weights.h5", 0)) == 1


def test_a_url_without_a_preset_is_one_error(site):
    with pytest.raises(ValueError, match=r"metadata.json can't be fetched.*404"):
        zoo.from_preset(site[0] + "nothing_here")


def test_metadata_cut_short_is_one_error(site):
    url, handler, _ = site
    handler.limits = {"metadata.json": 10}
    with pytest.raises(ValueError, match=r"metadata\.json can't be fetched.*10 bytes"):
        zoo.from_preset(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:notaport/x",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/ä",
        "http://a..b/x",
        "http://[::1/x",
        "http://",
    ],
)
def test_a_malformed_url_is_one_error(url):
    with pytest.raises(
        ValueError, match=r"metadata\.json can't be fetched: "
    ) as caught:
        zoo.from_preset(url)
    assert str(caught.value).startswith(url.rstrip("/"))


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_metadata_from_a_server_is_one_error(site, preset, how):
    url, handler, cache = site
    damage(preset, how)
    with pytest.raises(ValueError, match=r"metadata\.json is damaged: "):
        zoo.from_preset(url)
    assert handler.requests == [("metadata.json", 0)]
    assert not cache.exists()


def test_a_newer_layout_is_refused_before_its_files_are_fetched(site, preset):
    url, handler, cache = site
    edit(preset / "metadata.json", lambda m: m.update(format=presets.FORMAT + 1))
    with pytest.raises(ValueError, match="Install a newer gan-zoo"):
        zoo.from_preset(url)
    assert handler.requests == [("metadata.json", 0)]
    assert not cache.exists()


def test_built_in_presets_are_whole():
    for name, metadata in zoo.list_presets().items():
        presets.check(presets.BUILT_IN / name)
        assert metadata["licence"], name
        assert metadata["dataset"], name


@pytest.mark.parametrize("pin", [123, b"0" * 64, "0" * 63, ""])
def test_a_pin_is_64_digits(preset, pin):
    with pytest.raises(ValueError, match="sha256 as 64 hexadecimal digits"):
        zoo.from_preset(preset, sha256=pin)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "metadata.json"])
def test_a_folder_is_no_file(preset, name):
    (preset / name).unlink()
    (preset / name).mkdir()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        zoo.from_preset(preset)


@keras.saving.register_keras_serializable("test_presets")
class Blocks(keras.layers.Layer):
    """Layers in lists in a list."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.blocks = [[keras.layers.Dense(3)], [keras.layers.Dense(3)]]

    def build(self, shape):
        for (dense,) in self.blocks:
            dense.build(shape)

    def call(self, x):
        for (dense,) in self.blocks:
            x = dense(x)
        return x


def test_weights_that_lack_nested_layers_are_refused(tmp_path):
    """Keras warns alone, and leaves these layers as they were drawn."""
    samples = keras.Input((3,))
    generator = keras.Model(samples, Blocks()(samples))
    gan = zoo.GAN(generator=generator, discriminator_units=(4,), seed=0)
    folder = tmp_path / "preset"
    gan.save_to_preset(folder)
    drawn = zoo.from_preset(folder).generate(3, seed=1)
    np.testing.assert_array_equal(drawn, gan.generate(3, seed=1))
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file["generator/layers/blocks/blocks/container"]
    hashes = {"model.weights.h5": sha256(folder / "model.weights.h5")}
    edit(folder / "metadata.json", lambda m: m["files"].update(hashes))
    with pytest.raises(ValueError, match=r"does not fit.*Skipping nested container"):
        zoo.from_preset(folder)


@pytest.mark.parametrize("where", ["metadata", "config"])
@pytest.mark.parametrize("said", ["DCGAN", "Model", ["GAN"], None])
def test_another_class_than_the_one_that_is_said_is_damage(preset, where, said):
    if where == "config":
        edit_config(preset, lambda config: config.update(class_name=said))
    else:
        edit(preset / "metadata.json", lambda m: m.update({"class": said}))
    with pytest.raises(ValueError, match=r"damaged: it is of class 'zoo>GAN', and "):
        zoo.from_preset(preset)
