"""Deep convolutional GAN (Radford et al., 2016, arXiv:1511.06434)."""

import keras

from zoo import checks, networks
from zoo.game import GameModel


@keras.saving.register_keras_serializable("zoo")
class DCGAN(GameModel):
    """A GAN whose networks are strided convolutions with batch normalization.

    The paper's rules: no pooling and no fully connected hidden layers, ReLU in the
    generator with tanh at its end, leaky ReLU 0.2 in the discriminator, N(0, 0.02²)
    initial weights. The game and `compile` are those of `zoo.GAN`. Labels in the data
    are ignored. `fit` takes batches of images in [-1, 1], and logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of both losses, for callbacks that watch it; no quality |
    | `generator_loss` | nats | the generator's, by `compile(loss=)` |
    | `discriminator_loss` | nats | without the penalty; 2 ln 2 when it can't tell |
    | `discriminator_accuracy` | share | mean of the two below |
    | `real_accuracy` | share | real images taken for real |
    | `fake_accuracy` | share | generated images not taken for real |

    `generator_optimizer` and `discriminator_optimizer` train the network of their name:
    Adam 2e-4 with β1 0.5, as in the paper, unless others are given.

    Args:
        image_shape: `(size, size, channels)`, 16 to 128 pixels that halve to a side of
            at most 8 (28 included), 1 or 3 channels.
        latent_dim: Length of a latent row, 100 by default.
        prior: `"uniform"` as in the paper, `"normal"` or a `zoo.priors.Prior`.
        generator_filters: Channels of the generator's last hidden layer. They double
            towards the latents: 128 make the paper's 1024 at 4×4 for 64 pixels.
        discriminator_filters: Channels of the discriminator's first layer.
        start_size: Side of the generator's first feature map; None for the smallest
            that doubles to the image's, 4 or 7 for the usual sizes. With 4 images of
            28 pixels grow by 4, 7, 14, 28: one layer more.
        kernel_size: Side of the kernels.
        hidden_units: Width of a dense layer after the latents, and of one before the
            discriminator's logit, as in InfoGAN's networks for MNIST, where they help
            a lot; None, as the paper advises, for neither.
        generator_activation: `"relu"` or `"leaky_relu"`.
        discriminator_normalization: `"batch"`, `"layer"` (for penalties) or None.
        generator: Keras model instead of the default network.
        discriminator: Keras model instead of the default network.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If shapes of networks, prior and images do not fit together.

    Example::

        train = zoo.load_data("mnist", batch_size=128)
        gan = zoo.DCGAN(image_shape=(28, 28, 1), seed=0)
        gan.compile()
        gan.fit(train, epochs=25)

    Reference:
        [Unsupervised Representation Learning with Deep Convolutional Generative
        Adversarial Networks](https://arxiv.org/abs/1511.06434)
    """

    def __init__(
        self,
        image_shape=None,
        latent_dim=None,
        prior="uniform",
        generator_filters=128,
        discriminator_filters=64,
        start_size=None,
        kernel_size=5,
        hidden_units=None,
        generator_activation="relu",
        discriminator_normalization="batch",
        generator=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        self.generator_filters = checks.count("generator_filters", generator_filters)
        self.discriminator_filters = checks.count(
            "discriminator_filters", discriminator_filters
        )
        self.start_size = checks.optional(checks.count, "start_size", start_size)
        self.kernel_size = checks.count("kernel_size", kernel_size)
        self.hidden_units = checks.optional(checks.count, "hidden_units", hidden_units)
        self.generator_activation = generator_activation
        self.discriminator_normalization = discriminator_normalization
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
        latents = keras.Input((self.latent_dim,), name="latents")
        images = networks.upsampling_stack(
            latents,
            self.image_shape,
            filters=self.generator_filters,
            kernel_size=self.kernel_size,
            activation=self.generator_activation,
            initializers=networks.normal_initializers(0.02, self.seed),
            start_size=self.start_size,
            hidden_units=self.hidden_units,
        )
        return keras.Model(latents, images, name="generator")

    def build_discriminator(self):
        """See `AdversarialModel.build_discriminator`."""
        initializers = networks.normal_initializers(0.02, self.seed + 1000)
        images = keras.Input(self.image_shape, name="samples")
        features = networks.downsampling_stack(
            images,
            filters=self.discriminator_filters,
            kernel_size=self.kernel_size,
            normalization=self.discriminator_normalization,
            initializers=initializers,
            stop_size=self.start_size,
            hidden_units=self.hidden_units,
        )
        logits = networks.logit(features, next(initializers))
        return keras.Model(images, logits, name="discriminator")

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "generator_filters": self.generator_filters,
            "discriminator_filters": self.discriminator_filters,
            "start_size": self.start_size,
            "kernel_size": self.kernel_size,
            "hidden_units": self.hidden_units,
            "generator_activation": self.generator_activation,
            "discriminator_normalization": self.discriminator_normalization,
        }
