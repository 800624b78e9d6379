"""What `fit`, `evaluate` and their forms for one batch take, and what they refuse."""

import concurrent.futures
import os
import shutil
import signal
import warnings
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.checkpoints import CheckpointError, DivergenceError

ROWS = np.random.default_rng(0).uniform(-1, 1, (24, 3)).astype("float32")
LABELS = np.arange(24) % 3


def gan(**arguments):
    units = {"generator_units": (4,), "discriminator_units": (4,)}
    model = zoo.GAN((3,), 3, **units, seed=0)
    model.compile(**arguments)
    return model


def cgan():
    units = {"generator_units": (4, 4, 4), "discriminator_units": (4, 4, 4)}
    model = zoo.CGAN((3,), 3, latent_dim=3, **units, seed=0)
    model.compile()
    return model


def assert_same_weights(ours, theirs):
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_arrays_may_be_given_by_position():
    ours, theirs = cgan(), cgan()
    ours.fit(ROWS, LABELS, 8, 2, 0, None, shuffle=False)
    theirs.fit(
        x=ROWS, y=LABELS, batch_size=8, epochs=2, verbose=0, callbacks=[], shuffle=False
    )
    assert int(ours.steps) == 6
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize(
    "arguments", [{}, {"run_eagerly": True}, {"steps_per_execution": 2}]
)
def test_a_batch_trains_as_a_step_of_fit(arguments):
    ours, theirs = gan(**arguments), gan()
    logs = ours.train_on_batch(ROWS, return_dict=True)
    history = theirs.fit(ROWS, batch_size=24, verbose=0).history
    assert logs["loss"] == pytest.approx(history["loss"][0], rel=1e-5)
    assert_same_weights(ours, theirs)


def test_what_cannot_be_told_or_done_is_refused():
    of_unknown_shape = tf.data.Dataset.from_generator(lambda: [ROWS], tf.float32)
    with pytest.raises(ValueError, match="give from_generator an output_signature"):
        gan().fit(of_unknown_shape, verbose=0)
    for steps in (-1, 0, 1.5):
        with pytest.raises(ValueError, match=rf"1 or more.*steps_per_epoch={steps}"):
            gan().fit(ROWS, steps_per_epoch=steps, verbose=0)


def test_batches_have_labels_or_none():
    for model, batch in ((gan(), (ROWS,)), (cgan(), (ROWS, LABELS))):
        model.train_on_batch(*batch)
        tested = model.test_on_batch(*batch, return_dict=True)
        whole = model.evaluate(*batch, batch_size=24, verbose=0, return_dict=True)
        assert tested["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    classifier = zoo.Classifier((16, 16, 1), 3, filters=(4,), seed=0)
    classifier.compile(total_steps=1)
    images = np.zeros((24, 16, 16, 1), np.float32)
    endless = zoo.Classifier((16, 16, 1), 3, filters=(4,), seed=0)
    endless.compile()
    with pytest.raises(ValueError, match="total_steps to `compile`"):
        endless.train_on_batch(images, LABELS)
    assert np.isfinite(classifier.train_on_batch(images, LABELS)).all()
    assert np.isfinite(classifier.test_on_batch(images, LABELS)).all()


def test_weights_of_rows_are_refused():
    ones = np.ones(24)
    for weights in ({"class_weight": {0: 1, 1: 100, 2: 1}}, {"sample_weight": ones}):
        with pytest.raises(ValueError, match="rows that count alike"):
            cgan().fit(ROWS, LABELS, **weights)
    with pytest.raises(ValueError, match="rows that count alike"):
        cgan().train_on_batch(ROWS, LABELS, sample_weight=ones)
    weighed = tf.data.Dataset.from_tensors((ROWS, LABELS, ones))
    for model in (gan(), cgan()):
        with pytest.raises(ValueError, match=r"rows count alike.* Received 3 arrays"):
            model.fit(weighed, verbose=0)
    dann = zoo.DANN((28, 28, 3), 3, filters=(2,), units=4, seed=0)
    dann.compile(total_steps=1)
    images = np.zeros((24, 28, 28, 3), np.float32)
    weighed = tf.data.Dataset.from_tensors(((images, LABELS, ones), images))
    with pytest.raises(ValueError, match=r"takes batches \(\(source_images, source_la"):
        dann.fit(weighed, verbose=0)
    with pytest.raises(ValueError, match="rows that count alike"):
        cgan().evaluate(ROWS, LABELS, sample_weight=ones)


@pytest.mark.parametrize(
    "arguments",
    [{"optimizer": "adam"}, {"loss_weights": 7.0}, {"weighted_metrics": []}],
)
def test_arguments_without_effect_are_refused_by_the_names_of_those_with(arguments):
    with pytest.raises(ValueError, match="generator_optimizer, discriminator_optimi"):
        gan(**arguments)


def test_a_loss_is_refused_where_the_paper_has_but_one():
    for model in (zoo.Classifier((16, 16, 1), 3), zoo.VAE((16, 16, 1))):
        with pytest.raises(ValueError, match="compile does not take loss"):
            model.compile(loss="mse")


def test_optimizers_that_would_not_do_what_they_say_are_refused():
    def sgd(**arguments):
        return keras.optimizers.SGD(0.1, **arguments)

    with pytest.raises(ValueError, match=r"generator_optimizer .*averaging"):
        gan(generator_optimizer=sgd(use_ema=True))
    gan(generator_optimizer=sgd(clipnorm=1.0))
    for clipping in ("clipnorm", "global_clipnorm", "clipvalue"):
        with (
            zoo.strategy("mirrored", 2).scope(),
            pytest.raises(ValueError, match=f"{clipping}=0.5.*train on one replica"),
        ):
            gan(generator_optimizer=sgd(**{clipping: 0.5}))
    gan(generator_optimizer=sgd(gradient_accumulation_steps=2))
    with (
        zoo.strategy("mirrored", 2).scope(),
        pytest.raises(ValueError, match=r"accumulation_steps=2.*on one replica"),
    ):
        gan(generator_optimizer=sgd(gradient_accumulation_steps=2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "wasserstein", "label_smoothing": 0.1},
        {"loss": "wasserstein", "averaging": 2.0},
        {"loss": "wasserstein", "weighted_metrics": []},
    ],
)
def test_a_refused_compile_changes_nothing(wrong):
    ours, theirs = gan(), gan()
    before = ours.settings()
    with pytest.raises(ValueError, match=r"Received|does not take|needs a loss"):
        ours.compile(**wrong)
    assert ours.settings() == before
    for model in (ours, theirs):
        model.fit(ROWS, batch_size=8, shuffle=False, verbose=0)
    assert_same_weights(ours, theirs)


def test_averages_of_half_precision_weights_are_refused():
    model = zoo.GAN((3,), 3, dtype="bfloat16", generator_units=(4,))
    with pytest.raises(ValueError, match="too small for bfloat16 weights"):
        model.compile(averaging=0.999)


def test_a_frozen_player_stays_as_it_is():
    model = gan()
    model.generator.trainable = False
    model.compile()
    before = [network.get_weights() for network in model.networks().values()]
    model.fit(ROWS, batch_size=8, verbose=0)
    moved = [
        any(
            (one != other).any()
            for one, other in zip(network.get_weights(), weights, strict=True)
        )
        for network, weights in zip(model.networks().values(), before, strict=True)
    ]
    assert moved == [False, True]


def test_frozen_layers_are_frozen_in_the_file_and_the_optimizer_goes_on(tmp_path):
    model = gan()
    model.generator.layers[1].trainable = False
    model.discriminator.trainable = False
    model.compile()
    model.fit(ROWS, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.generator.layers[1].trainable
    assert not loaded.discriminator.trainable
    assert loaded.generator_optimizer.iterations == 3
    before = loaded.generator.layers[1].get_weights()
    loaded.fit(ROWS, batch_size=8, verbose=0)
    for one, other in zip(
        before, loaded.generator.layers[1].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_regularizers_of_weights_are_minimized():
    def step(strategy, regularizer=None):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            layer = keras.layers.Dense(1, kernel_regularizer=regularizer)
            hidden = keras.layers.Dense(4, activation="relu")
            model = zoo.GAN(
                latent_dim=3,
                generator_units=(4,),
                discriminator=keras.Sequential([keras.Input((3,)), hidden, layer]),
                image_shape=(3,),
                seed=0,
            )
            model.compile(discriminator_optimizer=keras.optimizers.SGD(0.1))
        before = layer.get_weights()[0]
        logs = model.fit(ROWS[:8], batch_size=8, verbose=0).history
        return before, layer.get_weights()[0], logs

    for replicas in (1, 2):
        strategy = zoo.strategy("mirrored", replicas)
        kernel, free, free_logs = step(strategy)
        _, held, held_logs = step(strategy, keras.regularizers.L2(0.25))
        # The gradient of 0.25 ||w||² is 0.5 w, whatever the number of replicas.
        np.testing.assert_allclose(free - held, 0.1 * 0.5 * kernel, atol=1e-6)
        assert free_logs["discriminator_loss"] == held_logs["discriminator_loss"]


def test_regularizers_of_activities_are_refused():
    layers = [keras.Input((3,)), keras.layers.Dense(1, activity_regularizer="l2")]
    inner = keras.Sequential(layers)

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers[1]

        def call(self, rows):
            return self.dense(rows)

    for last in (inner, Block()):
        network = keras.Sequential([keras.Input((3,)), last])
        with pytest.raises(ValueError, match="regularizes its activity"):
            zoo.GAN((3,), 3, discriminator=network)


def test_models_without_a_seed_follow_keras():
    seeds = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        seeds.append([zoo.GAN((3,), 3).seed, zoo.GAN((3,), 3).seed])
    assert seeds[0] == seeds[1]
    assert seeds[0][0] != seeds[0][1]


class Epochs(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(epoch)


def test_callbacks_are_taken_as_keras_takes_them(tmp_path):
    alone = Epochs()
    gan().fit(ROWS, batch_size=8, verbose=0, callbacks=alone)
    assert alone.seen == [0]

    data = zoo.load_data("digits", image_size=8, batch_size=64)
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    digits().fit(data, epochs=2, steps_per_epoch=2, verbose=0, callbacks=[[backup]])
    for among_others in (True, False):
        model, epochs = digits(), Epochs()
        callbacks = [[zoo.callbacks.BackupAndResume(tmp_path)], epochs]
        if not among_others:
            callbacks = keras.callbacks.CallbackList(keras.tree.flatten(callbacks))
        model.fit(data, epochs=3, steps_per_epoch=2, verbose=0, callbacks=callbacks)
        assert epochs.seen == ([2] if among_others else [])


def test_a_loop_of_fits_is_one_long_fit():
    data = zoo.load_data("digits", image_size=8, batch_size=64)
    one, several = digits(), digits()
    one.fit(data, epochs=3, steps_per_epoch=2, verbose=0)
    for _ in range(3):
        several.fit(data, epochs=1, steps_per_epoch=2, verbose=0)
    assert_same_weights(one, several)


def test_a_fit_makes_one_stream(monkeypatch):
    """Which takes longer than the epoch where there are few steps."""
    stream = mock.Mock(wraps=zoo.data.epochs)
    monkeypatch.setattr(zoo.data, "epochs", stream)
    digits().fit(zoo.load_data("digits", image_size=8), steps_per_epoch=1, verbose=0)
    stream.assert_called_once()


def test_a_seed_or_a_batch_size_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"at most 62 bits\. Received: seed=9223"):
        zoo.GAN((3,), 3, seed=2**63 - 1)
    for seed in (1.5, "abc"):
        with pytest.raises(ValueError, match=rf"an integer.*seed={seed!r}"):
            zoo.GAN((3,), 3, seed=seed)
    assert zoo.GAN((3,), 3, seed=np.int64(7)).get_config()["seed"] == 7
    for size in (0, -1, None):
        with pytest.raises(ValueError, match=rf"1 or more.*batch_size={size}"):
            gan().generate(3, batch_size=size)


def test_data_of_unknown_length_count_their_batches():
    def batches():
        yield from ROWS.reshape(3, 8, 3)

    spec = tf.TensorSpec((8, 3), tf.float32)
    data = tf.data.Dataset.from_generator(batches, output_signature=spec)
    model = gan()
    # Keras has to find out where an epoch ends.
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(data, epochs=2, verbose=0)
    assert int(model.steps) == int(model.generator_optimizer.iterations) == 6


def test_a_schedule_that_is_over_is_warned_of():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 3, 0.0)
    model = gan(generator_optimizer=keras.optimizers.SGD(schedule))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(ROWS, batch_size=8, verbose=0)
        model.fit(ROWS, batch_size=8, epochs=0, verbose=0)
    with pytest.warns(UserWarning, match="generator_optimizer is 0.*Compile anew"):
        model.fit(ROWS, batch_size=8, verbose=0)


def test_a_rate_that_is_to_warm_up_is_not_over():
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, 10, warmup_target=0.1, warmup_steps=5
    )
    model = gan(generator_optimizer=keras.optimizers.SGD(schedule))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(ROWS, batch_size=8, verbose=0)


def test_the_backup_of_keras_is_refused(tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path / "state.weights.h5")
    with pytest.raises(ValueError, match=r"Use zoo\.callbacks\.BackupAndResume"):
        gan().fit(ROWS, batch_size=8, verbose=0, callbacks=[backup])


def test_callbacks_that_adjust_one_optimizer_have_to_say_which():
    callback = keras.callbacks.ReduceLROnPlateau("loss")
    with pytest.raises(ValueError, match=r"ForOptimizer\('generator', ReduceLROnPlat"):
        gan().fit(ROWS, batch_size=8, verbose=0, callbacks=[callback])


PIXELS = np.random.default_rng(0).uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
CLASSES = np.arange(8) % 3
IMAGES = {"image_shape": (4, 4, 1), "seed": 0}


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda: zoo.GAN(**IMAGES, latent_dim=2), (255 * PIXELS, None)),
        (lambda: zoo.GAN(**IMAGES, latent_dim=2), (np.nan * PIXELS, None)),
        (lambda: zoo.VAE(**IMAGES, latent_dim=2, units=(4,)), (255 * PIXELS, None)),
        (lambda: zoo.CGAN(**IMAGES, num_classes=3), (PIXELS, CLASSES + 1)),
        (
            lambda: zoo.Classifier(**IMAGES, num_classes=3, filters=(2,)),
            (255 * PIXELS, CLASSES),
        ),
    ],
    ids=["levels", "NaN", "VAE", "labels", "classifier"],
)
def test_a_refused_batch_trains_nothing(make, data):
    model = make()
    model.compile()
    before = [variable.numpy() for variable in model.variables]
    # In a graph, operations that do not wait for one another run at once.
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"from -1 to 1|must be in"
    ):
        model.fit(*data, batch_size=8, verbose=0)
    trained = [
        variable.path
        for variable, value in zip(model.variables, before, strict=True)
        if (variable.numpy() != value).any()
    ]
    assert not trained


def test_a_step_that_does_not_count_is_warned_of():
    class Plain(zoo.GAN):
        def train_step(self, data):
            weights = self.generator.trainable_variables
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(self.generator(tf.zeros([2, 2]), training=True))
            gradients = tape.gradient(loss, weights)
            self.generator_optimizer.apply(gradients, weights)
            return {"loss": loss}

    model = Plain((3,), 2, generator_units=(4,), seed=0)
    model.compile()
    with pytest.warns(UserWarning, match="Plain does not call end_step"):
        model.fit(ROWS, verbose=0)


def test_an_optimizer_that_was_replaced_is_refused():
    model = gan()
    model.fit(ROWS, verbose=0)
    model.generator_optimizer = keras.optimizers.SGD(0.1)
    with pytest.raises(ValueError, match="or it was replaced, since compile"):
        model.fit(ROWS, verbose=0)


def test_no_model_is_saved_to_hdf5(tmp_path):
    with pytest.raises(ValueError, match=r"Save to a \.keras file.*m\.h5"):
        gan().save(tmp_path / "m.h5")
    assert not list(tmp_path.iterdir())


def test_calls_take_no_levels_of_pixels():
    levels = np.full((2, 16, 16, 1), 255, np.uint8)
    classifier = zoo.Classifier((16, 16, 1), 3, filters=(4,), seed=0)
    widths = {"generator_filters": 2, "discriminator_filters": 2}
    for model in (
        classifier,
        zoo.AAE((16, 16, 1), units=(4,), seed=0),
        zoo.DTN(classifier.features, **widths, seed=0),
    ):
        for call in (model, model.predict):
            with pytest.raises(ValueError, match=r"zoo\.images\.from_uint8"):
                call(levels)
    # What takes them maps them, bright ones and none, too.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        levels[0] = 200
        bright = classifier.pixels(levels)
        np.testing.assert_array_equal(bright, zoo.images.from_uint8(levels))
        assert classifier.pixels(np.zeros((0, 16, 16, 1))).shape == (0, 16, 16, 1)


def test_signals_are_given_back_however_a_training_ends(tmp_path):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    model = gan(generator_optimizer=keras.optimizers.SGD(np.inf))
    with pytest.raises(DivergenceError):
        model.fit(ROWS, batch_size=8, verbose=0, callbacks=[backup])
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_training_in_a_thread_is_saved_without_signals(tmp_path):
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    model = gan()
    with concurrent.futures.ThreadPoolExecutor() as threads:
        threads.submit(
            model.fit, ROWS, batch_size=8, verbose=0, callbacks=[backup]
        ).result()
    assert backup.position() == (1, 0)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    """The losses of the step that made them were finite."""
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    model = gan()
    model.fit(ROWS, batch_size=24, verbose=0, callbacks=[backup])
    rates = {"generator_optimizer": keras.optimizers.SGD(np.inf)}
    model = gan(**rates)
    backup = zoo.callbacks.BackupAndResume(tmp_path / "other")
    with pytest.raises(DivergenceError, match=r"of the generator is not finite at"):
        model.fit(ROWS, batch_size=24, verbose=0, callbacks=[backup])
    assert backup.position() == (0, 0)


def test_weights_that_are_no_numbers_are_not_saved_because_of_a_signal_either(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            signal.raise_signal(signal.SIGTERM)

    model = gan(generator_optimizer=keras.optimizers.SGD(np.inf))
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    callbacks = [Interrupt(), backup]
    with pytest.raises(DivergenceError, match=r"of the generator is not finite at"):
        model.fit(ROWS, batch_size=8, verbose=0, callbacks=callbacks)
    assert backup.position() == (0, 0)


def test_callbacks_that_begin_anew_are_warned_of(tmp_path):
    def fit(epochs, *callbacks):
        backup = zoo.callbacks.BackupAndResume(tmp_path)
        callbacks = [*callbacks, backup]
        gan().fit(ROWS, batch_size=8, epochs=epochs, verbose=0, callbacks=callbacks)

    stopping = keras.callbacks.EarlyStopping("generator_loss", mode="min")
    falling = keras.callbacks.ReduceLROnPlateau("generator_loss", mode="min")
    falling = zoo.callbacks.ForOptimizer("generator", falling)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(1, stopping, falling)
        fit(2)
    with pytest.warns(UserWarning, match="anew: EarlyStopping, ReduceLROnPlateau"):
        fit(3, stopping, falling)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(3, stopping)  # Nothing goes on.
        fit(4, keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"))


class Masked(keras.layers.Layer):
    """Has a weight that is no number, and is not trained."""

    def build(self, shape):
        self.add_weight(
            (2,), initializer=keras.initializers.Constant(-np.inf), trainable=False
        )

    def call(self, inputs):
        return inputs


def test_constants_may_be_infinite(tmp_path):
    x = latents = keras.Input((3,))
    generator = keras.Model(latents, keras.layers.Dense(3)(Masked()(x)))
    model = zoo.GAN(generator=generator, latent_dim=3, discriminator_units=(4,), seed=0)
    model.compile()
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    model.fit(ROWS, batch_size=8, verbose=0, callbacks=[backup])
    assert backup.position() == (1, 0)


def test_pixels_from_0_to_1_are_warned_of():
    model = zoo.VAE((8, 8, 1), 2, units=(4,), seed=0)
    model.compile()
    images = np.random.default_rng(0).uniform(0, 1, (4, 8, 8, 1)).astype("float32")
    with pytest.warns(UserWarning, match="Map them by 2"):
        model.fit(images, batch_size=4, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(2 * images - 1, batch_size=4, verbose=0)


def test_logs_of_labelled_rows_are_means_over_them():
    """However many of a batch's rows have labels, none at all among them."""
    rows = np.random.default_rng(0).uniform(-1, 1, (64, 16, 16, 1)).astype("float32")
    labels = np.full(64, -1)
    labels[[0, 1, 2, 40]] = [0, 1, 2, 0]
    still = {
        f"{player}_optimizer": keras.optimizers.SGD(0.0)
        for player in ("generator", "discriminator")
    }
    model = zoo.SemiSupervisedGAN((16, 16, 1), 3, layer_noise=0.0, seed=0)
    model.compile(**still)
    trained = model.fit(rows, labels, batch_size=8, verbose=0).history
    tested = model.evaluate(rows, labels, batch_size=64, verbose=0, return_dict=True)
    for name in ("classification_loss", "classification_accuracy"):
        assert trained[name][0] == pytest.approx(tested[name], rel=1e-4), name


def test_a_smaller_last_batch_counts_by_its_rows():
    still = {
        f"{player}_optimizer": keras.optimizers.SGD(0.0)
        for player in ("generator", "discriminator")
    }
    rows = np.concatenate([np.zeros((16, 3)), np.ones((2, 3))]).astype("float32")
    model = gan(**still)
    shares = [
        model.evaluate(part, verbose=0, return_dict=True)["real_accuracy"]
        for part in (rows[:16], rows[16:])
    ]
    assert sorted(shares) == [0, 1]
    logs = model.fit(rows, batch_size=16, shuffle=False, verbose=0).history
    expected = (16 * shares[0] + 2 * shares[1]) / 18
    assert logs["real_accuracy"][0] == pytest.approx(expected)


def test_a_training_goes_on_dropping_out_what_an_uninterrupted_one_does(tmp_path):
    def model():
        discriminator = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Flatten(),
                keras.layers.Dropout(0.5, seed=3),
                keras.layers.Dense(1, kernel_initializer="ones"),
            ]
        )
        made = zoo.GAN(
            (8, 8, 1), 3, generator_units=(4,), discriminator=discriminator, seed=0
        )
        made.compile()
        return made

    data = zoo.load_data("digits", image_size=8, batch_size=64)
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    whole, first, rest = model(), model(), model()
    whole.fit(data, epochs=2, steps_per_epoch=3, verbose=0)
    first.fit(data, epochs=1, steps_per_epoch=3, verbose=0, callbacks=[backup])
    rest.fit(data, epochs=2, steps_per_epoch=3, verbose=0, callbacks=[backup])
    assert_same_weights(whole, rest)
    first.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras")
    loaded.fit(data, epochs=1, steps_per_epoch=3, verbose=0)
    assert_same_weights(whole, loaded)


def test_rows_that_cannot_be_divided_are_refused():
    with zoo.strategy("mirrored", 2).scope():
        model = gan()
    for count, batch_size in ((24, 3), (17, 16)):
        with pytest.raises(ValueError, match="into 2 equal shares"):
            model.fit(ROWS[:count], batch_size=batch_size, verbose=0)
    with pytest.raises(ValueError, match="9 rows can't be split"):
        model.fit(ROWS[:18], batch_size=18, validation_split=0.5, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices(ROWS).batch(3, drop_remainder=True)
    with pytest.raises(ValueError, match="3 rows can't be split"):
        model.fit(batches, verbose=0)
    with pytest.raises(ValueError, match="drop_remainder=True"):
        model.fit(tf.data.Dataset.from_tensor_slices(ROWS).batch(8), verbose=0)
    with pytest.raises(ValueError, match="not divided among the 2 replicas"):
        model.train_on_batch(ROWS)
    with pytest.raises(ValueError, match="not divided among the 2 replicas"):
        model.test_on_batch(ROWS)
    model.fit(ROWS[:20], batch_size=16, verbose=0)
    model.fit(ROWS[:17], batch_size=8, steps_per_epoch=2, verbose=0)
    # Keras goes on in an array where the epoch before ended.
    with pytest.raises(ValueError, match="1 rows can't be split"):
        model.fit(ROWS[:17], batch_size=8, steps_per_epoch=1, epochs=3, verbose=0)

    several = gan(discriminator_steps=2)
    with pytest.raises(ValueError, match="into 2 equal shares"):
        several.fit(ROWS[:17], batch_size=16, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices(ROWS[:17]).batch(16)
    with pytest.raises(tf.errors.InvalidArgumentError, match="be split into"):
        several.fit(batches, verbose=0)


def test_replicas_without_rows_do_not_count():
    rows = ROWS[:17]
    alone = gan().evaluate(rows, batch_size=16, verbose=0, return_dict=True)
    with zoo.strategy("mirrored", 2).scope():
        model = gan()
    shared = model.evaluate(rows, batch_size=16, verbose=0, return_dict=True)
    assert shared["real_accuracy"] == pytest.approx(alone["real_accuracy"])
    assert all(np.isfinite(value) for value in shared.values())


def test_replicas_of_different_numbers_of_rows_evaluate_as_one():
    """Nineteen rows of digits: two batches of eight on each, then two rows and one.

    Some have labels, and each loss counts by its own rows.
    """

    def evaluated():
        model = zoo.SemiSupervisedGAN(
            image_shape=(8, 8, 1), num_classes=10, architecture="mlp", seed=0
        )
        model.compile()
        data = zoo.load_data(
            "digits", "test[:19]", image_size=8, labels=True, batch_size=8
        )
        data = data.map(lambda x, label: (x, tf.where(label % 3 == 0, label, -1)))
        logs = model.evaluate(data, verbose=0, return_dict=True)
        # Each loss in it weighs by its own rows: it says nothing, as its docstring has.
        assert np.isfinite(logs.pop("loss"))
        return logs

    alone = evaluated()
    with zoo.strategy("mirrored", 2).scope():
        shared = evaluated()
    assert shared == pytest.approx(alone, rel=1e-4)


class Stop(keras.callbacks.Callback):
    """Interrupts a training after a step by a signal."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def digits(**arguments):
    units = {"generator_units": (4,), "discriminator_units": (4,)}
    model = zoo.GAN((8, 8, 1), 3, **units, seed=0)
    model.compile(**arguments)
    return model


def interrupted(folder, **arguments):
    data = zoo.load_data("digits", image_size=8, batch_size=64)
    backup = zoo.callbacks.BackupAndResume(folder)
    digits(**arguments).fit(data, verbose=0, callbacks=[Stop(4), backup])
    assert backup.position() == (0, 5)
    return data, backup


def test_an_interrupted_epoch_is_no_longer_than_the_epochs_now(tmp_path):
    data, backup = interrupted(tmp_path)
    for steps in (4, 5):
        with pytest.raises(
            ValueError, match=r"after step 5 of its epoch.*has \d steps"
        ):
            digits().fit(data, steps_per_epoch=steps, verbose=0, callbacks=[backup])


def test_the_history_of_a_resumed_epoch_is_that_of_the_epoch(tmp_path):
    data, backup = interrupted(tmp_path)
    history = digits().fit(data, epochs=3, verbose=0, callbacks=[backup])
    assert history.epoch == [0, 1, 2]
    assert len(history.history["loss"]) == 3


def test_a_history_among_the_callbacks_is_not_counted_twice(tmp_path):
    data, backup = interrupted(tmp_path)
    given = keras.callbacks.History()
    history = digits().fit(data, epochs=3, verbose=0, callbacks=[backup, given])
    assert len(history.history["loss"]) == len(history.epoch)


def test_a_checkpoint_goes_on_with_its_settings_alone(tmp_path):
    data, backup = interrupted(tmp_path, averaging=0.9)
    for changed in ({}, {"averaging": 0.9, "generator_optimizer": "sgd"}):
        name = "generator_optimizer" if changed else "averaging"
        with pytest.raises(CheckpointError, match=rf"{name}: .* there, .* here"):
            digits(**changed).fit(data, verbose=0, callbacks=[backup])
    with pytest.raises(CheckpointError, match=r"averaging: 0\.9 there, None here"):
        digits().fit(data, verbose=0, callbacks=[backup])
    # How steps are run is no setting of the training, nor is a rate that was lowered.
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        goes_on = digits(averaging=0.9, run_eagerly=False, jit_compile=True)
    goes_on.fit(data, verbose=0, callbacks=[backup])
    assert backup.position() == (1, 0)
    goes_on.generator_optimizer.learning_rate.assign(1e-6)
    goes_on.save(tmp_path / "gan.keras")
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        loaded = keras.models.load_model(tmp_path / "gan.keras")
    assert float(loaded.generator_optimizer.learning_rate) == pytest.approx(1e-6)
    loaded.fit(data, epochs=2, verbose=0, callbacks=[backup])
    assert backup.position() == (2, 0)
    with pytest.raises(ValueError, match=r"must call `compile\(\)`"):
        zoo.GAN((8, 8, 1), 3, seed=0).fit(data, callbacks=[backup])


def test_a_checkpoint_of_another_version_is_told_from_a_damaged_one(tmp_path):
    data, backup = interrupted(tmp_path)
    position = backup.last() / "position.json"
    position.write_text('{"epoch": 0, "batch": 5}')
    with pytest.raises(CheckpointError, match="of another version of the zoo"):
        digits().fit(data, verbose=0, callbacks=[backup])


def spoil_a_byte(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 255]))


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory):
    """A trained model, and a folder of checkpoints as they were after two epochs."""
    folder = tmp_path_factory.mktemp("checkpoints")
    backup = zoo.callbacks.BackupAndResume(folder / "whole")

    class Copy(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                shutil.copytree(folder / "whole", folder / "two")

    model = digits()
    data = zoo.load_data("digits", image_size=8, batch_size=64)
    model.fit(data, epochs=3, verbose=0, callbacks=[backup, Copy()])
    return model, folder / "two"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.weights.h5", lambda path: os.truncate(path, 1000)),
        ("state.weights.h5", spoil_a_byte),
        ("state.weights.h5", os.remove),
        ("position.json", lambda path: os.truncate(path, 9)),
    ],
)
def test_where_the_last_checkpoint_is_damaged_the_one_before_counts(
    three_epochs, tmp_path, name, damage
):
    whole, after_two = three_epochs
    data = zoo.load_data("digits", image_size=8, batch_size=64)
    backup = zoo.callbacks.BackupAndResume(tmp_path / "checkpoints")
    shutil.copytree(after_two, backup.directory)
    last = backup.last()
    damage(last / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backup.position() == (1, 0)
    rest = digits()
    with pytest.warns(UserWarning, match=f"{last} .* goes on from the one before"):
        rest.fit(data, epochs=3, verbose=0, callbacks=[backup])
    assert_same_weights(whole, rest)

    # The damaged one was replaced by a whole one of the same step.
    damage(backup.last() / name)
    assert backup.last() == last
    damage(last / name)
    with pytest.raises(
        CheckpointError, match=f"All .* damaged: .* delete {backup.directory}"
    ):
        digits().fit(data, epochs=3, verbose=0, callbacks=[backup])


class Unconfigured(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that can't be saved."""

    def __call__(self, step):
        """Returns the rate."""
        return 1e-3


def test_what_cannot_be_saved_can_be_trained(tmp_path):
    data = zoo.load_data("digits", image_size=8, batch_size=64)
    backup = zoo.callbacks.BackupAndResume(tmp_path / "checkpoints")
    model = digits(generator_optimizer=keras.optimizers.Adam(Unconfigured()))
    model.fit(data, verbose=0, callbacks=[backup])
    assert backup.position() == (1, 0)
    with pytest.raises(NotImplementedError, match="get_config"):
        model.save(tmp_path / "gan.keras")


def test_a_model_that_was_built_can_still_be_averaged():
    model = gan()
    model.build((None, 3))
    model.compile(averaging=0.5)
    model.fit(ROWS, batch_size=8, verbose=0)
    with pytest.warns(UserWarning, match="average of the generator.* is dropped"):
        model.compile()
    assert model.averaged_generator is None


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_a_file_has_the_average_whether_it_is_compiled_or_not(tmp_path):
    model = gan(averaging=0.5)
    model.fit(ROWS, batch_size=8, epochs=2, verbose=0)
    model.save(tmp_path / "gan.keras")
    samples = model.generate(4, seed=0)
    assert np.abs(samples - model.generator(model.prior.sample([0, 1, 2, 3]))).max() > 0
    for compiled in (True, False):
        same = keras.models.load_model(tmp_path / "gan.keras", compile=compiled)
        np.testing.assert_array_equal(same.generate(4, seed=0), samples)

    # Compiled again, it keeps the average, or has none.
    weights = len(model.weights)
    for again in (
        model,
        keras.models.load_model(tmp_path / "gan.keras", compile=False),
    ):
        again.compile(averaging=0.9)
        assert len(again.weights) == weights
        np.testing.assert_array_equal(again.generate(4, seed=0), samples)
    with pytest.warns(UserWarning, match="average of the generator.* is dropped"):
        model.compile()
    assert len(model.weights) < weights
    model.compile(averaging=0.5)

    # An uncompiled model is as the last file that it has loaded.
    model.save_weights(tmp_path / "average.weights.h5")
    gan().save_weights(tmp_path / "none.weights.h5")
    for name, averaging in (("average", 0.5), ("none", None), ("average", 0.5)):
        same.load_weights(tmp_path / f"{name}.weights.h5")
        assert same.averaging == averaging
    # A compiled one keeps to what it was told.
    with pytest.raises(ValueError, match=r"no average of the generator.*averaging=0.5"):
        model.load_weights(tmp_path / "none.weights.h5")
    plain = gan()
    with pytest.warns(UserWarning, match="average of the generator is not loaded"):
        plain.load_weights(tmp_path / "average.weights.h5")
    assert plain.averaging is None


def test_least_squares_part_at_a_half():
    for update in ("alternate", "simultaneous"):
        still = {
            f"{player}_optimizer": keras.optimizers.SGD(0.0)
            for player in ("generator", "discriminator")
        }
        model = gan(loss="least_squares", update=update, **still)
        *_, last = (layer for layer in model.discriminator.layers if layer.weights)
        kernel, bias = last.get_weights()
        for output, accuracy in ((0.4, [0, 1]), (0.6, [1, 0])):
            last.set_weights([np.zeros_like(kernel), np.full_like(bias, output)])
            tested = model.evaluate(ROWS, verbose=0, return_dict=True)
            trained = model.fit(ROWS, batch_size=8, verbose=0).history
            shares = ("real_accuracy", "fake_accuracy")
            assert [tested[name] for name in shares] == accuracy
            assert [trained[name][0] for name in shares] == accuracy


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (lambda: gan, {"penalty": "r1", "penalty_weight": np.nan}),
        (lambda: gan, {"penalty": "r1", "penalty_weight": "1"}),
        (lambda: zoo.DANN((16, 16, 1), 3, seed=0).compile, {"domain_weight": "1"}),
        (lambda: zoo.AAE((3,), 2, seed=0).compile, {"head_distance": -1.0}),
        (lambda: zoo.AAE((3,), 2, seed=0).compile, {"consistency_weight": None}),
    ],
)
def test_weights_of_losses_are_0_or_more(build, arguments):
    with pytest.raises(ValueError, match="number of 0 or more"):
        build()(**arguments)


def test_fit_needs_data():
    model = zoo.GAN((2,), 2, generator_units=(4,), seed=0)
    model.compile()
    with pytest.raises(ValueError, match=r"fit needs data, such as zoo\.load_data"):
        model.fit()
