"""Random changes of training images, each row's a function of its seed."""

import functools
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


def color(images, seeds):
    """Changes brightness, saturation and contrast of each image, as Zhao et al. do.

    Brightness by up to 0.5 either way, saturation by a factor from 0 to 2, contrast by
    one from 0.5 to 1.5.

    Args:
        images: float32 tensor of shape `[n, height, width, channels]`, from -1 to 1.
        seeds: int64 tensor of shape `[n]`.

    Returns:
        Tensor of the images' shape, in no bounds.
    """
    draws = rng.uniform(seeds, 3)[..., None, None, None]
    brightness, saturation, contrast = tf.unstack(draws, axis=1)
    images += brightness - 0.5
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = grey + 2 * saturation * (images - grey)
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return mean + (contrast + 0.5) * (images - mean)


def translate(images, seeds):
    """Moves each image by whole pixels, as Zhao et al. do; zeros come in at the border.

    By up to an eighth of its side, either way.

    Args:
        images: Tensor of shape `[n, height, width, channels]`.
        seeds: int64 tensor of shape `[n]`.

    Returns:
        Tensor of the images' shape and dtype.
    """
    for axis, side in enumerate(images.shape[1:3], start=1):
        most = int(side / 8 + 0.5)
        moves = rng.integers(rng.fold_in(seeds, axis), 1, 2 * most + 1) - most
        places = tf.range(side, dtype=tf.int64) + moves
        inside = tf.cast((places >= 0) & (places < side), images.dtype)
        moved = tf.gather(
            images, tf.clip_by_value(places, 0, side - 1), axis=axis, batch_dims=1
        )
        images = moved * tf.expand_dims(inside[..., None], 3 - axis)
    return images


def cut_out(images, seeds):
    """Sets a rectangle of each image to zero, as Zhao et al. do.

    It has half the image's height and width. Its middle is anywhere in the image, so
    that part of it may lie outside.

    Args:
        images: Tensor of shape `[n, height, width, channels]`.
        seeds: int64 tensor of shape `[n]`.

    Returns:
        Tensor of the images' shape and dtype.
    """
    hit = tf.ones([1, 1, 1, 1], images.dtype)
    for axis, side in enumerate(images.shape[1:3], start=1):
        length = int(side / 2 + 0.5)
        # Of an even length the middle is between pixels, or at the image's edge.
        middles = side + 1 - length % 2
        first = rng.integers(rng.fold_in(seeds, axis), 1, middles) - length // 2
        places = tf.range(side, dtype=tf.int64)
        along = tf.cast((places >= first) & (places < first + length), images.dtype)
        hit *= tf.expand_dims(along[..., None], 3 - axis)
    return images * (1 - hit)


#: What a policy names: `flip`, and the three changes of Zhao et al.
_CHANGES = {
    "flip": functools.partial(shift_and_flip, flip=True),
    "color": color,
    "translation": translate,
    "cutout": cut_out,
}


def check_policy(policy):
    """Raises `ValueError` unless `differentiable_augmentation` knows the policy."""
    if not isinstance(policy, str) or not set(policy.split(",")) <= set(_CHANGES):
        raise ValueError(
            f"Expected names from {', '.join(_CHANGES)}, as a string with commas "
            f"between them. Received: augmentation={policy!r}"
        )


def differentiable_augmentation(images, seeds, policy):
    """Changes each image by a policy of differentiable augmentation.

    Args:
        images: float32 tensor of shape `[n, height, width, channels]`, from -1 to 1.
        seeds: int64 tensor of shape `[n]`.
        policy: Names of changes with commas between them, such as
            `"color,translation,cutout"`, made in that order.

    Returns:
        Tensor of the images' shape. Gradients flow back to the images.

    Reference:
        [Differentiable Augmentation for Data-Efficient GAN
        Training](https://arxiv.org/abs/2006.10738) (Zhao et al., 2020), appendix
    """
    for stream, name in enumerate(policy.split(",")):
        images = _CHANGES[name](images, rng.fold_in(seeds, stream))
    return images


def distort(images, seeds, shift=1 / 14, angle=15.0, scale=0.15, shear=0.3):
    """Moves, turns, stretches and slants each image, about its centre.

    Each of the six is uniform up to its bound. Pixels between four others are
    interpolated, and what comes in at the border repeats the pixels there.

    Args:
        images: Tensor of shape `[n, height, width, channels]`.
        seeds: int64 tensor of shape `[n]`.
        shift: Most that an image moves either way, as a share of its side.
        angle: Most that it turns either way, in degrees.
        scale: Logarithm of the most that either side is stretched, or shrunk.
        shear: Most that a row moves sideways, as a share of its height above or below
            the centre.

    Returns:
        float32 tensor of the images' shape.
    """
    height, width = images.shape[1:3]
    draws = rng.uniform(seeds, 6, -1.0, 1.0)[..., None, None]
    down, right, turn, tall, wide, slant = tf.unstack(draws, axis=1)
    cosine, sine = (f(turn * angle * math.pi / 180) for f in (tf.cos, tf.sin))
    # Where in the image each pixel of the result comes from, rows down, columns right.
    rows, columns = (
        tf.range(side, dtype=tf.float32) - (side - 1) / 2 for side in (height, width)
    )
    columns = tf.exp(scale * wide) * columns + shear * slant * rows[:, None]
    rows = tf.exp(scale * tall) * rows[:, None]
    return _sampled(
        tf.cast(images, tf.float32),
        cosine * rows + sine * columns + (shift * down + 0.5) * height - 0.5,
        cosine * columns - sine * rows + (shift * right + 0.5) * width - 0.5,
    )


def _sampled(images, rows, columns):
    """Reads images at places between their pixels, by bilinear interpolation.

    Args:
        images: float32 tensor of shape `[n, height, width, channels]`.
        rows: float32 tensor of shape `[n, height, width]`, 0 the middle of the first.
        columns: The same of columns.

    Returns:
        Tensor of the images' shape.
    """
    height, width, channels = images.shape[1:]
    pixels = tf.reshape(images, [-1, height * width, channels])
    rows = tf.clip_by_value(rows, 0.0, height - 1.0)
    columns = tf.clip_by_value(columns, 0.0, width - 1.0)
    top, left = tf.floor(rows), tf.floor(columns)
    below, beside = (rows - top)[..., None], (columns - left)[..., None]

    def pixel(row, column):
        places = tf.minimum(row, height - 1.0) * width + tf.minimum(column, width - 1.0)
        return tf.gather(pixels, tf.cast(places, tf.int32), axis=1, batch_dims=1)

    upper = pixel(top, left) * (1 - beside) + pixel(top, left + 1) * beside
    lower = pixel(top + 1, left) * (1 - beside) + pixel(top + 1, left + 1) * beside
    return upper * (1 - below) + lower * below


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
