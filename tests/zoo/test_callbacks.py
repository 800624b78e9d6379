"""Callbacks: ours, and Keras's own unchanged."""

import csv
import signal

import keras
import numpy as np
import pytest
from PIL import Image

import zoo


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
    assert list((tmp_path / "events").iterdir())


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


def test_curves_are_drawn(gan, train, tmp_path):
    fit(gan, train, zoo.callbacks.TrainingCurves(tmp_path / "curves.png"))
    assert Image.open(tmp_path / "curves.png").size[0] > 400


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


def make_not_a_number(model):
    for weight in model.generator.trainable_variables:
        weight.assign(weight * np.nan)


def test_terminate_on_nan_sees_our_losses(gan, train):
    make_not_a_number(gan)
    history = fit(gan, train, keras.callbacks.TerminateOnNaN())
    assert len(history.history["loss"]) == 1
    assert np.isnan(history.history["loss"][0])


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
    train, tmp_path, steps_per_execution, when, position
):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == when:
                signal.raise_signal(signal.SIGTERM)

        def on_epoch_end(self, epoch, logs=None):
            if when == "end of epoch":
                signal.raise_signal(signal.SIGTERM)

    def trained(folder, *callbacks):
        model = compiled(steps_per_execution=steps_per_execution)
        backup = zoo.callbacks.BackupAndResume(tmp_path / folder)
        callbacks = [*callbacks, backup]
        model.fit(train, epochs=2, steps_per_epoch=8, verbose=0, callbacks=callbacks)
        return model, backup

    whole, _ = trained("whole")
    _, stopped = trained("parts", Interrupt())
    assert stopped.position() == position
    rest, _ = trained("parts")
    assert int(rest.steps) == 16
    for one, other in zip(whole.get_weights(), rest.get_weights(), strict=True):
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
    heard = []

    class Listener(keras.callbacks.Callback):
        pass

    names = [name for name in dir(Listener) if name.startswith("on_train_")]
    for name in [*names, "on_epoch_begin", "on_epoch_end"]:
        setattr(Listener, name, lambda self, *_, name=name, **__: heard.append(name))
    fit(gan, train, zoo.callbacks.ForOptimizer("generator", Listener()), epochs=1)
    batches = ["on_train_batch_begin", "on_train_batch_end"] * 4
    epoch = ["on_epoch_begin", *batches, "on_epoch_end"]
    assert heard == ["on_train_begin", *epoch, "on_train_end"]


def test_a_plateau_lowers_the_rate_of_one_optimizer(gan, train):
    plateau = keras.callbacks.ReduceLROnPlateau(
        "generator_loss", mode="min", patience=1, min_delta=1e9, factor=0.5
    )
    fit(gan, train, zoo.callbacks.ForOptimizer("discriminator", plateau))
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
    gan.fit(data, verbose=0, callbacks=[callback])
    assert Image.open(tmp_path / "film.gif").n_frames == 3
    assert (
        Image.open(tmp_path / "film.png").size == Image.open(tmp_path / "film.gif").size
    )

    # A training that goes on goes on with its film.
    again = zoo.callbacks.DensityAnimation(
        tmp_path / "film.gif", np.zeros(500), every=5
    )
    gan.fit(data, verbose=0, callbacks=[again])
    assert Image.open(tmp_path / "film.gif").n_frames == 5


def test_a_film_that_cannot_be_made_is_refused_before_the_training(monkeypatch):
    with pytest.raises(ValueError, match=r"ending in \.gif or \.mp4"):
        zoo.callbacks.DensityAnimation("film.webm", np.zeros(5))
    with pytest.raises(ValueError, match="number of steps"):
        zoo.callbacks.DensityAnimation("film.gif", np.zeros(5), every=0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="ffmpeg is not on the PATH"):
        zoo.callbacks.DensityAnimation("film.mp4", np.zeros(5))
