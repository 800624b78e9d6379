"""Layers that the papers need and Keras does not have."""

import contextlib
import contextvars
import math

import keras
import tensorflow as tf
from keras import ops

from zoo import rng

_noise_seeds = contextvars.ContextVar("noise_seeds")


@contextlib.contextmanager
def noise_seeds(seeds):
    """Tells the `RowNoise` layers that the block calls which noise is theirs.

    Args:
        seeds: int64 tensor of shape `[batch]`.
    """
    token = _noise_seeds.set(seeds)
    try:
        yield
    finally:
        _noise_seeds.reset(token)


@keras.saving.register_keras_serializable("zoo")
class RowNoise(keras.layers.Layer):
    """Adds Gaussian noise in training, that of a row drawn from the row's own seed.

    `keras.layers.GaussianNoise` draws a batch at once, so that several replicas add
    other noise than one would. Here `noise_seeds(seeds)` around the call says which.

    Args:
        stddev: Deviation of the noise.
        stream: Integer that tells apart the noise layers of a network.

    Input and output shape: `[batch, ...]`.

    Raises:
        ValueError: If it is called in training outside a `noise_seeds` block.
    """

    def __init__(self, stddev, stream=0, **kwargs):
        super().__init__(**kwargs)
        self.stddev = stddev
        self.stream = stream

    def call(self, inputs, training=False):
        """Adds the noise in training; the identity otherwise."""
        if not training or not self.stddev:
            return inputs
        seeds = _noise_seeds.get(None)
        if seeds is None:
            raise ValueError(
                f"{self.name} needs a seed for each row in training: call the network "
                "in a block `with zoo.layers.noise_seeds(seeds):`."
            )
        noise = rng.normal(rng.fold_in(seeds, self.stream), math.prod(inputs.shape[1:]))
        noise = ops.reshape(self.stddev * noise, ops.shape(inputs))
        return inputs + ops.cast(noise, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "stddev": self.stddev, "stream": self.stream}


@keras.saving.register_keras_serializable("zoo")
class MinibatchDiscrimination(keras.layers.Layer):
    """Tells a discriminator how close each row is to the others in its batch.

    A matrix `M_i = x_i T` of shape `[num_kernels, kernel_dim]` is computed for each
    row; the closeness of two rows in kernel b is `exp(-||M_i,b - M_j,b||_1)`, and
    `o(x_i)_b` is its sum over all j (Salimans et al. 2016, section 3.2). The layer
    returns the input with `o(x_i)` appended, so a generator that collapses to a point
    is found out. The sum runs over the other rows, j ≠ i: the row itself would add
    the constant 1.

    The answer for one row depends on the rest of its batch. Under a `tf.distribute`
    strategy each replica compares the rows of its own share of the batch, and an
    export has no `discriminate` signature.

    Args:
        num_kernels: Number of features appended.
        kernel_dim: Length of the vector compared for each of them.
        seed: Seed of the initial values, or None.

    Input shape: `[batch, features]`. Output shape: `[batch, features + num_kernels]`.
    """

    across_batch = True

    def __init__(self, num_kernels, kernel_dim, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.num_kernels = num_kernels
        self.kernel_dim = kernel_dim
        self.seed = seed

    def build(self, input_shape):
        """Creates the tensor T."""
        if len(input_shape) != 2:
            raise ValueError(
                "MinibatchDiscrimination takes rows of features, [batch, features]; "
                f"flatten first. Received: input_shape={input_shape}"
            )
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.num_kernels * self.kernel_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02, seed=self.seed),
            name="kernel",
        )

    def call(self, inputs):
        """Appends each row's closeness to the rest of the batch."""
        matrices = ops.reshape(
            ops.matmul(inputs, self.kernel), (-1, self.num_kernels, self.kernel_dim)
        )
        # Half precision would lose a small closeness beside a row's own, 1.
        matrices = ops.cast(matrices, "float32")
        differences = ops.expand_dims(matrices, 1) - ops.expand_dims(matrices, 0)
        closeness = ops.exp(-ops.sum(ops.abs(differences), axis=-1))
        others = ops.cast(ops.sum(closeness, axis=1) - 1, inputs.dtype)
        return ops.concatenate([inputs, others], axis=-1)

    def compute_output_shape(self, input_shape):
        """Returns `[batch, features + num_kernels]`."""
        return (*input_shape[:-1], input_shape[-1] + self.num_kernels)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_kernels": self.num_kernels,
            "kernel_dim": self.kernel_dim,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("zoo")
class Maxout(keras.layers.Layer):
    """Maximum over `pieces` linear maps for each unit (Goodfellow et al. 2013).

    Args:
        units: Length of an output row.
        pieces: Linear maps a unit takes the maximum of.
        kernel_initializer: Initializer of the maps.

    Input shape: `[batch, features]`. Output shape: `[batch, units]`.

    Raises:
        ValueError: If the inputs have another rank.
    """

    def __init__(self, units, pieces, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.pieces = pieces
        self.maps = keras.layers.Dense(
            units * pieces,
            kernel_initializer=kernel_initializer,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        """Creates the linear maps."""
        if len(input_shape) != 2:
            raise ValueError(
                "Maxout takes rows of features, [batch, features]; flatten first. "
                f"Received: input_shape={input_shape}"
            )
        self.maps.build(input_shape)

    def call(self, inputs):
        """Takes the maximum of each unit's maps."""
        outputs = ops.reshape(self.maps(inputs), (-1, self.units, self.pieces))
        return ops.max(outputs, axis=-1)

    def compute_output_shape(self, input_shape):
        """Returns `[batch, units]`."""
        return (input_shape[0], self.units)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "pieces": self.pieces,
            "kernel_initializer": keras.initializers.serialize(
                self.maps.kernel_initializer
            ),
        }


@keras.saving.register_keras_serializable("zoo")
class WeightNormalizedDense(keras.layers.Layer):
    """A dense layer whose weights have a length and a direction of their own.

    The weights of a unit are `g v / ||v||` (Salimans & Kingma 2016, eq. 2). Unlike with
    batch normalization, the rows of a batch do not depend on one another. Lengths start
    at 1 and biases at 0, where the paper lets a first batch choose them (section 3).

    Args:
        units: Length of an output row.
        activation: Keras activation or its name, None for none.
        kernel_initializer: Initializer of the directions.

    Input shape: `[batch, features]`. Output shape: `[batch, units]`.

    Raises:
        ValueError: If `units` is less than 1.

    Reference:
        [Weight Normalization](https://arxiv.org/abs/1602.07868)
    """

    def __init__(
        self, units, activation=None, kernel_initializer="glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units is 1 or more. Received: units={units}")
        self.units = units
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        """Creates the directions v, the lengths g and the biases."""
        self.directions = self.add_weight(
            shape=(input_shape[-1], self.units),
            initializer=self.kernel_initializer,
            name="directions",
        )
        self.lengths = self.add_weight((self.units,), "ones", name="lengths")
        self.bias = self.add_weight((self.units,), "zeros", name="bias")

    def call(self, inputs):
        """Maps rows by the weights, and applies the activation."""
        squares = ops.sum(ops.square(self.directions), axis=0)
        scale = self.lengths * ops.rsqrt(squares + 1e-12)
        return self.activation(ops.matmul(inputs, self.directions) * scale + self.bias)

    def compute_output_shape(self, input_shape):
        """Returns `[batch, units]`."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("zoo")
class ClusterHeads(keras.layers.Layer):
    """Adds to a row of style the head of its cluster (Makhzani et al. 2016, section 7).

    The sum `W_C y + z` is the image's place in a space of few dimensions, in which each
    cluster has a point of its own, its head.

    Args:
        initializer: Initializer of the heads.

    Call arguments:
        inputs: List of styles z `[batch, n]` and clusters y `[batch, K]`, one-hot or a
            distribution.

    Output shape: `[batch, n]`.
    """

    def __init__(self, initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        """Creates the heads, `[K, n]`."""
        (_, width), (_, clusters) = input_shape
        self.heads = self.add_weight(
            shape=(clusters, width), initializer=self.initializer, name="heads"
        )

    def call(self, inputs):
        """Returns `W_C y + z`."""
        styles, clusters = inputs
        return styles + ops.matmul(clusters, self.heads)

    def crowding(self, distance):
        """Sums, over pairs of heads, by how much they are nearer than `distance`."""
        heads = ops.cast(self.heads, "float32")
        difference = heads[:, None] - heads[None, :]
        # The derivative of the root is infinite at 0, where a head meets itself.
        apart = ops.sqrt(ops.sum(ops.square(difference), axis=-1) + 1e-12)
        return ops.sum(ops.triu(ops.relu(distance - apart), k=1))

    def compute_output_shape(self, input_shape):
        """Returns the shape of the styles."""
        return input_shape[0]

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable("zoo")
class GradientReversal(keras.layers.Layer):
    """The identity with its gradient times -λ (Ganin & Lempitsky 2015, eq. 7 and 8).

    What comes before it learns to raise the loss that what comes after it lowers.

    Call arguments:
        inputs: Tensor of any shape.
        factor: λ, a number or a scalar tensor; 1 by default.
    """

    def call(self, inputs, factor=1.0):
        """Passes the inputs on."""

        @tf.custom_gradient
        def reverse(x):
            return tf.identity(x), lambda gradient: -scale * gradient

        scale = tf.cast(factor, inputs.dtype)
        return reverse(inputs)

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape
