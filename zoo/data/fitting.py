"""Bring uint8 images to one size and one number of channels."""

import numpy as np
import tensorflow as tf

# ITU-R BT.601, the weights that pillow uses as well.
LUMA = (0.299, 0.587, 0.114)


def fitted_shape(shape, image_size, channels):
    """The shape that `fit_images` gives an image of `shape`.

    Args:
        shape: `(height, width, channels)` of the image.
        image_size: Height and width wanted, or `None` to keep them.
        channels: 1, 3, or `None` to keep them.

    Returns:
        `(height, width, channels)`.
    """
    height, width, native_channels = shape
    if image_size is not None:
        height = width = image_size
    return height, width, channels or native_channels


def fit_images(images, image_size, channels):
    """Converts channels and resizes.

    Grey becomes colour by repeating the channel, colour becomes grey by its luma.
    An image that is not square loses what overhangs its centred square, so that
    nothing is stretched; then antialiased bilinear interpolation takes it to
    `image_size`, up or down.

    Args:
        images: uint8 `[N, H, W, C]`, array or tensor, C of 1 or 3.
        image_size: Height and width wanted, or `None` to keep them.
        channels: 1, 3, or `None` to keep them.

    Returns:
        uint8 `[N, image_size, image_size, channels]`; `images` itself where there
        is nothing to do.
    """
    height, width, native_channels = images.shape[1:]
    native = (height, width, native_channels)
    if fitted_shape(native, image_size, channels) == native:
        return images
    pixels = tf.cast(images, tf.float32)
    if native_channels == 3 and channels == 1:
        pixels = tf.reduce_sum(pixels * LUMA, axis=-1, keepdims=True)
    if image_size is not None:
        pixels = tf.image.resize(
            _centre_square(pixels), (image_size, image_size), antialias=True
        )
    if native_channels == 1 and channels == 3:
        pixels = tf.repeat(pixels, 3, axis=-1)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)


def fit_to(images, shape):
    """Brings images to the square shape of a model.

    Args:
        images: uint8 numpy array `[N, H, W, C]`, C of 1 or 3.
        shape: `(height, width, channels)`. One that is not square is never resized to.

    Returns:
        uint8 numpy array; `images` itself where there is nothing to do.
    """
    if images.shape[1:] == shape:
        return images
    size, _, channels = shape
    return np.asarray(fit_images(images, size, channels))


def _centre_square(images):
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]
