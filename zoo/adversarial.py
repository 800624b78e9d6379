"""What variants of generator against discriminator share: networks and judgements.

How the two are trained is in `zoo.game`, for those that play the game of Goodfellow et
al. (2014), and else in the variants' own `train_step`.
"""

import math

import keras
import tensorflow as tf

from zoo import checks, losses, network_checks
from zoo.generative import GenerativeModel, join


class AdversarialModel(GenerativeModel):
    """A generator and a discriminator.

    A subclass sets the attributes that its networks depend on, then calls this
    constructor, which calls `build_generator` and `build_discriminator`.

    Args:
        image_shape: Shape of a sample. Follows from `generator` where that is given.
        latent_dim: Length of a latent row; None for what `prior` or `generator` say,
            or else `default_latent_dim`.
        prior: Name of a prior or a `zoo.priors.Prior`.
        generator: Keras model to use instead of `build_generator`'s, or None.
        discriminator: Keras model to use instead of `build_discriminator`'s, or None.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    network_names = ("generator", "discriminator")
    default_latent_dim = 100
    logged = (
        "generator_loss",
        "discriminator_loss",
        "discriminator_accuracy",
        "real_accuracy",
        "fake_accuracy",
    )

    def __init__(
        self, *, image_shape, latent_dim, prior, generator, discriminator, **kwargs
    ):
        network_checks.check_built(generator=generator, discriminator=discriminator)
        if generator is not None:
            image_shape = network_checks.made_shape("generator", generator)
            network_checks.warn_of_range("generator", generator)
        if image_shape is None:
            raise ValueError("Pass image_shape, or a generator that it follows from.")
        image_shape = checks.sample_shape(image_shape)
        if latent_dim is None and isinstance(prior, str) and generator is not None:
            latent_dim = math.prod(network_checks.row_shapes(generator)[0])
        super().__init__(prior=prior, latent_dim=latent_dim, **kwargs)
        self.image_shape = image_shape
        self._remember_given(generator=generator, discriminator=discriminator)
        with self._networks_policy():
            self.generator = generator or self.build_generator()
            self.discriminator = discriminator or self.build_discriminator()
        self._check_shapes()
        self.built = True

    def build_generator(self):
        """Returns the paper's generator, from latents to samples in [-1, 1]."""
        raise NotImplementedError

    def build_discriminator(self):
        """Returns the paper's discriminator, from samples to logits `[n]`."""
        raise NotImplementedError

    # Training

    def players(self):
        """See `zoo.model.Model.players`."""
        return {
            "generator": [self.generator],
            "discriminator": [self.discriminator],
        }

    def default_optimizers(self):
        """Adam 2e-4, β1 0.5, as DCGAN's paper has it; GAN's says only "momentum"."""
        return {
            player: keras.optimizers.Adam(2e-4, beta_1=0.5)
            for player in ("generator", "discriminator")
        }

    def _generator_loss(self, real, fake, conditions, call, counting=None):
        """Returns what the generator minimizes.

        Args:
            real: Batch of samples, whose features feature matching looks at.
            fake: Batch of generated samples.
            conditions: List of what the discriminator takes behind the samples.
            call: Function of a network and its inputs that gives its outputs.
            counting: Booleans `[n]`, of the rows that feature matching looks at on both
                sides; None for all.
        """
        if isinstance(self.loss, losses.FeatureMatching):
            features = self.loss.features(self.discriminator)
            return self.loss.match(
                call(features, join(real, conditions)),
                call(features, join(fake, conditions)),
                self.mean_of_replicas,
                counting,
            )
        judged = call(self.discriminator, join(fake, conditions))
        return self.loss.generator(self.logits_of(judged))

    @property
    def discriminator_conditions(self):
        """Those of `conditions` that the discriminator is told as well: all."""
        return self.conditions

    def discriminate(self, images, conditions=(), training=False):
        """Returns the logits `[n]` of samples being real.

        Outside of training batch normalization takes moving statistics of real and
        generated batches together, and training has each by its own. So 0 may be far
        from where the two kinds part; logits compare with one another.
        """
        inputs = join(images, conditions)
        return self.logits_of(self.discriminator(inputs, training=training))

    def logits_of(self, judged):
        """Returns the logits `[n]` of being real in the discriminator's outputs."""
        return row_logits(judged)

    # Networks and arguments

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
        }

    def _check_shapes(self):
        taken, *_ = network_checks.row_shapes(self.generator)
        if len(taken) != 1:
            raise ValueError(
                "The generator must take latents as rows of numbers. It takes rows of "
                f"shape {taken}: begin it with a Reshape."
            )
        if taken != (self.latent_dim,):
            raise ValueError(
                f"The prior draws rows of {self.latent_dim} numbers and the generator "
                f"takes {taken}. Set latent_dim={taken[0]} beside the name of a prior, "
                f"or build a prior of rows of {taken[0]}."
            )
        taken, *_ = network_checks.row_shapes(self.discriminator)
        if taken != self.image_shape:
            raise ValueError(
                f"The generator makes samples of shape {self.image_shape} and the "
                f"discriminator takes {taken}."
            )
        for network, conditions in (
            (self.generator, self.conditions),
            (self.discriminator, self.discriminator_conditions),
        ):
            expected = [tuple(c.spec.shape[1:]) for c in conditions.values()]
            _, *taken = network_checks.row_shapes(network)
            if taken != expected:
                raise ValueError(
                    f"Behind its first input the {network.name} must take "
                    f"{list(conditions) or 'nothing'}, rows of shapes {expected}. "
                    f"It takes rows of shapes {taken}."
                )
        self._check_judgement()

    def _check_judgement(self):
        """Raises `ValueError` unless the discriminator returns a logit a row."""
        network_checks.check_judge("discriminator", self.discriminator)


def row_logits(outputs):
    """Returns the outputs of a network that gives a logit a row as float32 `[n]`."""
    return tf.reshape(tf.cast(outputs, tf.float32), [-1])


def accuracies(real_logits, fake_logits, boundary, mean_real=tf.reduce_mean):
    """Returns the discriminator's accuracies as logs.

    Args:
        real_logits: Its outputs for real samples, `[n]`.
        fake_logits: Its outputs for generated ones, `[n]`.
        boundary: `AdversarialLoss.boundary`, above which one counts as taken for real.
        mean_real: As `AdversarialLoss.discriminator` takes it.
    """
    real = mean_real(tf.cast(real_logits > boundary, tf.float32))
    fake = tf.reduce_mean(tf.cast(fake_logits < boundary, tf.float32))
    return {
        "discriminator_accuracy": (real + fake) / 2,
        "real_accuracy": real,
        "fake_accuracy": fake,
    }
