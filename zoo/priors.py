"""Priors: distributions from which a generator's latents are drawn, row by seed."""

import math

import keras
import tensorflow as tf

from zoo import checks, rng

#: Folded into the seeds that parts are drawn by. Conditions fold in 1, 2 and so on, and
#: with one of these a class would go with a part.
_PART = 2**32


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

    #: The only width that its rows can have, or None for any.
    only_width = None

    def __init__(self, width):
        self.width = checks.count("width", width)
        if self.only_width not in (None, self.width):
            raise ValueError(
                f"{type(self).__name__} draws rows of length {self.only_width} alone. "
                f"Set latent_dim={self.only_width}, or take another prior. "
                f"Received: width={width}"
            )

    def sample(self, seeds):
        """Draws one row a seed.

        Conditions are drawn from `rng.fold_in(seeds, 1)`, `rng.fold_in(seeds, 2)` and
        so on: fold in another number where you need one, lest they go together.

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

    def log_prob(self, latents):
        """Returns the logarithm of the density, in nats.

        Args:
            latents: float32 tensor of shape `[n, width]`.

        Returns:
            float32 tensor of shape `[n]`.

        Raises:
            NotImplementedError: If the prior has no density that is known.
        """
        raise NotImplementedError(f"{type(self).__name__} has no log_prob.")

    def walk(self, columns):
        """Returns points that walk evenly over a prior of the plane, for pictures.

        Args:
            columns: Points a row.

        Returns:
            float32 tensor of shape `[rows, columns, 2]`, or None where there is no such
            walk. The prior decides on the rows.
        """
        del columns
        return None

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
        self.stddev = checks.number("stddev", stddev, above=0)

    def sample(self, seeds):
        """See `Prior.sample`."""
        return self.stddev * rng.normal(seeds, self.width)

    def log_prob(self, latents):
        """See `Prior.log_prob`."""
        return _log_normal(latents, 0.0, self.stddev)

    def walk(self, columns):
        """See `Prior.walk`; the quantiles of both axes (Kingma & Welling, figure 4)."""
        if self.width != 2:
            return None
        return _square(self.stddev * tf.math.ndtri(_cell_middles(columns)))

    def get_config(self):
        """See `Prior.get_config`."""
        return {**super().get_config(), "stddev": self.stddev}


@keras.saving.register_keras_serializable("zoo")
class Uniform(Prior):
    """Uniform on (`low`, `high`) in every dimension."""

    def __init__(self, width, low=-1.0, high=1.0):
        super().__init__(width)
        self.low = checks.number("low", low)
        self.high = checks.number("high", high)
        if not self.low < self.high:
            raise ValueError(
                f"A range ends above where it begins. Received: low={low}, high={high}"
            )

    def sample(self, seeds):
        """See `Prior.sample`."""
        return rng.uniform(seeds, self.width, self.low, self.high)

    def walk(self, columns):
        """See `Prior.walk`; an even square."""
        if self.width != 2:
            return None
        return _square(self.low + (self.high - self.low) * _cell_middles(columns))

    def get_config(self):
        """See `Prior.get_config`."""
        return {**super().get_config(), "low": self.low, "high": self.high}


@keras.saving.register_keras_serializable("zoo")
class StratifiedRange(Uniform):
    """Uniform on a range; a training batch has one number in each of its equal parts.

    Row i of a batch of n falls into the i-th of n strata, which covers the range evenly
    and lowers the variance of the gradient. A single row, as `generate` asks for, is
    plainly uniform.

    Args:
        width: Length of a latent row, always 1: all numbers of a longer one would lie
            in the same stratum.
        low: Where the range begins.
        high: Where it ends.
    """

    only_width = 1

    def __init__(self, width=1, low=-1.0, high=1.0):
        super().__init__(width, low, high)

    def sample_batch(self, seeds, rows, batch_size):
        """See `Prior.sample_batch`."""
        within = rng.uniform(seeds, self.width)
        strata = tf.cast(rows, tf.float32)[:, None]
        share = (strata + within) / tf.cast(batch_size, tf.float32)
        return self.low + (self.high - self.low) * share


class LabelledPrior(Prior):
    """A prior that has a part for each class, from which a label can choose.

    Args:
        width: Length of a latent row.
        num_classes: Number of parts.
    """

    def __init__(self, width, num_classes):
        super().__init__(width)
        self.num_classes = checks.count("num_classes", num_classes)

    def sample(self, seeds, labels=None):
        """Draws one row a seed.

        Args:
            seeds: int64 tensor of shape `[n]`.
            labels: int64 tensor of shape `[n]`: the part to draw from. A label outside
                0 ... `num_classes` - 1, and no labels, stand for any part, drawn from
                the row's seed.

        Returns:
            float32 tensor of shape `[n, width]`.
        """
        own = rng.fold_in(seeds, _PART)
        drawn = rng.integers(own, 1, self.num_classes)[:, 0]
        if labels is None:
            return self.sample_part(seeds, drawn)
        labels = tf.cast(labels, tf.int64)
        known = (labels >= 0) & (labels < self.num_classes)
        return self.sample_part(seeds, tf.where(known, labels, drawn))

    def sample_part(self, seeds, parts):
        """Draws one row a seed from the part given for it.

        Args:
            seeds: int64 tensor of shape `[n]`.
            parts: int64 tensor of shape `[n]`, all in 0 ... `num_classes` - 1.

        Returns:
            float32 tensor of shape `[n, width]`.
        """
        raise NotImplementedError

    def get_config(self):
        """See `Prior.get_config`."""
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable("zoo")
class GaussianMixture(LabelledPrior):
    """Equal Gaussians in the plane, like the petals of a flower.

    Component k lies at the angle θ = 2πk / `num_classes` from the first axis. Its
    mean is `radius` (cos θ, sin θ), its standard deviation `along` in that direction
    and `across` at right angles to it (Makhzani et al. 2016, figure 4a).

    Args:
        width: Length of a latent row, always 2.
        num_classes: Number of components.
        radius: Distance of the means from the origin.
        along: Standard deviation away from the origin.
        across: Standard deviation at right angles to that.
    """

    only_width = 2

    def __init__(self, width=2, num_classes=10, radius=3.0, along=1.0, across=0.25):
        super().__init__(width, num_classes)
        self.radius = checks.number("radius", radius)
        self.along = checks.number("along", along, above=0)
        self.across = checks.number("across", across, above=0)

    def _turn(self, points, parts):
        """Turns points of the component on the first axis into those of `parts`."""
        angles = tf.cast(parts, tf.float32) * (2 * math.pi / self.num_classes)
        cos, sin = tf.cos(angles), tf.sin(angles)
        x, y = tf.unstack(points, axis=-1)
        return tf.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)

    def sample_part(self, seeds, parts):
        """See `LabelledPrior.sample_part`."""
        points = rng.normal(seeds, 2) * [self.along, self.across] + [self.radius, 0.0]
        return self._turn(points, parts)

    def log_prob(self, latents):
        """See `Prior.log_prob`."""
        parts = tf.range(self.num_classes)
        # Each point as every component sees it, [n, num_classes, 2].
        seen = self._turn(latents[:, None, :], -parts[None, :])
        stddevs = tf.constant([self.along, self.across])
        each = _log_normal(seen, [self.radius, 0.0], stddevs)
        return tf.reduce_logsumexp(each, axis=-1) - math.log(self.num_classes)

    def walk(self, columns):
        """See `Prior.walk`; a row a component, outwards along its longer axis."""
        steps = self.along * tf.math.ndtri(_cell_middles(columns))
        line = tf.stack([self.radius + steps, tf.zeros_like(steps)], axis=-1)
        return self._turn(line[None], tf.range(self.num_classes)[:, None])

    def get_config(self):
        """See `Prior.get_config`."""
        return {
            **super().get_config(),
            "radius": self.radius,
            "along": self.along,
            "across": self.across,
        }


@keras.saving.register_keras_serializable("zoo")
class SwissRoll(LabelledPrior):
    """A spiral in the plane, cut into equal parts (Makhzani et al. 2016, figure 4c).

    The point at t in (0, 1) lies at the distance `radius` √t from the origin and at the
    angle 2π `turns` √t. With t uniform the points are about evenly dense along the
    curve. Part k has the t from k to k + 1 out of `num_classes`.

    Args:
        width: Length of a latent row, always 2.
        num_classes: Number of parts.
        radius: Distance of the outer end from the origin.
        turns: Turns of the spiral.
    """

    only_width = 2

    def __init__(self, width=2, num_classes=10, radius=3.0, turns=2.0):
        super().__init__(width, num_classes)
        self.radius = checks.number("radius", radius)
        self.turns = checks.number("turns", turns)

    def _points(self, t):
        root = tf.sqrt(t)
        angles = 2 * math.pi * self.turns * root
        return self.radius * tf.stack(
            [root * tf.cos(angles), root * tf.sin(angles)], axis=-1
        )

    def sample_part(self, seeds, parts):
        """See `LabelledPrior.sample_part`."""
        within = rng.uniform(seeds, 1)[:, 0]
        return self._points((tf.cast(parts, tf.float32) + within) / self.num_classes)

    def walk(self, columns):
        """See `Prior.walk`; a row a part, outwards."""
        cells = _cell_middles(self.num_classes * columns)
        return self._points(tf.reshape(cells, [self.num_classes, columns]))

    def get_config(self):
        """See `Prior.get_config`."""
        return {
            **super().get_config(),
            "radius": self.radius,
            "turns": self.turns,
        }


def _log_normal(points, means, stddevs):
    """Returns log N(x; mean, stddev²), summed over the last axis."""
    scaled = (points - means) / stddevs
    log_stddevs = tf.math.log(tf.cast(stddevs, tf.float32))
    each = -0.5 * tf.square(scaled) - log_stddevs - 0.5 * math.log(2 * math.pi)
    return tf.reduce_sum(each, axis=-1)


def _cell_middles(count):
    """Returns the middles of so many equal cells of (0, 1)."""
    return (tf.range(count, dtype=tf.float32) + 0.5) / count


def _square(positions):
    """Returns a grid of points; the second axis points up, as in a scatter plot."""
    x, y = tf.meshgrid(positions, positions[::-1])
    return tf.stack([x, y], axis=-1)


#: The priors by the names that `prior=` takes.
PRIORS = {
    "normal": Normal,
    "uniform": Uniform,
    "stratified": StratifiedRange,
    "gaussian_mixture": GaussianMixture,
    "swiss_roll": SwissRoll,
}


def get(prior, width, default=None):
    """Resolves a constructor's `prior=` and `latent_dim=`.

    Args:
        prior: A `Prior`, its serialized form, or one of `"normal"`, `"uniform"`,
            `"stratified"`, `"gaussian_mixture"`, `"swiss_roll"`.
        width: Length of a latent row; None takes it from the prior.
        default: Length for a name that stands for priors of any.

    Returns:
        The `Prior`.

    Raises:
        ValueError: If the name is unknown or the prior has another width.
    """
    width = checks.optional(checks.count, "latent_dim", width)
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise ValueError(
                f"Unknown prior. Expected one of {sorted(PRIORS)} or a zoo.priors."
                f"Prior. Received: prior={prior!r}"
            )
        named = PRIORS[prior]
        return named(width or named.only_width or default)
    if isinstance(prior, dict):
        prior = keras.saving.deserialize_keras_object(prior)
    if not isinstance(prior, Prior):
        raise ValueError(
            f"Expected a name or a zoo.priors.Prior. Received: prior={prior!r}"
        )
    checks.whole_config(prior, Prior)
    if width is not None and width != prior.width:
        raise ValueError(
            f"The prior draws rows of {prior.width} numbers, and latent_dim asks for "
            f"{width}. Leave latent_dim out, or build the prior with width={width}."
        )
    return prior
