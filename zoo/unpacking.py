"""What a model is given: batches of `fit` and `evaluate`, and arrays of images."""

import numpy as np
import tensorflow as tf

from zoo.images import MAX_PIXEL, from_uint8, warn_of_unit_range


class Unpacking:
    """The part of `zoo.model.Model` that takes batches apart and checks them.

    It knows the model's `image_shape`, and nothing of its networks.
    """

    @property
    def _takes_pixels(self):
        """Whether samples are pixels, from -1 to 1, and no vectors of any range."""
        return len(self.image_shape) == 3

    def _check_images(self, images):
        if isinstance(images, (tuple, list)):
            raise ValueError(
                f"{type(self).__name__} takes images of one data set here. Received "
                f"{len(images)} arrays."
            )
        if isinstance(images, dict):
            raise ValueError(
                f"{type(self).__name__} takes images, alone or in a tuple with labels. "
                f"Received a dict of {sorted(images)}: map it to a tuple."
            )
        if tf.TensorShape(images.shape).rank is None:
            raise ValueError(
                f"{type(self).__name__} takes batches of images. Received batches of "
                "unknown shape: give from_generator an output_signature, set the shape "
                "behind py_function by tf.ensure_shape, and batch the data."
            )
        if tuple(images.shape[1:]) != self.image_shape:
            batch = ", ".join(map(str, ("n", *self.image_shape)))
            raise ValueError(
                f"{type(self).__name__} was built for samples of shape "
                f"{self.image_shape}, in batches [{batch}]. Received a batch of shape "
                f"{tuple(images.shape)}."
            )
        if tf.as_dtype(images.dtype).is_integer:
            raise ValueError(
                f"{type(self).__name__} takes pixels from -1 to 1. Received integers, "
                f"{tf.as_dtype(images.dtype).name}: map levels from 0 to 255 by "
                "zoo.images.from_uint8, or load them by zoo.load_data."
            )

    def _checked_batch(self, images):
        """Returns the images of a batch, whose values are checked before they are used.

        Raises:
            ValueError: If it has another shape, or integers.
            tf.errors.InvalidArgumentError: When the step runs, if pixels are levels.
                XLA, `compile(jit_compile=True)`, leaves such checks out.
        """
        self._check_images(images)
        if not self._takes_pixels:
            return images
        images = tf.convert_to_tensor(images)
        check = tf.debugging.assert_less_equal(
            tf.reduce_max(tf.abs(images)),
            tf.constant(MAX_PIXEL, images.dtype),
            f"{type(self).__name__} takes pixels from -1 to 1, and this batch has "
            "others, or NaN. Map levels from 0 to 255 by zoo.images.from_uint8, or "
            "load the images by zoo.load_data.",
        )
        # A batch that is refused trains nothing.
        with tf.control_dependencies([check]):
            return tf.identity(images)

    def _split(self, data, names=()):
        """Splits a batch of `fit` or `evaluate` into images and what comes with them.

        Args:
            data: Images, alone or the first of a tuple.
            names: Names of what the model needs beside images. One that needs nothing
                takes labels, too, which play no part.

        Returns:
            The images, and a list with a tensor for each of the names.

        Raises:
            ValueError: If the images don't fit, or there is less or more with them,
                such as weights of rows.
        """
        images, *given = data if isinstance(data, (tuple, list)) else [data]
        images = self._checked_batch(images)
        if len(given) < len(names):
            raise ValueError(
                f"{type(self).__name__} trains on batches of images and "
                f"{', '.join(names)}: zoo.load_data(..., labels=True). Received images "
                "alone."
            )
        if len(given) > max(len(names), 1):
            raise ValueError(
                f"{type(self).__name__} takes batches of images with "
                f"{', '.join(names) or 'labels or without'}; rows count alike and have "
                f"no weights. Received {len(given) + 1} arrays."
            )
        return images, given[: len(names)]

    def _images_of(self, data):
        """Returns the images of a batch whose labels, if any, play no part."""
        images, _ = self._split(data)
        return images

    def _unpack_domains(self, data):
        """Splits a batch of two domains: source images and labels, target images."""
        parts = [data, data[0]] if isinstance(data, (tuple, list)) else [data]
        if not all(isinstance(x, (tuple, list)) and len(x) == 2 for x in parts):
            raise ValueError(
                f"{type(self).__name__} takes batches "
                "((source_images, source_labels), target_images): load two names, "
                "zoo.load_data((source, target))."
            )
        (source, labels), target = data
        return self._checked_batch(source), labels, self._checked_batch(target)

    def pixels(self, images):
        """Returns uint8 images, or those in [-1, 1], as float32 in [-1, 1]."""
        images = np.asarray(images)
        of_levels = images.dtype == np.uint8
        if of_levels:
            images = from_uint8(images)
        self._check_images(images)
        if self._takes_pixels and images.size and np.abs(images).max() > MAX_PIXEL:
            raise ValueError(
                f"{type(self).__name__} takes float pixels from -1 to 1. Received "
                f"numbers from {images.min()} to {images.max()}: map levels from 0 to "
                "255 by zoo.images.from_uint8."
            )
        # Bright levels are above 0, too, and as they should be.
        if self._takes_pixels and not of_levels:
            # For whoever called what calls this.
            warn_of_unit_range(images, stacklevel=4)
        return images.astype(np.float32)
