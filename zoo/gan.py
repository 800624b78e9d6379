"""Generative adversarial nets (Goodfellow et al., 2014, arXiv:1406.2661)."""

import keras
from keras import layers

from zoo import checks, networks
from zoo.game import GameModel
from zoo.layers import Maxout


@keras.saving.register_keras_serializable("zoo")
class GAN(GameModel):
    """The first GAN: two perceptrons that play the minimax game.

    Rectifiers in the generator, maxout in the discriminator, as in the paper (its
    dropout is left out). Algorithm 1 is `zoo.game.GameModel.train_step`. Labels in
    the data are ignored. `fit` takes batches of samples, images in [-1, 1], and logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of both losses, for callbacks that watch it; no quality |
    | `generator_loss` | nats | the generator's, by `compile(loss=)` |
    | `discriminator_loss` | nats | without the penalty; 2 ln 2 when it can't tell |
    | `discriminator_accuracy` | share | mean of the two below |
    | `real_accuracy` | share | real images taken for real |
    | `fake_accuracy` | share | generated images not taken for real |

    `generator_optimizer` and `discriminator_optimizer` train the network of their name:
    Adam 2e-4 with β1 0.5 unless others are given, since the paper says only "momentum".

    Args:
        image_shape: Shape of a sample: `(height, width, channels)`, or `(length,)`
            for vectors. Follows from `generator` where that is given. The default
            generator's numbers are from -1 to 1; vectors of another range need one of
            your own, such as `zoo.one_dimensional` has.
        latent_dim: Length of a latent row, 100 by default.
        prior: `"uniform"`, `"normal"`, `"stratified"` for one number a row, or a
            `zoo.priors.Prior`.
        generator_units: Widths of the generator's hidden layers.
        discriminator_units: Widths of the discriminator's maxout layers.
        generator: Keras model from latents `[n, latent_dim]` to samples, instead of
            the default network.
        discriminator: Keras model from samples to logits `[n]` or `[n, 1]`, instead of
            the default network.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If shapes of networks, prior and images do not fit together.

    Example::

        train = zoo.load_data("digits")
        gan = zoo.GAN(image_shape=(28, 28, 1), seed=0)
        gan.compile()
        gan.fit(train, epochs=25)
        images = gan.generate(64, seed=0)

    Reference:
        [Generative Adversarial Nets](https://arxiv.org/abs/1406.2661)
    """

    def __init__(
        self,
        image_shape=None,
        latent_dim=None,
        prior="uniform",
        generator_units=(1200, 1200),
        discriminator_units=(240, 240),
        generator=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        self.generator_units = checks.widths("generator_units", generator_units)
        self.discriminator_units = checks.widths(
            "discriminator_units", discriminator_units
        )
        super().__init__(
            image_shape=image_shape,
            latent_dim=latent_dim,
            prior=prior,
            generator=generator,
            discriminator=discriminator,
            seed=seed,
            name=name,
            dtype=dtype,
        )

    def build_generator(self):
        """See `AdversarialModel.build_generator`."""
        initializers = networks.glorot_initializers(self.seed)
        latents = keras.Input((self.latent_dim,), name="latents")
        x = networks.mlp(latents, self.generator_units, "relu", initializers)
        samples = networks.samples(x, self.image_shape, next(initializers))
        return keras.Model(latents, samples, name="generator")

    def build_discriminator(self):
        """See `AdversarialModel.build_discriminator`."""
        initializers = networks.glorot_initializers(self.seed + 1000)
        samples = keras.Input(self.image_shape, name="samples")
        x = layers.Flatten()(samples)
        for units in self.discriminator_units:
            x = Maxout(units, pieces=5, kernel_initializer=next(initializers))(x)
        logits = networks.logit(x, next(initializers))
        return keras.Model(samples, logits, name="discriminator")

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "generator_units": self.generator_units,
            "discriminator_units": self.discriminator_units,
        }
