"""Keras's `fit` and `evaluate`, for trainings that go on exactly where they ended.

`zoo.model.Model` says what a step is; this file how steps follow one another: in the
order that the data's seed and the epoch give, from the middle of an epoch if need be,
with the rows of a batch divided equally among the replicas.
"""

import contextlib
import functools
import types
import warnings

import keras
import numpy as np
import tensorflow as tf

from zoo import checks, data
from zoo.checkpoints import BackupAndResume
from zoo.distribution import spans_workers
from zoo.images import warn_of_unit_range
from zoo.optimizer_checks import has_ended

#: Callbacks of Keras that adjust the only optimizer of a model.
_ADJUSTING = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
)
#: And those that know nothing of the `fit` before.
_FORGETTING = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ReduceLROnPlateau,
)
_ROWS_COUNT_ALIKE = (
    "The losses here are means over rows that count alike. Leave class_weight and "
    "sample_weight out."
)


class TrainingLoop(keras.Model):
    """A `keras.Model` whose `fit` resumes, and has little to do between two steps."""

    def make_train_function(self, force=False):
        """Makes the step that `fit` calls, on one replica without Keras's detour.

        Keras hands out a step's logs in a `tf.experimental.Optional`, for the sake of
        several steps a call. To read it takes as long as a step of a small network.
        """
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy
        several = self.steps_per_execution > 1 or strategy.num_replicas_in_sync > 1
        if several or self.run_eagerly or spans_workers(strategy):
            super().make_train_function(force)
            train = self.train_function
            self.train_function = lambda batches: train(self._as_of_a_dataset(batches))
            return

        # AutoGraph is off, as in Keras: no code of a user's is rewritten.
        step = tf.function(
            lambda batch: strategy.run(self.train_step, args=(batch,)),
            autograph=False,
            reduce_retracing=True,
            jit_compile=self.jit_compile,
        )
        next_step = tf.function(
            lambda iterator: step(iterator.get_next()),
            autograph=False,
            reduce_retracing=True,
        )

        def train(batches):
            if isinstance(batches, types.GeneratorType):  # `train_on_batch`'s.
                return step(next(self._as_of_a_dataset(batches)))
            return next_step(batches)

        self.train_function = train

    def make_test_function(self, force=False):
        """Makes the step that `evaluate` and `test_on_batch` call."""
        if self.test_function is None or force:
            super().make_test_function(force)
            test = self.test_function
            self.test_function = lambda batches: test(self._as_of_a_dataset(batches))

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *,
        initial_epoch=0,
        steps_per_epoch=None,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Trains, as `keras.Model.fit`, with these differences.

        With data from `zoo.load_data`, epoch e has the order that follows from the
        data's seed and e, whether or not the epochs before it ran in this process; and
        where `initial_epoch` is left out, a model that has been trained goes on in the
        data where it is, so that a loop of `fit(epochs=1)` sees what one long `fit`
        does; without `steps_per_epoch`, from the next whole epoch on. A
        `zoo.callbacks.BackupAndResume` among the callbacks continues an interrupted
        training where it ended, in mid-epoch if need be. Rows are not weighed, and each
        replica gets as many.

        Returns:
            `keras.callbacks.History` of the epochs run here.

        Raises:
            ValueError: If an epoch is no whole number of calls of
                `steps_per_execution` steps, batches can't be divided among the
                replicas, rows are to be weighed, an epoch has no more steps than an
                interrupted one had done, or Keras's `BackupAndRestore` is among the
                callbacks, which comes too late to put the data where it was, or one
                that adjusts a learning rate and does not say whose; or there are no
                data.
        """
        self._assert_compile_called("fit")
        if x is None:
            raise ValueError("fit needs data, such as zoo.load_data('digits').")
        steps_per_epoch = checks.optional(
            checks.count, "steps_per_epoch", steps_per_epoch
        )
        if class_weight is not None or sample_weight is not None:
            raise ValueError(_ROWS_COUNT_ALIKE)
        split = kwargs.get("validation_split") or 0.0
        steps = steps_per_epoch and steps_per_epoch * (epochs - initial_epoch)
        self._check_division(x, batch_size, split, steps)
        if isinstance(x, np.ndarray) and x.ndim == 4:
            warn_of_unit_range(x)
        callbacks = self._checked_callbacks(callbacks)
        backup = next((c for c in callbacks if isinstance(c, BackupAndResume)), None)
        listening = backup.listening() if backup else contextlib.nullcontext()
        position = backup.restore(self) if backup else None
        # The place in the data of epoch 0.
        start = 0 if backup or initial_epoch else int(self.steps.numpy())
        initial_epoch, batch = position or (initial_epoch, 0)
        if initial_epoch < epochs:
            self._warn_of_rates_at_0()
            if position and position > (0, 0):
                _warn_of_forgetting(callbacks)
        if isinstance(x, (tf.data.Dataset, types.GeneratorType)):
            # Keras warns of True, its own default.
            kwargs.setdefault("shuffle", False)
        run = functools.partial(
            super().fit,
            y=y,
            batch_size=batch_size,
            verbose=verbose,
            callbacks=callbacks,
            **kwargs,
        )
        ordered = hasattr(x, "zoo_schedule")  # By `zoo.load_data`.
        if ordered:
            length = steps_per_epoch or len(x)
            self._check_epoch(length, batch)
            if steps_per_epoch is None:
                # Steps on other data may have been part of an epoch of these.
                start = -(-start // length) * length
        else:
            batch = 0  # The epoch begins anew.
        if backup:
            backup.start_at(initial_epoch, batch)
        steps_before = int(self.steps.numpy())
        with listening:
            if ordered:
                history = self._fit_in_order(
                    run, x, length, start, initial_epoch, batch, epochs
                )
            else:
                history = run(
                    x=x,
                    epochs=epochs,
                    initial_epoch=initial_epoch,
                    steps_per_epoch=steps_per_epoch,
                )
        if history.epoch and int(self.steps.numpy()) == steps_before:
            warnings.warn(
                f"The train_step of {type(self).__name__} does not call end_step, "
                "which counts the steps: checkpoints can't be resumed, callbacks draw "
                "no samples, and an averaged network stays as it was.",
                stacklevel=2,
            )
        return history

    def _fit_in_order(self, run, x, length, start, initial_epoch, batch, epochs):
        """Trains on data of `zoo.load_data` from a place in their order.

        Args:
            run: Keras's `fit`, given what does not hang on the place.
            x: The data.
            length: Steps of an epoch.
            start: The place, in batches, of epoch 0.
            initial_epoch: The epoch to begin in.
            batch: Batches of it that were done before an interruption.
            epochs: The epoch to end before.

        Returns:
            `keras.callbacks.History` of the epochs run here.
        """
        past = {}
        if batch and initial_epoch < epochs:
            # The rest of the epoch in which the training was interrupted.
            past = run(
                x=data.epochs(x, batch=initial_epoch * length + batch),
                epochs=initial_epoch + 1,
                initial_epoch=initial_epoch,
                steps_per_epoch=length - batch,
            ).history
            initial_epoch += 1
            if self.stop_training:
                return self.history
        history = run(
            x=data.epochs(x, batch=start + initial_epoch * length),
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=length,
        )
        if past:
            history.epoch.insert(0, initial_epoch - 1)
        if past is not history.history:  # The same where it was among the callbacks.
            for name, values in past.items():
                history.history[name] = values + history.history.get(name, [])
        return history

    def _checked_callbacks(self, callbacks):
        """Returns what `fit` was given as callbacks in a list.

        Raises:
            ValueError: If one of them can't work here.
        """
        # Keras takes one alone, lists in lists, and its own list.
        callbacks = keras.tree.flatten(getattr(callbacks, "callbacks", callbacks))
        callbacks = [callback for callback in callbacks if callback is not None]
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.SwapEMAWeights) or getattr(
                callback, "write_steps_per_second", False
            ):
                raise ValueError(
                    f"{type(callback).__name__} asks model.optimizer, and a "
                    f"{type(self).__name__} has one for each of "
                    f"{sorted(self.players())}: leave out SwapEMAWeights (there is "
                    "compile(averaging=)) and TensorBoard's write_steps_per_second."
                )
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                raise ValueError(
                    "BackupAndRestore comes too late to put the data where they were. "
                    "Use zoo.callbacks.BackupAndResume."
                )
            if isinstance(callback, _ADJUSTING):
                player = next(iter(self.players()))
                name = type(callback).__name__
                raise ValueError(
                    f"{name} adjusts model.optimizer, and {type(self).__name__} has "
                    f"one for each of {sorted(self.players())}. Say which: "
                    f"zoo.callbacks.ForOptimizer({player!r}, {name}(...))."
                )
        return callbacks

    def _check_epoch(self, length, done):
        """Raises `ValueError` unless an epoch can go on after the steps done of it."""
        a_call = self.steps_per_execution
        if length % a_call or done % a_call:
            # Keras would do the steps missing, and the next epoch start among its own.
            raise ValueError(
                f"An epoch of {length} steps"
                + (f", {done} of them done," if done else "")
                + f" is no whole number of calls of steps_per_execution={a_call}. "
                "Pass a steps_per_epoch that is (to `zoo train`, a --split or "
                "--batch-size that makes one), or compile with another."
            )
        if done >= length:
            raise ValueError(
                f"The training was interrupted after step {done} of its epoch; one "
                f"has {length} steps now. Go on with the data, batch_size and "
                "steps_per_epoch of then."
            )

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        *args,
        **kwargs,
    ):
        """Measures the model, as `keras.Model.evaluate`; rows are not weighed.

        Raises:
            ValueError: If they are to be.
        """
        if sample_weight is not None:
            raise ValueError(_ROWS_COUNT_ALIKE)
        return super().evaluate(x, y, batch_size, verbose, None, *args, **kwargs)

    def _warn_of_rates_at_0(self):
        """Warns where a schedule is over: training would change nothing."""
        over = [
            f"{player}_optimizer"
            for player in self.players()
            if has_ended(self._optimizer(player))
        ]
        if over:
            warnings.warn(
                f"The learning rate of {', '.join(over)} is 0: its schedule is over. "
                "Compile anew to train on, or with a schedule for all the steps, "
                "total_steps where compile has it.",
                stacklevel=3,
            )

    def _as_of_a_dataset(self, batches):
        """Returns the batches, those that `train_on_batch` was given as a dataset's."""
        if not isinstance(batches, types.GeneratorType):
            return batches
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                f"A batch by itself is not divided among the {replicas} replicas. Use "
                "fit and evaluate."
            )

        def batch_of(x, y, sample_weight):
            if sample_weight is not None:
                raise ValueError(_ROWS_COUNT_ALIKE)
            parts = x if y is None else (x, y)
            return tf.nest.map_structure(keras.ops.convert_to_tensor, parts)

        return (batch_of(*batch) for batch in batches)

    #: Parts of equal size that a step divides the rows of each replica into.
    parts = 1

    def _check_division(self, x, batch_size, validation_split, steps):
        """Raises where replicas, or parts, would have different numbers of rows.

        Each takes the mean over its own rows, so they would not count alike. Batches of
        a generator can't be looked at before.

        Args:
            x: The data of `fit`.
            batch_size: That of `fit`.
            validation_split: Share of an array that is not trained on.
            steps: How many are done of an array in all, None for whole epochs.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        if isinstance(x, tf.data.Dataset):
            shapes = (s.shape for s in tf.nest.flatten(x.element_spec) if s.shape.rank)
            sizes = {shape[0] for shape in shapes}
            if None in sizes and replicas > 1:
                raise ValueError(
                    f"{replicas} replicas can't share batches that may have any number "
                    "of rows. Make them by batch(..., drop_remainder=True)."
                )
        elif isinstance(x, (np.ndarray, tf.Tensor)):
            count = int(len(x) * (1 - validation_split))
            batch_size = batch_size or 32  # Keras's default.
            sizes = {min(batch_size, count), count % batch_size}
            if steps is not None and steps <= count // batch_size:
                sizes = {batch_size}  # It does not come to the last ones.
        else:
            return
        shares = replicas * self.parts
        uneven = [size for size in sizes if size and size % shares]
        if uneven:
            raise ValueError(
                f"A batch of {uneven[0]} rows can't be split into {shares} equal "
                "shares (replicas times discriminator_steps). Choose a batch size, and "
                "a number of rows, that can."
            )


def _warn_of_forgetting(callbacks):
    """Warns of callbacks that do not know what they saw before an interruption."""
    inner = [getattr(callback, "callback", callback) for callback in callbacks]
    names = {
        type(callback).__name__
        for callback in inner
        # One that saves every epoch has nothing to know.
        if isinstance(callback, _FORGETTING)
        and getattr(callback, "save_best_only", True)
    }
    if names:
        warnings.warn(
            "The training goes on, and may end otherwise than without the "
            "interruption. In every fit of Keras these begin anew: "
            f"{', '.join(sorted(names))}.",
            stacklevel=3,
        )


def refuse_unsupported(strategy, keras_arguments):
    """Raises where `fit` would die later, or train wrongly without a word."""
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "ParameterServerStrategy cannot run `fit` in Keras 3. Use MirroredStrategy "
            "for the GPUs of one machine or MultiWorkerMirroredStrategy for several."
        )
    steps_per_execution = checks.count(
        "steps_per_execution", keras_arguments.get("steps_per_execution", 1)
    )
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    if steps_per_execution > 1:
        raise ValueError(
            f"steps_per_execution > 1 fails under {replicas} replicas (keras#19246). "
            "Leave it at 1, or train on one replica."
        )
    if keras_arguments.get("jit_compile", False) is True:
        raise ValueError(
            f"jit_compile=True fails under {replicas} replicas: XLA cannot compile "
            "their merged updates. Leave it out, or train on one replica."
        )
