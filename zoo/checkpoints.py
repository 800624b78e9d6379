"""Checkpoints from which an interrupted training goes on as if it had not been.

A checkpoint is a folder `<directory>/<step>/` with the whole state of the model
(weights, averaged weights, every optimizer, the step from which all noise follows) and
the position in the data. It appears by one rename, so a kill at any moment leaves only
whole ones. Where the disk has damaged the last, training goes on from the one before.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import tempfile
import textwrap
import warnings

import keras
import numpy as np

from zoo import files
from zoo.distribution import is_chief, spans_workers, sum_over_replicas
from zoo.files import sha256_of

_STATE, _POSITION = "state.weights.h5", "position.json"
#: How many checkpoints are kept: the last, and one more in case the disk lost it.
_KEPT = 2


class CheckpointError(RuntimeError):
    """A checkpoint can't be written or read."""


class DivergenceError(RuntimeError):
    """A loss, or a weight, is no longer a finite number."""


class BackupAndResume(keras.callbacks.Callback):
    """Saves the training as it goes on, and continues it in the next `fit`.

    With data from `zoo.load_data` the continued run ends with the same weights as an
    uninterrupted one: bit for bit on one device where operations are deterministic
    (`tf.config.experimental.enable_op_determinism`). Callbacks that decide by what they
    have seen, such as `EarlyStopping`, begin anew.

    ::

        backup = zoo.callbacks.BackupAndResume("runs/dcgan/checkpoints")
        gan.fit(train, epochs=25, callbacks=[backup])    # killed at epoch 7
        gan.fit(train, epochs=25, callbacks=[backup])    # goes on from there

    It saves at the end of every epoch, before the first step, and, on SIGTERM or
    SIGINT, at the end of the current step, after which training stops with
    `interrupted` set; of several workers, at all of them, whichever got the signal.
    Losses or weights that are not finite raise `DivergenceError`.

    Args:
        directory: Folder of the checkpoints. Several workers need one they all see.

    Raises:
        CheckpointError: From `fit`, if the folder can't be written or the disk is full;
            the checkpoints already there stay. Also if all of them are damaged, or the
            last whole one does not fit the model, or if several workers do not see
            the same ones.
    """

    def __init__(self, directory):
        super().__init__()
        self.directory = pathlib.Path(directory)
        #: Signal that stopped the last `fit`, or None.
        self.interrupted = None
        self._signal = None
        self._sum = None
        self._position = (0, 0)
        self._skipped = 0
        self._cut = False
        # From folder to what is wrong with it, by the last look at all of them.
        self._damaged = {}

    # Called by `zoo.Model.fit`

    def restore(self, model):
        """Loads the last whole checkpoint, if there is one, into a compiled model.

        Returns:
            Tuple `(epoch, batch)`: where to go on; None without a checkpoint.
        """
        found = self._last_whole()
        if found is None:
            return None
        folder, position = found
        if self._damaged:
            warnings.warn(
                f"Damaged checkpoints: {'; '.join(self._damaged.values())}. The "
                f"training goes on from the one before, {folder}, and deletes them.",
                stacklevel=3,
            )
        there, here = position["compile"], model.settings()
        changed = sorted(k for k in {*there, *here} if there.get(k) != here.get(k))
        if changed:
            differences = "; ".join(
                f"{name}: {there.get(name)} there, {here.get(name)} here"
                for name in changed
            )
            raise CheckpointError(
                f"The checkpoint {folder} is of a training with other arguments of "
                f"compile, and goes on with those alone. {differences}. Compile with "
                "them, or name another directory to train anew."
            )
        try:
            with warnings.catch_warnings():
                # Keras would go on without the state of an optimizer, or of layers.
                warnings.filterwarnings("error", "Skipping")
                model.load_weights(folder / _STATE)
        except (OSError, ValueError, KeyError, UserWarning) as error:
            raise CheckpointError(
                f"The checkpoint {folder} does not fit this model and its compile "
                f"arguments: {_in_short(error)}"
            ) from error
        return position["epoch"], position["batch"]

    def position(self):
        """Returns `(epoch, batch)` of the last whole checkpoint; None without one."""
        found = self._last_whole()
        return found and (found[1]["epoch"], found[1]["batch"])

    def last(self):
        """Returns the folder of the last whole checkpoint; None without one."""
        found = self._last_whole()
        return found and found[0]

    def _last_whole(self):
        """Returns folder and position of the last whole checkpoint; None without any.

        Raises:
            CheckpointError: If there are checkpoints, all of them damaged.
        """
        self._damaged = {}
        for folder in reversed(self._all()):
            try:
                return folder, _checked_position(folder)
            except (OSError, TypeError, ValueError) as error:
                self._damaged[folder] = f"{folder} ({error})"
        if self._damaged:
            raise CheckpointError(
                f"All checkpoints in {self.directory} are damaged: "
                f"{'; '.join(self._damaged.values())}. Put a copy of one back, or "
                f"delete {self.directory}, and the training begins anew."
            )
        return None

    @contextlib.contextmanager
    def listening(self):
        """Takes SIGTERM and SIGINT over for a block, however that ends."""
        self.interrupted = self._signal = None
        old_handlers = {}
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                try:
                    old_handlers[number] = signal.signal(number, self._interrupt)
                except ValueError:  # Only the main thread may, and this is another.
                    break
            yield
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
            if self._sum is None:  # Else it came after all had gone on.
                self.interrupted = self._signal

    def start_at(self, epoch, batch):
        """Says where the epoch that begins next starts in the data."""
        self._position = (epoch, batch)
        self._skipped = batch

    # Called by Keras

    def on_train_begin(self, logs=None):
        """Proves that checkpoints can be written, and that all workers see them."""
        self._cut = False
        strategy = self.model.distribute_strategy
        self._sum = sum_over_replicas(strategy) if spans_workers(strategy) else None
        self._check_workers_agree()
        if is_chief(strategy):
            # A process may have been killed while it wrote.
            for left in self.directory.glob(".partial-*"):
                shutil.rmtree(left, ignore_errors=True)
        self._save()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the batches, stops on divergence or on a signal.

        Keras counts from where `fit` started in the epoch, to the last of several
        steps a call.
        """
        epoch, _ = self._position
        self._position = (epoch, self._skipped + batch + 1)
        for name, value in (logs or {}).items():
            if not np.isfinite(value):
                raise self._divergence(f"{name} is {value}")
        # After the last batch the end of the epoch does it.
        if batch + 1 != self.params["steps"] and self._is_to_stop():
            self._cut = True
            self._check_weights()
            self._save()
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        """Saves, unless a signal cut the epoch short and it was saved so."""
        if self._cut:
            return
        self._check_weights()
        self.start_at(epoch + 1, 0)
        self._save()
        if self._is_to_stop():
            self.model.stop_training = True

    def _check_workers_agree(self):
        """Raises `CheckpointError` unless all workers go on from the same place."""
        if self._sum is None:
            return
        epoch, batch = self._position
        place = epoch * 2**32 + batch
        replicas = self.model.distribute_strategy.num_replicas_in_sync
        apart = abs(self._sum(place) - place * replicas)
        # Asked of all, so that none goes on alone: one may be at the others' mean.
        if self._sum(apart):
            raise CheckpointError(
                "The workers go on from different places, this one from epoch "
                f"{epoch + 1} after {batch} batches: they do not see the same "
                f"checkpoints. {self.directory} must be one folder that all share."
            )

    def _interrupt(self, number, frame):
        del frame
        self._signal = signal.Signals(number)

    def _is_to_stop(self):
        """Whether a signal came, to any of the workers: all stop behind one step."""
        if self._sum is None:
            self.interrupted = self._signal
        elif self._sum(self._signal is not None) > 0:
            self.interrupted = self._signal or signal.SIGTERM
        return self.interrupted is not None

    def _check_weights(self):
        """Raises `DivergenceError` before weights are saved that are no numbers.

        Losses are those before the step that made them.
        """
        for name in self.model.network_names:
            for variable in getattr(self.model, name).trainable_variables:
                value = keras.ops.convert_to_numpy(variable).astype(np.float32)
                if not np.isfinite(value).all():
                    raise self._divergence(
                        f"{variable.path} of the {name} is not finite"
                    )

    def _divergence(self, what):
        step = int(self.model.steps.numpy())
        trained = (self.position() or (0, 0)) > (0, 0)
        last = f"The last good checkpoint is {self.last()}. " if trained else ""
        return DivergenceError(
            f"{what} at step {step}. {last}Lower a learning rate, or take another "
            "optimizer or loss, and train anew: a checkpoint goes on with the settings "
            "that it had."
        )

    def _save(self):
        if not is_chief(self.model.distribute_strategy):
            return
        epoch, batch = self._position
        final = self.directory / f"{int(self.model.steps.numpy()):08d}"
        try:
            # They would stand where new ones come.
            while self._damaged:
                shutil.rmtree(self._damaged.popitem()[0])
            if final.exists():
                return
            self.directory.mkdir(parents=True, exist_ok=True)
            scratch = pathlib.Path(
                tempfile.mkdtemp(prefix=".partial-", dir=self.directory)
            )
            try:
                self.model.save_weights(scratch / _STATE)
                position = {"epoch": epoch, "batch": batch}
                position["compile"] = self.model.settings()
                position["sha256"] = sha256_of(scratch / _STATE)
                (scratch / _POSITION).write_text(json.dumps(position))
                for path in scratch.iterdir():
                    files.flush(path)
                scratch.rename(final)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"A checkpoint can't be written to {self.directory}: "
                f"{_in_short(error)}. "
                + (f"The last good one is {self.last()}." if self.last() else "")
            ) from error
        for old in self._all()[:-_KEPT]:
            shutil.rmtree(old)

    def _all(self):
        """Returns the folders of all checkpoints, the last one last."""
        if not self.directory.is_dir():
            return []
        folders = [path for path in self.directory.iterdir() if path.name.isdigit()]
        return sorted(folders, key=lambda folder: int(folder.name))


def _checked_position(folder):
    """Returns what a checkpoint says of itself, once its state is found whole.

    Raises:
        CheckpointError: If another version of the zoo made it.
        OSError, TypeError, ValueError: If it is damaged.
    """
    position = json.loads((folder / _POSITION).read_text())
    try:
        digest = position["sha256"]
        names = ("epoch", "batch", "compile")
        position = {name: position[name] for name in names}
    except KeyError as error:
        raise CheckpointError(
            f"{folder} is a checkpoint of another version of the zoo: it does not "
            f"say {error}. Go on with that version, or train anew elsewhere."
        ) from error
    if sha256_of(folder / _STATE) != digest:
        raise ValueError(f"{_STATE} is not what {_POSITION} gives the SHA-256 of")
    return position


def _in_short(error):
    """Returns what an error says, without Keras's arrays and HDF5's addresses."""
    if getattr(error, "errno", None):
        return os.strerror(error.errno)
    return textwrap.shorten(str(error), 300, placeholder=" …")
