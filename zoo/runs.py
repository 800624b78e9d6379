"""The folder of a run: settings, checkpoints, logs, pictures, and the model itself.

::

    runs/dcgan/
        run.json          the recipe that is followed
        data.json         how many images and classes there were
        checkpoints/      what `--resume` goes on from
        log.csv           the logs of each epoch
        events/           the same for TensorBoard, with the sample grids
        seconds.json      how long the training took
        latents.png       where images lie among an autoencoder's latents
        samples/          grids of the same seeds, or transfers, and samples.gif
        densities/        of a one-dimensional GAN instead, densities.gif and .png
        curves.png        what was logged, over epochs
        model/            the trained model, a preset
"""

import contextlib
import csv
import dataclasses
import functools
import io
import json
import pathlib
import shutil
import time

import keras
import numpy as np

import zoo.callbacks
from zoo import files, locks, presets
from zoo.adversarial import AdversarialModel
from zoo.autoencoder import AutoencoderModel
from zoo.checkpoints import BackupAndResume, CheckpointError
from zoo.distribution import is_chief
from zoo.dtn import DTN
from zoo.generative import GenerativeModel
from zoo.recipes import Recipe

SETTINGS, MODEL, SECONDS = presets.RUN, "model", "seconds.json"
DATA, CHECKPOINTS = "data.json", "checkpoints"
DENSITIES = "densities.gif"
#: How many differences between two recipes an error names.
_NAMED = 6


class Run:
    """A folder that one training writes to.

    Args:
        folder: The folder, new or empty, or that of the run to resume.
        recipe: What to train.
        resume: Whether to continue the run that is there, if there is one.

    Raises:
        FileExistsError: If the folder holds other files, or a run and `resume` is off.
        ValueError: If the run there follows another recipe, its data have changed, or
            it has gone on for more epochs than this one has. Apart from that their
            number may differ: it only says when to stop.
    """

    def __init__(self, folder, recipe, resume=False):
        self.folder = pathlib.Path(folder)
        self.recipe = recipe
        #: What an error, or an interruption, tells the user to do.
        self.how_to_go_on = (
            "run the same command again" if resume else "go on with --resume"
        )
        self._is_new = not (self.folder / SETTINGS).exists()
        if not self._is_new:
            self._check_same(resume)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise FileExistsError(
                f"{self.folder} holds files and is no run. Choose an empty folder."
            )
        self.backup = BackupAndResume(self.folder / CHECKPOINTS)
        done = self.backup.position()
        if done is not None and done > (recipe.epochs, 0):
            raise ValueError(
                f"The run in {self.folder} has done {done[0]} epochs"
                f"{f' and {done[1]} batches' if done[1] else ''}, and {recipe.epochs} "
                "are asked for. A training can't go back: ask for as many or more."
            )

    def _check_same(self, resume):
        if not resume:
            raise FileExistsError(
                f"{self.folder} holds a run already. Continue it with --resume, delete "
                "it, or choose another folder with --out."
            )
        before = Recipe.load(self.folder / SETTINGS)
        before.epochs = self.recipe.epochs
        if different := before.differences(self.recipe):
            more = len(different) - _NAMED
            raise ValueError(
                f"The run in {self.folder} has other settings, so it can't be "
                f"resumed with these: {'; '.join(different[:_NAMED])}"
                + (f"; and {more} more" if more > 0 else "")
                + f". `python -m zoo train {before.variant} --resume --out "
                f"{self.folder}` goes on with the run's own."
            )
        path = self.folder / DATA
        if path.exists() and (there := _described_in(path)) != self._described:
            raise ValueError(
                f"The data of the run in {self.folder} have changed, and it would be "
                f"another training: {_worded(there)} there, {_worded(self._described)} "
                "now. Bring them back, or train anew in another folder."
            )

    @functools.cached_property
    def _described(self):
        # Of a folder this looks at every file.
        return self.recipe.describe_data()

    @property
    def _class_names(self):
        """Names of the classes of the data, or of the source's; None without any."""
        classes = self._described[0]["classes"] if self._described else None
        return classes if isinstance(classes, list) else None

    @contextlib.contextmanager
    def writing(self):
        """Says of a file that can't be written what became of the run."""
        try:
            yield
        except OSError as error:
            last = self.backup.last()
            kept = f" The last checkpoint, {last}, stays." if last else ""
            raise CheckpointError(
                f"The run {self.folder} can't be written: {error}.{kept} Make room, or "
                f"choose another folder, and {self.how_to_go_on}."
            ) from error

    @contextlib.contextmanager
    def started(self):
        """Makes the folder, with the settings, and lets no other training into it.

        Of several workers, the chief does so, as long as the block runs.

        Raises:
            FileExistsError: If another training writes there, or has begun to since
                this object was made.
        """
        with self.writing():
            self._makes_folder = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.alone_in(self.folder))
            except BlockingIOError as error:
                raise FileExistsError(
                    f"Another training writes to {self.folder} now. Wait until it has "
                    "ended, or choose another folder with --out."
                ) from error
            if self._is_new and (self.folder / SETTINGS).exists():
                self._check_same(resume=False)
            with self.writing():
                self.recipe.save(self.folder / SETTINGS)
                files.write_json(self.folder / DATA, self._described)
            yield

    def discard(self):
        """Removes what a run wrote that began here and has got nowhere."""
        if not self._is_new or self.backup.position() not in (None, (0, 0)):
            return
        # What ended the training is to be told, whatever can't be removed.
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            if self._makes_folder:
                self.folder.rmdir()

    @property
    def finished(self):
        """Whether all epochs of the recipe are done."""
        position = self.backup.position()
        return position is not None and position[0] >= self.recipe.epochs

    def callbacks(self, model):
        """Returns what writes the run's files during `fit`, checkpoints included."""
        if not is_chief(model.distribute_strategy):
            return [self.backup]
        history = self._trim_log()
        return [
            keras.callbacks.CSVLogger(self.folder / "log.csv", append=True),
            _EpochEvents(self.folder / "events", write_graph=False),
            zoo.callbacks.TrainingCurves(self.folder / "curves.png", history),
            _Stopwatch(self.folder / SECONDS),
            *self._pictures(model),
            # Last, so that a checkpoint says only what the other files hold too.
            self.backup,
        ]

    def _pictures(self, model):
        if isinstance(model, DTN):
            source, _ = self.recipe.load_arrays(limit=32)
            return [self._sample_grid(images=source)]
        if not isinstance(model, GenerativeModel):
            return []
        if model.image_shape == (1,) and isinstance(model, AdversarialModel):
            real = np.concatenate(list(self.recipe.load_data().as_numpy_iterator()))
            film = zoo.callbacks.DensityAnimation(
                self.folder / DENSITIES,
                real,
                # What the discriminator sees in one of its steps.
                batch_size=self.recipe.batch_size // model.parts,
            )
            return [film]
        if len(model.image_shape) != 3:
            return []
        pictures = [self._sample_grid()]
        if isinstance(model, AutoencoderModel) and model.latent_dim > 1:
            images, labels = self.recipe.load_arrays(limit=5000)
            path = self.folder / "latents.png"
            pictures.append(zoo.callbacks.LatentSpace(path, images, labels))
        return pictures

    def _sample_grid(self, **conditions):
        return zoo.callbacks.SampleGrid(
            self.folder / "samples",
            log_dir=self.folder / "events" / "samples",
            **conditions,
        )

    def _trim_log(self):
        """Drops the logs of epochs after the last checkpoint; returns the rest."""
        path = self.folder / "log.csv"
        last = self.backup.position()
        if last is None or not path.exists():
            path.unlink(missing_ok=True)
            return {}
        history, text = _logs_before(path, last[0])
        if history:
            files.write_bytes(path, text.encode())
        else:
            path.unlink()
        return history

    def finish(self, model):
        """Measures the trained model, and writes it into the run as a preset."""
        if is_chief(model.distribute_strategy):
            settings = dataclasses.asdict(self.recipe)
            metadata = {
                **settings.pop("metadata"),
                "recipe": settings,
                "training_seconds": _seconds(self.folder / SECONDS),
            }
            if names := self._class_names:
                metadata["classes"] = names
            try:
                metadata["measured"] = self.recipe.measure(model)
            finally:  # Whatever became of that, the training is not lost.
                model.save_to_preset(self.folder / MODEL, metadata)


def _logs_before(path, epoch):
    """Reads the logs of the epochs before one.

    Returns:
        Tuple of a dict, from name to a list of one number an epoch, and the file's text
        without the other epochs. The dict is empty where there are none.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            # A row that a kill has cut short is of an epoch after the checkpoint.
            rows = [
                row
                for row in reader
                if None not in row.values() and int(row["epoch"]) < epoch
            ]
        if not rows:
            return {}, ""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, reader.fieldnames)
        writer.writeheader()
        writer.writerows(rows)
        # Keras has a column of NA for each number that validation did not give.
        names = [n for n in reader.fieldnames if n != "epoch" and rows[0][n] != "NA"]
        history = {name: [float(row[name]) for row in rows] for name in names}
    except (KeyError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is damaged: {error!r}. Delete it to go on without the logs of the "
            "epochs that are done."
        ) from error
    return history, text.getvalue()


def _described_in(path):
    """Reads what `Recipe.describe_data` said when a run began.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        described = json.loads(path.read_text())
        _worded(described)  # Which fails where it is of another form.
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged: {error!r}. Delete it to go on with the data as they "
            "are now."
        ) from error
    return described


def _worded(described):
    """Returns what `Recipe.describe_data` says, in words."""
    return " and ".join(
        f"{data['images']} images"
        + (f" of classes {data['classes']}" if data["classes"] else "")
        for data in described
    )


class _EpochEvents(keras.callbacks.TensorBoard):
    """Writes the logs of epochs.

    Keras's has nothing to write of a batch either, and to find that out takes it as
    long as a small network's step.
    """

    def on_train_batch_begin(self, batch, logs=None):
        """Does nothing."""

    def on_train_batch_end(self, batch, logs=None):
        """Does nothing."""


class _Stopwatch(keras.callbacks.Callback):
    """Adds up how long the training took, over all its sittings.

    Args:
        path: File that holds the seconds.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        """Starts."""
        self._before, self._start = _seconds(self.path), time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Writes how long it is up to now."""
        seconds = self._before + round(time.monotonic() - self._start)
        files.write_json(self.path, seconds)


def trained_recipe(folder):
    """Returns the recipe by which the model of a run was trained.

    The run itself may have gone on since, and `run.json` says how far it shall go.

    Args:
        folder: Folder of the run.

    Returns:
        `Recipe`; None where no training has ended.

    Raises:
        ValueError: If the model's metadata hold no recipe.
    """
    path = pathlib.Path(folder) / MODEL / presets.METADATA
    if not path.exists():
        return None
    try:
        return Recipe(**json.loads(path.read_text())["recipe"])
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no recipe: {error}") from error


def _seconds(path):
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # None yet, or a file that others have damaged.
        return 0
