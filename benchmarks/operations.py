"""Operations of a DCGAN's step, and the rate of them that the machine reaches."""

import math
import time

import tensorflow as tf
from keras import layers


def forward_operations(network):
    """Counts the operations of products, two a multiplication, by layer and row.

    Normalization and activations are left out: they are below a hundredth.
    """
    counts = []
    for layer in network.layers:
        if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose)):
            # A kernel is applied at each position of the smaller map.
            small = min(
                math.prod(tensor.shape[1:3]) for tensor in (layer.input, layer.output)
            )
            counts.append(2 * small * math.prod(layer.kernel.shape))
        elif isinstance(layer, layers.Dense):
            counts.append(2 * math.prod(layer.kernel.shape))
    return counts


def step_operations(model, batch_size):
    """Counts the operations of an alternate step of a `zoo.DCGAN`.

    A backward pass costs the forward pass twice, once for the weights and once for the
    inputs; the first layer's inputs need none, except where the generator learns
    through the discriminator.
    """
    generator, discriminator = (
        forward_operations(network)
        for network in (model.generator, model.discriminator)
    )
    discriminator_step = sum(generator) + 2 * (
        3 * sum(discriminator) - discriminator[0]
    )
    generator_step = 3 * sum(generator) - generator[0] + 2 * sum(discriminator)
    return batch_size * (discriminator_step + generator_step)


def matmul_rate(size=2048, repeats=4):
    """Measures operations per second of a float32 matrix product on all cores."""
    one = tf.random.stateless_uniform((size, size), (0, 1))
    product = tf.function(lambda: tf.linalg.matmul(one, one))
    product()
    started = time.perf_counter()
    for _ in range(repeats):
        product()
    return 2 * size**3 * repeats / (time.perf_counter() - started)
