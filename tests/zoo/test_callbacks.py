"""Callbacks: ours, and Keras's own unchanged."""

import csv
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import zoo
from zoo import plots
from zoo.checkpoints import CheckpointError


def compiled(**arguments):
    model = zoo.GAN(
        (16, 16, 1), 4, generator_units=(8,), discriminator_units=(4,), seed=0
    )
    model.compile(**arguments)
    return model


@pytest.fixture
def gan():
    return compiled()


@pytest.fixture(scope="module")
def train():
    return zoo.load_data("digits", image_size=16, batch_size=64)


def fit(model, train, *callbacks, epochs=2):
    return model.fit(
        train, epochs=epochs, steps_per_epoch=4, verbose=0, callbacks=list(callbacks)
    )


def records_of(path):
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_sample_grids_show_the_same_seeds(gan, train, tmp_path):
    callback = zoo.callbacks.SampleGrid(
        tmp_path / "grids", every=2, n=4, seed=5, log_dir=tmp_path / "events"
    )
    fit(gan, train, callback)
    names = sorted(path.name for path in (tmp_path / "grids").glob("*.png"))
    assert names == [f"{step:06d}.png" for step in (0, 2, 4, 6, 8)]
    last = np.asarray(Image.open(tmp_path / "grids" / names[-1]))
    expected = np.asarray(zoo.plots.image_grid(gan.generate(4, seed=5)))
    np.testing.assert_array_equal(last, expected)
    assert Image.open(tmp_path / "grids" / "samples.gif").n_frames == 5
    # All are there as soon as the training has ended.
    (events,) = (tmp_path / "events").iterdir()
    records = map(tf.compat.v1.Event.FromString, records_of(events))
    assert [event.step for event in records if event.summary.value] == [0, 2, 4, 6, 8]


def test_several_steps_a_call_skip_no_picture(train, tmp_path):
    gan = compiled(steps_per_execution=3)
    grids = zoo.callbacks.SampleGrid(tmp_path, every=4, n=4)
    gan.fit(train, epochs=1, steps_per_epoch=15, verbose=0, callbacks=[grids])
    # The first end of a call behind 4, behind 8 and behind 12.
    steps = sorted(int(path.stem) for path in tmp_path.glob("*.png"))
    assert steps == [0, 6, 9, 12]


def test_a_film_is_of_one_training(train, tmp_path):
    def trained(every, epochs):
        gan, backup = compiled(), zoo.callbacks.BackupAndResume(tmp_path / str(every))
        grids = zoo.callbacks.SampleGrid(tmp_path / "grids", every=every, n=4)
        fit(gan, train, grids, backup, epochs=epochs)
        assert Image.open(tmp_path / "grids" / "samples.gif").n_frames == len(steps())
        return steps()

    def steps():
        return sorted(int(p.stem) for p in (tmp_path / "grids").glob("*.png"))

    assert trained(every=2, epochs=2) == [0, 2, 4, 6, 8]
    # Another training in the same place leaves nothing of the first,
    assert trained(every=3, epochs=1) == [0, 3]
    # one that goes on adds to it, and one that has nothing to do changes nothing.
    assert trained(every=3, epochs=2) == [0, 3, 6]
    assert trained(every=3, epochs=2) == [0, 3, 6]


def test_pictures_of_others_stay_where_a_film_is_made(gan, train, tmp_path):
    for name in ("7.png", "2024.png", "cat.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    fit(gan, train, zoo.callbacks.SampleGrid(tmp_path, n=4), epochs=1)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"7.png", "2024.png", "cat.png", "000000.png", "000004.png"}
    assert Image.open(tmp_path / "samples.gif").n_frames == 2


def test_a_film_takes_no_name_from_pictures_of_others(gan, train, tmp_path):
    for name in ("000000.png", "000001.png", "000004.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    (tmp_path / "000005.png").write_text("no picture at all")
    (tmp_path / "000006.png").mkdir()
    before = {p: p.read_bytes() for p in tmp_path.glob("*.png") if p.is_file()}
    with (
        pytest.warns(UserWarning, match=r"000000\.png is none of this .* step 0 has"),
        pytest.warns(UserWarning, match=r"000004\.png is none of this .* step 4 has"),
    ):
        fit(gan, train, zoo.callbacks.SampleGrid(tmp_path, n=4))
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "000008.png").exists()
    assert Image.open(tmp_path / "samples.gif").n_frames == 1


def test_a_film_without_a_picture_of_its_own_is_not_made(gan, train, tmp_path):
    for name in ("000000.png", "000004.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    with pytest.warns(UserWarning, match="has no picture"):
        fit(gan, train, zoo.callbacks.SampleGrid(tmp_path, n=4), epochs=1)
    assert not (tmp_path / "samples.gif").exists()


def test_grids_of_a_model_without_images_are_refused():
    network = zoo.Classifier((16, 16, 1), num_classes=10, filters=(4,), seed=0)
    with pytest.raises(ValueError, match="Classifier makes no images"):
        zoo.callbacks.SampleGrid("grids").set_model(network)


def test_pictures_of_other_models_are_refused(gan, train, tmp_path):
    latents = zoo.callbacks.LatentSpace(tmp_path / "x.png", np.zeros((1, 8, 8, 1)))
    film = zoo.callbacks.DensityAnimation(tmp_path / "x.gif", np.zeros(3))
    for callback, words in ((latents, "encodes none"), (film, "single numbers")):
        with pytest.raises(ValueError, match=words):
            gan.fit(train, epochs=1, callbacks=[callback], verbose=0)
    with pytest.raises(ValueError, match=r"without conditions\. Received: CGAN"):
        film.set_model(zoo.CGAN((1,), num_classes=2))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn_of_the_latents_shows_before_an_epoch(tmp_path):
    images = -np.ones((4, 8, 8, 1), np.float32)
    model = zoo.VAE((8, 8, 1), latent_dim=1, units=(8,), seed=0)
    model.compile()
    latents = zoo.callbacks.LatentSpace(tmp_path / "x.png", images)
    with pytest.raises(ValueError, match="at least two numbers a row"):
        model.fit(images, batch_size=4, callbacks=[latents], verbose=0)
    assert int(model.steps.numpy()) == 0


def test_curves_are_drawn(gan, train, tmp_path):
    fit(gan, train, zoo.callbacks.TrainingCurves(tmp_path / "curves.png"))
    assert Image.open(tmp_path / "curves.png").size[0] > 400


def test_curves_of_the_validation_are_at_its_epochs(gan, train, tmp_path):
    curves = zoo.callbacks.TrainingCurves(tmp_path / "curves.png")
    gan.fit(
        train,
        epochs=5,
        steps_per_epoch=1,
        validation_data=zoo.load_data("digits", "test", image_size=16, batch_size=99),
        validation_freq=2,
        callbacks=[curves],
        verbose=0,
    )
    known = [value is not None for value in curves.history["val_generator_loss"]]
    assert known == [False, True, False, True, False]
    assert None not in curves.history["generator_loss"]


def test_curves_are_of_one_training(train, tmp_path):
    curves = zoo.callbacks.TrainingCurves(tmp_path / "curves.png")

    def epochs_drawn(model, epochs, *callbacks):
        fit(model, train, curves, *callbacks, epochs=epochs)
        return {len(values) for values in curves.history.values()}

    gan = compiled()
    assert epochs_drawn(gan, 2) == {2}
    # A model that goes on goes on with its curves, another begins its own,
    assert epochs_drawn(gan, 1) == {3}
    backup = zoo.callbacks.BackupAndResume(tmp_path / "checkpoints")
    assert epochs_drawn(compiled(), 1, backup) == {1}
    # and one that is resumed, in this process or the next, keeps what it had.
    assert epochs_drawn(compiled(), 3, backup) == {3}
    path = curves.path
    curves = zoo.callbacks.TrainingCurves(path, curves.history)
    assert epochs_drawn(compiled(), 4, backup) == {4}


def test_keras_callbacks_work_unchanged(gan, train, tmp_path):
    fit(
        gan,
        train,
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "events"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.TerminateOnNaN(),
    )
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[1]["generator_loss"]) > 0
    loaded = keras.saving.load_model(tmp_path / "2.keras")
    np.testing.assert_allclose(loaded.generate(2), gan.generate(2), atol=1e-6)


def test_the_best_checkpoint_by_a_metric_is_kept(train, tmp_path):
    gan = zoo.GAN((16, 16, 1), 4, generator_units=(8,), seed=0)
    gan.compile(metrics=[keras.metrics.MeanSquaredError(name="distance")])
    keep = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_distance", save_best_only=True, mode="min"
    )
    test = zoo.load_data("digits", "test", image_size=16, batch_size=99)
    history = gan.fit(
        train,
        epochs=3,
        steps_per_epoch=4,
        validation_data=test,
        callbacks=[keep],
        verbose=0,
    ).history
    best = keras.saving.load_model(tmp_path / "best.keras")
    measured = best.evaluate(test, verbose=0, return_dict=True)["distance"]
    assert measured == pytest.approx(min(history["val_distance"]), rel=1e-5)


def test_training_takes_no_notice_of_metrics(train, tmp_path):
    network = zoo.Classifier((16, 16, 1), num_classes=10, filters=(4,), seed=0)
    distance = zoo.metrics.FrechetDistance(4, network, name="frechet_distance")
    gan = compiled(metrics=[distance])
    test = zoo.load_data("digits", "test", image_size=16, batch_size=99)
    logs = gan.fit(
        train,
        steps_per_epoch=4,
        validation_data=test,
        callbacks=[zoo.callbacks.BackupAndResume(tmp_path)],
        verbose=0,
    ).history
    assert logs["val_frechet_distance"][0] > 0
    assert "frechet_distance" not in logs
    # Nor does it after an evaluation has fed them.
    assert "frechet_distance" not in fit(gan, train, epochs=1).history


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_training_takes_no_notice_of_metrics_fed_before(train, run_eagerly):
    network = zoo.Classifier((16, 16, 1), num_classes=10, filters=(4,), seed=0)
    distance = zoo.metrics.FrechetDistance(4, network, name="frechet_distance")
    gan = compiled(metrics=[distance], run_eagerly=run_eagerly)
    test = zoo.load_data("digits", "test", image_size=16, batch_size=99)
    assert gan.evaluate(test, verbose=0, return_dict=True)["frechet_distance"] > 0
    logs = gan.fit(train, steps_per_epoch=1, epochs=2, verbose=0).history
    assert set(logs) == {"loss", *gan.logged}


def make_not_a_number(model):
    for weight in model.generator.trainable_variables:
        weight.assign(weight * np.nan)


def test_terminate_on_nan_sees_our_losses(gan, train):
    make_not_a_number(gan)
    history = fit(gan, train, keras.callbacks.TerminateOnNaN())
    assert len(history.history["loss"]) == 1
    assert np.isnan(history.history["loss"][0])


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
    gan, train, tmp_path, monkeypatch
):
    fit(gan, train, zoo.callbacks.BackupAndResume(tmp_path), epochs=1)
    kept = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / ".partial-killed").mkdir()  # As of a process that was killed.
    save = gan.save_weights

    def half(path):
        save(path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(gan, "save_weights", half)
    words = "can't be written to .*: No space left on device. The last good one is .*"
    with pytest.raises(CheckpointError, match=words):
        fit(gan, train, zoo.callbacks.BackupAndResume(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    gan, train, tmp_path, monkeypatch
):
    def fsync(file):
        raise OSError("Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=r"can't be written .*: Input/output"):
        fit(gan, train, zoo.callbacks.BackupAndResume(tmp_path))
    assert not list(tmp_path.iterdir())


def test_divergence_names_step_loss_and_checkpoint(gan, train, tmp_path):
    backup = zoo.callbacks.BackupAndResume(tmp_path)
    fit(gan, train, backup, epochs=1)

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            make_not_a_number(self.model)

    with pytest.raises(
        RuntimeError, match=r"_loss is nan at step 5.*checkpoint is .*00000004"
    ):
        fit(gan, train, Spoil(), backup)


def fit_16_steps(model, train, *callbacks):
    model.fit(train, epochs=2, steps_per_epoch=8, verbose=0, callbacks=[*callbacks])


@pytest.fixture(scope="module")
def uninterrupted(train):
    """Weights after 16 steps; how many of them are one call changes nothing."""
    model = compiled()
    fit_16_steps(model, train)
    return model.get_weights()


@pytest.mark.parametrize(
    ("steps_per_execution", "when", "position"),
    [
        (1, 2, (0, 3)),
        (2, 2, (0, 4)),
        (1, 7, (1, 0)),
        (8, 0, (1, 0)),
        (1, "end of epoch", (1, 0)),
    ],
)
def test_a_signal_at_any_time_leaves_what_resumes_to_the_same_weights(
    uninterrupted, train, tmp_path, steps_per_execution, when, position
):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == when:
                signal.raise_signal(signal.SIGTERM)

        def on_epoch_end(self, epoch, logs=None):
            if when == "end of epoch":
                signal.raise_signal(signal.SIGTERM)

    def trained(*callbacks):
        model = compiled(steps_per_execution=steps_per_execution)
        backup = zoo.callbacks.BackupAndResume(tmp_path)
        fit_16_steps(model, train, *callbacks, backup)
        return model, backup

    _, stopped = trained(Interrupt())
    assert stopped.position() == position
    rest, _ = trained()
    assert int(rest.steps) == 16
    for one, other in zip(uninterrupted, rest.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_an_epoch_that_is_not_whole_calls_is_refused(train):
    with pytest.raises(ValueError, match=r"of 8 steps is .* steps_per_execution=3"):
        compiled(steps_per_execution=3).fit(train, steps_per_epoch=8)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_schedules_reach_either_optimizer(gan, train, player):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
    fit(gan, train, zoo.callbacks.ForOptimizer(player, schedule))
    assert float(getattr(gan, f"{player}_optimizer").learning_rate) == pytest.approx(
        0.005
    )
    other = {"generator": "discriminator", "discriminator": "generator"}[player]
    assert float(getattr(gan, f"{other}_optimizer").learning_rate) == pytest.approx(
        2e-4
    )

    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.5)
    gan.compile(**{f"{player}_optimizer": keras.optimizers.SGD(decay)})
    fit(gan, train, epochs=1)
    assert float(getattr(gan, f"{player}_optimizer").learning_rate) == pytest.approx(
        0.05
    )


def test_a_wrapped_callback_hears_of_everything(gan, train):
    def listener():
        class Listener(keras.callbacks.Callback):
            heard = ()

        def hears(name):
            def hook(self, *arguments, logs=None):
                self.heard += ((name, *arguments),)

            return hook

        for name in dir(Listener):
            if name.startswith("on_"):
                setattr(Listener, name, hears(name))
        return Listener()

    bare, wrapped = listener(), listener()
    callbacks = [bare, zoo.callbacks.ForOptimizer("generator", wrapped)]
    test = zoo.load_data("digits", "test", image_size=16, batch_size=99)
    gan.fit(
        train,
        steps_per_epoch=2,
        validation_data=test,
        callbacks=callbacks,
        verbose=0,
    )
    gan.predict(np.zeros((3, 4)), callbacks=callbacks, verbose=0)
    assert {name for name, *_ in bare.heard} == {
        "on_epoch_begin",
        "on_epoch_end",
        *(
            f"on_{part}_{end}"
            for part in ("train", "test", "predict")
            for end in ("begin", "end", "batch_begin", "batch_end")
        ),
    }
    assert wrapped.heard == bare.heard
    assert wrapped.params == bare.params


def test_a_plateau_lowers_the_rate_of_one_optimizer(gan, train):
    plateau = keras.callbacks.ReduceLROnPlateau(
        "generator_loss", mode="min", patience=1, min_delta=1e9, factor=0.5
    )
    history = fit(gan, train, zoo.callbacks.ForOptimizer("discriminator", plateau))
    assert "discriminator_learning_rate" in history.history
    assert "learning_rate" not in history.history
    rates = [
        float(getattr(gan, f"{player}_optimizer").learning_rate)
        for player in ("discriminator", "generator")
    ]
    assert rates == pytest.approx([1e-4, 2e-4])


def test_a_wrapped_callback_ends_the_training(gan, train):
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=0)
    history = fit(gan, train, zoo.callbacks.ForOptimizer("generator", stop), epochs=5)
    assert history.epoch == [0, 1]


def test_a_player_that_is_not_there_is_refused(gan, train):
    with pytest.raises(ValueError, match="Expected one of"):
        fit(
            gan,
            train,
            zoo.callbacks.ForOptimizer("encoder", keras.callbacks.Callback()),
        )


def test_the_density_animation(train, tmp_path):
    gan = zoo.GAN(
        generator=zoo.one_dimensional.Generator(),
        discriminator=zoo.one_dimensional.Discriminator(minibatch=True),
        prior=zoo.priors.StratifiedRange(1, -8.0, 8.0),
        seed=0,
    )
    gan.compile()
    data = zoo.load_data("gaussian", batch_size=12, size=120)
    callback = zoo.callbacks.DensityAnimation(
        tmp_path / "film.gif", np.random.default_rng(0).normal(4, 0.5, 500), every=5
    )
    (tmp_path / "film").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "film" / "000003.png")
    gan.fit(data, verbose=0, callbacks=[callback])
    assert Image.open(tmp_path / "film.gif").n_frames == 3
    assert Image.open(tmp_path / "film" / "000003.png").size == (4, 4)
    assert (
        Image.open(tmp_path / "film.png").size == Image.open(tmp_path / "film.gif").size
    )

    # A training that goes on goes on with its film.
    again = zoo.callbacks.DensityAnimation(
        tmp_path / "film.gif", np.zeros(500), every=5, low=-9, high=10
    )
    assert (again.grid[0], again.grid[-1]) == (-9, 10)
    gan.fit(data, verbose=0, callbacks=[again])
    assert Image.open(tmp_path / "film.gif").n_frames == 5


def test_a_discriminator_that_compares_rows_is_asked_among_data(monkeypatch):
    gan = zoo.from_preset("gan_gaussian1d_minibatch")
    gan.compile()
    data = np.random.default_rng(0).normal(4, 0.5, 2000).astype(np.float32)
    film = zoo.callbacks.DensityAnimation("film.gif", data, batch_size=12)
    film.set_model(gan)
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    (decision, _) = film.picture().axes[0].get_lines()[-2:]
    assert decision.get_label() == "decision boundary D(x) among data"
    asked = [
        gan.discriminate(np.stack([film.grid[300], *company])[:, None])[0]
        for company in data[:1100].reshape(100, 11)
    ]
    expected = np.mean(1 / (1 + np.exp(-np.array(asked))))
    assert decision.get_ydata()[300] == pytest.approx(expected, abs=0.03)
    # Far from the data a point among data is no data, and evenly spaced ones are none.
    assert decision.get_ydata()[0] < 0.1 < 0.4 < decision.get_ydata()[300]
    # What moves from frame to frame is the model.
    (again, _) = film.picture().axes[0].get_lines()[-2:]
    np.testing.assert_array_equal(again.get_ydata(), decision.get_ydata())


@pytest.mark.parametrize(
    ("loss", "boundary"),
    [
        ("non_saturating", None),
        ("minimax", None),
        ("least_squares", 0.5),
        ("hinge", 0.0),
        ("wasserstein", 0.0),
    ],
)
@pytest.mark.filterwarnings("ignore:Wasserstein needs a Lipschitz critic")
def test_densities_show_what_the_output_is(loss, boundary, monkeypatch):
    gan = zoo.GAN(
        generator=zoo.one_dimensional.Generator(),
        discriminator=zoo.one_dimensional.Discriminator(),
        prior=zoo.priors.StratifiedRange(1, -8.0, 8.0),
        seed=0,
    )
    gan.compile(loss=loss)
    callback = zoo.callbacks.DensityAnimation("film.gif", np.zeros(9))
    callback.set_model(gan)
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    axes = callback.picture().axes
    curve, line = (each.get_ydata() for each in axes[-1].get_lines()[-2:])
    output = np.asarray(gan.discriminate(callback.grid[:, None]))
    named = axes[-1].get_legend().get_texts()[-1].get_text()
    if boundary is None:
        assert len(axes) == 1
        assert named == "decision boundary D(x)"
        np.testing.assert_allclose(curve, 1 / (1 + np.exp(-output)), rtol=1e-5)
        assert list(line) == [0.5, 0.5]
    else:
        assert [one.get_ylabel() for one in axes] == ["density", "output"]
        assert named == "discriminator's output D(x)"
        np.testing.assert_array_equal(curve, output)
        assert list(line) == [boundary, boundary]


def test_a_film_that_cannot_be_made_is_refused_before_the_training(monkeypatch):
    with pytest.raises(ValueError, match=r"ending in \.gif or \.mp4"):
        zoo.callbacks.DensityAnimation("film.webm", np.zeros(5))
    for none in ([], [0.0, np.nan]):
        with pytest.raises(ValueError, match="finite numbers as data"):
            zoo.callbacks.DensityAnimation("film.gif", none)
    with pytest.raises(ValueError, match="Received: every=0"):
        zoo.callbacks.DensityAnimation("film.gif", np.zeros(5), every=0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="ffmpeg is not on the PATH"):
        zoo.callbacks.DensityAnimation("film.mp4", np.zeros(5))


def test_curves_leave_out_what_has_a_number_for_each_class(tmp_path):
    curves = zoo.callbacks.TrainingCurves(tmp_path / "curves.png")
    model = zoo.GAN((3,), generator_units=(4,), discriminator_units=(4,), seed=0)
    curves.set_model(model)
    logs = {"generator_loss": 1.0, "val_per_class": np.array([0.1, 0.2])}
    curves.on_epoch_end(0, logs)
    assert curves.history == {"generator_loss": [1.0]}


def test_a_film_goes_on_with_another_number_of_samples(tmp_path):
    model = zoo.GAN((3, 3, 1), generator_units=(4,), discriminator_units=(4,), seed=0)
    model.compile()
    rows = np.zeros((8, 3, 3, 1), np.float32) - 0.5
    sizes = []
    for n in (4, 16):
        grid = zoo.callbacks.SampleGrid(tmp_path, n=n)
        model.fit(rows, batch_size=8, verbose=0, callbacks=[grid])
        sizes.append(max(Image.open(path).size for path in tmp_path.glob("*.png")))
    with Image.open(tmp_path / "samples.gif") as film:
        assert film.size == sizes[1] > sizes[0]


def test_a_checkpoint_of_other_frozen_layers_is_refused(tmp_path):
    """Keras would only warn, and go on without the optimizer's state."""

    def fit_two_rows(frozen):
        gan = zoo.GAN((1,), 1, generator_units=(1,), discriminator_units=(1,), seed=0)
        gan.generator.layers[1].trainable = not frozen
        gan.compile(run_eagerly=True)
        backup = zoo.callbacks.BackupAndResume(tmp_path)
        gan.fit(np.zeros((2, 1), "f4"), callbacks=[backup], verbose=0)

    fit_two_rows(frozen=False)
    with pytest.raises(CheckpointError, match=r"does not fit this model .*Skipping"):
        fit_two_rows(frozen=True)
