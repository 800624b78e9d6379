"""Random changes of training images, each row's a function of its seed."""

import math

import tensorflow as tf

from zoo import rng


def shift_and_flip(images, seeds, shift=0, flip=False):
    """Moves each image by whole pixels and mirrors half of them.

    What comes in at the border repeats the pixels there.

    Args:
        images: Tensor of shape `[n, height, width, channels]`.
        seeds: int64 tensor of shape `[n]`.
        shift: Pixels that an image moves at most, up, down and sideways.
        flip: Whether to mirror left and right.

    Returns:
        Tensor of the images' shape and dtype.
    """
    if not shift and not flip:
        return images
    height, width = images.shape[1:3]
    moves = rng.integers(seeds, 2, 2 * shift + 1) - shift
    rows = tf.range(height, dtype=tf.int64)[None] + moves[:, :1]
    columns = tf.range(width, dtype=tf.int64)[None] + moves[:, 1:]
    if flip:
        mirrored = rng.integers(rng.fold_in(seeds, 0), 1, 2) > 0
        columns = tf.where(mirrored, width - 1 - columns, columns)
    rows = tf.clip_by_value(rows, 0, height - 1)
    columns = tf.clip_by_value(columns, 0, width - 1)
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)


def add_noise(images, seeds, deviation):
    """Adds Gaussian noise to every pixel.

    Args:
        images: Tensor of shape `[n, ...]`, pixels from -1 to 1.
        seeds: int64 tensor of shape `[n]`.
        deviation: Deviation of the noise, pixels counted from 0 to 1.

    Returns:
        float32 tensor of the images' shape, in no bounds.
    """
    noise = rng.normal(seeds, math.prod(images.shape[1:]))
    # From -1 to 1 pixels are twice as far apart as from 0 to 1.
    noise = 2 * deviation * tf.reshape(noise, tf.shape(images))
    return tf.cast(images, tf.float32) + noise
