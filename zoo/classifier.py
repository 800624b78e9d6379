"""Small convolutional classifiers, whose features the metrics of the zoo use."""

from typing import ClassVar

import keras
import tensorflow as tf
from keras import layers

from zoo import checks, network_checks, networks
from zoo.augmentation import shift_and_flip
from zoo.discriminative import DiscriminativeModel
from zoo.schedules import CosineToZero


@keras.saving.register_keras_serializable("zoo")
class Classifier(DiscriminativeModel):
    """A convolutional classifier that trains on a CPU in minutes.

    Each block is a 3×3 convolution, max-pooling by 2, batch normalization and ReLU, and
    more convolutions at that size where asked for (Simonyan & Zisserman 2015; Ioffe &
    Szegedy 2015). The mean over places of the last block is the feature row (Lin et al.
    2014), on which the label head is linear.

    `fit` takes batches `(images, labels)`, `zoo.load_data(..., labels=True)`; rows with
    the label -1 are left out, though not of the batch's statistics. It logs, as does
    `evaluate`, whose labels are never smoothed:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | the label loss, for callbacks that watch it |
    | `label_loss` | nats | cross entropy against the (smoothed) labels |
    | `label_accuracy` | share | rows whose most probable class is the label |

    `network_optimizer` trains features and label head: AdamW at a rate that falls from
    3e-3 to 0 by a cosine, with a weight decay of 0.02, unless another is given.

    Args:
        image_shape: `(height, width, channels)`; both sides at least 2 to the number of
            blocks.
        num_classes: Number of classes.
        filters: Channels of each block; the last are the length of a feature row.
        convolutions: Convolutions of a block.
        features: Keras model from images to rows, instead of the default network.
        label_head: Keras model from these rows to logits `[n, num_classes]`, instead of
            the default network.
        seed: Integer from which initial weights and augmentation follow; None draws
            one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If the images are too small for so many blocks, or a network that
            is given does not fit them.

    Example::

        train = zoo.load_data("digits", labels=True)
        classifier = zoo.Classifier((28, 28, 1), num_classes=10, seed=0)
        classifier.compile()
        classifier.fit(train, epochs=5)
        features = classifier.embed(images)               # [n, 128]
        classes = classifier.classify(images).argmax(-1)  # [n]

    Reference:
        - [Very Deep Convolutional Networks for Large-Scale Image Recognition](
          https://arxiv.org/abs/1409.1556)
        - [Batch Normalization](https://arxiv.org/abs/1502.03167)
        - [Network In Network](https://arxiv.org/abs/1312.4400)
    """

    data_arguments: ClassVar = {"labels": True}
    logged = ("label_loss", "label_accuracy")

    def __init__(
        self,
        image_shape=None,
        num_classes=None,
        filters=(32, 64, 128),
        convolutions=1,
        features=None,
        label_head=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        super().__init__(
            image_shape=image_shape,
            num_classes=num_classes,
            seed=seed,
            name=name,
            dtype=dtype,
        )
        self.filters = checks.widths("filters", filters)
        self.convolutions = checks.count("convolutions", convolutions)
        network_checks.check_built(features=features, label_head=label_head)
        self._remember_given(features=features, label_head=label_head)
        with self._networks_policy():
            self.features = features or self.build_features()
            self.label_head = label_head or self.build_label_head()
        self._check_networks()
        self.built = True

    def build_features(self):
        """Returns the network from images to feature rows."""
        if min(self.image_shape[:2]) < 2 ** len(self.filters):
            raise ValueError(
                f"{len(self.filters)} blocks halve the images so often, so both sides "
                f"must be at least {2 ** len(self.filters)}. Received: "
                f"image_shape={self.image_shape}"
            )
        initializers = networks.he_initializers(self.seed)
        images = keras.Input(self.image_shape, name="images")
        x = images
        for count in self.filters:
            for number in range(self.convolutions):
                x = layers.Conv2D(
                    count,
                    3,
                    padding="same",
                    use_bias=False,
                    kernel_initializer=next(initializers),
                )(x)
                if number == 0:
                    # Before the normalization, where it saves three quarters of it.
                    x = layers.MaxPooling2D(2)(x)
                x = layers.ReLU()(networks.normalization_layer("batch")(x))
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(images, x, name="features")

    def build_label_head(self):
        """Returns the network from feature rows to logits."""
        initializer = next(networks.glorot_initializers(self.seed + 1000))
        features = keras.Input(self.features.output_shape[1:], name="features")
        logits = layers.Dense(
            self.num_classes, kernel_initializer=initializer, dtype="float32"
        )(features)
        return keras.Model(features, logits, name="label_head")

    # Training

    def default_optimizers(self):
        """AdamW from 3e-3 to 0 by a cosine, weight decay 0.02."""
        return {"network": keras.optimizers.AdamW(CosineToZero(3e-3), 0.02)}

    def compile(
        self,
        network_optimizer=None,
        shift=2,
        flip=False,
        label_smoothing=0.0,
        total_steps=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training.

        Args:
            network_optimizer: Keras optimizer, name or config; a learning rate may be
                a `zoo.schedules.ProgressSchedule`.
            shift: Pixels that a training image is moved at most, at random.
            flip: Whether half of the training images are mirrored, at random.
            label_smoothing: Share of the target spread over all classes.
            total_steps: Steps of the whole training, at whose end the learning rate
                is 0; None takes them from the first `fit`.
            metrics: Metrics that `evaluate` feeds labels and probabilities.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is out of range.
        """
        shift = checks.count("shift", shift, least=0)
        if shift >= min(self.image_shape[:2]):
            raise ValueError(
                "shift is a number of pixels within the image. "
                f"Received: shift={shift} for image_shape={self.image_shape}"
            )
        self._compile(
            {"network": network_optimizer},
            {
                "shift": shift,
                "flip": checks.flag("flip", flip),
                "label_smoothing": checks.number(
                    "label_smoothing", label_smoothing, least=0, below=1
                ),
            },
            total_steps=total_steps,
            metrics=metrics,
            **keras_arguments,
        )

    def train_step(self, data):
        """Lowers the cross entropy of a randomly changed batch."""
        images, labels = self.unpack(data)
        seeds, _ = self.row_seeds(tf.shape(images)[0], stream=0)
        images = shift_and_flip(images, seeds, self.shift, self.flip)
        with self.minimizing("network") as objectives:
            features = self.features(images, training=True)
            logits = self.label_head(features, training=True)
            objectives["network"], accuracy = self.label_loss(
                labels, logits, self.label_smoothing
            )
        return self.end_step(
            self.mean_count(labels >= 0),
            label_loss=objectives["network"],
            label_accuracy=accuracy,
        )

    def test_step(self, data):
        """Measures the loss and the accuracy of a batch."""
        images, labels = self.unpack(data)
        logits = self.label_head(self.features(images, training=False))
        loss, accuracy, count = self.test_labels(labels, logits)
        return self.end_test_step(count, label_loss=loss, label_accuracy=accuracy)

    def unpack(self, data):
        """Splits a batch into images and labels."""
        images, (labels,) = self._split(data, ["labels"])
        return images, labels

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "convolutions": self.convolutions,
        }
