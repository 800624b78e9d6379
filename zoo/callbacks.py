"""Callbacks for `fit`, beside those of Keras."""

import io
import pathlib
import warnings

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zoo import checks, files, network_checks, plots
from zoo.checkpoints import BackupAndResume

__all__ = [
    "BackupAndResume",
    "DensityAnimation",
    "ForOptimizer",
    "LatentSpace",
    "SampleGrid",
    "TrainingCurves",
]


#: Text in a PNG, by its keyword, that tells pictures of a film from those of others.
_KEYWORD, _MARK = "Software", "zoo.callbacks"
#: Draws of the rest of a batch, over which the answer for one x is averaged.
_COMPANY_DRAWS = 8
#: Pairs of rows, in all batches that are asked at once; each may take a hundred bytes.
_COMPARED_PAIRS = 200_000


class _Film:
    """The pictures of one training, files named by their steps, and their animation.

    Pictures in the folder that others have put there stay as they are.

    Args:
        directory: Folder of the pictures.
    """

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def start(self, step):
        """Goes on after a step; returns whether the first picture is yet to be made.

        Pictures of later steps are of a training that is no more.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in self._pictures():
            if int(path.stem) > step or step == 0:
                path.unlink()
        return not self._pictures()

    def add(self, step, picture):
        """Writes the picture of a step, unless a file of others has its name."""
        path = self.directory / f"{_name(step)}.png"
        if path.exists() and not _is_of_a_film(path):
            warnings.warn(
                f"{path} is none of this callback's pictures and stays as it is, so "
                f"step {step} has no picture.",
                stacklevel=2,
            )
            return
        mark = PngInfo()
        mark.add_text(_KEYWORD, _MARK)
        png = io.BytesIO()
        picture.save(png, "png", pnginfo=mark)
        # Whole or not at all: half a picture would not be known as ours.
        files.write_bytes(path, png.getvalue())

    def save(self, path, frames_per_second):
        """Writes the animation of all pictures; see `zoo.plots.save_animation`."""
        frames = []
        for picture in self._pictures():
            with Image.open(picture) as frame:
                frames.append(frame.copy())
        if frames:  # There are none where files of others had all the names.
            # A training may have gone on with another number of samples.
            sizes = zip(*(frame.size for frame in frames), strict=True)
            size = tuple(map(max, sizes))
            frames = [_padded(frame, size) for frame in frames]
            plots.save_animation(frames, path, frames_per_second)

    def _pictures(self):
        named = (
            path
            for path in self.directory.glob("*.png")
            if path.stem.isdecimal() and path.stem == _name(int(path.stem))
        )
        return sorted(filter(_is_of_a_film, named), key=lambda path: int(path.stem))


def _padded(frame, size):
    """Returns a frame on a white picture of a size, at its upper left."""
    picture = Image.new("RGB", size, "white")
    picture.paste(plots.on_white(frame))
    return picture


def _name(step):
    return f"{step:06d}"


def _is_of_a_film(path):
    try:
        with Image.open(path) as picture:
            return picture.info.get(_KEYWORD) == _MARK
    except (OSError, ValueError, Image.DecompressionBombError):
        return False  # Nothing that we would write.


class _Every:
    """Tells when another so many steps are done, however many Keras does in a call.

    Args:
        steps: Steps from one time to the next.
    """

    def __init__(self, steps):
        self.steps = steps
        self._last = 0

    def start(self, step):
        """Goes on after a step."""
        self._last = step

    def passed(self, step):
        """Whether a multiple of the steps was reached since it was asked before."""
        last, self._last = self._last, step
        return step // self.steps > last // self.steps


class SampleGrid(keras.callbacks.Callback):
    """Writes a grid of samples from the same seeds as training goes on.

    The seeds stay the same through the whole run, so the pictures can be compared. At
    the end of training they become an animation, `samples.gif`. A training that starts
    anew in the same directory takes the place of the one before.

    A `zoo.DTN` has no seeds: it shows rows of images that it is given above what it
    makes of them, `SampleGrid(directory, images=source_images)`.

    Args:
        directory: Where to write `000000.png` (before training), then one picture named
            by its step for each time. Files of others stay.
        every: `"epoch"`, or a number of steps.
        n: Number of samples.
        seed: First of their seeds.
        columns: Samples a row; None as for `sample_grid`: a class a column, or a square
            grid.
        log_dir: Folder for TensorBoard events with the same pictures, or None.
        **conditions: Passed on to the model's `sample_grid`, such as `labels`.

    Raises:
        ValueError: If `every` is something else; from `fit`, if the model has no
            samples to show, or `sample_grid` refuses the conditions.
    """

    def __init__(
        self,
        directory,
        every="epoch",
        n=64,
        seed=0,
        columns=None,
        log_dir=None,
        **conditions,
    ):
        super().__init__()
        by_epoch = every == "epoch"
        self.film = _Film(directory)
        self._every = None if by_epoch else _Every(checks.count("every", every))
        self.n, self.seed, self.columns = n, seed, columns
        self.conditions = conditions
        self.log_dir = log_dir
        self._writer = None

    def set_model(self, model):
        """Takes the model, if it has samples to show."""
        if not hasattr(model, "sample_grid"):
            raise ValueError(
                "SampleGrid shows the samples of a generator, or the images that a DTN "
                f"transfers. {type(model).__name__} makes no images."
            )
        super().set_model(model)

    def on_train_begin(self, logs=None):
        """Writes the grid that the untrained model gives."""
        if self.log_dir is not None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        step = int(self.model.steps.numpy())
        if self._every:
            self._every.start(step)
        if self.film.start(step):
            self._write()

    def on_train_batch_end(self, batch, logs=None):
        """Writes a grid every so many steps."""
        if self._every and self._every.passed(int(self.model.steps.numpy())):
            self._write()

    def on_epoch_end(self, epoch, logs=None):
        """Writes a grid every epoch."""
        if not self._every:
            self._write()

    def on_train_end(self, logs=None):
        """Writes the animation."""
        self.film.save(self.film.directory / "samples.gif", 4)
        if self._writer is not None:
            self._writer.close()

    def _write(self):
        step = int(self.model.steps.numpy())
        grid = plots.image_grid(
            *self.model.sample_grid(self.n, self.seed, self.columns, **self.conditions)
        )
        self.film.add(step, grid)
        if self._writer is not None:
            with self._writer.as_default(step=step):
                tf.summary.image("samples", np.asarray(plots.on_white(grid))[None])


class TrainingCurves(keras.callbacks.Callback):
    """Draws what is logged over epochs, anew after each epoch.

    A model that has been trained before goes on with the curves there are; one that has
    not starts them anew.

    Args:
        path: The picture, a `.png`; see `zoo.plots.training_curves`.
        history: Dict of the values of earlier epochs, for a run that goes on.
    """

    def __init__(self, path, history=None):
        super().__init__()
        self.path = pathlib.Path(path)
        self.history = {name: list(values) for name, values in (history or {}).items()}

    def on_train_begin(self, logs=None):
        """Forgets the curves of another training, where this one starts anew."""
        if int(self.model.steps.numpy()) == 0:
            self.history = {}

    def on_epoch_end(self, epoch, logs=None):
        """Adds the epoch and draws."""
        # A metric may have a number for each class, say, which is no curve.
        logs = {name: v for name, v in (logs or {}).items() if np.ndim(v) == 0}
        before = max(map(len, self.history.values()), default=0)
        # Not every epoch has all, such as those of validation_freq=5.
        for name in {**self.history, **logs}:
            values = self.history.setdefault(name, [None] * before)
            values.append(float(logs[name]) if name in logs else None)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        plots.training_curves(self.history).save(self.path)


class DensityAnimation(keras.callbacks.Callback):
    """Films a one-dimensional GAN: data, samples and decision boundary over time.

    Where the discriminator's output is no probability, as `least_squares`, `hinge` and
    `wasserstein` have it, the film shows the output on an axis of its own. One that
    compares the rows of a batch (`zoo.layers.MinibatchDiscrimination`) is asked of each
    x among draws of the data.

    Args:
        path: The animation, `.gif` or `.mp4` (see `zoo.plots.save_animation`). The
            trained model's picture is written beside it as `.png`, and the frames in a
            folder of that name, by which a training that is resumed goes on with them.
            Files of others there stay.
        data: 1-D array of real data.
        every: Steps between two frames.
        low: Lower end of the axis; None for -8, or 4 below the least of the data.
        high: Upper end of the axis; None for 8, or 4 above the greatest.
        batch_size: Rows of a batch in training, for a discriminator that compares them.

    Raises:
        ValueError: If the suffix is another, `every` no number of steps, or the data
            are none; from `fit`, if the model is no GAN of single numbers.
        RuntimeError: If ffmpeg, which a `.mp4` needs, is missing.
    """

    def __init__(self, path, data, every=50, low=None, high=None, batch_size=64):
        super().__init__()
        plots.check_animation(path)
        self.path = pathlib.Path(path)
        self.data = np.ravel(data)
        if not (self.data.size and np.isfinite(self.data).all()):
            raise ValueError(
                "DensityAnimation takes finite numbers as data, one at least. "
                f"Received: {self.data}"
            )
        # Room on both sides, for samples that miss the data.
        low = min(-8.0, self.data.min() - 4) if low is None else low
        high = max(8.0, self.data.max() + 4) if high is None else high
        self._every = _Every(checks.count("every", every))
        self.grid = np.linspace(low, high, 401, dtype=np.float32)
        self.batch_size = checks.count("batch_size", batch_size)
        self.film = _Film(self.path.with_suffix(""))

    def set_model(self, model):
        """Takes the model, if it is a GAN of numbers without conditions."""
        is_gan = hasattr(model, "discriminate")
        if not (is_gan and tuple(model.image_shape) == (1,)) or model.conditions:
            raise ValueError(
                "DensityAnimation films GANs of single numbers, image_shape (1,), "
                "without conditions. "
                f"Received: {type(model).__name__}"
                + (f" of {model.image_shape}." if is_gan else ".")
            )
        super().set_model(model)
        self._among_data = network_checks.looks_across_batch(model.discriminator)
        self._ask = tf.function(self._among, autograph=False)

    def on_train_begin(self, logs=None):
        """Takes the frame of the untrained model."""
        step = int(self.model.steps.numpy())
        self._every.start(step)
        if self.film.start(step):
            self.film.add(step, self.picture())

    def on_train_batch_end(self, batch, logs=None):
        """Takes a frame every so many steps."""
        step = int(self.model.steps.numpy())
        if self._every.passed(step):
            self.film.add(step, self.picture())

    def on_train_end(self, logs=None):
        """Writes the animation and the last picture."""
        self.film.save(self.path, 10)
        self.picture().save(self.path.with_suffix(".png"))

    def picture(self):
        """Draws the model as it is."""
        loss = self.model.loss
        outputs = self._outputs()
        return plots.densities(
            self.data,
            self.model.generate(len(self.data), batch_size=len(self.data)),
            self.grid,
            np.mean(tf.sigmoid(outputs) if loss.probabilistic else outputs, axis=0),
            boundary=None if loss.probabilistic else loss.boundary,
            title=f"step {int(self.model.steps.numpy())}",
            where=" among data" if self._among_data else "",
        )

    def _outputs(self):
        """Returns the discriminator's outputs along the axis, `[draws, points]`."""
        if not self._among_data:
            return self.model.discriminate(self.grid[:, None])[None]
        # The same draws in every frame, so that what moves is the discriminator.
        draw = np.random.default_rng(0).choice
        shape = (_COMPANY_DRAWS, self.batch_size - 1, 1)
        companies = draw(self.data, shape).astype(np.float32)
        height = max(1, _COMPARED_PAIRS // self.batch_size**2)
        parts = [
            [
                self._ask(self.grid[start : start + height], company)
                for start in range(0, len(self.grid), height)
            ]
            for company in companies
        ]
        return tf.stack([tf.concat(part, 0) for part in parts])

    def _among(self, points, company):
        def ask(x):
            return self.model.discriminate(tf.concat([x[None, None], company], 0))[0]

        return tf.vectorized_map(ask, points)


class LatentSpace(keras.callbacks.Callback):
    """Draws the latents of images before training and, anew, after each epoch.

    For a `zoo.AAE` and a `zoo.VAE`.

    Args:
        path: The picture, a `.png`; see `zoo.plots.latent_space`.
        images: Array `[n, height, width, channels]`, uint8 or float in [-1, 1].
        labels: Integers `[n]`, the images' classes, or None.

    Raises:
        ValueError: From `fit`, if the model is another, or `latent_space` refuses the
            images or labels.
    """

    def __init__(self, path, images, labels=None):
        super().__init__()
        self.path = pathlib.Path(path)
        self.images = images
        self.labels = labels

    def set_model(self, model):
        """Takes the model, if it has latents of images."""
        if not hasattr(model, "latent_space"):
            raise ValueError(
                "LatentSpace draws where an AAE or a VAE puts images. "
                f"Received: {type(model).__name__}, which encodes none."
            )
        super().set_model(model)

    def on_train_begin(self, logs=None):
        """Draws the untrained model; what cannot be drawn shows before an epoch."""
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        """Draws the model as it is."""
        self._write()

    def _write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.model.latent_space(self.images, self.labels).save(self.path)


class ForOptimizer(keras.callbacks.Callback):
    """Runs a callback that adjusts `model.optimizer` on one of several optimizers.

    ::

        zoo.callbacks.ForOptimizer(
            "discriminator",
            keras.callbacks.ReduceLROnPlateau("generator_loss", mode="min"),
        )

    Args:
        player: Whose optimizer: `"generator"`, `"discriminator"` and so on.
        callback: The callback.
    """

    def __init__(self, player, callback):
        super().__init__()
        self.player = player
        self.callback = callback

    def set_model(self, model):
        """Shows the callback a model that has only that optimizer."""
        super().set_model(model)
        if self.player not in model.players():
            raise ValueError(
                f"Expected one of {sorted(model.players())}. "
                f"Received: player={self.player!r}"
            )
        self.callback.set_model(_OneOptimizerView(model, self.player))

    def set_params(self, params):
        """Passes the parameters on."""
        super().set_params(params)
        self.callback.set_params(params)

    def on_epoch_end(self, epoch, logs=None):
        """Passes the moment on; a rate that is logged gets the name of its player."""
        self.callback.on_epoch_end(epoch, logs)
        if logs and "learning_rate" in logs:
            logs[f"{self.player}_learning_rate"] = logs.pop("learning_rate")


def _passing_on(hook):
    def pass_on(self, *arguments, **named):
        """Passes the moment on."""
        getattr(self.callback, hook)(*arguments, **named)

    return pass_on


for _hook in dir(keras.callbacks.Callback):
    if _hook.startswith("on_") and _hook not in vars(ForOptimizer):
        setattr(ForOptimizer, _hook, _passing_on(_hook))


class _OneOptimizerView:
    """A model seen as if it had one optimizer."""

    def __init__(self, model, player):
        self._model = model
        self.optimizer = getattr(model, f"{player}_optimizer")

    def __getattr__(self, name):
        return getattr(self._model, name)

    @property
    def stop_training(self):
        """Whether `fit` ends after this epoch; Keras's callbacks set it."""
        return self._model.stop_training

    @stop_training.setter
    def stop_training(self, stops):
        self._model.stop_training = stops
