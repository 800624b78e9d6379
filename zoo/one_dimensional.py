"""The networks of the one-dimensional GAN: small enough to watch them learn.

They fit a Gaussian from noise spread over a range, as in the tutorials that made the
picture of decision boundary and densities popular::

    train = zoo.load_data("gaussian", batch_size=12)
    gan = zoo.GAN(
        generator=zoo.one_dimensional.Generator(seed=0),
        discriminator=zoo.one_dimensional.Discriminator(minibatch=True, seed=0),
        prior=zoo.priors.StratifiedRange(1, -8.0, 8.0),
        seed=0,
    )
"""

import keras
from keras import layers

from zoo import networks
from zoo.layers import MinibatchDiscrimination


@keras.saving.register_keras_serializable("zoo.one_dimensional")
class Generator(keras.Model):
    """Maps `[n, 1]` to `[n, 1]`: softplus units, then a line.

    Args:
        hidden_size: Units of the hidden layer.
        seed: Seed of the initial weights.
        name: Name of the network.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.
    """

    def __init__(self, hidden_size=4, seed=0, name="generator", dtype=None):
        with networks.policy(dtype):
            initializers = networks.glorot_initializers(seed)
            noise = keras.Input((1,), name="latents")
            x = networks.mlp(noise, [hidden_size], "softplus", initializers)
            samples = layers.Dense(
                1, kernel_initializer=next(initializers), dtype="float32"
            )(x)
            super().__init__(noise, samples, name=name)
        self.hidden_size = hidden_size
        self.seed = seed

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            "hidden_size": self.hidden_size,
            "seed": self.seed,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }


@keras.saving.register_keras_serializable("zoo.one_dimensional")
class Discriminator(keras.Model):
    """Maps `[n, 1]` to logits `[n]`: ReLU layers of twice the generator's width.

    Args:
        hidden_size: Units of the generator's hidden layer.
        minibatch: Whether the last hidden layer compares the samples of a batch
            (`zoo.layers.MinibatchDiscrimination`) instead of being one more ReLU layer.
        seed: Seed of the initial weights.
        name: Name of the network.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.
    """

    def __init__(
        self,
        hidden_size=4,
        minibatch=False,
        seed=0,
        name="discriminator",
        dtype=None,
    ):
        with networks.policy(dtype):
            initializers = networks.glorot_initializers(seed + 1000)
            samples = keras.Input((1,), name="samples")
            x = networks.mlp(samples, [2 * hidden_size] * 2, "relu", initializers)
            if minibatch:
                x = MinibatchDiscrimination(num_kernels=5, kernel_dim=3, seed=seed)(x)
            else:
                x = networks.mlp(x, [2 * hidden_size], "relu", initializers)
            logits = networks.logit(x, next(initializers))
            super().__init__(samples, logits, name=name)
        self.hidden_size = hidden_size
        self.minibatch = minibatch
        self.seed = seed

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            "hidden_size": self.hidden_size,
            "minibatch": self.minibatch,
            "seed": self.seed,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }
