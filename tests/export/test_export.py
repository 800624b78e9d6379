"""Exports: pinned signatures, the loader that TensorFlow Serving uses, same pixels."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework.func_graph import FuncGraph
from variants import CASES, Case

import export
import zoo
from export import saved_model, warmup
from export.__main__ import _name_of
from export.__main__ import main as export_command
from export.signatures import Signature
from zoo import locks


def _conditioned_cgan():
    units = {"generator_units": (16, 8, 32), "discriminator_units": (16, 8, 16)}
    return zoo.CGAN((8, 8, 1), condition_dim=3, latent_dim=8, seed=1, **units)


def _supervised_aae():
    form = {"form": "supervised", "num_classes": 10}
    return zoo.AAE((8, 8, 1), latent_dim=4, units=(16,), seed=1, **form)


#: What all tests train, and two more whose signatures take other inputs.
EXPORTED = [
    *CASES,
    Case("cgan_of_vectors", _conditioned_cgan),
    Case("aae_supervised", _supervised_aae),
]

every_variant = pytest.mark.parametrize("case", EXPORTED, ids=lambda case: case.name)

BATCH_SIZES = (1, 3)

#: Loads exports as TensorFlow Serving does, by the C++ loader and without Keras, and
#: replays their warmup records. Prints what it found; saves what was answered.
LOADER = r"""
import json, sys
sys.modules["keras"] = None  # Importing it would raise.
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

def spec(infos):
    return {key: [tf.dtypes.as_dtype(info.dtype).name,
                  *[dim.size for dim in info.tensor_shape.dim]]
            for key, info in infos.items()}

found = {}
for folder in sys.argv[1:]:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder)
        signatures = {name: signature
                      for name, signature in loaded.signature_def.items()
                      if not name.startswith("__")}
        records = tf.compat.v1.io.tf_record_iterator(
            folder + "/assets.extra/tf_serving_warmup_requests")
        replayed, answers = [], {}
        for record in records:
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            name = request.model_spec.signature_name
            signature = signatures[name]
            inputs = {key: tf.make_ndarray(v) for key, v in request.inputs.items()}
            outputs = session.run(
                {key: info.name for key, info in signature.outputs.items()},
                {signature.inputs[key].name: v for key, v in inputs.items()})
            rows = len(next(iter(inputs.values())))
            replayed.append([name, rows])
            answers.update({f"{name}/{rows}/{key}": v for key, v in outputs.items()})
        np.savez(folder + "/answers.npz", **answers)
        found[folder] = {
            "replayed": replayed,
            "signatures": {name: [spec(s.inputs), spec(s.outputs)]
                           for name, s in signatures.items()}}
print(json.dumps(found))
"""


def load_as_tensorflow_serving_does(*folders):
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Every variant, exported; and what a fresh process found in them."""
    base = tmp_path_factory.mktemp("models")
    models = {case.name: case.build() for case in EXPORTED}
    folders = {
        name: export.to_saved_model(model, base / name, batch_sizes=BATCH_SIZES)
        for name, model in models.items()
    }
    found = load_as_tensorflow_serving_does(*folders.values())
    return {
        name: (models[name], folder, found[str(folder)])
        for name, folder in folders.items()
    }


GREY = ["uint8", -1, 28, 28, 1]
SMALL = ["uint8", -1, 16, 16, 1]
TINY = ["uint8", -1, 8, 8, 1]
LABELS = {"labels": ["int64", -1]}
GENERATING = ("serving_default", "sample", "png")


def unconditional(images):
    return {
        "serving_default": [{"latents": ["float32", -1, 8]}, {"images": images}],
        "sample": [{"seeds": ["int64", -1]}, {"images": images}],
        "png": [{"seeds": ["int64", -1]}, {"png_bytes": ["string", -1]}],
        "discriminate": [{"images": images}, {"logits": ["float32", -1]}],
    }


def autoencoder(images, latent_dim):
    images = {"images": images}
    latents = {"latents": ["float32", -1, latent_dim]}
    return {
        "serving_default": [latents, images],
        "sample": [{"seeds": ["int64", -1]}, images],
        "png": [{"seeds": ["int64", -1]}, {"png_bytes": ["string", -1]}],
        "encode": [images, latents],
        "reconstruct": [images, images],
    }


def told(conditions, signatures, *names):
    """Adds inputs to the signatures of these names, or to all of them."""
    for name in names or signatures:
        signatures[name][0] = {**signatures[name][0], **conditions}
    return signatures


def infogan():
    codes = {"categories": ["int64", -1, 1], "codes": ["float32", -1, 2]}
    signatures = told(codes, unconditional(SMALL), *GENERATING)
    inferred = {"category_probabilities": ["float32", -1, 1, 10]}
    signatures["infer"] = [
        {"images": SMALL},
        {**inferred, "codes": codes["codes"]},
    ]
    return signatures


def recognition(images, features):
    classify = [{"images": images}, {"probabilities": ["float32", -1, 10]}]
    return {
        "serving_default": classify,
        "classify": classify,
        "embed": [{"images": images}, {"features": ["float32", -1, features]}],
    }


def domain_transfer(images, features):
    return {
        "serving_default": [{"images": images}, {"images": images}],
        "transfer": [{"images": images}, {"images": images}],
        "png": [{"images": images}, {"png_bytes": ["string", -1]}],
        "embed": [{"images": images}, {"features": ["float32", -1, features]}],
    }


PINNED = {
    "classifier": recognition(SMALL, 8),
    "dann": recognition(SMALL, 16),
    "dtn": domain_transfer(SMALL, 8),
    "gan": unconditional(GREY),
    "gan_k_steps": unconditional(GREY),
    "dcgan": unconditional(SMALL),
    "dcgan_simultaneous": unconditional(SMALL),
    "dcgan_r1": unconditional(SMALL),
    "dcgan_feature_matching": unconditional(SMALL),
    "cgan": told(LABELS, unconditional(GREY)),
    "cgan_convolutional": told(LABELS, unconditional(SMALL)),
    "cgan_of_vectors": told({"conditions": ["float32", -1, 3]}, unconditional(TINY)),
    "infogan": infogan(),
    "semi_supervised_gan": {
        **unconditional(SMALL),
        "classify": [{"images": SMALL}, {"probabilities": ["float32", -1, 10]}],
    },
    "semi_supervised_gan_mlp": {
        **unconditional(TINY),
        "classify": [{"images": TINY}, {"probabilities": ["float32", -1, 10]}],
    },
    "aae": {
        **told(LABELS, autoencoder(TINY, 4), *GENERATING),
        "classify": [{"images": TINY}, {"probabilities": ["float32", -1, 10]}],
    },
    "aae_supervised": told(LABELS, autoencoder(TINY, 4), *GENERATING, "reconstruct"),
    "aae_labelled_prior": told(LABELS, autoencoder(SMALL, 2), "sample", "png"),
    "aae_cluster_heads": {
        **told(LABELS, autoencoder(SMALL, 2), *GENERATING),
        "classify": [{"images": SMALL}, {"probabilities": ["float32", -1, 5]}],
        "represent": [{"images": SMALL}, {"representations": ["float32", -1, 2]}],
    },
    "vae": autoencoder(TINY, 2),
}


def test_the_signatures_of_every_variant_are_pinned():
    assert PINNED.keys() == {case.name for case in EXPORTED}


@every_variant
def test_signatures_are_those_of_the_contract(exports, case):
    _, _, found = exports[case.name]
    assert found["signatures"] == PINNED[case.name]


@every_variant
def test_every_signature_is_warmed_up_at_every_batch_size(exports, case):
    _, _, found = exports[case.name]
    expected = [[name, rows] for name in found["signatures"] for rows in BATCH_SIZES]
    assert sorted(found["replayed"]) == sorted(expected)


@every_variant
def test_a_fresh_process_without_keras_answers_as_the_model_does(exports, case):
    model, folder, _ = exports[case.name]
    answers = np.load(folder / "answers.npz", allow_pickle=True)
    for name, signature in export.signatures_of(model).items():
        for rows in BATCH_SIZES:
            inputs = {k: tf.constant(v) for k, v in signature.example(rows).items()}
            for key, expected in signature.function(**inputs).items():
                given = answers[f"{name}/{rows}/{key}"]
                if expected.dtype == tf.string:
                    decode = tf.io.decode_png
                    expected = np.stack([decode(png) for png in expected.numpy()])
                    given = np.stack([decode(png) for png in given])
                # Pixels may round to a neighbouring level where graphs are fused.
                atol = 1 if np.asarray(expected).dtype == np.uint8 else 1e-4
                np.testing.assert_allclose(
                    given.astype(np.float64),
                    np.asarray(expected).astype(np.float64),
                    atol=atol,
                    err_msg=f"{name}/{key}",
                )


def test_signatures_are_total(exports):
    """No value is an error: it would take down what is batched with it."""
    for model, _, _ in exports.values():
        for signature in export.signatures_of(model).values():
            for extreme in (-(2**63), -1, 2**63 - 1):
                inputs = {
                    name: tf.fill((2, *spec.shape[1:]), tf.cast(extreme, spec.dtype))
                    for name, spec in signature.inputs.items()
                }
                for output in signature.function(**inputs).values():
                    assert output.shape[0] == 2


def test_a_label_of_no_class_is_drawn_from_the_seed(exports):
    model, folder, _ = exports["cgan"]
    sample = tf.saved_model.load(str(folder)).signatures["sample"]
    seeds = tf.range(5, dtype=tf.int64)
    labels = tf.constant([-1, 10, 7, -(2**63), 2**63 - 1], tf.int64)
    images = sample(seeds=seeds, labels=labels)["images"].numpy().astype(int)
    expected = zoo.images.to_uint8(model.generate(5, labels=[-1, -1, 7, -1, -1]))
    assert np.abs(images - expected).max() <= 1


def is_compiled_by_xla(folder):
    """Whether any function of an export must be compiled."""
    content = (folder / "saved_model.pb").read_bytes()
    text = str(saved_model_pb2.SavedModel.FromString(content))
    return re.search(r'"_XlaMustCompile"\s+value \{\s+b: true', text) is not None


@pytest.fixture(scope="module")
def tiny():
    return next(case for case in CASES if case.name == "dcgan").build()


def test_xla_compiles_the_networks_and_gives_the_same_picture(tiny, tmp_path):
    plain = export.to_saved_model(tiny, tmp_path / "plain", batch_sizes=(3,))
    compiled = export.to_saved_model(
        tiny, tmp_path / "compiled", batch_sizes=(3,), jit_compile=True
    )
    assert is_compiled_by_xla(compiled)
    assert not is_compiled_by_xla(plain)
    # The model itself stays one of Keras's networks.
    assert isinstance(tiny.generator, keras.Model)
    load_as_tensorflow_serving_does(plain, compiled)
    ours, theirs = (np.load(folder / "answers.npz") for folder in (plain, compiled))
    difference = ours["sample/3/images"].astype(int) - theirs["sample/3/images"]
    assert np.abs(difference).max() <= 1


def test_half_precision_has_the_same_signatures_and_almost_the_same_picture(
    tiny, tmp_path
):
    tiny.save_to_preset(tmp_path / "gan")
    folders = []
    for dtype in ("float32", "bfloat16"):
        models = tmp_path / dtype
        done = CliRunner().invoke(
            export_command,
            [f"{tmp_path}/gan", f"{models}", "--batch-sizes", "3", "--dtype", dtype],
        )
        assert done.exit_code == 0, done.output
        folders.append(models / "gan" / "1")
    found = load_as_tensorflow_serving_does(*folders)
    full, half = (found[str(folder)]["signatures"] for folder in folders)
    assert full == half
    ours, theirs = (np.load(folder / "answers.npz") for folder in folders)
    difference = ours["sample/3/images"].astype(int) - theirs["sample/3/images"]
    assert 0 < np.abs(difference).max() < 10
    size_of = [
        sum(path.stat().st_size for path in folder.glob("variables/*.data*"))
        for folder in folders
    ]
    assert size_of[1] < 0.7 * size_of[0]


def test_minibatch_discrimination_has_no_discriminate():
    gan = zoo.GAN(
        generator=zoo.one_dimensional.Generator(),
        discriminator=zoo.one_dimensional.Discriminator(minibatch=True),
        prior=zoo.priors.StratifiedRange(1, -8.0, 8.0),
        seed=0,
    )
    signatures = export.signatures_of(gan)
    assert set(signatures) == {"serving_default", "sample"}
    samples = signatures["sample"].function(seeds=tf.range(5, dtype=tf.int64))
    assert samples["samples"].shape == (5, 1)


def test_exports_leave_no_graphs_in_memory(tiny, tmp_path):
    def graphs_after_an_export():
        export.to_saved_model(tiny, tmp_path / "m", batch_sizes=(1,))
        gc.collect()
        return sum(isinstance(thing, FuncGraph) for thing in gc.get_objects())

    assert graphs_after_an_export() == graphs_after_an_export()


def test_no_number_comes_after_the_last(tiny, tmp_path):
    last = tmp_path / "m" / str(2**63 - 1)
    last.mkdir(parents=True)
    with pytest.raises(FileExistsError, match="Say which version this is"):
        export.to_saved_model(tiny, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == [last]


def test_versions_count_up_and_never_change(tiny, tmp_path):
    (tmp_path / "007").mkdir()
    (tmp_path / "8").write_text("not a folder, but in the way")
    (tmp_path / "notes").mkdir()
    (tmp_path / str(2**63)).mkdir()  # Of 64 bits, so no version.
    (tmp_path / "²").mkdir()  # A digit, and no number.
    assert export.to_saved_model(tiny, tmp_path, batch_sizes=(1,)).name == "9"
    before = sorted(path.name for path in tmp_path.iterdir())
    for taken in (7, 8, 9):
        with pytest.raises(FileExistsError, match=f"Version {taken} exists"):
            export.to_saved_model(tiny, tmp_path, version=taken)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_number_that_another_export_takes_meanwhile_is_left_to_it(
    tiny, tmp_path, monkeypatch
):
    find = saved_model.versions

    def find_and_publish(base_path):
        """Returns the versions, to which another is added at once, up to two."""
        found = find(base_path)
        if len(found) < 2:
            other = base_path / str(len(found) + 1)
            other.mkdir()
            (other / "saved_model.pb").write_bytes(b"another's")
        return found

    monkeypatch.setattr(saved_model, "versions", find_and_publish)
    assert export.to_saved_model(tiny, tmp_path, batch_sizes=(1,)).name == "3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]
    assert (tmp_path / "2" / "saved_model.pb").read_bytes() == b"another's"


def test_a_failed_export_leaves_nothing(tiny, tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with pytest.raises(ValueError, match="at most 1000"):
            export.to_saved_model(tiny, tmp_path / name, batch_sizes=range(1, 400))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


@pytest.fixture
def export_under_way(tiny, tmp_path):
    """A process that is writing `models/preset/1`, its command and that folder."""
    tiny.save_to_preset(tmp_path / "preset")
    models = tmp_path / "models"
    command = [sys.executable, "-m", "export", tmp_path / "preset", models]
    process = subprocess.Popen(command)
    try:
        for _ in range(12_000):
            if list(models.glob("preset/.partial-*")):
                break
            assert process.poll() is None
            time.sleep(0.01)
        else:
            pytest.fail("nothing was written in two minutes")
        yield process, command, models
    finally:
        process.kill()
        process.wait()


def test_a_stopped_export_leaves_nothing(export_under_way):
    process, _, models = export_under_way
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert list(models.iterdir()) == []


def test_an_export_that_is_interrupted_at_its_start_leaves_nothing(
    tmp_path, monkeypatch
):
    def interrupt(descriptor, wait):
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, "take", interrupt)
    model = zoo.GAN((4, 4, 1), 3, generator_units=(4,), discriminator_units=(4,))
    with pytest.raises(KeyboardInterrupt):
        export.to_saved_model(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_export_leaves_goes_with_the_next(export_under_way):
    process, command, models = export_under_way
    process.kill()
    process.wait()
    (left,) = models.glob("preset/*")
    assert left.name.startswith(".partial-")
    subprocess.run(command, check=True)
    assert [path.name for path in models.glob("preset/*")] == ["1"]


def test_an_export_leaves_another_one_alone(tiny, export_under_way):
    process, _, models = export_under_way
    process.send_signal(signal.SIGSTOP)
    export.to_saved_model(tiny, models / "preset", version=7, batch_sizes=(1,))
    (other,) = models.glob("preset/.partial-*")
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=120) == 0
    assert sorted(path.name for path in models.glob("preset/*")) == ["7", "8"]
    assert not other.exists()


def test_a_version_has_the_mode_that_the_umask_gives(tiny, tmp_path):
    tiny.save_to_preset(tmp_path / "preset")
    command = [sys.executable, "-m", "export", tmp_path / "preset", tmp_path / "models"]
    subprocess.run(command, check=True, umask=0o027)
    folders = [path for path in (tmp_path / "models").rglob("*") if path.is_dir()]
    assert tmp_path / "models" / "preset" / "1" in folders
    assert {oct(os.stat(folder).st_mode & 0o777) for folder in folders} == {"0o750"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"version": 0},
        {"version": True},
        {"version": 1.0},
        {"batch_sizes": (0,)},
        {"batch_sizes": ()},
        {"batch_sizes": [1.5]},
        {"batch_sizes": 8},
        {"batch_sizes": (size for size in (1, 2))},
        {"batch_sizes": np.array([], int)},
    ],
)
def test_bad_arguments_are_refused(tiny, tmp_path, arguments):
    with pytest.raises(ValueError, match="positive"):
        export.to_saved_model(tiny, tmp_path / "base", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_network_alone_is_no_model(tiny, tmp_path):
    with pytest.raises(TypeError, match=r"a model of the zoo.*Received: Functional"):
        export.to_saved_model(tiny.generator, tmp_path)


def test_numbers_may_be_those_of_numpy(tiny, tmp_path):
    sizes = np.array([1, 2])
    path = export.to_saved_model(tiny, tmp_path, np.int64(3), batch_sizes=sizes)
    assert path == tmp_path / "3"


def test_command_line(tiny, tmp_path, monkeypatch):
    tiny.save_to_preset(tmp_path / "preset")
    run = CliRunner().invoke
    done = run(export_command, [f"{tmp_path}/preset/", f"{tmp_path}/models"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "models" / "preset" / "1" / "saved_model.pb").exists()

    sizes = ["--batch-sizes", "1,3"]
    done = run(export_command, [f"{tmp_path}/preset/", f"{tmp_path}/models", *sizes])
    assert done.exit_code == 0, done.output
    first, second = (
        tmp_path / "models" / "preset" / version / "assets.extra"
        for version in ("1", "2")
    )
    records = [
        len(list(tf.data.TFRecordDataset(f"{folder}/tf_serving_warmup_requests")))
        for folder in (first, second)
    ]
    assert records[1] == records[0] * 2 // 6

    # A folder by another name goes by its own.
    monkeypatch.chdir(tmp_path / "preset")
    done = run(export_command, [".", f"{tmp_path}/models", *sizes])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "models" / "preset" / "3").exists()
    # The model of a run goes by the run's name.
    tiny.save_to_preset(tmp_path / "v1" / "model")
    (tmp_path / "v1" / "run.json").write_text("{}")
    done = run(export_command, [f"{tmp_path}/v1/model", f"{tmp_path}/of_run", *sizes])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "of_run" / "v1" / "1").exists()
    for name in ("", "..", "a/b", ".hid", "a:b", "a\nb", "lost+found"):
        done = run(export_command, [".", f"{tmp_path}/models", "--name", name])
        assert done.exit_code == 1
        assert "can't be the name of a model" in done.output
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["preset"]

    # As of a variable that is not set.
    done = run(export_command, [f"{tmp_path}/preset", ""])
    assert done.exit_code == 1
    assert "MODELS is empty" in done.output

    for folder in (
        tmp_path / "models" / "preset",
        tmp_path / "models" / "preset" / "1",
    ):
        done = run(export_command, [f"{tmp_path}/preset", str(folder)])
        assert done.exit_code == 1
        assert f"folder of models that it is in, {tmp_path}/models\n" in done.output
        assert not (folder / "preset").exists()

    done = run(export_command, ["no_such_preset", f"{tmp_path}/models"])
    assert done.exit_code == 1
    assert "Unknown preset" in done.output
    assert "Traceback" not in done.output
    done = run(export_command, [f"{tmp_path}/models", "gan_mnist"])
    assert done.exit_code == 1
    assert f"comes first: python -m export gan_mnist {tmp_path}/models" in done.output
    assert run(export_command, []).exit_code == 2


def test_a_preset_at_a_url_goes_by_the_end_of_its_path():
    for url in ("https://host.example/presets/cats", "http://host.example:8000/cats/"):
        assert _name_of(url) == "cats"


def ending_in(layer):
    latents = keras.Input((4,))
    x = keras.layers.Reshape((4, 4, 1))(keras.layers.Dense(16)(latents))
    generator = keras.Model(latents, layer(x))
    return zoo.GAN(generator=generator, latent_dim=4, discriminator_units=(4,), seed=0)


def doubled(x):
    return 2 * x


#: Ways to call Python from a graph.
CALLS = {
    "numpy": lambda x: tf.numpy_function(doubled, [x], tf.float32),
    "eager": lambda x: tf.py_function(doubled, [x], tf.float32),
    "within": tf.function(lambda x: CALLS["numpy"](x), autograph=False),
}


@keras.saving.register_keras_serializable("test_export")
class InPython(keras.layers.Layer):
    def __init__(self, how, **kwargs):
        super().__init__(**kwargs)
        self.how = how

    def call(self, inputs):
        return tf.reshape(CALLS[self.how](inputs), tf.shape(inputs))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "how": self.how}


@keras.saving.register_keras_serializable("test_export")
class Tabled(keras.layers.Layer):
    def build(self, shape):
        keys = tf.constant([0, 1], tf.int64)
        values = tf.lookup.KeyValueTensorInitializer(keys, tf.constant([0.0, 1.0]))
        self.table = tf.lookup.StaticHashTable(values, 0.5)

    def call(self, inputs):
        return inputs * self.table.lookup(tf.constant(1, tf.int64))


@pytest.mark.parametrize(
    ("layer", "compiled", "said"),
    [
        (
            keras.layers.UpSampling2D(2, interpolation="bicubic"),
            True,
            "can't be computed. XLA compiles it: leave jit_compile out",
        ),
        (InPython("numpy"), False, "calls Python .*which no server has"),
        (InPython("eager"), False, "calls Python .*which no server has"),
        (InPython("within"), False, "calls Python .*which no server has"),
        (Tabled(), False, "a resource that is no variable"),
    ],
)
def test_what_no_server_could_load_is_not_published(tmp_path, layer, compiled, said):
    model = ending_in(layer)
    assert np.isfinite(model.generate(2, seed=0)).all()
    with pytest.raises(ValueError, match=said):
        export.to_saved_model(model, tmp_path / "models" / "m", jit_compile=compiled)
    assert not (tmp_path / "models" / "m").exists()
    if compiled:
        export.to_saved_model(model, tmp_path / "models" / "m", batch_sizes=(1,))


def test_examples_of_any_kind_of_input():
    kinds = {
        "flags": (tf.bool, ()),
        "names": (tf.string, ()),
        "words": (tf.string, (2,)),
        "classes": (tf.int64, ()),
        "rows": (tf.float32, (3,)),
    }
    inputs = {
        name: tf.TensorSpec((None, *shape), dtype)
        for name, (dtype, shape) in kinds.items()
    }
    for name, value in Signature(None, inputs).example(4).items():
        dtype, shape = kinds[name]
        assert tf.constant(value).dtype == dtype
        assert value.shape == (4, *shape)


@pytest.mark.parametrize("shape", [(), (4, 3), (None, None), None])
def test_inputs_are_batches_of_rows(shape):
    with pytest.raises(ValueError, match="'scale' to be a batch of rows"):
        Signature(None, {"scale": tf.TensorSpec(shape, tf.float32)})


def test_1000_warmup_records_are_written_and_one_more_refused(tmp_path):
    seeds = {"seeds": tf.TensorSpec([None], tf.int64)}
    signatures = {"sample": export.signatures.Signature(lambda seeds: {}, seeds)}
    warmup.write_warmup(tmp_path, signatures, [1] * 1000)
    file = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    assert len(list(tf.data.TFRecordDataset(str(file)))) == 1000
    with pytest.raises(ValueError, match="make 1001 warmup records"):
        warmup.write_warmup(tmp_path, signatures, [1] * 1001)


def test_autoencoders_of_vectors_take_and_give_samples():
    signatures = export.signatures_of(zoo.VAE((3,), 2, units=(4,), seed=0))
    inputs = {"samples": tf.TensorSpec([None, 3], tf.float32)}
    for name in ("encode", "reconstruct"):
        assert signatures[name].inputs == inputs
    rows = tf.zeros((2, 3))
    assert signatures["reconstruct"].function(samples=rows)["samples"].shape == (2, 3)
    assert signatures["encode"].function(samples=rows)["latents"].shape == (2, 2)


def test_networks_that_no_signature_asks_are_not_written(tmp_path):
    model = zoo.DANN((16, 16, 1), 10, filters=(4, 4), kernel_size=3, units=8, seed=0)
    path = export.to_saved_model(model, tmp_path / "dann")
    written = tf.train.list_variables(str(path / "variables" / "variables"))
    shapes = [shape for name, shape in written if name.startswith("used/")]
    used = [*model.features.weights, *model.label_head.weights]
    assert sorted(shapes) == sorted(list(weight.shape) for weight in used)
