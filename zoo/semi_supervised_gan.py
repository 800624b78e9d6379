"""Semi-supervised learning with a GAN (Salimans et al., 2016, arXiv:1606.03498)."""

import functools
from typing import ClassVar

import keras
import tensorflow as tf
from keras import layers

from zoo import augmentation, checks, losses, network_checks, networks
from zoo.adversarial import AdversarialModel, accuracies
from zoo.conditions import Classes
from zoo.data import drop_unlabelled, load_arrays
from zoo.layers import RowNoise, WeightNormalizedDense, noise_seeds
from zoo.metrics import Measurement, label_accuracy
from zoo.model import in_inference_mode, in_training_mode

#: The arguments of its own that an architecture has.
_ARCHITECTURES = {
    "mlp": ("generator_units", "discriminator_units", "layer_noise"),
    "convolutional": ("generator_filters", "discriminator_filters", "kernel_size"),
}


@keras.saving.register_keras_serializable("zoo")
class SemiSupervisedGAN(AdversarialModel):
    """A GAN whose discriminator is a classifier of K classes, "generated" the K+1st.

    Its K logits `l` are weighed against a logit of 0 for "generated", so that
    `D(x) = Z / (Z + 1)` with `Z = sum exp(l)`. It minimizes the cross entropy of the
    labelled images and the game's loss, `L_supervised + L_unsupervised`; the generator
    matches features (sections 3.1 and 5). Images with the label -1 are real ones of
    some class, and the draws of the data in the game and in the features: those with
    labels are few and come often. Only a batch without a -1 is all such draws. `fit`
    logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of the losses, for callbacks that watch it; no quality |
    | `generator_loss` | – | distance of mean features, or nats by `compile(loss=)` |
    | `discriminator_loss` | nats | L_unsupervised |
    | `classification_loss` | nats | L_supervised |
    | `classification_accuracy` | share | labelled images that are classified right |
    | `discriminator_accuracy` | share | mean of the two below |
    | `real_accuracy` | share | draws of the data taken for real |
    | `fake_accuracy` | share | generated images not taken for real |

    The perceptrons are those of the authors' program for MNIST, but that normalized
    weights start at one length, which is trained. The convolutional networks are those
    of DCGAN, narrower, the discriminator normalized by layer: a batch of a few labelled
    images among many others has no statistics of its own. `generator_optimizer` and
    `discriminator_optimizer` train the network of their name: Adam at 1e-3 and 3e-4
    with β1 0.5, which are ours, unless others are given.

    Args:
        image_shape: `(size, size, channels)`, as in `zoo.DCGAN`.
        num_classes: K, the classes of the real images.
        architecture: `"mlp"`, perceptrons as the paper's for MNIST, or
            `"convolutional"`, for 16 to 128 pixels.
        latent_dim: Length of a latent row, 100 by default.
        prior: `"uniform"`, `"normal"` or a `zoo.priors.Prior`.
        generator_units: Widths of the perceptron's hidden layers, softplus with batch
            normalization; its last layer has weight normalization.
        discriminator_units: Widths of its rectified layers, with weight normalization.
        layer_noise: Deviation of the Gaussian noise on what each of these gives in
            training. 0.5, as in the authors' program.
        generator_filters: Channels of the convolutional generator's last hidden layer.
        discriminator_filters: Channels of the convolutional discriminator's first one.
        kernel_size: Side of the convolutions' kernels.
        generator: Keras model instead of the default network.
        discriminator: Keras model from images to logits `[n, num_classes]` instead of
            the default network.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If shapes of networks, prior, classes and images do not fit
            together, or an argument is for the other architecture.

    Example::

        train = zoo.load_data("mnist", labels=True, labelled=100)
        gan = zoo.SemiSupervisedGAN((28, 28, 1), num_classes=10, seed=0)
        gan.compile()
        gan.fit(train, epochs=10)
        classes = gan.classify(images).argmax(-1)  # [n]

    Reference:
        [Improved Techniques for Training GANs](https://arxiv.org/abs/1606.03498)
    """

    data_arguments: ClassVar = {"labels": True}
    logged = (
        "generator_loss",
        "discriminator_loss",
        "classification_loss",
        "classification_accuracy",
        "discriminator_accuracy",
        "real_accuracy",
        "fake_accuracy",
    )

    def __init__(
        self,
        image_shape=None,
        num_classes=None,
        architecture="mlp",
        latent_dim=None,
        prior="uniform",
        generator_units=(500, 500),
        discriminator_units=(1000, 500, 250, 250, 250),
        layer_noise=0.5,
        generator_filters=64,
        discriminator_filters=32,
        kernel_size=4,
        generator=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        self.num_classes = checks.count("num_classes", num_classes, least=2)
        self.architecture = architecture
        self.generator_units = checks.widths("generator_units", generator_units)
        self.discriminator_units = checks.widths(
            "discriminator_units", discriminator_units
        )
        self.layer_noise = checks.number("layer_noise", layer_noise, least=0)
        self.generator_filters = checks.count("generator_filters", generator_filters)
        self.discriminator_filters = checks.count(
            "discriminator_filters", discriminator_filters
        )
        self.kernel_size = checks.count("kernel_size", kernel_size)
        network_checks.check_architecture(
            self, SemiSupervisedGAN.__init__, _ARCHITECTURES
        )
        super().__init__(
            image_shape=image_shape,
            latent_dim=latent_dim,
            prior=prior,
            generator=generator,
            discriminator=discriminator,
            seed=seed,
            name=name,
            dtype=dtype,
        )
        self.classes = Classes(self.num_classes)

    def build_generator(self):
        """See `AdversarialModel.build_generator`."""
        latents = keras.Input((self.latent_dim,), name="latents")
        if self.architecture == "mlp":
            initializers = networks.glorot_initializers(self.seed)
            x = networks.mlp(
                latents,
                self.generator_units,
                "softplus",
                initializers,
                batch_normalization=True,
            )
            images = networks.samples(
                x, self.image_shape, next(initializers), WeightNormalizedDense
            )
        else:
            images = networks.upsampling_stack(
                latents,
                self.image_shape,
                filters=self.generator_filters,
                kernel_size=self.kernel_size,
                activation="relu",
                initializers=networks.normal_initializers(0.02, self.seed),
            )
        return keras.Model(latents, images, name="generator")

    def build_discriminator(self):
        """Returns the classifier, from images to logits `[n, num_classes]`."""
        images = keras.Input(self.image_shape, name="samples")
        if self.architecture == "mlp":
            initializers = networks.glorot_initializers(self.seed + 1000)
            dense, features = WeightNormalizedDense, layers.Flatten()(images)
            for number, units in enumerate(self.discriminator_units):
                features = dense(units, "relu", next(initializers))(features)
                features = RowNoise(self.layer_noise, stream=number + 1)(features)
        else:
            initializers = networks.normal_initializers(0.02, self.seed + 1000)
            dense = layers.Dense
            features = networks.downsampling_stack(
                images,
                filters=self.discriminator_filters,
                kernel_size=self.kernel_size,
                normalization="layer",
                initializers=initializers,
            )
        logits = dense(
            self.num_classes, kernel_initializer=next(initializers), dtype="float32"
        )(features)
        return keras.Model(images, logits, name="discriminator")

    # Training

    def default_optimizers(self):
        """Adam, β1 0.5: 3e-4 for the discriminator, 1e-3 for the generator.

        The rates are ours. The authors' program for MNIST has 3e-3 for both.
        """
        return {
            "generator": keras.optimizers.Adam(1e-3, beta_1=0.5),
            "discriminator": keras.optimizers.Adam(3e-4, beta_1=0.5),
        }

    def compile(
        self,
        generator_optimizer=None,
        discriminator_optimizer=None,
        loss="feature_matching",
        input_noise=0.0,
        averaging=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training.

        Args:
            generator_optimizer: Keras optimizer, name or config.
            discriminator_optimizer: Keras optimizer, name or config.
            loss: Of the generator: `"feature_matching"`, the paper's,
                `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
                `"wasserstein"` or a `zoo.losses.AdversarialLoss`. All but the first
                are the discriminator's L_unsupervised, too.
            input_noise: Deviation of the Gaussian noise on all images that the
                discriminator sees in training, pixels counted from 0 to 1; 0.3 in the
                authors' program.
            averaging: Decay of an averaged generator for `generate`, such as 0.999.
                The classifier is the discriminator as it is.
            metrics: Metrics that `evaluate` feeds real and generated images.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is unknown or out of range.
        """
        input_noise = checks.number("input_noise", input_noise, least=0)
        loss = losses.get(loss, matching=True)
        if isinstance(loss, losses.FeatureMatching):
            loss.features(self.discriminator)
        self._compile(
            {
                "generator": generator_optimizer,
                "discriminator": discriminator_optimizer,
            },
            {"loss": loss, "input_noise": input_noise, "averaging": averaging},
            metrics=metrics,
            **keras_arguments,
        )
        losses.warn_of_unbounded(self.loss, discriminator=self.discriminator)

    def train_step(self, data):
        """Runs one step of semi-supervised learning (section 5)."""
        images, labels = self.unpack(data)
        count = tf.shape(images)[0]
        drawn = self._drawn(labels)
        mean_drawn = self._mean_of_rows(drawn)

        fake = self.pass_through(self.generator, self.draw_latents(count, stream=0))
        with self.minimizing("discriminator") as objectives:
            class_logits = self._see(self.discriminator, images, stream=100)
            real_logits = self.logits_of(class_logits)
            fake_logits = self.logits_of(
                self._see(self.discriminator, fake, stream=101)
            )
            supervised, accuracy = self.label_loss(labels, class_logits)
            unsupervised = self.loss.discriminator(
                real_logits, fake_logits, mean_real=mean_drawn
            )
            objectives["discriminator"] = supervised + unsupervised

        with self.minimizing("generator") as objectives:
            fake = self.generator(self.draw_latents(count, stream=1), training=True)
            # Both batches meet the same noise: another would be most of what feature
            # matching sees between them.
            objectives["generator"] = self._generator_loss(
                images,
                fake,
                [],
                functools.partial(self._see, stream=102, call=self.pass_through),
                counting=drawn,
            )

        return self.end_step(
            count,
            self._weights(labels, drawn),
            generator_loss=objectives["generator"],
            discriminator_loss=unsupervised,
            classification_loss=supervised,
            classification_accuracy=accuracy,
            **accuracies(real_logits, fake_logits, self.loss.boundary, mean_drawn),
        )

    def _drawn(self, labels):
        """Marks the images that stand for the data, as booleans `[n]`."""
        unlabelled = labels < 0
        return unlabelled | (self.mean_count(unlabelled) == 0)

    def _mean_of_rows(self, marked):
        """Returns a function from a term a row to its mean over the marked ones.

        Of all replicas; weighed by a replica's rows, as logs are, it is exact.
        """
        share = self._share_of_rows(marked)
        return lambda terms: tf.math.divide_no_nan(
            self.mean_where(marked, terms), share
        )

    def _share_of_rows(self, rows):
        """Returns this replica's number of rows over the mean of all replicas."""
        count = tf.cast(tf.shape(rows)[0], tf.float32)
        return count / self.mean_of_replicas(count)

    def _weights(self, labels, drawn):
        """Returns by how many rows the logs of some rows alone weigh."""
        known = self.mean_count(labels >= 0)
        return {
            "classification_loss": known,
            "classification_accuracy": known,
            "real_accuracy": self.mean_count(drawn) * self._share_of_rows(drawn),
        }

    def _see(self, network, images, stream, call=in_training_mode):
        """Calls the discriminator, or its features, on images as in training.

        There is noise on the images and in the network, by the seeds of this stream.
        """
        seeds, _ = self.row_seeds(tf.shape(images)[0], stream)
        if self.input_noise:
            images = augmentation.add_noise(images, seeds, self.input_noise)
        with noise_seeds(seeds):
            return call(network, images)

    def test_step(self, data):
        """Classifies a batch and compares it with samples; feeds `metrics`."""
        images, labels = self.unpack(data)
        latents = self.draw_test_latents(tf.shape(images)[0])
        fake = self.decoder_in_use()(latents, training=False)
        class_logits = self.discriminator(images, training=False)
        real_logits, fake_logits = self.logits_of(class_logits), self.discriminate(fake)
        supervised, accuracy = self.label_loss(labels, class_logits)
        drawn = self._drawn(labels)
        mean_drawn = self._mean_of_rows(drawn)
        self.feed_metrics(images, fake)
        return self.end_test_step(
            tf.shape(images)[0],
            self._weights(labels, drawn),
            generator_loss=self._generator_loss(
                images, fake, [], in_inference_mode, drawn
            ),
            discriminator_loss=self.loss.discriminator(
                real_logits, fake_logits, mean_real=mean_drawn
            ),
            classification_loss=supervised,
            classification_accuracy=accuracy,
            **accuracies(real_logits, fake_logits, self.loss.boundary, mean_drawn),
        )

    def unpack(self, data):
        """Splits a batch into images and labels, -1 for those without."""
        images, (labels,) = self._split(data, ["labels"])
        return images, self.classes.in_training("labels", labels)

    def logits_of(self, judged):
        """See `AdversarialModel.logits_of`: log Z, so that D(x) = Z / (Z + 1)."""
        return tf.reduce_logsumexp(tf.cast(judged, tf.float32), axis=-1)

    # Classifying

    def classify_rows(self, images):
        """Returns p(y|x, y <= K) `[n, num_classes]` of a tensor of images."""
        class_logits = self.discriminator(images, training=False)
        return tf.nn.softmax(tf.cast(class_logits, tf.float32))

    def classify(self, images, batch_size=256):
        """Gives the probability of each class for images.

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            batch_size: Rows computed at once.

        Returns:
            float32 numpy array of shape `[n, num_classes]`.

        Raises:
            ValueError: If the images are of another shape.
        """
        return self._in_batches(self.classify_rows, [self.pixels(images)], batch_size)

    def measure(self, **data_arguments):
        """Measures `test_error`, the share of images that are classified wrong.

        Without labels there is nothing to measure.
        """
        images, labels = load_arrays(**data_arguments)
        if labels is None:
            return []
        images, labels = drop_unlabelled(images, labels)
        wrong = 1 - label_accuracy(self.classify(images), labels)
        return [Measurement("test_error", wrong, real_count=len(images))]

    def _check_judgement(self):
        network_checks.check_shapes(
            "discriminator", self.discriminator, self.image_shape, (self.num_classes,)
        )
        network_checks.check_logits("discriminator", self.discriminator.outputs[0])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "architecture": self.architecture,
            "generator_units": self.generator_units,
            "discriminator_units": self.discriminator_units,
            "layer_noise": self.layer_noise,
            "generator_filters": self.generator_filters,
            "discriminator_filters": self.discriminator_filters,
            "kernel_size": self.kernel_size,
        }
