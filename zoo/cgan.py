"""Conditional generative adversarial nets (Mirza & Osindero, 2014, arXiv:1411.1784)."""

from typing import ClassVar

import keras
from keras import layers

from zoo import checks, network_checks, networks
from zoo.conditions import Classes, Vectors
from zoo.game import GameModel
from zoo.layers import Maxout

#: The arguments of its own that an architecture has.
_ARCHITECTURES = {
    "mlp": ("generator_units", "discriminator_units"),
    "convolutional": (
        "generator_filters",
        "discriminator_filters",
        "kernel_size",
        "hidden_units",
    ),
}


@keras.saving.register_keras_serializable("zoo")
class CGAN(GameModel):
    """A GAN whose networks are both told a condition: `D(x|y)` and `G(z|y)`.

    The game is that of equation 2, algorithm 1 with `y` in both networks, so
    `train_step` and `compile` are those of `zoo.GAN`. `y` is a class, given to the
    networks as one number a class, or any vector, such as attributes.

    `fit` takes batches `(images, labels)`, or `(images, vectors)`. A row whose label is
    -1, for unlabelled, is played without a condition: the class numbers of both
    networks are 0. It logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of both losses, for callbacks that watch it; no quality |
    | `generator_loss` | nats | the generator's, by `compile(loss=)` |
    | `discriminator_loss` | nats | without the penalty; 2 ln 2 when it can't tell |
    | `discriminator_accuracy` | share | mean of the two below |
    | `real_accuracy` | share | real images taken for real |
    | `fake_accuracy` | share | generated images not taken for real |

    `generator_optimizer` and `discriminator_optimizer` train the network of their name:
    Adam 2e-4 with β1 0.5 unless others are given. (The paper has gradient descent from
    0.1, falling by 1.00004 a step, with momentum from 0.5 to 0.7.)

    Args:
        image_shape: Shape of a sample: `(height, width, channels)`, or `(length,)` for
            vectors.
        num_classes: Number of classes, for a condition `labels`.
        condition_dim: Length of a vector, for a condition `conditions`. Classes given
            as one-hot vectors can be mixed: `generate(conditions=[0.5, 0.5, 0.0])`.
        architecture: `"mlp"`, the paper's perceptrons (its dropout is left out), or
            `"convolutional"`, the networks of DCGAN, for 16 to 128 pixels.
        latent_dim: Length of a latent row, 100 by default.
        prior: `"uniform"`, from -1 to 1 (the paper: from 0 to 1), `"normal"` or a
            `zoo.priors.Prior`.
        generator_units: Widths of the perceptron's rectified layers: on the latents, on
            the condition, and on both together.
        discriminator_units: Widths of its maxout layers: on the sample, on the
            condition, and on both together.
        generator_filters: Channels of the convolutional generator's last hidden layer.
        discriminator_filters: Channels of the convolutional discriminator's first one.
        kernel_size: Side of the convolutions' kernels.
        hidden_units: Width of a dense layer at both ends of the convolutions, as in
            `zoo.DCGAN`; None for none.
        generator: Keras model from `[latents, condition]` to samples, instead of the
            default network. Labels of -1 reach it and the discriminator as they are,
            and an `Embedding` takes -1 for the last class: give it a class more, and
            map -1 to that.
        discriminator: Keras model from `[samples, condition]` to logits, instead of the
            default network.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If neither or both of `num_classes` and `condition_dim` are given,
            an argument is for the other architecture, or shapes of networks, prior and
            images do not fit together.

    Example::

        train = zoo.load_data("digits", labels=True)
        gan = zoo.CGAN(image_shape=(28, 28, 1), num_classes=10, seed=0)
        gan.compile()
        gan.fit(train, epochs=25)
        sevens = gan.generate(16, seed=0, labels=7)

    Reference:
        [Conditional Generative Adversarial Nets](https://arxiv.org/abs/1411.1784)
    """

    data_arguments: ClassVar = {"labels": True}

    def __init__(
        self,
        image_shape=None,
        num_classes=None,
        condition_dim=None,
        architecture="mlp",
        latent_dim=None,
        prior="uniform",
        generator_units=(200, 1000, 1200),
        discriminator_units=(240, 50, 240),
        generator_filters=128,
        discriminator_filters=64,
        kernel_size=5,
        hidden_units=None,
        generator=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        if (num_classes is None) == (condition_dim is None):
            raise ValueError(
                "Pass either num_classes, for labels, or condition_dim, for vectors. "
                "Data with labels, as all on the command line, bring num_classes. "
                f"Received: num_classes={num_classes}, condition_dim={condition_dim}"
            )
        self.num_classes = checks.optional(checks.count, "num_classes", num_classes)
        self.condition_dim = checks.optional(
            checks.count, "condition_dim", condition_dim
        )
        self.architecture = architecture
        self.generator_units = checks.widths("generator_units", generator_units)
        self.discriminator_units = checks.widths(
            "discriminator_units", discriminator_units
        )
        if min(len(self.generator_units), len(self.discriminator_units)) < 2:
            raise ValueError(
                "A perceptron's units are at least two widths, of the layer on latents "
                "or samples and of that on the condition. Received: "
                f"generator_units={self.generator_units}, "
                f"discriminator_units={self.discriminator_units}"
            )
        self.generator_filters = checks.count("generator_filters", generator_filters)
        self.discriminator_filters = checks.count(
            "discriminator_filters", discriminator_filters
        )
        self.kernel_size = checks.count("kernel_size", kernel_size)
        self.hidden_units = checks.optional(checks.count, "hidden_units", hidden_units)
        network_checks.check_architecture(self, CGAN.__init__, _ARCHITECTURES)
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

    @property
    def conditions(self):
        """See `GenerativeModel.conditions`: `labels`, or `conditions`."""
        if self.num_classes is not None:
            return {"labels": Classes(self.num_classes)}
        return {"conditions": Vectors(self.condition_dim)}

    def build_generator(self):
        """See `AdversarialModel.build_generator`."""
        latents = keras.Input((self.latent_dim,), name="latents")
        condition, numbers = self._condition_input()
        if self.architecture == "mlp":
            initializers = networks.glorot_initializers(self.seed)
            on_latents, on_condition, *on_both = self.generator_units
            x = layers.Concatenate()(
                [
                    networks.mlp(latents, (on_latents,), "relu", initializers),
                    networks.mlp(numbers, (on_condition,), "relu", initializers),
                ]
            )
            x = networks.mlp(x, on_both, "relu", initializers)
            samples = networks.samples(x, self.image_shape, next(initializers))
        else:
            samples = networks.upsampling_stack(
                layers.Concatenate()([latents, numbers]),
                self.image_shape,
                filters=self.generator_filters,
                kernel_size=self.kernel_size,
                activation="relu",
                initializers=networks.normal_initializers(0.02, self.seed),
                hidden_units=self.hidden_units,
            )
        return keras.Model([latents, condition], samples, name="generator")

    def build_discriminator(self):
        """See `AdversarialModel.build_discriminator`."""
        samples = keras.Input(self.image_shape, name="samples")
        condition, numbers = self._condition_input()
        if self.architecture == "mlp":
            initializers = networks.glorot_initializers(self.seed + 1000)
            on_sample, on_condition, *on_both = self.discriminator_units
            x = layers.Flatten()(samples)
            x = Maxout(on_sample, pieces=5, kernel_initializer=next(initializers))(x)
            y = Maxout(on_condition, pieces=5, kernel_initializer=next(initializers))(
                numbers
            )
            x = layers.Concatenate()([x, y])
            for units in on_both:
                x = Maxout(units, pieces=4, kernel_initializer=next(initializers))(x)
        else:
            initializers = networks.normal_initializers(0.02, self.seed + 1000)
            x = networks.downsampling_stack(
                _append_channels(samples, numbers),
                filters=self.discriminator_filters,
                kernel_size=self.kernel_size,
                normalization="batch",
                initializers=initializers,
                hidden_units=self.hidden_units,
            )
        logits = networks.logit(x, next(initializers))
        return keras.Model([samples, condition], logits, name="discriminator")

    def _condition_input(self):
        """Returns the condition's `keras.Input` and the numbers it is to a network."""
        ((name, condition),) = self.conditions.items()
        spec = condition.spec
        given = keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=name)
        if self.num_classes is None:
            return given, given
        return given, keras.ops.one_hot(given, self.num_classes)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "condition_dim": self.condition_dim,
            "architecture": self.architecture,
            "generator_units": self.generator_units,
            "discriminator_units": self.discriminator_units,
            "generator_filters": self.generator_filters,
            "discriminator_filters": self.discriminator_filters,
            "kernel_size": self.kernel_size,
            "hidden_units": self.hidden_units,
        }


def _append_channels(images, numbers):
    """Appends rows of numbers `[n, c]` to images as c constant channels."""
    height, width = images.shape[1:3]
    maps = keras.ops.reshape(numbers, (-1, 1, 1, numbers.shape[-1]))
    maps = keras.ops.tile(maps, (1, height, width, 1))
    return layers.Concatenate()([images, maps])
