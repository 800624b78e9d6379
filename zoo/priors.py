"""Priors: distributions from which a generator's latents are drawn, row by seed."""

import keras
import tensorflow as tf

from zoo import rng


class Prior:
    """A distribution over latent rows; the row of one seed is always the same.

    Subclass it with a registered `get_config` to pass your own sampler to any model::

        @keras.saving.register_keras_serializable("my_package")
        class Laplace(zoo.priors.Prior):
            def sample(self, seeds):
                u = zoo.rng.uniform(seeds, self.width, -1.0, 1.0)
                return -tf.sign(u) * tf.math.log1p(-tf.abs(u))

    Args:
        width: Length of a latent row.
    """

    def __init__(self, width):
        if width < 1:
            raise ValueError(
                f"A prior draws rows of at least 1 number. Received: width={width}"
            )
        self.width = int(width)

    def sample(self, seeds):
        """Draws one row a seed.

        Args:
            seeds: int64 tensor of shape `[n]`.

        Returns:
            float32 tensor of shape `[n, width]`.
        """
        raise NotImplementedError

    def sample_batch(self, seeds, rows, batch_size):
        """Draws a training batch; override it where rows depend on each other.

        Args:
            seeds: int64 tensor of shape `[n]`.
            rows: int64 tensor of shape `[n]`, the place of each row in the batch of
                all replicas.
            batch_size: Rows in the batch of all replicas.

        Returns:
            float32 tensor of shape `[n, width]`.
        """
        del rows, batch_size
        return self.sample(seeds)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {"width": self.width}

    @classmethod
    def from_config(cls, config):
        """Builds the prior from `get_config`'s result."""
        return cls(**config)


@keras.saving.register_keras_serializable("zoo")
class Normal(Prior):
    """N(0, `stddev`²) in every dimension."""

    def __init__(self, width, stddev=1.0):
        super().__init__(width)
        self.stddev = stddev

    def sample(self, seeds):
        """See `Prior.sample`."""
        return self.stddev * rng.normal(seeds, self.width)

    def get_config(self):
        """See `Prior.get_config`."""
        return {**super().get_config(), "stddev": self.stddev}


@keras.saving.register_keras_serializable("zoo")
class Uniform(Prior):
    """Uniform on (`low`, `high`) in every dimension."""

    def __init__(self, width, low=-1.0, high=1.0):
        super().__init__(width)
        self.low, self.high = low, high

    def sample(self, seeds):
        """See `Prior.sample`."""
        return rng.uniform(seeds, self.width, self.low, self.high)

    def get_config(self):
        """See `Prior.get_config`."""
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable("zoo")
class StratifiedRange(Uniform):
    """Uniform on a range; a training batch has one row in each of its equal parts.

    Row i of a batch of n falls into the i-th of n strata in every dimension, which
    covers the range evenly and lowers the variance of the gradient. A single row,
    as `generate` asks for, is plainly uniform.
    """

    def sample_batch(self, seeds, rows, batch_size):
        """See `Prior.sample_batch`."""
        within = rng.uniform(seeds, self.width)
        strata = tf.cast(rows, tf.float32)[:, None]
        share = (strata + within) / tf.cast(batch_size, tf.float32)
        return self.low + (self.high - self.low) * share


_BY_NAME = {
    "normal": Normal,
    "uniform": Uniform,
    "stratified": StratifiedRange,
}


def get(prior, width):
    """Resolves a constructor's `prior=` and `latent_dim=`.

    Args:
        prior: A `Prior`, its serialized form, or one of `"normal"`, `"uniform"`,
            `"stratified"`.
        width: Length of a latent row; None takes it from the prior.

    Returns:
        The `Prior`.

    Raises:
        ValueError: If the name is unknown or the prior has another width.
    """
    if isinstance(prior, str):
        if prior not in _BY_NAME:
            raise ValueError(
                f"Unknown prior. Expected one of {sorted(_BY_NAME)} or a zoo.priors."
                f"Prior. Received: prior={prior!r}"
            )
        return _BY_NAME[prior](width)
    if isinstance(prior, dict):
        prior = keras.saving.deserialize_keras_object(prior)
    if not isinstance(prior, Prior):
        raise ValueError(
            f"Expected a name or a zoo.priors.Prior. Received: prior={prior!r}"
        )
    if width is not None and width != prior.width:
        raise ValueError(
            f"The prior draws rows of {prior.width} numbers, and latent_dim asks for "
            f"{width}. Leave latent_dim out, or build the prior with width={width}."
        )
    return prior
