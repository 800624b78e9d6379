"""Learning rates that follow the progress of a training, from its start to its end."""

import math

import keras
import tensorflow as tf


def progress(step, total_steps):
    """Returns the float32 share of the training that is done, at most 1."""
    total = tf.maximum(tf.cast(total_steps, tf.float32), 1.0)
    return tf.minimum(tf.cast(step, tf.float32) / total, 1.0)


class ProgressSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate `initial * factor(p)`, with p the progress from 0 to 1.

    The model that is compiled with it says how many steps there are; `fit` knows them
    from its epochs.

    Args:
        initial: Learning rate at the start.
    """

    def __init__(self, initial):
        super().__init__()
        self.initial = initial
        #: Variable of the model, set by its `compile`.
        self.total_steps = None

    def factor(self, p):
        """Returns the share of the initial rate at progress p."""
        raise NotImplementedError

    def __call__(self, step):
        """Returns the rate of an optimizer's step."""
        if self.total_steps is None:
            raise ValueError(
                f"{type(self).__name__} follows the progress of a zoo.Classifier or "
                "zoo.DANN: pass the optimizer to its `compile`."
            )
        return self.initial * self.factor(progress(step, self.total_steps.value))

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"initial": self.initial}


@keras.saving.register_keras_serializable("zoo")
class CosineToZero(ProgressSchedule):
    """Half a cosine: `(1 + cos πp) / 2` (Loshchilov & Hutter 2017, equation 5)."""

    def factor(self, p):
        """See `ProgressSchedule.factor`."""
        return (1.0 + tf.cos(math.pi * p)) / 2.0


@keras.saving.register_keras_serializable("zoo")
class InverseDecay(ProgressSchedule):
    """`(1 + 10 p)^-0.75` (Ganin & Lempitsky 2015, section 4)."""

    def factor(self, p):
        """See `ProgressSchedule.factor`."""
        return (1.0 + 10.0 * p) ** -0.75
