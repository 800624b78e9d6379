"""Domain-adversarial training by gradient reversal (Ganin & Lempitsky, 2015)."""

import keras
import tensorflow as tf
from keras import layers

from zoo import checks, network_checks, networks
from zoo.adversarial import row_logits
from zoo.discriminative import DiscriminativeModel
from zoo.layers import GradientReversal
from zoo.optimizer_checks import unscaled
from zoo.schedules import InverseDecay, progress


@keras.saving.register_keras_serializable("zoo")
class DANN(DiscriminativeModel):
    """A classifier of a domain without labels, learned from another that has them.

    A label head and a domain head look at the same features. The gradient of the domain
    head is reversed before it reaches the features, so these become such that the
    domains can't be told apart, while the labels of the source domain can. The networks
    are the paper's for MNIST → MNIST-M (its figure 4a), with pixels in [-1, 1].

    `fit` takes batches `((source_images, source_labels), target_images)`, as
    `zoo.load_data` gives for two names; source rows with the label -1 count for the
    domain alone. `evaluate` takes these, or `(images, labels)` of the target domain for
    the accuracy there; the numbers of the domain head mean nothing then. Both log:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of both losses |
    | `label_loss` | nats | cross entropy of the labels of the source |
    | `label_accuracy` | share | images given their label |
    | `domain_loss` | nats | the domain head's, 2 ln 2 when it can't tell |
    | `domain_accuracy` | share | mean of the shares of both domains told right |
    | `reversal` | 1 | λ_p, the factor of the reversed gradient |

    `network_optimizer` trains features and both heads: momentum of 0.9 at the paper's
    falling rate, from 0.01 on, unless another is given.

    Args:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        filters: Channels of the convolutions, each followed by pooling.
        kernel_size: Side of the kernels.
        units: Width of the hidden layers of both heads.
        features: Keras model from images to rows, instead of the default network.
        label_head: Keras model from these rows to logits `[n, num_classes]`, instead of
            the default network.
        domain_head: Keras model from these rows to logits `[n, 1]`, instead of the
            default network.
        seed: Integer from which initial weights follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If the images are too small for the convolutions, or a network that
            is given does not fit them.

    Example::

        pair = ("mnist", "mnist_m")
        train = zoo.load_data(pair, image_size=28, channels=3)
        dann = zoo.DANN((28, 28, 3), num_classes=10, seed=0)
        dann.compile()
        dann.fit(train, epochs=20)
        classes = dann.classify(target_images).argmax(-1)

    Reference:
        - [Unsupervised Domain Adaptation by Backpropagation](
          https://arxiv.org/abs/1409.7495)
        - [Domain-Adversarial Training of Neural Networks](
          https://arxiv.org/abs/1505.07818)
    """

    network_names = ("features", "label_head", "domain_head")
    domains = 2
    logged = (
        "label_loss",
        "label_accuracy",
        "domain_loss",
        "domain_accuracy",
        "reversal",
    )

    def __init__(
        self,
        image_shape=None,
        num_classes=None,
        filters=(32, 48),
        kernel_size=5,
        units=100,
        features=None,
        label_head=None,
        domain_head=None,
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
        self.kernel_size = checks.count("kernel_size", kernel_size)
        self.units = checks.count("units", units)
        given = {
            "features": features,
            "label_head": label_head,
            "domain_head": domain_head,
        }
        network_checks.check_built(**given)
        self._remember_given(**given)
        with self._networks_policy():
            self.features = features or self.build_features()
            self.label_head = label_head or self.build_head(
                self.num_classes, hidden=2, name="label"
            )
            self.domain_head = domain_head or self.build_head(
                1, hidden=1, name="domain"
            )
            self.reverse_gradient = GradientReversal()
        self._check_networks()
        rows = self.features.output_shape[1:]
        network_checks.check_shapes("domain_head", self.domain_head, rows, (1,))
        network_checks.check_logits("domain_head", self.domain_head.outputs[0])
        self.built = True

    def build_features(self):
        """Returns the feature extractor G_f, from images to rows."""
        self._check_size()
        initializers = networks.glorot_initializers(self.seed)
        images = keras.Input(self.image_shape, name="images")
        x = images
        for count in self.filters:
            x = layers.Conv2D(
                count,
                self.kernel_size,
                activation="relu",
                kernel_initializer=next(initializers),
            )(x)
            x = layers.MaxPooling2D(2)(x)
        return keras.Model(images, layers.Flatten()(x), name="features")

    def build_head(self, outputs, hidden, name):
        """Returns the label predictor G_y or the domain classifier G_d.

        Args:
            outputs: Logits a row.
            hidden: Number of hidden layers.
            name: `"label"` or `"domain"`.
        """
        offset = {"label": 1000, "domain": 2000}[name]
        initializers = networks.glorot_initializers(self.seed + offset)
        features = keras.Input(self.features.output_shape[1:], name="features")
        x = networks.mlp(features, [self.units] * hidden, "relu", initializers)
        logits = layers.Dense(
            outputs, kernel_initializer=next(initializers), dtype="float32"
        )(x)
        return keras.Model(features, logits, name=f"{name}_head")

    # Training

    def default_optimizers(self):
        """SGD with momentum 0.9, from 0.01 by `(1 + 10 p)^-0.75`, as in the paper."""
        return {"network": keras.optimizers.SGD(InverseDecay(0.01), momentum=0.9)}

    def compile(
        self,
        network_optimizer=None,
        domain_weight=1.0,
        total_steps=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training; no arguments mean the paper's settings.

        Args:
            network_optimizer: Keras optimizer, name or config; a learning rate may be
                a `zoo.schedules.ProgressSchedule`.
            domain_weight: λ at the end of the training. At 0 the features do not know
                of the target domain: the source-only network to compare with.
            total_steps: Steps of the whole training, by which λ and the learning rate
                go; None takes them from the first `fit`.
            metrics: Metrics that `evaluate` feeds labels and probabilities.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is out of range.
        """
        self._compile(
            {"network": network_optimizer},
            # Its gradient is reversed already.
            {"domain_weight": checks.number("domain_weight", domain_weight, least=0)},
            total_steps=total_steps,
            metrics=metrics,
            **keras_arguments,
        )

    def reversal(self):
        """Returns λ_p = 2 / (1 + exp(-10 p)) - 1 at the training's progress p.

        It rises from 0, while the domain head still tells noise, to `domain_weight`
        (section 4).
        """
        # What Keras hands to learning rates. `iterations` are fewer where gradients
        # are accumulated.
        step = unscaled(self.network_optimizer)._iterations
        p = progress(step.value, self.total_steps.value)
        return self.domain_weight * (2.0 / (1.0 + tf.exp(-10.0 * p)) - 1.0)

    def train_step(self, data):
        """Runs one step of stochastic gradient descent (equations 4 to 6)."""
        source, labels, target = self._unpack_domains(data)
        reversal = self.reversal()
        with self.minimizing("network") as objectives:
            source_features = self.features(source, training=True)
            target_features = self.features(target, training=True)
            label_loss, label_accuracy = self.label_loss(
                labels, self.label_head(source_features, training=True)
            )
            source_logits = self.tell_domain(source_features, reversal, training=True)
            target_logits = self.tell_domain(target_features, reversal, training=True)
            domain_loss = domain_entropy(source_logits, target_logits)
            # The reversal makes of this sum the label loss minus λ times the domain
            # loss for the features, and plus for the domain head (equation 1).
            objectives["network"] = label_loss + domain_loss
        known = self.mean_count(labels >= 0)
        return self.end_step(
            tf.shape(source)[0],
            weights={"label_loss": known, "label_accuracy": known},
            label_loss=label_loss,
            label_accuracy=label_accuracy,
            domain_loss=domain_loss,
            domain_accuracy=domain_accuracy(source_logits, target_logits),
            reversal=reversal,
        )

    def tell_domain(self, features, reversal=1.0, training=False):
        """Returns the logits `[n]` of rows being of the source domain.

        Args:
            features: Tensor of shape `[n, features]`.
            reversal: λ, by which the gradient for the features is reversed.
            training: Whether the domain head is being trained.
        """
        features = self.reverse_gradient(features, factor=reversal)
        return row_logits(self.domain_head(features, training=training))

    def test_step(self, data):
        """Measures a pair of domains, or labelled images of the target domain."""
        if isinstance(data, (tuple, list)) and not isinstance(data[0], (tuple, list)):
            data = (data, data[0])
        images, labels, target = self._unpack_domains(data)
        features = self.features(images, training=False)
        loss, accuracy, count = self.test_labels(labels, self.label_head(features))
        source_logits = self.tell_domain(features)
        target_logits = self.tell_domain(self.features(target, training=False))
        return self.end_test_step(
            tf.shape(images)[0],
            {"label_loss": count, "label_accuracy": count},
            label_loss=loss,
            label_accuracy=accuracy,
            domain_loss=domain_entropy(source_logits, target_logits),
            domain_accuracy=domain_accuracy(source_logits, target_logits),
            reversal=self.reversal(),
        )

    def measure(self, *, name, **data_arguments):
        """Measures the accuracies on both domains, `name` being the pair of them."""
        return [
            self._accuracy(f"{domain}_test_accuracy", name=one, **data_arguments)
            for domain, one in zip(("source", "target"), name, strict=True)
        ]

    # Arguments

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "units": self.units,
        }

    def _check_size(self):
        side = min(self.image_shape[:2])
        for _ in self.filters:
            side = (side - self.kernel_size + 1) // 2
        if side < 1:
            raise ValueError(
                f"{len(self.filters)} convolutions of {self.kernel_size} pixels with "
                "pooling leave nothing of the images. Received: "
                f"image_shape={self.image_shape}"
            )


def domain_entropy(source_logits, target_logits):
    """Returns -E log d(source) - E log(1 - d(target)), d the sigmoid of the logits."""
    return tf.reduce_mean(tf.nn.softplus(-source_logits)) + tf.reduce_mean(
        tf.nn.softplus(target_logits)
    )


def domain_accuracy(source_logits, target_logits):
    """Returns the mean of the shares of both domains on the right side of 0."""
    source = tf.reduce_mean(tf.cast(source_logits > 0, tf.float32))
    target = tf.reduce_mean(tf.cast(target_logits < 0, tf.float32))
    return (source + target) / 2
