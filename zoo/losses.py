"""Losses of the adversarial game, and penalties on the discriminator's gradient.

Every loss is a mean over the batch of what the paper writes as an expectation, and
takes logits: `D(x)` is `sigmoid(logits)` where the paper speaks of a probability.
"""

import warnings

import keras
import tensorflow as tf
from keras import layers, ops

from zoo import checks, network_checks, rng


def _minus_log_sigmoid(logits):
    """-log sigmoid(x), without overflow."""
    return ops.softplus(-logits)


class AdversarialLoss:
    """One objective for each player of the game.

    Attributes:
        probabilistic: Whether the sigmoid of the logits is a probability, so that
            one-sided label smoothing has a meaning. Otherwise they are scores.
        boundary: Output of the discriminator above which a sample counts as taken for
            real.
        lipschitz: Whether the discriminator must be kept Lipschitz, or its outputs
            grow without end.
    """

    probabilistic = False
    boundary = 0.0
    lipschitz = False

    def discriminator(
        self, real_logits, fake_logits, label_smoothing=0.0, mean_real=ops.mean
    ):
        """Scalar that the discriminator minimizes.

        Args:
            real_logits: Its outputs for real samples, `[n]`.
            fake_logits: Its outputs for generated ones, `[m]`.
            label_smoothing: Real samples count as real by 1 minus this.
            mean_real: Function from the real rows' terms, `[n]`, to their mean, where
                not all of them are draws of the data.
        """
        raise NotImplementedError

    def generator(self, fake_logits):
        """Scalar that the generator minimizes, from logits of shape `[n]`."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config):
        """Builds the loss from `get_config`'s result."""
        return cls(**config)


@keras.saving.register_keras_serializable("zoo")
class Minimax(AdversarialLoss):
    """The value function itself (Goodfellow et al. 2014, eq. 1).

    The discriminator minimizes -E log D(x) - E log(1 - D(G(z))), the generator
    E log(1 - D(G(z))). With label smoothing s the first term becomes the cross
    entropy against 1 - s (Salimans et al. 2016, section 3.4).
    """

    probabilistic = True

    def discriminator(
        self, real_logits, fake_logits, label_smoothing=0.0, mean_real=ops.mean
    ):
        """See `AdversarialLoss.discriminator`."""
        real = (1 - label_smoothing) * _minus_log_sigmoid(real_logits)
        real += label_smoothing * _minus_log_sigmoid(-real_logits)
        return mean_real(real) + ops.mean(_minus_log_sigmoid(-fake_logits))

    def generator(self, fake_logits):
        """See `AdversarialLoss.generator`."""
        return -ops.mean(_minus_log_sigmoid(-fake_logits))


@keras.saving.register_keras_serializable("zoo")
class NonSaturating(Minimax):
    """The generator minimizes -E log D(G(z)) (Goodfellow et al. 2014, section 3).

    Same fixed point as minimax, with strong gradients early in learning.
    """

    def generator(self, fake_logits):
        """See `AdversarialLoss.generator`."""
        return ops.mean(_minus_log_sigmoid(fake_logits))


@keras.saving.register_keras_serializable("zoo")
class LeastSquares(AdversarialLoss):
    """Least squares with targets 0 and 1 (Mao et al. 2017, eq. 9)."""

    boundary = 0.5

    def discriminator(
        self, real_logits, fake_logits, label_smoothing=0.0, mean_real=ops.mean
    ):
        """See `AdversarialLoss.discriminator`."""
        del label_smoothing
        return 0.5 * (
            mean_real(ops.square(real_logits - 1)) + ops.mean(ops.square(fake_logits))
        )

    def generator(self, fake_logits):
        """See `AdversarialLoss.generator`."""
        return 0.5 * ops.mean(ops.square(fake_logits - 1))


@keras.saving.register_keras_serializable("zoo")
class Hinge(AdversarialLoss):
    """Hinge loss (Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17)."""

    def discriminator(
        self, real_logits, fake_logits, label_smoothing=0.0, mean_real=ops.mean
    ):
        """See `AdversarialLoss.discriminator`."""
        del label_smoothing
        real, fake = ops.relu(1 - real_logits), ops.relu(1 + fake_logits)
        return mean_real(real) + ops.mean(fake)

    def generator(self, fake_logits):
        """See `AdversarialLoss.generator`."""
        return -ops.mean(fake_logits)


@keras.saving.register_keras_serializable("zoo")
class Wasserstein(AdversarialLoss):
    """Difference of the critic's means (Arjovsky et al. 2017, eq. 3).

    The critic must be kept Lipschitz: by `compile(penalty="gradient_penalty")`, for
    models that take it, or by a network with `keras.layers.SpectralNormalization`.
    """

    lipschitz = True

    def discriminator(
        self, real_logits, fake_logits, label_smoothing=0.0, mean_real=ops.mean
    ):
        """See `AdversarialLoss.discriminator`."""
        del label_smoothing
        return ops.mean(fake_logits) - mean_real(real_logits)

    def generator(self, fake_logits):
        """See `AdversarialLoss.generator`."""
        return -ops.mean(fake_logits)


@keras.saving.register_keras_serializable("zoo")
class FeatureMatching(NonSaturating):
    """The generator matches mean features of the data (Salimans et al. 2016, sec. 3.1).

    It minimizes ||E f(x) - E f(G(z))||², where f is what the discriminator's last layer
    with weights takes. The discriminator's objective is that of the minimax game.
    """

    def generator(self, fake_logits):
        """Raises: logits are not enough, see `match`."""
        raise NotImplementedError("FeatureMatching compares features: call match.")

    def features(self, discriminator):
        """Returns f, a network on the discriminator's inputs and weights.

        Raises:
            ValueError: If the discriminator's layers don't show what f is.
        """
        weighted = [layer for layer in discriminator.layers if layer.weights]
        if (
            not getattr(discriminator, "inputs", None)
            or len(weighted) < 2
            or isinstance(weighted[-1], keras.Model)
            or not _depends_on_samples(discriminator, weighted[-1].input)
        ):
            raise ValueError(
                "feature_matching takes what the last layer of the discriminator "
                "takes: the discriminator must be a functional or sequential model of "
                "at least two layers with weights, none of them a model itself, and "
                "the last of them must look at the samples."
            )
        return keras.Model(
            discriminator.input, weighted[-1].input, name="matched_features"
        )

    def match(self, real_features, fake_features, mean_of_replicas, counting=None):
        """Scalar that the generator minimizes.

        Args:
            real_features: f of real rows, `[n, ...]`.
            fake_features: f of generated rows.
            mean_of_replicas: Function that takes a tensor to its mean over replicas,
                with a gradient: the means are over the batch of all of them.
            counting: Booleans `[n]`, of the rows that the means are over on both sides;
                None for all.
        """

        def mean(rows):
            # Of sums and counts: replicas may have fewer rows than others, or none.
            rows = ops.reshape(ops.cast(rows, "float32"), (ops.shape(rows)[0], -1))
            weights = ops.ones_like(rows[:, 0]) if counting is None else counting
            weights = ops.cast(weights, "float32")
            total = ops.sum(rows * ops.expand_dims(weights, 1), axis=0)
            return mean_of_replicas(total) / mean_of_replicas(ops.sum(weights))

        real, fake = mean(real_features), mean(fake_features)
        return ops.sum(ops.square(real - fake))


def _depends_on_samples(discriminator, tensor):
    """Whether a tensor within a discriminator depends on its first input."""
    conditions = discriminator.inputs[1:]
    if not conditions:
        return True
    try:
        keras.Model(conditions, tensor)
    except ValueError:  # Keras misses the samples.
        return True
    return False


class Penalty:
    """A penalty on the gradient of the discriminator by its input.

    Attributes:
        default_weight: Its factor where `compile` is given none.
    """

    default_weight = 1.0

    def __call__(self, critic, real, fake, seeds):
        """Computes the penalty, unweighted.

        Args:
            critic: Callable from a batch of inputs to logits `[n]`, each row of which
                depends on its own input only.
            real: Batch of real inputs `[n, ...]`.
            fake: Batch of generated inputs `[n, ...]`.
            seeds: int64 `[n]`, for penalties that draw.

        Returns:
            Scalar.
        """
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config):
        """Builds the penalty from `get_config`'s result."""
        return cls(**config)


def _squared_gradient_norms(critic, inputs):
    """||d critic(x) / dx||² for each row, as float32 `[n]`."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        # The sum of the rows' logits has each row's own gradient.
        total = tf.reduce_sum(critic(inputs))
    gradients = tf.cast(tape.gradient(total, inputs), tf.float32)
    return tf.reduce_sum(tf.square(gradients), axis=range(1, len(inputs.shape)))


@keras.saving.register_keras_serializable("zoo")
class GradientPenalty(Penalty):
    """E (||∇ D(x̂)|| - 1)² between real and fake (Gulrajani et al. 2017, eq. 3)."""

    default_weight = 10.0

    def __call__(self, critic, real, fake, seeds):
        """See `Penalty.__call__`."""
        share = rng.uniform(seeds, 1)
        share = tf.reshape(share, [-1] + [1] * (len(real.shape) - 1))
        share = tf.cast(share, real.dtype)
        between = share * real + (1 - share) * tf.cast(fake, real.dtype)
        # The derivative of the root is infinite at 0; the paper's code leaves it so.
        norms = tf.sqrt(_squared_gradient_norms(critic, between) + 1e-12)
        return tf.reduce_mean(tf.square(norms - 1))


@keras.saving.register_keras_serializable("zoo")
class R1(Penalty):
    """½ E ||∇ D(x)||² on real data (Mescheder et al. 2018, eq. 9); its weight is γ."""

    default_weight = 10.0

    def __call__(self, critic, real, fake, seeds):
        """See `Penalty.__call__`."""
        del fake, seeds
        return 0.5 * tf.reduce_mean(_squared_gradient_norms(critic, real))


#: The losses by the names that `compile(loss=)` takes.
LOSSES = {
    "non_saturating": NonSaturating,
    "minimax": Minimax,
    "least_squares": LeastSquares,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
    "feature_matching": FeatureMatching,
}
#: The penalties by the names that `compile(penalty=)` takes.
PENALTIES = {"gradient_penalty": GradientPenalty, "r1": R1}


def _resolve(kind, identifier, table, base):
    if isinstance(identifier, str):
        if identifier in table:
            return table[identifier]()
    elif isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, base):
        checks.whole_config(identifier, base)
        return identifier
    raise ValueError(
        f"Unknown {kind}. Expected one of {sorted(table)} or a zoo.losses."
        f"{base.__name__}. Received: {kind}={identifier!r}"
    )


def get(loss, matching=False):
    """Resolves `compile(loss=)`: a name, an `AdversarialLoss` or its config.

    Args:
        loss: What to resolve.
        matching: Whether the model can do feature matching.
    """
    resolved = _resolve("loss", loss, LOSSES, AdversarialLoss)
    if isinstance(resolved, FeatureMatching) and not matching:
        raise ValueError(
            "'feature_matching' is a loss of GAN, DCGAN, CGAN and SemiSupervisedGAN: "
            "this model's generator has another objective. Choose one of "
            f"{sorted(LOSSES.keys() - {'feature_matching'})}."
        )
    return resolved


def warn_of_unbounded(loss, **critics):
    """Warns where a loss needs Lipschitz critics and no layer of these keeps them so.

    One layer that bounds its weights is taken for all. Where something else does it, a
    subclass of the loss that sets `lipschitz` to False is not warned of.

    Args:
        loss: An `AdversarialLoss`.
        **critics: The discriminators that are trained by it, without a penalty.
    """
    if not loss.lipschitz:
        return
    for name, critic in critics.items():
        held = any(weight.constraint for weight in critic.trainable_variables)
        if not held and not network_checks.has(critic, layers.SpectralNormalization):
            warnings.warn(
                f"{type(loss).__name__} needs a Lipschitz critic, and nothing keeps "
                f"the {name} so: its outputs can grow without end, up to NaN. "
                "Compile GAN, DCGAN and CGAN with penalty='gradient_penalty', others "
                "with a network of yours with keras.layers.SpectralNormalization.",
                stacklevel=3,
            )


def get_penalty(penalty):
    """Resolves `compile(penalty=)`: None, a name, a `Penalty` or its config."""
    if penalty is None:
        return None
    return _resolve("penalty", penalty, PENALTIES, Penalty)
