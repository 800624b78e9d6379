"""Promises that every variant keeps; `variants.CASES` lists them.

Steps run eagerly, for to compile each takes longer than all that is done with it here;
`test_replicas.py` trains every variant compiled.
"""

import dataclasses
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from sums import unordered_sums
from variants import CASES, Case
from writes import optimized_graph, unordered_writes

import zoo

every_variant = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_generator = pytest.mark.parametrize(
    "case", [case for case in CASES if case.generates], ids=lambda case: case.name
)


def weights_of(model):
    """The networks' weights, by name; not the counters."""
    return {
        f"{name}/{number}": weight
        for name, network in model.networks().items()
        for number, weight in enumerate(network.get_weights())
    }


def trained_networks(model):
    """Names of the networks that a player trains; the others are fixed."""
    trained = {id(network) for player in model.players().values() for network in player}
    return {n for n in model.network_names if id(getattr(model, n)) in trained}


def assert_same(ours, theirs, atol=0.0):
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        np.testing.assert_allclose(
            weight, theirs[name], rtol=0, atol=atol, err_msg=name
        )


@dataclasses.dataclass
class Training:
    """A model that was trained for two epochs of three steps.

    Attributes:
        model: It, which a test may train further.
        before: Its weights before the training.
        after: Its weights after it.
        history: What `fit` logged.
        interrupted: Folder of checkpoints as they were after the first epoch.
    """

    model: zoo.Model
    before: dict
    after: dict
    history: dict
    interrupted: pathlib.Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trains a case, once for all tests."""
    trainings = {}

    def of(case: Case):
        if case.name not in trainings:
            trainings[case.name] = _train(case, tmp_path_factory.mktemp(case.name))
        return trainings[case.name]

    return of


def _train(case, folder):
    model = case.build()
    before = weights_of(model)
    model.compile(**case.compile, run_eagerly=True)
    history = fit(
        model,
        case,
        zoo.callbacks.BackupAndResume(folder / "whole"),
        CopyAfterFirstEpoch(folder / "whole", folder / "interrupted"),
    )
    return Training(model, before, weights_of(model), history, folder / "interrupted")


def fit(model, case, *callbacks):
    return model.fit(
        case.load_data(),
        epochs=2,
        steps_per_epoch=3,
        verbose=0,
        callbacks=[*callbacks],
    ).history


class CopyAfterFirstEpoch(keras.callbacks.Callback):
    """Keeps what an interruption would leave."""

    def __init__(self, checkpoints, copy):
        super().__init__()
        self.checkpoints, self.copy = checkpoints, copy

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            shutil.copytree(self.checkpoints, self.copy)


@every_variant
def test_a_class_says_what_it_logs_and_what_trains_it(case):
    model = case.build()
    for name in ("loss", *model.logged):
        assert f"| `{name}` |" in type(model).__doc__
    for player in model.players():
        assert f"`{player}_optimizer`" in type(model).__doc__


@every_variant
def test_levels_for_pixels_are_refused_in_training(case):
    model = case.build()
    model.compile(**case.compile, run_eagerly=True)
    levels = case.load_data().map(
        lambda *batch: tf.nest.map_structure(
            lambda x: x if x.dtype.is_integer or x.shape.rank < 4 else 127.5 * (x + 1),
            batch if len(batch) > 1 else batch[0],
        )
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="takes pixels from -1"):
        model.fit(levels, epochs=1, steps_per_epoch=1, verbose=0)


def test_float16_without_a_gpu_is_warned_of():
    gan = zoo.GAN((4, 4, 1), 3, generator_units=(4,), seed=0, dtype="mixed_float16")
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("float16 is quick on the GPU that is here")
    with pytest.warns(UserWarning, match="float16 is for GPUs"):
        gan.compile()


@every_variant
def test_fit_moves_every_network_and_logs_what_it_promises(case, trained):
    training = trained(case)
    model = training.model
    assert set(training.history) == {"loss", *model.logged}
    assert all(np.isfinite(values).all() for values in training.history.values())
    for name in model.network_names:
        assert (name in trained_networks(model)) == any(
            (training.after[key] != value).any()
            for key, value in training.before.items()
            if key.startswith(name + "/")
        )


@every_variant
def test_an_interrupted_run_ends_as_an_uninterrupted_one(case, trained):
    whole = trained(case)
    model = case.build()
    model.compile(**case.compile, run_eagerly=True)
    fit(model, case, zoo.callbacks.BackupAndResume(whole.interrupted))
    assert int(model.steps) == 6
    assert_same(whole.after, weights_of(model))


@every_variant
def test_one_seed_gives_the_same_initial_weights(case):
    assert_same(weights_of(case.build()), weights_of(case.build()))


@every_variant
def test_comes_back_from_a_keras_file_with_its_optimizers(case, trained, tmp_path):
    model = trained(case).model
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(weights_of(model), weights_of(loaded))
    loaded.run_eagerly = True
    # Optimizers, averages and noise go on where they were, or this would differ.
    for each in (model, loaded):
        each.fit(case.load_data(), steps_per_epoch=1, verbose=0)
    assert_same(weights_of(model), weights_of(loaded), atol=1e-6)


@every_variant
def test_comes_back_from_a_preset(case, trained, tmp_path):
    model = trained(case).model
    model.save_to_preset(tmp_path / "preset")
    loaded = zoo.from_preset(tmp_path / "preset")
    assert type(loaded) is type(model)
    assert_same(weights_of(model), weights_of(loaded))
    assert loaded.get_config() == model.get_config()


def test_the_other_layout_of_images_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="before you build a model"):
            zoo.DCGAN((8, 8, 1))
    finally:
        keras.config.set_image_data_format("channels_last")


@every_variant
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.filterwarnings("ignore:float16 is for GPUs")
def test_trains_in_mixed_precision(case, policy):
    model = case.build(dtype=policy)
    before = weights_of(model)
    scales_losses = policy == "mixed_float16"
    compiled = scales_losses and case.name in ("gan", "aae")
    model.compile(**case.compile, run_eagerly=not compiled)
    history = model.fit(case.load_data(), steps_per_epoch=1, verbose=0)
    assert all(np.isfinite(values).all() for values in history.history.values())
    if scales_losses:
        for player in model.players():
            optimizer = getattr(model, f"{player}_optimizer")
            assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    moved = [
        (after != before[key]).any()
        for key, after in weights_of(model).items()
        if key.split("/")[0] in trained_networks(model)
    ]
    assert np.mean(moved) > 0.5


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("gan", "generator"),
        ("gan", "discriminator"),
        ("aae", "discriminator"),
        ("aae", "decoder"),
        ("dann", "domain_head"),
        ("dtn", "discriminator"),
        ("dtn", "generator"),
        ("infogan", "discriminator"),
        ("vae", "encoder"),
    ],
)
def test_a_network_may_answer_in_half_precision(name, network):
    (case,) = (case for case in CASES if case.name == name)
    model = case.build()
    whole = getattr(model, network)
    outputs = keras.tree.map_structure(
        keras.layers.Activation("linear", dtype="bfloat16"), whole.output
    )
    setattr(model, network, keras.Model(whole.inputs, outputs))
    model.compile(**case.compile, run_eagerly=True)
    logs = model.fit(case.load_data(), steps_per_epoch=1, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    if case.generates:
        assert model.generate(2).dtype == np.float32


@pytest.mark.parametrize("name", ["cgan", "infogan"])
def test_predict_draws_the_conditions_that_decode_draws_in_half_precision(name):
    (case,) = (case for case in CASES if case.name == name)
    model = case.build(dtype="mixed_bfloat16")
    latents = model.prior.sample(tf.range(16, dtype=tf.int64)).numpy()
    np.testing.assert_allclose(
        model.predict(latents, verbose=0), model.decode(latents), atol=1e-6
    )


@every_variant
def test_evaluate_changes_nothing(case, trained):
    model = trained(case).model
    before = weights_of(model)
    test = zoo.load_data(**{**case.data, "split": "test[:70]"}, batch_size=32)
    first = model.evaluate(test, verbose=0, return_dict=True)
    again = model.evaluate(test, verbose=0, return_dict=True)
    assert first == pytest.approx(again, rel=1e-6)
    assert_same(before, weights_of(model))


#: What `evaluate` logs of images alone, whatever noise the batches draw.
OF_IMAGES = {
    "classification_accuracy",
    "classification_loss",
    "l_const",
    "l_tid",
    "label_accuracy",
    "label_loss",
    "real_accuracy",
    "reconstruction_loss",
}


@pytest.mark.parametrize(
    # What a VAE logs depends on what it draws.
    "case",
    [case for case in CASES if case.name != "vae"],
    ids=lambda case: case.name,
)
def test_evaluate_does_not_depend_on_the_batch_size(case, trained):
    model = trained(case).model
    small, whole = (
        model.evaluate(
            zoo.load_data(**{**case.data, "split": "test"}, batch_size=size),
            verbose=0,
            return_dict=True,
        )
        for size in (64, 297)
    )
    # An autoencoder's adversary has draws for real ones.
    names = OF_IMAGES & small.keys() - ({"real_accuracy"} if case.encodes else set())
    assert names
    assert {n: small[n] for n in names} == pytest.approx(
        {n: whole[n] for n in names}, rel=1e-5
    )


@every_generator
def test_samples_depend_on_their_seed_alone(case):
    model = case.build()
    samples = model.generate(7, seed=3)
    assert samples.dtype == np.float32
    assert samples.shape == (7, *model.image_shape)
    assert np.abs(samples).max() <= 1
    np.testing.assert_allclose(model.generate(1, seed=5)[0], samples[2], atol=1e-6)
    np.testing.assert_allclose(model.generate(seeds=[9, 3])[1], samples[0], atol=1e-6)
    np.testing.assert_allclose(model.generate(7, 3, batch_size=2), samples, atol=1e-6)
    assert np.abs(samples[0] - samples[1]).max() > 1e-4
    assert model.generate(0).shape == (0, *model.image_shape)


def test_seeds_are_all_integers_of_64_bits():
    model = zoo.GAN((3,), 2, generator_units=(4,), seed=0)
    for seed in (-(2**63), 2**63 - 1):
        np.testing.assert_array_equal(
            model.generate(1, seed), model.generate(seeds=[seed])
        )
    for arguments in (
        {"seeds": [2**63]},
        {"seeds": np.array([2**64 - 1], np.uint64)},
        {"n": 1, "seed": 2**63},
        {"n": 2, "seed": 2**63 - 1},
    ):
        with pytest.raises(ValueError, match="64 bits"):
            model.generate(**arguments)


@every_generator
def test_predict_equals_call(case):
    model = case.build()
    inputs = model.generate(4) if case.encodes else model.prior.sample(tf.range(4))
    np.testing.assert_allclose(
        model.predict(inputs, verbose=0), model(inputs), atol=1e-6
    )


@every_variant
def test_no_order_within_a_step_is_left_to_chance(case, trained):
    batch = next(iter(zoo.data.epochs(case.load_data())))
    # Of a trained model, whose optimizers have their variables; as `fit` traces it.
    step = tf.function(trained(case).model.train_step, autograph=False)
    # Gradients that are added:
    assert unordered_sums(step.get_concrete_function(batch).graph) == []
    # And weights, which are not updated while they are still read:
    assert unordered_writes(optimized_graph(step, batch)) == []


def small_network(taken, given):
    """Returns a network from rows of one shape to rows of another."""
    inputs = keras.Input(taken)
    x = keras.layers.Dense(int(np.prod(given)))(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Reshape(given)(x))


OWN_NETWORKS = {
    "classifier": lambda **own: zoo.Classifier((8, 8, 1), 3, seed=0, **own),
    "dann": lambda **own: zoo.DANN((8, 8, 1), 3, seed=0, **own),
    "dtn": lambda **own: zoo.DTN(small_network((8, 8, 1), (5,)), seed=0, **own),
}
SHAPES = {
    "features": ((8, 8, 1), (5,)),
    "label_head": ((5,), (3,)),
    "domain_head": ((5,), (1,)),
    "generator": ((5,), (8, 8, 1)),
    "discriminator": ((8, 8, 1), (3,)),
}


@pytest.mark.parametrize(
    ("variant", "names"),
    [
        ("classifier", ["features", "label_head"]),
        ("dann", ["features", "label_head", "domain_head"]),
        ("dtn", ["generator", "discriminator"]),
    ],
)
def test_takes_networks_of_ones_own(variant, names, tmp_path):
    build = OWN_NETWORKS[variant]
    own = {name: small_network(*SHAPES[name]) for name in names}
    model = build(**own)
    assert all(getattr(model, name) is network for name, network in own.items())
    model.save_to_preset(tmp_path / "preset")
    assert_same(weights_of(model), weights_of(zoo.from_preset(tmp_path / "preset")))
    for name in names:
        wrong = small_network(SHAPES[name][0], (7,) * len(SHAPES[name][1]))
        with pytest.raises(ValueError, match="must map rows of shape"):
            build(**{**own, name: wrong})


def test_rows_are_computed_in_whole_blocks():
    """So that what a row gives does not hang on how many come with it."""
    model = zoo.GAN((2,), 2, generator_units=(4,), seed=0)
    rows, seen = np.arange(22.0, dtype="float32").reshape(11, 2), []

    def function(batch):
        seen.append(batch.shape[0])
        return batch, batch[:, 0]

    same, firsts = model._in_batches(function, [rows], batch_size=1)
    np.testing.assert_array_equal(same, rows)
    np.testing.assert_array_equal(firsts, rows[:, 0])
    assert seen == [8, 8]
