"""Averaging the weights of the network that makes samples, over training steps."""

import warnings

import numpy as np
import tensorflow as tf

from zoo import checks, rebuilding
from zoo.model import Model


class AveragedModel(Model):
    """A model that may keep a running average of its decoder, for better samples.

    Attributes:
        decoder_name: Attribute that holds the network that makes samples.

    Args:
        **kwargs: Arguments of `zoo.model.Model`.
    """

    decoder_name = "generator"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.averaging = None
        self.averaged_generator = None

    def _decoder(self):
        """Returns the network, as trained, that makes samples."""
        return getattr(self, self.decoder_name)

    def decoder_in_use(self):
        """Returns the network that `generate` uses: the averaged one, if there is."""
        return self.averaged_generator or self._decoder()

    def networks(self):
        """See `Model.networks`; the averaged decoder stands for the trained one."""
        return {**super().networks(), self.decoder_name: self.decoder_in_use()}

    def _compile(self, optimizers, settings, **kwargs):
        """See `Model._compile`; checks `averaging`, one of the settings."""
        averaging = checks.optional(
            checks.number, "averaging", settings["averaging"], above=0, below=1
        )
        if averaging is not None:
            self._check_precision()
        super()._compile(optimizers, {**settings, "averaging": averaging}, **kwargs)

    def _set(self, averaging, **settings):
        """See `Model._set`; creates, keeps or drops the averaged copy."""
        if averaging is None and self.averaged_generator is not None:
            warnings.warn(
                f"The average of the {self.decoder_name}, which made the samples, is "
                "dropped. compile(averaging=) keeps it.",
                stacklevel=4,
            )
        # First, for a decoder that can't be copied is to change nothing.
        self._average_decoder(averaging)
        super()._set(**settings)

    def _check_precision(self):
        dtypes = {variable.dtype for variable in self._decoder().weights}
        halves = dtypes & {"float16", "bfloat16"}
        if halves:
            raise ValueError(
                f"Steps towards an average are too small for {halves.pop()} weights. "
                "Build the model with a mixed policy, such as dtype='mixed_bfloat16', "
                "or leave averaging out."
            )

    def _average_decoder(self, averaging):
        """Creates, keeps or drops the averaged copy."""
        if averaging is None:
            self._forget_average()
        elif self.averaged_generator is None:
            with self.distribute_strategy.scope():
                copy = rebuilding.clone(self.decoder_name, self._decoder())
                copy.trainable = False
                self.averaged_generator = copy
        self.averaging = averaging

    def _forget_average(self):
        """Drops the averaged copy; Keras would go on counting and saving it."""
        self._tracker.untrack(self.averaged_generator)
        self.averaged_generator = None

    def _lock_state(self):
        """Lets the averaged copy come and go after `build`, with which layers close."""

    def save_own_variables(self, store):
        """Notes beside the model's own variables that there is an average."""
        super().save_own_variables(store)
        if self.averaging is not None:
            store["averaging"] = np.float64(self.averaging)

    def load_own_variables(self, store):
        """Makes room for the average that a file has; Keras fills it afterwards.

        A compiled model has one or none as `compile` says. Without this, one that was
        loaded with `compile=False` would make samples by the trained weights.

        Raises:
            ValueError: If the model is compiled with an average and the file has none.
        """
        kept = {name: store[name] for name in store.keys()}  # noqa: SIM118  (no dict)
        averaging = kept.pop("averaging", None)
        super().load_own_variables(kept)
        if not self.compiled:
            self._average_decoder(None if averaging is None else float(averaging[()]))
        elif averaging is None and self.averaging is not None:
            raise ValueError(
                f"The file has no average of the {self.decoder_name}, and the model is "
                f"compiled with averaging={self.averaging}. Load into one that is not "
                "compiled, then compile it."
            )
        elif averaging is not None and self.averaging is None:
            warnings.warn(
                f"The file's average of the {self.decoder_name} is not loaded: samples "
                "are made by the trained weights. compile(averaging=) before you load "
                "keeps it.",
                stacklevel=2,
            )

    def _update_average(self):
        """Moves the averaged weights and statistics towards the decoder's.

        The decay grows from 0.1 to `averaging`, so that the random initial weights do
        not linger.
        """
        if self.averaging is None:
            return
        step = tf.cast(self.steps.value, tf.float32)
        share = 1.0 - tf.minimum(self.averaging, (1.0 + step) / (10.0 + step))

        def move(average, value):
            if not value.dtype.is_floating:  # Counters and the like have no average.
                average.assign(value)
                return
            average.assign_add(tf.cast(share, value.dtype) * (value - average))

        def move_all(strategy):
            for average, variable in zip(
                self.averaged_generator.weights, self._decoder().weights, strict=True
            ):
                strategy.extended.update(
                    average.value, move, args=(variable.value,), group=False
                )

        # Mirrored variables are assigned in one place, for all replicas.
        tf.distribute.get_replica_context().merge_call(move_all)

    def end_step(self, *args, **values):
        """See `Model.end_step`; averages the decoder as well."""
        self._update_average()
        return super().end_step(*args, **values)
