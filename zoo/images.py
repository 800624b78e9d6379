"""Conversion between the two forms of an image.

Inside, pixels are float32 in [-1, 1]; at the edges (files, signatures, clients) they
are uint8. Both conversions take and return numpy arrays or tensors of any shape.
"""

import warnings

import numpy as np
import tensorflow as tf

#: Float pixels beyond this, or below its negative, are levels, and not noise or a
#: network's own output that oversteps -1 to 1 a little.
MAX_PIXEL = 2


def check_finite(images, what):
    """Raises `ValueError` where pixels are not finite numbers.

    Args:
        images: Array `[n, ...]`.
        what: What the error calls them.
    """
    finite = np.isfinite(images).all(axis=tuple(range(1, images.ndim)))
    if not finite.all():
        raise ValueError(
            f"{what} are no images: {np.sum(~finite)} of {len(images)} have pixels "
            "that are not finite numbers."
        )


def warn_of_unit_range(images, stacklevel=3):
    """Warns of images whose pixels are from 0 to 1, as other libraries have them.

    Args:
        images: Array `[n, ...]`.
        stacklevel: As `warnings.warn` takes it, counted from here.
    """
    if not images.size or not np.issubdtype(images.dtype, np.floating):
        return
    least, most = images.min(), images.max()
    if 0 <= least < most <= 1:
        warnings.warn(
            "The pixels of these images are from 0 to 1, and those that the models "
            "make and take are from -1 to 1. Map them by 2 * x - 1.",
            stacklevel=stacklevel,
        )


def to_uint8(images):
    """Maps [-1, 1] to 0 ... 255: `clip(rint((x + 1) * 127.5), 0, 255)`."""
    if tf.is_tensor(images):
        levels = tf.round((tf.cast(images, tf.float32) + 1.0) * 127.5)
        return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.uint8)
    levels = np.rint((np.asarray(images, np.float32) + 1.0) * 127.5)
    return np.clip(levels, 0, 255).astype(np.uint8)


def from_uint8(images):
    """Maps 0 ... 255 to float32 in [-1, 1]: `x / 127.5 - 1`."""
    if tf.is_tensor(images):
        return tf.cast(images, tf.float32) / 127.5 - 1.0
    return np.asarray(images).astype(np.float32) / np.float32(127.5) - np.float32(1.0)
