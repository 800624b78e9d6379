"""The client: light to import, strict before sending, patient only where it helps."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import importlib.metadata
import math
import os
import pathlib
import pickle
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
import tomllib
import urllib.request
import zipfile

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tiny_models
from tensorflow.core.protobuf import saved_model_pb2
from waiting import until

import serving
import zoo
from serving import client as client_module
from serving import generate_descriptors, messages, prediction, signatures, tensors

pytestmark = pytest.mark.usefixtures("prompt_stops")


def test_neither_tensorflow_nor_keras_is_imported():
    program = (
        "import sys, serving; serving.Client; serving.AsyncClient;"
        "import serving.conformance, serving.load, serving.pictures;"
        "bad = [m for m in sys.modules if m.split('.')[0] in"
        " ('tensorflow', 'keras', 'tensorflow_serving', 'zoo', 'export')];"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


ROOT = pathlib.Path(__file__).parents[2]
PACKAGING = pathlib.Path("packaging", "client")


def _listed(folder):
    """Copies the modules that the client's distribution lists, to `folder`."""
    settings = tomllib.loads((ROOT / PACKAGING / "pyproject.toml").read_text())
    for module in settings["tool"]["setuptools"]["py-modules"]:
        file = pathlib.Path(*module.split(".")).with_suffix(".py")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, folder / file)


def _built(folder):
    """Builds the client's wheel from a copy of the sources, and unpacks it."""
    try:
        found = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("setuptools is not installed")
    if int(found.split(".")[0]) < 77:
        pytest.skip(f"setuptools is {found}; the build needs 77 or newer")
    sources = folder.parent / "sources"
    shutil.copytree(ROOT / PACKAGING, sources / PACKAGING)
    shutil.copytree(ROOT / "serving", sources / "serving")
    (sources / "zoo").mkdir()
    shutil.copyfile(ROOT / "zoo" / "version.py", sources / "zoo" / "version.py")
    subprocess.run(
        [
            *[sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index"],
            *["--no-build-isolation", "--wheel-dir", folder, sources / PACKAGING],
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob(f"gan_zoo_client-{zoo.__version__}-*.whl")
    zipfile.ZipFile(wheel).extractall(folder)


@pytest.mark.parametrize("install", [_listed, _built])
def test_the_client_is_complete_by_itself(install, server, tiny, tmp_path):
    """Without the rest of this project, which -S hides by ignoring .pth files."""
    folder = tmp_path / "installed"
    folder.mkdir()
    install(folder)
    assert not (folder / "serving" / "server.py").exists()
    program = (
        "import sys, serving; client = serving.Client(sys.argv[1]);"
        "print(client.generate('good', 2).ravel().tolist());"
        "import serving.conformance, serving.load;"
        "bad = [m for m in sys.modules if m.split('.')[0] in"
        " ('tensorflow', 'keras', 'tensorflow_serving', 'zoo', 'export')];"
        "bad += [m.__file__ for n, m in sys.modules.items() if"
        " n.startswith('serving') and not m.__file__.startswith(sys.argv[2])];"
        "sys.exit(str(bad) if bad else 0)"
    )
    libraries = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program, server.address, folder],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *libraries])},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout.strip() == str(tiny.expected([0, 1]).ravel().tolist())


def test_descriptors_are_those_of_the_installed_packages():
    assert generate_descriptors.TARGET.read_text() == generate_descriptors.render()


def test_messages_are_those_of_tensorflow_serving_on_the_wire():
    from tensorflow_serving.apis import predict_pb2

    ours = tiny_models.predict_request("m", seeds=np.arange(3))
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.model_spec.signature_name == "sample"
    assert messages.PredictRequest.FromString(theirs.SerializeToString()) == ours


def test_generate(client, tiny):
    np.testing.assert_array_equal(
        client.generate("good", 3, seed=5), tiny.expected([5, 6, 7])
    )
    np.testing.assert_array_equal(
        client.generate("good", seeds=[9, 2]), tiny.expected([9, 2])
    )
    assert client.generate("good", 0).shape == (0, 4, 4, 1)
    for seed in (-(2**63), 2**63 - 1):
        np.testing.assert_array_equal(
            client.generate("good", 1, seed), tiny.expected([seed])
        )


@contextlib.contextmanager
def client_of(module, folder):
    """A client of a server of one model: a module, by its function `sample`."""
    tf.saved_model.save(module, str(folder / "1"), signatures={"sample": module.sample})
    with (
        serving.Server(folder.parent, port=0) as server,
        serving.Client(server.address) as client,
    ):
        yield client


def test_an_answer_of_several_outputs_needs_predict(tmp_path):
    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "seeds")])
        def sample(self, seeds):
            return {"images": seeds, "more": seeds}

    module = Two()
    with client_of(module, tmp_path / "two") as client:
        with pytest.raises(
            serving.RequestError, match=r"answers sample with .*; call predict"
        ):
            client.generate("two", 2)
        answer = client.predict("two", {"seeds": [0, 1]}, "sample")
        assert answer["more"].tolist() == [0, 1]


def test_labels(client):
    images = client.generate("conditional", 3, seed=0, labels=[1, 2, -1])
    assert images[:, 0, 0, 0].tolist() == [10 + 20, 20 + 40, 30 + 40]
    one_for_all = client.generate("conditional", 3, seed=0, labels=1)
    assert one_for_all[:, 0, 0, 0].tolist() == [30, 40, 50]
    drawn = client.generate("conditional", 3, seed=0)
    assert drawn[:, 0, 0, 0].tolist() == [10, 20 + 20, 30 + 40]


def test_codes_that_are_left_out_are_drawn_by_the_model(tmp_path):
    class Coded(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.int64, "seeds"),
                tf.TensorSpec([None, 1], tf.int64, "categories"),
                tf.TensorSpec([None, 2], tf.float32, "codes"),
            ]
        )
        def sample(self, seeds, categories, codes):
            drawn = tf.cast(tf.math.is_nan(codes), tf.uint8)
            level = drawn[:, :1] + 10 * tf.cast(1 + categories, tf.uint8)
            return {"images": level[:, :, None, None]}

    module = Coded()
    with client_of(module, tmp_path / "coded") as client:
        assert client.generate("coded", 3).ravel().tolist() == [1, 1, 1]
        given = client.generate("coded", 1, categories=[[4]], codes=[[0.5, 0.0]])
        assert given.ravel().tolist() == [50]
        one_for_all = client.generate("coded", 2, categories=4)
        assert one_for_all.ravel().tolist() == [51, 51]


def test_pictures_are_reconstructed_by_their_labels(tmp_path):
    class Told(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2, 2, 1], tf.uint8, name="images"),
                tf.TensorSpec([None], tf.int64, name="labels"),
            ]
        )
        def reconstruct(self, images, labels):
            return {"images": images + tf.cast(labels, tf.uint8)[:, None, None, None]}

    module = Told()
    tf.saved_model.save(
        module,
        str(tmp_path / "told" / "1"),
        signatures={"reconstruct": module.reconstruct},
    )
    pictures = np.zeros((2, 2, 2, 1), np.uint8)
    with (
        serving.Server(tmp_path, port=0) as server,
        serving.Client(server.address) as client,
    ):
        told = client.reconstruct("told", pictures, labels=[3, 5])
        assert told[:, 0, 0, 0].tolist() == [3, 5]
        with pytest.raises(serving.RequestError, match="needs labels"):
            client.reconstruct("told", pictures)


def test_calls_on_pictures(client):
    pictures = np.arange(64, dtype=np.uint8).reshape(4, 4, 4, 1)
    for call in (client.transfer, client.reconstruct):
        np.testing.assert_array_equal(call("good", pictures), 255 - pictures)
    np.testing.assert_allclose(
        client.encode("good", pictures)[:, 0], pictures.mean(axis=(1, 2, 3))
    )
    probabilities = client.classify("good", pictures)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_metadata_and_status(client):
    metadata = client.metadata("good")
    assert (metadata.model, metadata.version) == ("good", 2)
    assert str(metadata.signatures["sample"]) == (
        "sample(seeds: int64[batch]) -> images: uint8[batch, 4, 4, 1]"
    )
    assert "__saved_model_init_op" not in metadata.signatures
    (status,) = client.status("good")
    assert (status.version, status.state) == (2, "AVAILABLE")
    with pytest.raises(serving.ServingError, match="version label: canary"):
        client.status("good", version_label="canary")
    with pytest.raises(TypeError, match=r"classify\(\) takes no loud"):
        client.classify("good", PICTURES, loud=True)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((None, None, 3), "[batch, ?, 3]"),
        ((2, None), "[2, ?]"),
        ((), "[]"),
        (None, "[?]"),
    ],
)
def test_a_free_dimension_is_that_of_the_batch_where_it_comes_first(shape, words):
    spec = signatures.TensorSpec("ids", tf.int32.as_datatype_enum, shape)
    assert str(spec) == f"ids: int32{words}"


PICTURES = np.zeros((2, 4, 4, 1), np.uint8)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda c: c.generate("good", 2, labels=[1, 2]), r"takes no 'labels'"),
        (lambda c: c.generate("good"), r"n must be a whole number"),
        (lambda c: c.generate("good", -1), r"n must be a whole number"),
        (lambda c: c.generate("good", "3"), r"n must be a whole number"),
        (lambda c: c.generate("good", float("inf")), r"n must be a whole number"),
        (lambda c: c.generate("good", 1, seed=1.7), r"seed must be a whole number"),
        (lambda c: c.generate("good", 1, seed=None), r"seed must be a whole number"),
        (lambda c: c.generate("good", seeds=5), r"seeds are one a row, such as \[5\]"),
        (
            lambda c: c.predict("conditional", {"seeds": 5, "labels": 3}, "sample"),
            r"give labels or seeds as a list, a value a row",
        ),
        (lambda c: c.generate("good", 3, seeds=[1, 2]), r"there are 2 seeds"),
        (lambda c: c.generate("good", seeds=[1.5]), r"takes seeds: int64\[batch\]"),
        (lambda c: c.generate("good", seeds=[2**63]), r"numbers given are out of its"),
        (lambda c: c.generate("good", seeds=[2**63, -1]), r"are out of its range"),
        (lambda c: c.generate("good", seeds=[2**99]), r"are out of its range"),
        (lambda c: c.encode("good", [[[[256]]]]), r"are out of its range"),
        (
            lambda c: c.generate("conditional", 2, labels=[1]),
            r"there are labels 1, seeds 2",
        ),
        (lambda c: c.generate("good", 1, seed=2**63), r"seeds lie between -9223372"),
        (lambda c: c.generate("good", 2, seed=2**63 - 1), r"seeds lie between"),
        (lambda c: c.generate("good", 0, seed=-(2**63) - 1), r"seeds lie between"),
        (lambda c: c.generate("", 2), r"model must be a name"),
        (lambda c: c.encode("good", PICTURES / 255), r"whole numbers 0 to 255"),
        (lambda c: c.encode("good", PICTURES[0]), r"has the shape \[4, 4, 1\]"),
        (lambda c: c.encode("good", PICTURES[:, :2]), r"has the shape \[2, 2, 4, 1\]"),
        (lambda c: c.encode("conditional", PICTURES), r"no signature 'encode'; it has"),
        (lambda c: c.predict("good", {}), r"needs latents: float\[batch, 3\]"),
        (lambda c: c.predict("good", {"x": 1}), r"takes no 'x'"),
        (
            lambda c: c.predict("good", {"seeds": [1]}, "sample", outputs=["y"]),
            r"no output 'y'",
        ),
        (
            lambda c: c.generate("good", 1, version=1, version_label="a"),
            r"not both",
        ),
        (
            lambda c: c.predict("good", {"latents": [[1, 2, 3], [4, 5]]}),
            r"takes latents: float\[batch, 3\]; what was given makes no array",
        ),
        (lambda c: c.generate("good", 1, version=2**70), r"version must be a whole"),
        (lambda c: c.generate("good", 1, version=-1), r"version must be .* not -1"),
        (lambda c: c.generate("good", 1, version="2"), r"version must be .* not '2'"),
        (lambda c: c.status("good", version=2**63), r"version must be a whole"),
        (lambda c: c.status("good", version=True), r"version must be .* not True"),
        (lambda c: c.status("good", version_label=1), r"version_label must be a name"),
        (lambda c: c.predict("good", [1, 2]), r"dict from name to array, not a list"),
        (
            lambda c: c.predict("good", {"seeds": [1]}, "sample", outputs=[]),
            r"outputs name one or more of images",
        ),
        (
            lambda c: c.predict("good", {"seeds": [1]}, "sample", outputs="images"),
            r"a list of names, such as \['images'\]",
        ),
        (
            lambda c: c.predict("good", {"latents": np.full((1, 3), 1e300)}),
            r"numbers given are out of its range",
        ),
        *(
            (
                lambda c, rows=rows: c.predict("good", {"latents": rows}),
                r"takes latents: float\[batch, 3\]; the array given is bool",
            )
            for rows in ([[True] * 3], np.ones((1, 3), bool), [np.ones(3, bool)])
        ),
        (
            lambda c: c.generate("conditional", 1, labels=np.array([True])),
            r"takes labels: int64\[batch\]; the array given is bool",
        ),
        (lambda c: serving.Client(8500), r"address must be host:port"),
        (lambda c: serving.Client("localhost"), r"address must be host:port"),
        (lambda c: serving.Client("::1:8500"), r"or \[::1\]:8500, not '::1:8500'"),
        (lambda c: serving.Client("localhost:"), r"not 'localhost:'"),
        (lambda c: serving.Client("127.0.0.1:84069"), r"a port from 1 to 65535"),
        (lambda c: serving.Client("127.0.0.1:８５００"), r"a port from 1 to 65535"),
        (
            lambda c: serving.Client("h:1", root_certificate=__file__),
            r"test_client.py must be the certificate of an authority in PEM",
        ),
        (lambda c: serving.Client("h:1", attempts=0), r"whole number of 1 or more"),
        (lambda c: serving.Client("h:1", attempts=1.5), r"1 or more, not 1.5"),
        (lambda c: serving.Client("h:1", timeout=0), r"positive number of seconds"),
        (lambda c: c.generate("good", 1, timeout=-1), r"positive number of seconds"),
        (lambda c: c.status("good", timeout=float("nan")), r"positive number"),
    ],
)
def test_mistakes_are_worded_and_nothing_is_sent(server, client, ask, words):
    client.metadata("good")
    client.metadata("conditional")
    before = _predictions(server)
    with pytest.raises(serving.RequestError, match=words):
        ask(client)
    assert _predictions(server) == before


def _predictions(server):
    lines = server.metrics.render().decode().splitlines()
    return [line for line in lines if 'method="Predict"' in line]


def test_bytes_keep_the_zeros_at_their_ends(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
    def lengths(texts):
        return {"lengths": tf.strings.length(texts)}

    module = tf.Module()
    module.lengths = lengths
    folder = tmp_path / "models" / "m" / "1"
    tf.saved_model.save(module, folder, signatures=lengths)
    with (
        serving.Server(tmp_path / "models", port=0) as server,
        serving.Client(server.address) as client,
    ):

        def ask(texts):
            return client.predict("m", {"texts": texts})["lengths"].tolist()

        assert ask([b"a\0\0", b"\xff", "ä"]) == [3, 1, 2]
        assert ask(np.array(["ab", "c"])) == [2, 1]
        for texts in ([None, b"a"], [1, b"a"], [1, 2]):
            with pytest.raises(serving.RequestError, match=r"takes texts: string"):
                ask(texts)


def test_python_numbers_become_what_the_model_takes(client):
    latents = [[1, 0, 0], [0.5, 0, 0]]
    images = client.predict("good", {"latents": latents})["images"]
    assert images[:, 0, 0, 0].tolist() == [10, 5]
    wider = np.array(latents)  # float64
    assert len(client.predict("good", {"latents": wider})["images"]) == 2


def test_python_numbers_of_every_size(tmp_path):
    class Wide(tf.Module):
        pass

    module = Wide()
    signatures = {}
    for dtype in (tf.uint64, tf.bfloat16, tf.float32):
        spec = tf.TensorSpec([None], dtype, "x")
        same = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec])
        signatures[dtype.name] = same
        setattr(module, dtype.name, same)
    folder = tmp_path / "models" / "m" / "1"
    tf.saved_model.save(module, folder, signatures=signatures)
    with (
        serving.Server(tmp_path / "models", port=0) as server,
        serving.Client(server.address) as client,
    ):

        def ask(dtype, numbers):
            return client.predict("m", {"x": numbers}, dtype)["y"].tolist()

        assert ask("uint64", [2**64 - 1, 1]) == [2**64 - 1, 1]
        assert ask("bfloat16", [1.5, 2]) == [1.5, 2]
        assert ask("float32", [2**70, 1]) == [2.0**70, 1]
        assert ask("float32", []) == []
        with pytest.raises(serving.RequestError, match="out of its range"):
            ask("uint64", [2**64 - 1, -1])


def test_outputs_may_be_named_by_an_iterator(client):
    names = (name for name in ["level"])
    found = client.predict("good", {"images": PICTURES}, "both", outputs=names)
    assert set(found) == {"level"}


def test_a_refused_request_is_repeated_once_at_most(publish, monkeypatch):
    """However often replicas say that another version came since."""
    publish("m", 1)
    with (
        serving.Server(publish.models, port=0) as server,
        serving.Client(server.address) as client,
    ):
        client.predict("m", {"indexes": [1]}, "fragile")
        versions = iter(range(100, 200))
        fetch = client._fetch_metadata

        def another_each_time(target, until):
            metadata = yield from fetch(target, until)
            metadata = dataclasses.replace(metadata, version=next(versions))
            client._known[target] = metadata
            return metadata

        monkeypatch.setattr(client, "_fetch_metadata", another_each_time)
        with pytest.raises(serving.ServingError) as caught:
            client.predict("m", {"indexes": [100]}, "fragile")
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
        asked = [line for line in _predictions(server) if "INVALID_ARGUMENT" in line]
        assert any(line.endswith(" 2.0") for line in asked)


def test_what_the_same_model_has_refused_is_not_repeated(publish, prompt_stops):
    publish("m", 1)
    with (
        serving.Server(publish.models, port=0) as server,
        serving.Client(server.address) as client,
    ):
        client.predict("m", {"indexes": [1]}, "fragile")
        with pytest.raises(serving.ServingError, match="INVALID_ARGUMENT"):
            client.predict("m", {"indexes": [100]}, "fragile")
        asked = [line for line in _predictions(server) if "INVALID_ARGUMENT" in line]
        assert next(line for line in asked if "_total" in line).endswith(" 1.0")


def test_large_requests_travel_in_parts(server, tiny):
    seeds = np.arange(1000)
    # Room for 3 pictures of 16 bytes beside the rest of a message.
    with serving.Client(server.address, max_message_bytes=(64 << 10) + 50) as client:
        np.testing.assert_array_equal(
            client.generate("good", seeds=seeds[:20]), tiny.expected(seeds[:20])
        )
    with serving.Client(server.address) as client:
        np.testing.assert_array_equal(
            client.generate("good", seeds=seeds), tiny.expected(seeds)
        )


def test_parts_are_smaller_than_what_servers_take(server, serve, tiny, monkeypatch):
    assert 2 * client_module.MAX_PART_BYTES <= prediction.MAX_MESSAGE_BYTES
    # Room for 3 pictures of 16 bytes, whatever one message may hold.
    monkeypatch.setattr(client_module, "MAX_PART_BYTES", (64 << 10) + 50)
    answered = []
    address = serve(Between(server.address, lambda: answered.append(1)))
    with serving.Client(address) as client:
        images = client.generate("good", 20)
        assert len(answered) == 7
        # As many of these are sent, though what comes back is smaller.
        latents = client.encode("good", images)
    np.testing.assert_array_equal(images, tiny.expected(np.arange(20)))
    assert latents.nbytes < images.nbytes
    assert len(answered) == 14


class Between(grpc.GenericRpcHandler):
    """Passes calls on to a server, and does something after each answered Predict."""

    def __init__(self, address, something):
        self._channel = grpc.insecure_channel(address)
        self._something = something

    def service(self, details):
        call = self._channel.unary_unary(details.method)

        def answer(content, context):
            try:
                response = call(content)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            if details.method.endswith("/Predict"):
                self._something()
            return response

        return grpc.unary_unary_rpc_method_handler(answer)


def test_a_request_of_large_rows_splits_no_later_one(tmp_path, serve):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
    def measure(texts):
        return {"lengths": tf.strings.length(texts)}

    path = str(tmp_path / "m" / "1")
    tf.saved_model.save(tf.Module(), path, {"measure": measure})
    answered = []
    with serving.Server(tmp_path, port=0, max_message_bytes=1 << 20) as server:
        address = serve(Between(server.address, lambda: answered.append(1)))
        with serving.Client(address) as client:
            for texts, parts in (([b"x" * 600_000] * 3, 3), ([b"x"] * 256, 1)):
                answered.clear()
                found = client.predict("m", {"texts": texts}, "measure")
                assert found["lengths"].tolist() == [len(text) for text in texts]
                assert len(answered) == parts


def _answering(name):
    """Returns a change of a SavedModel: `sample` answers by another name."""

    def change(path):
        file = path / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        outputs = model.meta_graphs[0].signature_def["sample"].outputs
        outputs[name].CopyFrom(outputs["images"])
        del outputs["images"]
        file.write_bytes(model.SerializeToString())

    return change


def test_a_model_of_other_outputs_may_come_under_the_name(publish, tiny):
    publish("m", 1)
    expected = tiny.expected(np.arange(600))
    with (
        serving.Server(publish.models, port=0, poll_seconds=1e6) as server,
        serving.Client(server.address) as client,
    ):
        client.generate("m", 5)
        publish("m", 2, change=_answering("pixels"))
        server.models.poll()
        np.testing.assert_array_equal(client.generate("m", 600), expected)
        port = int(server.address.rpartition(":")[2])
        client.generate("m", 5)
        server.stop()
        # The same version, of a server that has been replaced.
        shutil.rmtree(publish.models / "m" / "2")
        publish("m", 2, change=_answering("faces"))
        with serving.Server(publish.models, port=port):
            np.testing.assert_array_equal(client.generate("m", 600), expected)


def test_parts_that_lost_their_rows_are_not_joined(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "numbers")])
    def different(numbers):
        return {"found": tf.unique(numbers)[0]}

    path = str(tmp_path / "m" / "1")
    tf.saved_model.save(tf.Module(), path, {"different": different})
    numbers = {"numbers": np.arange(600) % 7}
    with (
        serving.Server(tmp_path, port=0, enable_batching=False) as server,
        serving.Client(server.address) as client,
    ):
        few = {"numbers": [3, 1, 3]}
        assert client.predict("m", few, "different")["found"].tolist() == [3, 1]
        with pytest.raises(serving.ServingError, match="found of shape") as caught:
            client.predict("m", numbers, "different")
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "ask for fewer rows at a time" in caught.value.message


@pytest.mark.parametrize("dtype", [tf.complex64, tf.qint8])
def test_dtypes_that_no_array_holds(publish, dtype):
    def change(path):
        _answering("pixels")(path)
        file = path / "saved_model.pb"
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        output = model.meta_graphs[0].signature_def["sample"].outputs["pixels"]
        output.dtype = dtype.as_datatype_enum
        file.write_bytes(model.SerializeToString())

    publish("m", 1, change=change)
    with (
        serving.Server(publish.models, port=0) as server,
        serving.Client(server.address) as client,
    ):
        for seeds in ([1], []):
            with pytest.raises(serving.RequestError, match=r"pixels: .*no array here"):
                client.predict("m", {"seeds": seeds}, "sample")


@pytest.mark.parametrize("max_message_bytes", [-1, 0, 1 << 31, None, "a"])
def test_a_message_size_that_is_none(max_message_bytes):
    with pytest.raises(serving.RequestError, match="max_message_bytes is a whole"):
        serving.Client("127.0.0.1:1", max_message_bytes=max_message_bytes)


@pytest.fixture
def ask_while_publishing(publish, serve):
    """Asks for three parts; after each answer the next of `sources` is published."""
    publish("m", 1)

    def ask(sources, attempts=5, **options):
        coming = enumerate(sources, start=2)

        def publish_next():
            for version, source in coming:
                publish("m", version, source)
                return server.models.poll()

        with serving.Server(
            publish.models, port=0, poll_seconds=1e6, **options
        ) as server:
            address = serve(Between(server.address, publish_next))
            with serving.Client(address, attempts=attempts) as client:
                return client.generate("m", seeds=SEEDS)

    return ask


SEEDS = np.arange(600)


def test_the_parts_of_a_request_are_of_one_version(
    ask_while_publishing, publish, tmp_path, tiny
):
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{publish.models}/m" '
        'model_platform: "tensorflow" '
        "model_version_policy { latest { num_versions: 2 } } } }"
    )
    images = ask_while_publishing(["other"], model_config_file=file)
    np.testing.assert_array_equal(images, tiny.expected(SEEDS))


@pytest.mark.parametrize("sources", [["other"], ["tiny", "other"]])
def test_a_request_whose_version_went_is_asked_again_whole(
    ask_while_publishing, sources
):
    images = ask_while_publishing(sources)
    other = tiny_models.Tiny(offset=50)
    np.testing.assert_array_equal(images, other.expected(SEEDS))


def test_a_request_whose_version_goes_at_each_attempt_fails(ask_while_publishing):
    with pytest.raises(serving.ServingError, match=r"NOT_FOUND.*Specific\(m, 2\)"):
        ask_while_publishing(["other", "tiny"], attempts=2)


def test_replicas_of_which_one_lacks_the_new_version(publish):
    """Parts that the old one refuses are taken by the others."""
    publish("m", 1)
    with contextlib.ExitStack() as stack:
        options = {"port": 0, "poll_seconds": 1e6}
        servers = [
            stack.enter_context(serving.Server(publish.models, **options))
            for _ in range(3)
        ]
        publish("m", 2, "other")
        for server in servers[1:]:
            server.models.poll()
        addresses = ",".join(server.address for server in servers)
        client = stack.enter_context(serving.Client(f"ipv4:{addresses}"))
        answers = [tiny_models.Tiny(k).expected(np.arange(3000)) for k in (0, 50)]
        # Refusals of one part after the other do not add up.
        for rows in (*[1000] * 10, 3000):
            images = client.generate("m", rows)
            # Of one version, whichever answered first.
            assert any(np.array_equal(images, answer[:rows]) for answer in answers)


def test_several_servers_are_asked_in_turn(models_dir):
    with (
        serving.Server(models_dir, port=0) as one,
        serving.Server(models_dir, port=0) as two,
        serving.Client(f"ipv4:{one.address},{two.address}") as client,
    ):
        for seed in range(40):
            client.generate("good", 1, seed)
        assert _predictions(one)
        assert _predictions(two)
        one.stop(grace=0)
        for seed in range(10):
            client.generate("good", 1, seed)


def test_messages_are_cut_where_a_header_still_holds_them(client):
    """In bytes, of which percent-encoding makes three each; gRPC's limit is 8 KiB."""
    with pytest.raises(serving.ServingError) as caught:
        client.generate("😀" * 2000, 1)
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    message = caught.value.message
    _, words, name = message.partition("(Servable not found for request: Latest(")
    assert words
    assert set(name) == {"😀"}
    assert 1020 < len(message.encode()) <= 1024


def test_a_message_is_always_text():
    error = serving.ServingError(grpc.StatusCode.UNKNOWN, "a file \udcff.pb")
    assert error.message == "a file ?.pb"


@pytest.mark.parametrize(
    ("ask", "words", "code"),
    [
        (
            lambda client: client.generate("nope", 1),
            "serves no model 'nope' (Servable not found for request: Latest(nope))",
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            lambda client: client.generate("good", 1, version=99),
            "serves no version 99 of 'good', or no such model (Servable not found for "
            "request: Specific(good, 99))",
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            lambda client: client.status("nope"),
            "serves no such model, or not in that version (Could not find",
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            lambda client: client.generate("good", 1, version_label="nope"),
            "has no version with that label (Unrecognized servable version label: nope",
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
def test_the_servers_errors_are_worded_with_code_and_message(client, ask, words, code):
    with pytest.raises(serving.ServingError) as caught:
        ask(client)
    assert caught.value.code == code
    assert words in caught.value.message
    assert caught.value.message.startswith(client.address)


def test_nobody_there():
    with (
        serving.Client("127.0.0.1:1", attempts=2) as client,
        pytest.raises(serving.ServingError, match="no answer from"),
    ):
        client.generate("good", 1)


def test_the_port_of_a_rest_api_is_named(server):
    with (
        serving.Client(server.rest_address, attempts=1) as client,
        pytest.raises(serving.ServingError, match="speaks HTTP and not gRPC: it may"),
    ):
        client.status("good")


def test_a_proxy_in_between_is_named(monkeypatch):
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with (
        serving.Client("127.0.0.1:2", attempts=1) as client,
        pytest.raises(serving.ServingError, match=r"proxy of http_proxy.*no_proxy"),
    ):
        client.status("good")


@contextlib.contextmanager
def relayed(server, wait):
    """A way to a server on which all that comes waits first; yields its address."""

    def carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                wait()
                target.sendall(data)

    def relay(listening):
        near, _ = listening.accept()
        host, port = server.address.split(":")
        far = socket.create_connection((host, int(port)))
        with near, far:
            back = threading.Thread(target=carry, args=(far, near), daemon=True)
            back.start()
            carry(near, far)
            far.shutdown(socket.SHUT_RDWR)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        relaying = threading.Thread(target=relay, args=(listening,), daemon=True)
        relaying.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        relaying.join()


def test_a_slow_connection_is_waited_for(server):
    """One attempt is enough where packets take longer than the first pauses."""
    with (
        relayed(server, lambda: time.sleep(0.3)) as address,
        serving.Client(address, attempts=1) as client,
    ):
        assert client.status("good")


def test_the_last_attempt_is_made_in_time(monkeypatch):
    client = serving.Client("127.0.0.1:1", attempts=3)
    now = time.monotonic()
    monkeypatch.setattr(client_module.time, "monotonic", lambda: now)
    assert client._pause(1, math.inf) < client._pause(2, math.inf)
    assert client._pause(2, now + 0.3) < 0.06  # Rather than none.
    assert client._pause(2, now + 0.2) is None
    assert client._pause(3, math.inf) is None


def test_pauses_grow_to_five_seconds():
    client = serving.Client("127.0.0.1:1", attempts=99)
    pauses = [client._pause(attempt, math.inf) for attempt in (1, 20)]
    # Give or take a fifth, so that clients do not come all at once.
    assert pauses == pytest.approx([0.1, 5.0], rel=0.2)
    assert len({client._pause(1, math.inf) for _ in range(10)}) > 1


def test_arrays_can_be_written_to(client):
    for rows in (2, 300):
        images = client.generate("good", rows)
        images[0] = 0
        assert not images[0].any()


def test_files_too_large_for_an_answer_come_in_parts(tmp_path):
    """How long a string is, such as a PNG file, its signature does not say."""

    class Files(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "seeds")])
        def png(self, seeds):
            return {"png_bytes": tf.fill(tf.shape(seeds), "x" * 2000)}

    module = Files()
    folder = tmp_path / "models" / "files" / "1"
    tf.saved_model.save(module, str(folder), signatures={"png": module.png})
    request = {"seeds": np.arange(150)}
    with serving.Server(tmp_path / "models", port=0) as server:
        # A row of it is taken for eight bytes.
        most = messages.OVERHEAD_BYTES + 150 * 8
        with serving.Client(server.address, max_message_bytes=most) as client:
            files = client.predict("files", request, "png")["png_bytes"]
        assert [len(file) for file in files] == [2000] * 150
        with (
            serving.Client(server.address, max_message_bytes=1000) as client,
            pytest.raises(serving.ServingError, match="larger than max"),
        ):
            client.predict("files", request, "png")


def test_what_is_too_large_by_itself_is_asked_for_once(tmp_path, serve):
    """And what comes after it travels in parts as large as before."""

    class Files(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "seeds")])
        def png(self, seeds):
            return {"png_bytes": tf.where(seeds == 1, "x" * most, "x")}

    class Counting(Between):
        def service(self, details):
            asked.append(details.method.rpartition("/")[2])
            return super().service(details)

    asked = []
    most = messages.OVERHEAD_BYTES + 100 * 8
    module = Files()
    folder = tmp_path / "models" / "files" / "1"
    tf.saved_model.save(module, str(folder), signatures={"png": module.png})
    with (
        serving.Server(tmp_path / "models", port=0) as server,
        serving.Client(
            serve(Counting(server.address, lambda: None)), max_message_bytes=most
        ) as client,
    ):
        for _ in range(2):
            with pytest.raises(serving.ServingError, match="larger than max"):
                client.predict("files", {"seeds": [1]}, "png")
        assert asked.count("Predict") == 2
        client.predict("files", {"seeds": np.zeros(100, np.int64)}, "png")
        assert asked.count("Predict") == 3


def test_a_replica_that_hangs_is_left(server, monkeypatch):
    """Its connections stay open, and new ones are made, but nothing comes of them."""
    monkeypatch.setattr(client_module, "_KEEPALIVE_SECONDS", 1)
    running, came = threading.Event(), []
    running.set()

    def wait():
        came.append(running.is_set())
        running.wait()

    with relayed(server, wait) as address:
        replicas = f"ipv4:{server.address},{address}"
        with serving.Client(replicas, timeout=60) as client:
            # More than it takes to connect: some are answered by way of it.
            until(lambda: len(client.generate("good", 1)) and len(came) > 20)
            running.clear()
            for seed in range(4):
                client.generate("good", 1, seed)
        assert not came[-1]
        running.set()


def test_what_is_known_of_a_model_outlasts_a_refusal_for_lack_of_room(serve, server):
    class Full(Between):
        def service(self, details):
            asked.append(details.method.rpartition("/")[2])
            if asked[-1] == "Predict":
                return grpc.unary_unary_rpc_method_handler(
                    lambda request, context: context.abort(
                        grpc.StatusCode.RESOURCE_EXHAUSTED, "full"
                    )
                )
            return super().service(details)

    asked = []
    with serving.Client(serve(Full(server.address, None))) as client:
        for _ in range(3):
            with pytest.raises(serving.ServingError, match="full"):
                client.generate("good", 1)
    assert asked == ["GetModelMetadata", "Predict", "Predict", "Predict"]


def test_errors_of_the_server_travel_between_processes():
    error = serving.ServingError(grpc.StatusCode.NOT_FOUND, "no such model")
    same = pickle.loads(pickle.dumps(error))
    assert (type(same), same.code, same.message) == (
        serving.ServingError,
        error.code,
        error.message,
    )


def test_the_time_of_a_coroutine_begins_when_it_is_awaited(server):
    async def ask():
        async with serving.AsyncClient(server.address) as client:
            calls = [
                ask("good", timeout=0.4) for ask in (client.status, client.metadata)
            ]
            await asyncio.sleep(0.5)
            return [await call for call in calls]

    states, metadata = asyncio.run(ask())
    assert states[0].version == metadata.version == 2


def test_a_client_closed_between_two_attempts_says_so():
    client = serving.Client("127.0.0.1:1", timeout=None, attempts=10**9)
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        call = callers.submit(client.status, "m")
        time.sleep(0.3)
        client.close()
        with pytest.raises(serving.ServingError, match="closed before the answer"):
            call.result()

    async def ask():
        client = serving.AsyncClient("127.0.0.1:1", timeout=None, attempts=10**9)
        call = asyncio.create_task(client.status("m"))
        await asyncio.sleep(0.3)
        await client.close()
        with pytest.raises(serving.ServingError, match="closed before the answer"):
            await call

    asyncio.run(ask())


def test_a_closed_client_says_so(server, held):
    client = serving.Client(server.address)
    slow = {"turns": np.array([1])}
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        call = callers.submit(client.predict, "good", slow, "slow")
        assert held.begun.wait(60)
        client.close()
        with pytest.raises(serving.ServingError, match="closed before the answer"):
            call.result()
    with pytest.raises(serving.RequestError, match="is closed"):
        client.generate("good", 1)

    async def ask():
        client = serving.AsyncClient(server.address)
        await client.generate("good", 1)
        call = asyncio.create_task(client.predict("good", slow, "slow"))
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(serving.ServingError, match="closed before the answer"):
            await call
        with pytest.raises(serving.RequestError, match="is closed"):
            await client.generate("good", 1)
        async with client:
            await client.generate("good", 1)
            call = asyncio.create_task(client.predict("good", slow, "slow"))
            await asyncio.sleep(0.1)
            call.cancel()  # By its own task, which is to end as such.
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(ask())


class Flaky(grpc.GenericRpcHandler):
    """A service that fails with the given codes before it answers."""

    def __init__(self, *codes):
        self.codes = list(codes)
        self.calls = 0

    def service(self, details):
        def answer(request, context):
            self.calls += 1
            if self.codes:
                context.abort(self.codes.pop(0), "not now")
            return messages.GetModelStatusResponse().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def serve():
    """Serves a handler; returns its address."""
    servers = []

    def serve(handler):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), [handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.stop(None)


@pytest.fixture
def flaky(serve):
    def start(*codes):
        handler = Flaky(*codes)
        return handler, serve(handler)

    return start


def _status(address, asynchronous, **options):
    """Asks for a model's status by either client."""
    if not asynchronous:
        with serving.Client(address, **options) as client:
            return client.status("m")

    async def ask():
        async with serving.AsyncClient(address, **options) as client:
            return await client.status("m")

    return asyncio.run(ask())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_only_unavailable_is_tried_again(flaky, asynchronous):
    unavailable = grpc.StatusCode.UNAVAILABLE
    handler, address = flaky(unavailable, unavailable)
    assert _status(address, asynchronous) == []
    assert handler.calls == 3
    handler, address = flaky(*[unavailable] * 9)
    with pytest.raises(serving.ServingError, match=r"cannot answer now.*not now"):
        _status(address, asynchronous, attempts=2)
    assert handler.calls == 2
    for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL):
        handler, address = flaky(code)
        with pytest.raises(serving.ServingError, match="not now"):
            _status(address, asynchronous)
        assert handler.calls == 1


def test_a_server_may_be_away_for_most_of_the_pauses(monkeypatch):
    """gRPC connects anew by pauses of its own, which may be no longer than these."""
    # Four times as long as they are, so that a slow machine makes no difference.
    monkeypatch.setattr(client_module, "_FIRST_PAUSE", 0.4)
    monkeypatch.setattr(client_module.random, "uniform", lambda low, high: 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    clients = [  # Of other options each, or gRPC would have them share a connection.
        serving.Client(address, max_message_bytes=client_module.MAX_MESSAGE_BYTES + k)
        for k in range(8)
    ]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), [Flaky()])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.status, "m") for client in clients]
        time.sleep(4.5)  # Of 6.
        server.add_insecure_port(address)
        server.start()
        assert [call.result() for call in calls] == [[]] * 8
    for client in clients:
        client.close()
    server.stop(None)


def test_a_full_queue_is_not_an_absent_server(publish, tmp_path, held):
    publish("good", 1)
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 1 } num_batch_threads { value: 1 } "
        "max_enqueued_batches { value: 1 }"
    )
    slow = {"turns": np.array([1])}
    with (
        serving.Server(publish.models, port=0, batching_parameters_file=file) as server,
        serving.Client(server.address, attempts=1) as client,
        concurrent.futures.ThreadPoolExecutor(3) as callers,
    ):
        client.metadata("good")
        # One is computed, one waits.
        calls = [callers.submit(client.predict, "good", slow, "slow") for _ in range(3)]
        until(lambda: any(call.done() for call in calls))
        held.set()
        (error,) = filter(None, [call.exception() for call in calls])
    assert error.code == grpc.StatusCode.UNAVAILABLE
    assert "cannot answer now, try again later (The batch schedul" in error.message
    assert "is a server running" not in error.message


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "end",
    [
        lambda context: context.cancel(),  # The details are then "CANCELLED",
        lambda context: context.set_code(grpc.StatusCode.CANCELLED),  # and here none.
    ],
)
def test_a_call_that_the_server_ends(serve, end, asynchronous):
    class Ending(grpc.GenericRpcHandler):
        def service(self, details):
            def answer(request, context):
                end(context)
                return b""

            return grpc.unary_unary_rpc_method_handler(answer)

    with pytest.raises(serving.ServingError) as caught:
        _status(serve(Ending()), asynchronous)
    assert caught.value.code == grpc.StatusCode.CANCELLED
    assert caught.value.message.endswith(
        ", or something between, ended the call before it was answered"
    )


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            serving.Client(address, timeout=0.3) as client,
            pytest.raises(serving.ServingError) as caught,
        ):
            client.status("m")
    assert caught.value.code in (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
    )


def test_asyncio(server, tiny):
    async def ask():
        async with serving.AsyncClient(server.address) as client:
            batches = [client.generate("good", 2, seed=k) for k in range(30)]
            with pytest.raises(serving.RequestError):
                await client.generate("good", 1, labels=[1])
            with pytest.raises(serving.ServingError):
                await client.status("nope")
            return await asyncio.gather(*batches), await client.metadata("good")

    batches, metadata = asyncio.run(ask())
    for k, images in enumerate(batches):
        np.testing.assert_array_equal(images, tiny.expected([k, k + 1]))
    assert metadata.version == 2


def test_more_calls_than_a_connection_takes_wait_their_turn(server, tiny):
    async def ask():
        async with serving.AsyncClient(server.address, attempts=1) as client:
            await client.generate("good", 1)
            calls = [client.generate("good", 1, seed=seed) for seed in range(600)]
            return await asyncio.gather(*calls)

    images = np.concatenate(asyncio.run(ask()))
    np.testing.assert_array_equal(images, tiny.expected(range(600)))


def test_one_asyncio_client_in_one_event_loop_after_another(server, tiny):
    client = serving.AsyncClient(server.address)

    async def ask():
        np.testing.assert_array_equal(
            await client.generate("good", 2), tiny.expected([0, 1])
        )

    async def ask_and_close():
        async with client:
            await ask()

    # A loop that ends with its channel open, and one that ends with it closed.
    for program in (ask, ask, ask_and_close, ask_and_close):
        asyncio.run(program())
    assert not client._connections  # Those of loops that have ended are let go.


def test_one_client_in_many_threads(client, tiny):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        for k, images in enumerate(
            threads.map(lambda k: client.generate("good", 1, seed=k), range(80))
        ):
            np.testing.assert_array_equal(images, tiny.expected([k]))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """An authority, a server's and a client's certificate, made by openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run(
            ["openssl", *arguments], cwd=folder, check=True, capture_output=True
        )

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(
        *["req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem"],
        *["-days", "2", "-subj", "/CN=test authority"],
        *["-addext", "keyUsage=critical,keyCertSign"],
    )
    # Python 3.13 and later ask for the key's usage above and for the authority below.
    (folder / "names").write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("server", "client"):
        openssl(
            *["req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"],
            *["-subj", f"/CN={name}"],
        )
        openssl(
            *["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem"],
            *["-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem"],
            *["-days", "2", "-extfile", "names"],
        )
    return folder


@pytest.mark.parametrize("timeout", [None, math.inf, 1e30])
def test_a_call_may_take_for_ever(server, timeout):
    with serving.Client(server.address, timeout=timeout) as client:
        assert len(client.generate("good", 1)) == 1


def test_an_encrypted_key_is_refused_in_words(models_dir, certificates, tmp_path):
    key = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-in", certificates / "server.key", "-out", key]
    subprocess.run(
        [*command, "-aes256", "-passout", "pass:secret"],
        check=True,
        capture_output=True,
    )
    server = serving.Server(
        models_dir, port=0, tls_certificate=certificates / "server.pem", tls_key=key
    )
    with pytest.raises(ValueError, match="is encrypted; give it without"):
        server.start()


def test_relative_paths_of_certificates_are_those_of_where_a_server_was_made(
    models_dir, certificates, monkeypatch
):
    monkeypatch.chdir(certificates)
    server = serving.Server(
        models_dir,
        port=0,
        tls_certificate="server.pem",
        tls_key="server.key",
        tls_client_ca="ca.pem",
    )
    monkeypatch.chdir("/")
    with server:
        assert server.address


def test_tls_and_mutual_tls(models_dir, certificates, tiny):
    tls = {
        "tls_certificate": certificates / "server.pem",
        "tls_key": certificates / "server.key",
    }
    authority = {"root_certificate": certificates / "ca.pem", "attempts": 1}
    shown = {
        "client_certificate": certificates / "client.pem",
        "client_key": certificates / "client.key",
    }

    def ask(server, **options):
        with serving.Client(server.address, **options) as client:
            return client.generate("good", 2)

    with serving.Server(models_dir, port=0, rest_port=0, **tls) as server:
        np.testing.assert_array_equal(ask(server, **authority), tiny.expected([0, 1]))
        with pytest.raises(serving.ServingError, match="hangs up: it may want TLS"):
            ask(server, attempts=1)
        for distrustful in ({"tls": True}, {**authority, "server_name": "other"}):
            with pytest.raises(serving.ServingError, match="no secure connection to"):
                ask(server, **{"attempts": 1, **distrustful})
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        url = f"https://{server.rest_address}/v1/models/good"
        with urllib.request.urlopen(url, context=context) as answer:
            assert answer.status == 200
    mutual = {**tls, "tls_client_ca": certificates / "ca.pem"}
    with serving.Server(models_dir, port=0, **mutual) as server:
        assert len(ask(server, **authority, **shown)) == 2
        with pytest.raises(serving.ServingError, match="or a certificate of the cli"):
            ask(server, **authority)


@pytest.mark.parametrize(
    "options",
    [
        {"root_certificate": "nowhere.pem"},
        {"client_certificate": "nowhere.pem", "client_key": "nowhere.pem"},
    ],
)
def test_a_certificate_that_is_not_there_is_named(options):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pem"):
        serving.Client("127.0.0.1:1", **options)


@pytest.mark.parametrize("options", [{"client_certificate": "x"}, {"client_key": "x"}])
def test_a_certificate_of_the_client_needs_its_key(options):
    with pytest.raises(serving.RequestError, match="go together"):
        serving.Client("127.0.0.1:1", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"tls_certificate": "x"},
        {"tls_client_ca": "x"},
        {"enable_batching": False, "batching_parameters_file": "x"},
        {"enable_batching": False, "per_model_batching": True},
    ],
)
def test_options_that_contradict(models_dir, options):
    with pytest.raises(ValueError, match=r"belong together|needs"):
        serving.Server(models_dir, **options)


def test_the_name_in_a_certificate_means_tls(server):
    with (
        serving.Client(server.address, server_name="gan", attempts=1) as client,
        pytest.raises(serving.ServingError, match="both sides must speak TLS"),
    ):
        client.status("good")


def test_a_new_version_with_another_signature_is_noticed(publish):
    """The metadata a client remembers is that of the version that answers."""
    publish("m", 1)
    with (
        serving.Server(publish.models, port=0, poll_seconds=1e6) as server,
        serving.Client(server.address) as client,
    ):
        client.generate("m", 1)
        publish("m", 2, "conditional")
        server.models.poll()
        # A label is asked for now; the row's seed draws it.
        assert client.generate("m", 1, seed=1)[0, 0, 0, 0] == 20 + 20
        assert client.generate("m", 1, seed=0, labels=1)[0, 0, 0, 0] == 30


def test_a_request_that_fits_only_a_newer_version_is_sent(publish, tmp_path):
    """What the remembered metadata refuses is checked against the newest."""

    class Sized(tf.Module):
        def __init__(self, size):
            super().__init__()
            shape = tf.TensorSpec([None, size, size, 1], tf.uint8, "images")
            self.encode = tf.function(
                lambda images: {"latents": tf.cast(images[:, 0, 0], tf.float32)},
                input_signature=[shape],
            )

    def resized(folder):
        module = Sized(2)
        tf.saved_model.save(module, str(folder), signatures={"encode": module.encode})

    small, large = np.full((1, 2, 2, 1), 7, np.uint8), np.zeros((1, 4, 4, 1), np.uint8)
    publish("labelled", 1)
    publish("resized", 1)
    with (
        serving.Server(publish.models, port=0, poll_seconds=1e6) as server,
        serving.Client(server.address) as client,
    ):
        client.generate("labelled", 1)
        client.encode("resized", large)
        publish("labelled", 2, "conditional")
        publish("resized", 2, change=resized)
        server.models.poll()
        assert client.generate("labelled", 1, labels=1)[0, 0, 0, 0] == 30
        assert client.encode("resized", small).tolist() == [[7]]
        # What was fetched is remembered; by the old metadata this would be sent.
        with pytest.raises(serving.RequestError, match=r"the shape \[1, 4, 4, 1\]"):
            client.encode("resized", large)


def test_threads_are_gone_after_a_server(publish):
    before = set(threading.enumerate())
    with serving.Server(publish.models, port=0, rest_port=0):
        started = {thread.name for thread in set(threading.enumerate()) - before}
        assert {"serving-poll", "serving-rest", "serving-messages"} <= started
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("serving-")]


def test_decoding_pictures_copies_nothing():
    proto = messages.TensorProto()
    tensors.encode(PICTURES, proto)
    # What belongs to the message can't be written to; a copy of it could.
    assert not tensors.decode(proto).flags.writeable


def test_negative_numbers_do_not_wrap(client):
    with pytest.raises(serving.RequestError, match="are out of its range"):
        client.encode("good", np.full((1, 4, 4, 1), -1).tolist())


def test_an_output_is_asked_for_once(client):
    names = ["level", "level"]
    pictures = np.zeros((1, 4, 4, 1), np.uint8)
    with pytest.raises(serving.RequestError, match="'level' is asked for twice"):
        client.predict("good", {"images": pictures}, "both", outputs=names)


def test_one_condition_may_be_for_all_rows(tmp_path):
    class Conditioned(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.int64, "seeds"),
                tf.TensorSpec([None, 3], tf.float32, "conditions"),
            ]
        )
        def sample(self, seeds, conditions):
            return {"samples": conditions + tf.cast(seeds, tf.float32)[:, None]}

    one = np.array([0.5, 0.25, 0.125], np.float32)
    with client_of(Conditioned(), tmp_path / "m") as client:
        for_all = client.generate("m", 3, conditions=one.tolist())
        of_each = client.generate("m", 3, conditions=[one] * 3)
        with pytest.raises(serving.RequestError, match=r"takes conditions.*\[2\]"):
            client.generate("m", 3, conditions=one[:2])
    np.testing.assert_array_equal(for_all, [one, one + 1, one + 2])
    np.testing.assert_array_equal(for_all, of_each)
