"""Unsupervised cross-domain image generation (Taigman et al., 2017)."""

import functools
import math
import os

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from keras.src.saving.serialization_lib import in_safe_mode

from zoo import (
    checks,
    feature_networks,
    network_checks,
    networks,
    presets,
    rebuilding,
)
from zoo.averaging import AveragedModel
from zoo.data import drop_unlabelled, load_arrays, native_shape
from zoo.data.fitting import fit_to
from zoo.discriminative import DiscriminativeModel
from zoo.images import check_finite, to_uint8
from zoo.metrics import Measurement, label_accuracy
from zoo.model import Model

#: What the discriminator tells apart, in the order of its logits.
FROM_SOURCE, FROM_TARGET, REAL = range(3)


@keras.saving.register_keras_serializable("zoo")
class DTN(AveragedModel):
    """The domain transfer network: turns images of one domain into those of another.

    A fixed network f maps images of either domain to features; the generator g maps
    these to images of the target domain, so that G = g∘f. No pairs of images and no
    labels are needed, apart from those that f was trained with.

    `fit` takes batches `((source_images, source_labels), target_images)`, as
    `zoo.load_data` gives for two names, and ignores the labels. It logs, as does
    `evaluate`:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of both losses, for callbacks that watch it; no quality |
    | `generator_loss` | nats | L_G, the weighted sum of the four below |
    | `l_gang` | nats | L_GANG (eq. 4): cross entropy of being taken for real |
    | `l_const` | features² | L_CONST (eq. 5): change of f by the transfer |
    | `l_tid` | pixels² | L_TID (eq. 6): change of target images by G |
    | `l_tv` | pixels | L_TV (eq. 7): total variation of an image |
    | `discriminator_loss` | nats | L_D (eq. 3), 3 ln 3 when it can't tell |
    | `discriminator_accuracy` | share | of the three kinds, told right |

    `generator_optimizer` trains g and `discriminator_optimizer` D: Adam 2e-4 with β1
    0.5 unless others are given. Nothing trains f.

    Args:
        features: f, which has to be given: a `zoo.Classifier` or `zoo.DANN` trained on
            the source domain, the preset of one, or a built Keras model from images to
            rows. Its weights and statistics stay as they are.
        generator_filters: Channels of the generator's last hidden layer.
        discriminator_filters: Channels of the discriminator's first layer.
        kernel_size: Side of the kernels.
        generator: Keras model g from features to images, instead of the default one.
        discriminator: Keras model D from images to logits `[n, 3]`, instead of the
            default one.
        seed: Integer from which initial weights follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy of g and D, such as `"mixed_bfloat16"`; None for the global
            one. f keeps its own.

    Raises:
        ValueError: If `features` is missing or maps no images to rows, both of known
            shapes, or a network that is given does not fit it.

    Example::

        pair = ("mnist_m", "mnist")
        train = zoo.load_data(pair, image_size=28, channels=3)
        dtn = zoo.DTN(features="classifier_mnist_m", seed=0)
        dtn.compile(averaging=0.999)
        dtn.fit(train, epochs=10)
        images = dtn.transfer(source_images)

    Reference:
        [Unsupervised Cross-Domain Image Generation](https://arxiv.org/abs/1611.02200)
    """

    network_names = ("features", "generator", "discriminator")
    domains = 2
    logged = (
        "generator_loss",
        "l_gang",
        "l_const",
        "l_tid",
        "l_tv",
        "discriminator_loss",
        "discriminator_accuracy",
    )

    def __init__(
        self,
        features=None,
        generator_filters=64,
        discriminator_filters=64,
        kernel_size=5,
        generator=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        super().__init__(seed=seed, name=name, dtype=dtype)
        network_checks.check_built(generator=generator, discriminator=discriminator)
        self._remember_given(generator=generator, discriminator=discriminator)
        self.generator_filters = checks.count("generator_filters", generator_filters)
        self.discriminator_filters = checks.count(
            "discriminator_filters", discriminator_filters
        )
        self.kernel_size = checks.count("kernel_size", kernel_size)
        self.features = _frozen_copy(features)
        self.image_shape = tuple(self.features.input_shape[1:])
        with self._networks_policy():
            self.generator = generator or self.build_generator()
            self.discriminator = discriminator or self.build_discriminator()
        rows = self.features.output_shape[1:]
        network_checks.check_shapes("generator", self.generator, rows, self.image_shape)
        network_checks.warn_of_range("generator", self.generator)
        network_checks.check_shapes(
            "discriminator", self.discriminator, self.image_shape, (3,)
        )
        network_checks.check_logits("discriminator", self.discriminator.outputs[0])
        self.built = True

    def build_generator(self):
        """Returns g, from features to images in [-1, 1]."""
        features = keras.Input(self.features.output_shape[1:], name="features")
        images = networks.upsampling_stack(
            features,
            self.image_shape,
            filters=self.generator_filters,
            kernel_size=self.kernel_size,
            activation="relu",
            initializers=networks.normal_initializers(0.02, self.seed),
        )
        return keras.Model(features, images, name="generator")

    def build_discriminator(self):
        """Returns D, from images to logits of `FROM_SOURCE`, `FROM_TARGET`, `REAL`."""
        initializers = networks.normal_initializers(0.02, self.seed + 1000)
        images = keras.Input(self.image_shape, name="images")
        x = networks.downsampling_stack(
            images,
            filters=self.discriminator_filters,
            kernel_size=self.kernel_size,
            normalization="batch",
            initializers=initializers,
        )
        logits = layers.Dense(
            3, kernel_initializer=next(initializers), dtype="float32"
        )(x)
        return keras.Model(images, logits, name="discriminator")

    # Inference

    def features_of(self, images):
        """Maps a tensor of images in [-1, 1] to float32 features, f(x)."""
        return tf.cast(self.features(images, training=False), tf.float32)

    def call(self, inputs, training=False):
        """Maps source images in [-1, 1] to target images, G(x) = g(f(x))."""
        self._check_images(inputs)
        network = self._decoder() if training else self.decoder_in_use()
        return network(self.features_of(inputs), training=training)

    def transfer(self, images, batch_size=256):
        """Turns images of the source domain into images of the target domain.

        Args:
            images: `[n, *image_shape]`, uint8, or float in [-1, 1].
            batch_size: Rows computed at once, which bounds memory.

        Returns:
            float32 numpy array of the same shape, in [-1, 1].

        Raises:
            ValueError: If the images have another shape.
        """
        return self._in_batches(self, [self.pixels(images)], batch_size)

    def sample_grid(self, n=64, seed=0, columns=None, *, images=None):
        """Returns what a picture of the transfer shows: images above their transfers.

        Args:
            n: About how many images, those given and those made of them together;
                whole rows, and no more than n unless two rows have more.
            seed: Has no part: nothing is drawn.
            columns: Images a row; None for a square grid.
            images: Source images `[m, *image_shape]`, uint8, or float in [-1, 1], of
                which the first are taken.

        Returns:
            Tuple of float32 `[rows * columns, *image_shape]`, a row of source images
            and the row of their transfers in turn, and the number of columns.

        Raises:
            ValueError: If there are no images, they have another shape, or `n` or
                `columns` is no number of 1 or more.
        """
        del seed
        n = checks.count("n", n)
        columns = checks.optional(checks.count, "columns", columns)
        if images is None or not len(images):
            raise ValueError(
                "A DTN draws no samples, it transfers images: pass source images, such "
                "as SampleGrid(directory, images=source_images)."
            )
        columns = min(columns or math.ceil(math.sqrt(n)), len(images))
        pairs_of_rows = max(1, min(n // 2, len(images)) // columns)
        source = self.pixels(images[: pairs_of_rows * columns])
        rows = (pairs_of_rows, columns, *self.image_shape)
        both = [part.reshape(rows) for part in (source, self.transfer(source))]
        return np.stack(both, axis=1).reshape(-1, *self.image_shape), columns

    def embed(self, images, batch_size=256):
        """Returns f of images of either domain.

        Args:
            images: `[n, *image_shape]`, uint8, or float in [-1, 1].
            batch_size: Rows computed at once, which bounds memory.

        Returns:
            float32 numpy array of shape `[n, features]`.

        Raises:
            ValueError: If the images have another shape.
        """
        return self._in_batches(self.features_of, [self.pixels(images)], batch_size)

    def transfer_accuracy(self, images, labels, classifier):
        """Returns the share of images that keep their class (section 5.1).

        Args:
            images: Source images, uint8 `[n, *image_shape]`.
            labels: Their labels, integers `[n]`.
            classifier: `zoo.Classifier` of the target domain. The transferred images
                are brought to its size and channels.

        Raises:
            ValueError: If transferred images have pixels that are no finite numbers.
        """
        transferred = self.transfer(images)
        check_finite(transferred, "The transferred images")
        fitted = fit_to(to_uint8(transferred), classifier.image_shape)
        return label_accuracy(classifier.classify(fitted), labels)

    @classmethod
    def check_measurable(cls, name, **data_arguments):
        """See `Model.check_measurable`; the target needs a built-in classifier."""
        super().check_measurable(name, **data_arguments)
        presets.built_in(feature_networks.classifier_of(name[1]))

    def measure(self, *, name, features=None, limit=None, **data_arguments):
        """Measures `transfer_accuracy`: whether images keep their class.

        Args:
            name: The source and the target.
            features: As `zoo.feature_networks.find` takes it; None for the classifier
                of the target that is built in.
            limit: How many images at most.
            **data_arguments: As for `zoo.load_data`.

        Raises:
            ValueError: If there is no such network, or it knows no classes.
        """
        source, target = name
        images, labels = drop_unlabelled(
            *load_arrays(source, **data_arguments, limit=limit, labels=True)
        )
        network = feature_networks.find(features, target)
        if not network.knows_classes:
            raise ValueError(
                "Whether images keep their class is seen by a classifier of the "
                f"target's data, not by {network.name}."
            )
        network.model.progress = self.progress
        shapes = [native_shape(source, **data_arguments), self.image_shape]
        return [
            Measurement(
                "transfer_accuracy",
                self.transfer_accuracy(images, labels, network.model),
                real_count=len(images),
                generated_count=len(images),
                **network.provenance(shapes),
            )
        ]

    # Training

    def players(self):
        """See `zoo.model.Model.players`; f is none of them."""
        return {
            "generator": [self.generator],
            "discriminator": [self.discriminator],
        }

    def default_optimizers(self):
        """Adam 2e-4, β1 0.5: DCGAN's, whose networks the paper takes."""
        return {
            player: keras.optimizers.Adam(2e-4, beta_1=0.5)
            for player in ("generator", "discriminator")
        }

    def compile(
        self,
        generator_optimizer=None,
        discriminator_optimizer=None,
        gang_weight=1.0,
        const_weight=15.0,
        tid_weight=15.0,
        tv_weight=0.0,
        averaging=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training; no arguments mean the paper's settings.

        Its weights for digits are the default, α = β = 15 and γ = 0; for faces it has
        α = 100, β = 1 and γ = 0.05 (section 5). A weight of 0 takes its term out.

        Args:
            generator_optimizer: Keras optimizer, name or config.
            discriminator_optimizer: Keras optimizer, name or config.
            gang_weight: Weight of L_GANG, the adversarial term.
            const_weight: α, weight of L_CONST.
            tid_weight: β, weight of L_TID.
            tv_weight: γ, weight of L_TV. It is a sum over an image, and the other terms
                are means: the larger the images, the more γ weighs.
            averaging: Decay of an averaged generator for `transfer`, such as 0.999.
            metrics: Metrics that `evaluate` feeds target and transferred images.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If a weight is negative, or all are 0.
        """
        weights = {
            "gang_weight": checks.number("gang_weight", gang_weight, least=0),
            "const_weight": checks.number("const_weight", const_weight, least=0),
            "tid_weight": checks.number("tid_weight", tid_weight, least=0),
            "tv_weight": checks.number("tv_weight", tv_weight, least=0),
        }
        if not any(weights.values()):
            raise ValueError(
                "Expected a weight of the generator's terms above 0. "
                f"Received: {weights}"
            )
        self._compile(
            {
                "generator": generator_optimizer,
                "discriminator": discriminator_optimizer,
            },
            {**weights, "averaging": averaging},
            metrics=metrics,
            **keras_arguments,
        )

    def train_step(self, data):
        """Moves D by L_D, then g by L_GANG + α L_CONST + β L_TID + γ L_TV."""
        source, _, target = self._unpack_domains(data)
        # One batch of both domains, so that g's statistics are those of both.
        features = tf.concat([self.features_of(source), self.features_of(target)], 0)
        count = tf.shape(source)[0]

        fake = self.pass_through(self.generator, features)
        with self.minimizing("discriminator") as objectives:
            logits = [
                self.discriminator(images, training=True)
                for images in (fake[:count], fake[count:], target)
            ]
            objectives["discriminator"] = discriminator_terms(*logits)
        discriminator_loss = objectives["discriminator"]

        with self.minimizing("generator") as objectives:
            fake = self.generator(features, training=True)
            terms = self._terms(
                features[:count],
                fake[:count],
                target,
                fake[count:],
                functools.partial(self.pass_through, self.discriminator),
            )
            objectives["generator"] = self._weighted(terms)

        return self.end_step(
            count,
            generator_loss=objectives["generator"],
            **terms,
            discriminator_loss=discriminator_loss,
            discriminator_accuracy=ternary_accuracy(*logits),
        )

    def _terms(self, source_features, from_source, target, from_target, discriminate):
        return {
            "l_gang": generator_loss(
                discriminate(from_source), discriminate(from_target)
            ),
            "l_const": mean_square(source_features, self.features_of(from_source)),
            "l_tid": mean_square(target, from_target),
            "l_tv": total_variation(tf.concat([from_source, from_target], 0)),
        }

    def _weighted(self, terms):
        return sum(
            weight * terms[name]
            for name, weight in (
                ("l_gang", self.gang_weight),
                ("l_const", self.const_weight),
                ("l_tid", self.tid_weight),
                ("l_tv", self.tv_weight),
            )
            if weight
        )

    def test_step(self, data):
        """Measures all losses on a batch of test images; feeds `metrics`."""
        source, _, target = self._unpack_domains(data)
        from_source, from_target = self(source), self(target)
        logits = [self.discriminator(x) for x in (from_source, from_target, target)]
        terms = self._terms(
            self.features_of(source),
            from_source,
            target,
            from_target,
            self.discriminator,
        )
        self.feed_metrics(target, from_source)
        return self.end_test_step(
            tf.shape(source)[0],
            generator_loss=self._weighted(terms),
            **terms,
            discriminator_loss=sum(discriminator_terms(*logits)),
            discriminator_accuracy=ternary_accuracy(*logits),
        )

    def get_config(self):
        """Returns the constructor's arguments, f as its architecture."""
        return {
            **super().get_config(),
            "features": keras.saving.serialize_keras_object(self.features),
            "generator_filters": self.generator_filters,
            "discriminator_filters": self.discriminator_filters,
            "kernel_size": self.kernel_size,
        }


def discriminator_terms(from_source, from_target, real):
    """Returns the terms of L_D (eq. 3), the cross entropy of telling three kinds apart.

    Args:
        from_source: D's logits `[n, 3]` of G(x) for source images.
        from_target: D's logits `[n, 3]` of G(x) for target images.
        real: D's logits `[n, 3]` of target images.
    """
    return [
        minus_log(from_source, FROM_SOURCE),
        minus_log(from_target, FROM_TARGET),
        minus_log(real, REAL),
    ]


def generator_loss(from_source, from_target):
    """Returns L_GANG (eq. 4): G(x) of either domain should be taken for real."""
    return minus_log(from_source, REAL) + minus_log(from_target, REAL)


def minus_log(logits, kind):
    """Returns -E log D_kind, the softmax of logits `[n, 3]`."""
    logits = tf.cast(logits, tf.float32)
    return -tf.reduce_mean(tf.nn.log_softmax(logits)[:, kind])


def ternary_accuracy(*logits):
    """Returns the mean over the kinds of the share told right."""
    return tf.reduce_mean(
        [
            tf.reduce_mean(tf.cast(tf.argmax(rows, axis=-1) == kind, tf.float32))
            for kind, rows in enumerate(logits)
        ]
    )


def mean_square(first, second):
    """Returns the mean squared error, which the paper takes for d and d₂."""
    first, second = tf.cast(first, tf.float32), tf.cast(second, tf.float32)
    return tf.reduce_mean(tf.square(first - second))


def total_variation(images):
    """Returns L_TV (eq. 7) with its exponent B = 1, the mean over images.

    Σ_ij ((z_i,j+1 - z_ij)² + (z_i+1,j - z_ij)²)^½, summed over channels too.
    """
    images = tf.cast(images, tf.float32)
    corner = images[:, :-1, :-1]
    right, below = images[:, :-1, 1:] - corner, images[:, 1:, :-1] - corner
    # The root has no derivative at 0; even areas then give 0 and not NaN.
    lengths = tf.sqrt(tf.square(right) + tf.square(below) + 1e-12)
    return tf.reduce_mean(tf.reduce_sum(lengths, axis=(1, 2, 3)))


def _frozen_copy(features):
    """Returns f as a network of its own that no training moves."""
    if isinstance(features, (str, os.PathLike)):
        # A model's file holds f itself, and one from elsewhere is not to say what is
        # fetched, past the hash that pins it.
        if in_safe_mode():
            raise ValueError(
                "The file of a DTN holds features as a network, and is not allowed to "
                f"name a preset. Received: features={features!r}"
            )
        features = Model.from_preset(features)
    if isinstance(features, DiscriminativeModel):
        features = features.features
    if not isinstance(features, keras.Model) or not getattr(features, "inputs", None):
        raise ValueError(
            "features is the fixed network f: a zoo.Classifier, the name of a preset "
            "of one, or a functional or sequential Keras model from images to rows. "
            f"Received: features={features!r}"
        )
    shapes = features.input_shape[1:], features.output_shape[1:]
    if [len(shape) for shape in shapes] != [3, 1]:
        raise ValueError(
            "features maps images (height, width, channels) to rows. "
            f"Received: a network from {shapes[0]} to {shapes[1]}"
        )
    if None in (*shapes[0], *shapes[1]):
        raise ValueError(
            "features must map rows of known shapes to such. It maps "
            f"{shapes[0]} to {shapes[1]}: give its Input the sizes."
        )
    copy = rebuilding.clone("features", features)
    copy.trainable = False
    return copy
