"""Conditions: what a generator is told beside its latents, one value a row.

A model names them in `conditions`; under these names they enter `generate`, `call` and
the signatures of an export. Each kind says how a value is checked in process, where a
wrong one is an error, and how a wrong one is replaced in a signature, where none may
be: it would take down the requests that a server batched with it.
"""

import numpy as np
import tensorflow as tf

from zoo import rng


class Condition:
    """A value a row, of one dtype and shape.

    Args:
        dtype: Dtype of the values.
        shape: Shape of a row's value.

    Attributes:
        spec: `tf.TensorSpec` of a batch of them.
        anything: The value that asks for one drawn from the row's seed, or None where
            none can be drawn, so that values must be given.
    """

    anything = None
    #: Kinds of numpy's dtypes that a user's values may have.
    _kinds = ""

    def __init__(self, dtype, shape):
        self.spec = tf.TensorSpec((None, *shape), dtype)

    def draw(self, seeds):
        """Draws a value from each seed; for those that `anything` asks for.

        Args:
            seeds: int64 tensor of shape `[n]`.

        Returns:
            Tensor as `spec` says.
        """
        raise NotImplementedError

    def in_training(self, name, values):
        """Returns the values of a training batch as a tensor of the dtype in `spec`.

        Args:
            name: The condition's name, for errors.
            values: Tensor, as the data have them.

        Raises:
            ValueError: If they have another shape or kind.
            tf.errors.InvalidArgumentError: While training, if one is invalid. XLA,
                `compile(jit_compile=True)`, leaves such checks out.
        """
        raise NotImplementedError

    def complete(self, values, seeds):
        """Replaces what is no valid value; never an error.

        Args:
            values: Tensor of the shape in `spec` and a dtype of that kind, any values.
            seeds: int64 tensor of shape `[n]`, a seed a row.

        Returns:
            Tensor as `spec` says, valid values.
        """
        raise NotImplementedError

    def checked(self, name, values, count):
        """Turns a user's values into an array that fits `spec`.

        Args:
            name: The condition's name, for errors.
            values: Array-like with a row's value for each row, one value for all rows,
                or None for any.
            count: Number of rows.

        Returns:
            numpy array of shape `[count, ...]`.

        Raises:
            ValueError: If values are missing, of another shape or kind, or invalid.
        """
        shape = (count, *self.spec.shape[1:])
        if values is None:
            if self.anything is None:
                raise ValueError(
                    f"Nothing is known to draw {name} from. Pass {name}= of shape "
                    f"{list(shape)}, or one row for all."
                )
            values = self.anything
        array = np.asarray(values)
        if array.size and array.dtype.kind not in self._kinds:
            raise ValueError(
                f"{name} are {self.spec.dtype.name}. Received: dtype {array.dtype}"
            )
        if array.shape not in (shape, shape[1:], ()):
            raise ValueError(
                f"Expected {name} of shape {list(shape)}, or one row's for all. "
                f"Received: shape {list(array.shape)}"
            )
        self._check_values(name, array)
        return np.broadcast_to(array, shape).astype(self.spec.dtype.as_numpy_dtype)

    def _check_values(self, name, array):
        raise NotImplementedError


class Classes(Condition):
    """Classes 0 ... K-1, by number; -1 asks for any.

    Args:
        num_classes: K.
        shape: Shape of a row's value: `()` for one class, `(n,)` for n of them.
    """

    anything = -1
    _kinds = "iu"

    def __init__(self, num_classes, shape=()):
        super().__init__(tf.int64, shape)
        self.num_classes = num_classes

    def draw(self, seeds):
        """See `Condition.draw`; all classes equally often."""
        shape = [-1, *self.spec.shape[1:]]
        count = self.spec.shape[1:].num_elements()
        return tf.reshape(rng.integers(seeds, count, self.num_classes), shape)

    def complete(self, values, seeds):
        """See `Condition.complete`; numbers of no class are drawn."""
        values = tf.cast(values, tf.int64)
        valid = (values >= 0) & (values < self.num_classes)
        return tf.where(valid, values, self.draw(seeds))

    def in_training(self, name, values):
        """See `Condition.in_training`; valid are classes and -1, for unlabelled."""
        if not values.dtype.is_integer or values.shape.rank != self.spec.shape.rank:
            raise ValueError(
                f"Expected {name} as integers of shape {list(self.spec.shape)}. "
                f"Received: {values.dtype.name} of shape {values.shape}"
            )
        # The largest uint64 becomes -1.
        least = tf.constant(0 if values.dtype.is_unsigned else -1, tf.int64)
        values = tf.cast(values, tf.int64)
        message = f"{name} must be in 0 ... {self.num_classes - 1}, or -1: unlabelled."
        bound = tf.constant(self.num_classes, tf.int64)
        checks = [
            tf.debugging.assert_greater_equal(values, least, message),
            tf.debugging.assert_less(values, bound, message),
        ]
        # A batch that is refused trains nothing.
        with tf.control_dependencies(checks):
            return tf.identity(values)

    def _check_values(self, name, array):
        wrong = array[(array < -1) | (array >= self.num_classes)]
        if wrong.size:
            raise ValueError(
                f"{name} must be in 0 ... {self.num_classes - 1}, or -1 for one drawn "
                f"from the row's seed. Received: {wrong.flat[0]}"
            )


class Vectors(Condition):
    """Rows of numbers.

    Args:
        width: Length of a row.
        prior: `zoo.priors.Prior` of that width from which missing numbers, NaN, are
            drawn. Without one rows must be given, and a signature puts 0 for numbers
            that are none.
    """

    _kinds = "iuf"

    def __init__(self, width, prior=None):
        super().__init__(tf.float32, (width,))
        self.prior = prior
        self.anything = None if prior is None else np.nan

    def draw(self, seeds):
        """See `Condition.draw`: from the prior."""
        return self.prior.sample(seeds)

    def complete(self, values, seeds):
        """See `Condition.complete`; NaN and infinite numbers are replaced."""
        values = tf.cast(values, tf.float32)
        others = tf.zeros_like(values) if self.prior is None else self.draw(seeds)
        return tf.where(tf.math.is_finite(values), values, others)

    def in_training(self, name, values):
        """See `Condition.in_training`; NaN, as of a missing attribute, is invalid."""
        if values.shape.rank != 2 or values.shape[1] != self.spec.shape[1]:
            raise ValueError(
                f"Expected {name} of shape {list(self.spec.shape)}. "
                f"Received: shape {values.shape}"
            )
        return tf.debugging.assert_all_finite(
            tf.cast(values, tf.float32), f"{name} must be finite numbers."
        )

    def _check_values(self, name, array):
        missing = np.isnan(array) if self.prior is not None else False
        if not (np.isfinite(array) | missing).all():
            raise ValueError(f"{name} must be finite numbers. Received: {array}")
