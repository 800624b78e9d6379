"""What models that recognize images share: features, class probabilities, labels."""

import copy
import inspect
import math

import keras
import numpy as np
import tensorflow as tf

from zoo import checks, network_checks
from zoo.conditions import Classes
from zoo.data import drop_unlabelled, load_arrays
from zoo.metrics import Measurement, label_accuracy
from zoo.model import Model
from zoo.optimizer_checks import unscaled
from zoo.schedules import ProgressSchedule


class DiscriminativeModel(Model):
    """A model that maps images to features, and features to class probabilities.

    A subclass builds two networks: `features`, from images to rows, and `label_head`,
    from these to logits `[n, num_classes]`. One optimizer, `network_optimizer`, trains
    all its networks.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    network_names = ("features", "label_head")

    def __init__(self, *, image_shape, num_classes, **kwargs):
        if image_shape is None or num_classes is None:
            raise ValueError(
                "Pass image_shape and num_classes. Received: "
                f"image_shape={image_shape}, num_classes={num_classes}"
            )
        image_shape = checks.sample_shape(image_shape)
        if len(image_shape) != 3:
            raise ValueError(
                "Expected image_shape=(height, width, channels). "
                f"Received: image_shape={image_shape}"
            )
        num_classes = checks.count("num_classes", num_classes, least=2)
        super().__init__(**kwargs)
        self.image_shape = image_shape
        self.num_classes = num_classes
        # Part of the state, so that a resumed training keeps its schedules.
        self.total_steps = self._counter("total_steps")

    def _check_networks(self):
        network_checks.check_shapes(
            "features", self.features, self.image_shape, (None,)
        )
        rows = self.features.output_shape[1:]
        logits = (self.num_classes,)
        network_checks.check_shapes("label_head", self.label_head, rows, logits)
        network_checks.check_logits("label_head", self.label_head.outputs[0])

    # Inference

    def call(self, inputs, training=False):
        """Maps images `[n, *image_shape]` in [-1, 1] to float32 `[n, num_classes]`."""
        self._check_images(inputs)
        features = self.features(inputs, training=training)
        logits = self.label_head(features, training=training)
        return keras.ops.softmax(keras.ops.cast(logits, "float32"))

    def classify(self, images, batch_size=256):
        """Returns the probabilities of the classes.

        Args:
            images: `[n, *image_shape]`, uint8, or float in [-1, 1].
            batch_size: Rows computed at once, which bounds memory.

        Returns:
            float32 numpy array of shape `[n, num_classes]`.

        Raises:
            ValueError: If the images have another shape.
        """
        return self._in_batches(self, [self.pixels(images)], batch_size)

    def embed(self, images, batch_size=256):
        """Returns the features from which the label head tells the classes.

        Args:
            images: `[n, *image_shape]`, uint8, or float in [-1, 1].
            batch_size: Rows computed at once, which bounds memory.

        Returns:
            float32 numpy array of shape `[n, features]`.

        Raises:
            ValueError: If the images have another shape.
        """
        return self._in_batches(self.features_of, [self.pixels(images)], batch_size)

    def features_of(self, images):
        """Maps a tensor of images in [-1, 1] to float32 features `[n, features]`."""
        return tf.cast(self.features(images, training=False), tf.float32)

    def measure(self, **data_arguments):
        """Measures `test_accuracy`, the share of images that it classifies right."""
        return [self._accuracy("test_accuracy", **data_arguments)]

    def _accuracy(self, measurement, **data_arguments):
        images, labels = drop_unlabelled(*load_arrays(**data_arguments, labels=True))
        accuracy = label_accuracy(self.classify(images), labels)
        return Measurement(measurement, accuracy, real_count=len(images))

    # Training

    def players(self):
        """See `zoo.model.Model.players`."""
        return {"network": [getattr(self, name) for name in self.network_names]}

    def _compile(self, optimizers, settings, *, total_steps, **kwargs):
        """See `Model._compile`; `total_steps` ends the schedules, None asks `fit`."""
        total_steps = checks.optional(checks.count, "total_steps", total_steps)
        super()._compile(optimizers, {**settings, "total_steps": total_steps}, **kwargs)
        optimizer = unscaled(self.network_optimizer)
        if isinstance(optimizer._learning_rate, ProgressSchedule):
            # A copy, for another model may be compiled with the same schedule.
            schedule = copy.copy(optimizer._learning_rate)
            schedule.total_steps = self.total_steps
            optimizer._learning_rate = schedule

    def _set(self, total_steps, **settings):
        """See `Model._set`."""
        super()._set(**settings)
        self.total_steps.assign(total_steps or 0)

    def fit(self, *args, **kwargs):
        """Trains, as `zoo.Model.fit`.

        Unless `compile(total_steps=)` says otherwise, the first `fit` after `compile`
        is the training whose progress schedules follow. What is trained beyond it, or
        resumed with other epochs, goes on with the schedule as it was.

        Returns:
            `keras.callbacks.History`.
        """
        first = self.compiled and not int(self.total_steps.numpy())
        if first:
            given = inspect.signature(super().fit).bind(*args, **kwargs)
            given.apply_defaults()
            self.total_steps.assign(_steps_of(**given.arguments))
        before = int(self.steps.numpy())
        try:
            return super().fit(*args, **kwargs)
        finally:
            if first and int(self.steps.numpy()) == before:
                # Nothing was trained, so the next `fit` is the first.
                self.total_steps.assign(0)

    def train_on_batch(self, *args, **kwargs):
        """Trains on one batch; `compile` has to know of how many."""
        if self.compiled and not int(self.total_steps.numpy()):
            raise ValueError(
                "How many steps the training has can't be told from one batch. Pass "
                "total_steps to `compile`."
            )
        return super().train_on_batch(*args, **kwargs)

    def label_loss(self, labels, logits, label_smoothing=0.0):
        """See `Model.label_loss`; checks the labels."""
        return super().label_loss(self._checked(labels), logits, label_smoothing)

    def _checked(self, labels):
        return Classes(self.num_classes).in_training("labels", labels)

    def test_labels(self, labels, logits):
        """Measures a batch of `evaluate`, and feeds `compile(metrics=)`.

        Args:
            labels: Integers of shape `[n]`.
            logits: Tensor of shape `[n, num_classes]`.

        Returns:
            Loss and accuracy, see `Model.label_loss`, and `Model.mean_count` of the
            labelled rows, by which batches weigh.
        """
        loss, accuracy = self.label_loss(labels, logits)
        known = labels >= 0
        self.feed_metrics(
            tf.boolean_mask(labels, known),
            tf.boolean_mask(tf.nn.softmax(logits), known),
        )
        return loss, accuracy, self.mean_count(known)

    def _example_of_metrics(self):
        """See `Model`: a label and probabilities."""
        return [tf.zeros([1], tf.int64), tf.zeros([1, self.num_classes])]

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "num_classes": self.num_classes,
        }


def _steps_of(x, batch_size, epochs, steps_per_epoch, kwargs, **others):
    """Returns the number of steps of a training, from the arguments of `fit`."""
    del others
    if steps_per_epoch:
        return epochs * checks.count("steps_per_epoch", steps_per_epoch)
    if isinstance(x, tf.data.Dataset) and int(x.cardinality()) > 0:
        return epochs * int(x.cardinality())
    if isinstance(x, keras.utils.PyDataset) and x.num_batches:
        return epochs * x.num_batches
    arrays = tf.nest.flatten(x)
    if arrays and all(isinstance(part, (np.ndarray, tf.Tensor)) for part in arrays):
        rows = int(len(arrays[0]) * (1 - (kwargs.get("validation_split") or 0.0)))
        return epochs * math.ceil(rows / (batch_size or 32))
    raise ValueError(
        "How many steps the training has can't be told from its data. Pass "
        "steps_per_epoch to `fit`, or total_steps to `compile`."
    )
