"""InfoGAN: interpretable representations (Chen et al., 2016, arXiv:1606.03657)."""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from zoo import checks, losses, network_checks, networks, priors, rng
from zoo.adversarial import AdversarialModel, accuracies
from zoo.conditions import Classes, Vectors
from zoo.data import drop_unlabelled, load_arrays
from zoo.generative import consecutive_seeds
from zoo.metrics import Measurement, code_matching_error


class InferredCodes(NamedTuple):
    """What the recognition network says of images.

    Attributes:
        category_probabilities: Of the categorical codes, float32 `[n, codes, K]`.
        codes: Means of the continuous codes, float32 `[n, codes]`.
    """

    category_probabilities: np.ndarray
    codes: np.ndarray


@keras.saving.register_keras_serializable("zoo")
class InfoGAN(AdversarialModel):
    """A GAN that finds out, without labels, what its codes shall mean.

    Beside noise the generator takes codes `c`: categories, and numbers in (-1, 1).
    A recognition network `Q(c|x)` on the discriminator's trunk guesses them from the
    image, and generator and recognition network both maximize the lower bound of their
    mutual information with it, `L_I(G, Q) = E log Q(c|x) + H(c) <= I(c; G(z, c))`
    (equations 5 and 6). Labels in the data are ignored. `fit` logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats | sum of both losses, for callbacks that watch it; no quality |
    | `generator_loss` | nats | the generator's, less the weighted information |
    | `discriminator_loss` | nats | the discriminator's, less the weighted information |
    | `information` | nats | the categories' bound, at most its ceiling H(c) = N ln K |
    | `continuous_information` | nats | that of the continuous codes |
    | `discriminator_accuracy` | share | mean of the two below |
    | `real_accuracy` | share | real images taken for real |
    | `fake_accuracy` | share | generated images not taken for real |

    Networks and codes are the paper's for MNIST (appendix C.1), with the slope 0.2 in
    leaky rectifiers. `generator_optimizer` trains the generator, and
    `discriminator_optimizer` the discriminator with the recognition network: Adam at
    1e-3 and 2e-4 with β1 0.5, the paper's, unless others are given.

    Args:
        image_shape: `(size, size, channels)`, as in `zoo.DCGAN`.
        categorical_codes: N, the number of categorical codes.
        num_categories: K, the categories of each.
        continuous_codes: Number of continuous codes.
        latent_dim: Length of the noise; None for 62, or what `prior` or `generator`
            say.
        prior: Of the noise: `"uniform"`, `"normal"` or a `zoo.priors.Prior`.
        generator_filters: Channels of the generator's last hidden layer.
        discriminator_filters: Channels of the discriminator's first layer.
        kernel_size: Side of the kernels.
        hidden_units: Width of the dense layer of generator and trunk.
        recognition_units: Width of the recognition network's own layer.
        recognition_stddev: Deviation of `Q(c|x)` for the continuous codes; None lets
            the recognition network say it, image by image (section 6). Then the codes'
            information has no ceiling, and a generator that serves it may come to
            ignore the noise: all images of a category are alike. The authors' program
            for MNIST has 1.
        generator: Keras model from `[latents, categories, codes]` to images, without
            the kind of which there are none, instead of the default network.
        discriminator: Keras model from images to a dict of `logits` `[n]`,
            `category_logits` `[n, N, K]`, `means` and, without `recognition_stddev`,
            `log_stddevs`, both `[n, C]`, instead of the default network.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If there are no codes, or shapes do not fit together.

    Example::

        train = zoo.load_data("mnist", batch_size=128)
        gan = zoo.InfoGAN(image_shape=(28, 28, 1), seed=0)
        gan.compile()
        gan.fit(train, epochs=25)
        picture = zoo.plots.image_grid(gan.vary(0, rows=5), columns=10)
        found = gan.infer(images).category_probabilities[:, 0]

    Reference:
        [InfoGAN: Interpretable Representation Learning by Information Maximizing
        Generative Adversarial Nets](https://arxiv.org/abs/1606.03657)
    """

    logged = (
        "generator_loss",
        "discriminator_loss",
        "information",
        "continuous_information",
        "discriminator_accuracy",
        "real_accuracy",
        "fake_accuracy",
    )

    default_latent_dim = 62

    def __init__(
        self,
        image_shape=None,
        categorical_codes=1,
        num_categories=10,
        continuous_codes=2,
        latent_dim=None,
        prior="uniform",
        generator_filters=64,
        discriminator_filters=64,
        kernel_size=4,
        hidden_units=1024,
        recognition_units=128,
        recognition_stddev=None,
        generator=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        self.categorical_codes = checks.count(
            "categorical_codes", categorical_codes, least=0
        )
        self.num_categories = checks.count(
            "num_categories", num_categories, least=min(1, self.categorical_codes)
        )
        self.continuous_codes = checks.count(
            "continuous_codes", continuous_codes, least=0
        )
        if not (self.categorical_codes or self.continuous_codes):
            raise ValueError(
                "InfoGAN needs a code at least. Received: "
                f"categorical_codes={categorical_codes}, "
                f"continuous_codes={continuous_codes}"
            )
        self.generator_filters = checks.count("generator_filters", generator_filters)
        self.discriminator_filters = checks.count(
            "discriminator_filters", discriminator_filters
        )
        self.kernel_size = checks.count("kernel_size", kernel_size)
        self.hidden_units = checks.optional(checks.count, "hidden_units", hidden_units)
        self.recognition_units = checks.count("recognition_units", recognition_units)
        self.recognition_stddev = checks.optional(
            checks.number, "recognition_stddev", recognition_stddev, above=0
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

    # Codes and networks

    @property
    def conditions(self):
        """See `GenerativeModel.conditions`: `categories` and `codes`."""
        conditions = {}
        if self.categorical_codes:
            shape = (self.categorical_codes,)
            conditions["categories"] = Classes(self.num_categories, shape)
        if self.continuous_codes:
            prior = priors.Uniform(self.continuous_codes)
            conditions["codes"] = Vectors(self.continuous_codes, prior)
        return conditions

    @property
    def discriminator_conditions(self):
        """None: the discriminator has to find the codes out."""
        return {}

    def build_generator(self):
        """See `AdversarialModel.build_generator`."""
        inputs = [keras.Input((self.latent_dim,), name="latents")]
        numbers = list(inputs)
        for name, condition in self.conditions.items():
            spec = condition.spec
            given = keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=name)
            inputs.append(given)
            if name == "categories":
                given = keras.ops.one_hot(given, self.num_categories)
                given = layers.Flatten()(given)
            numbers.append(given)
        images = networks.upsampling_stack(
            layers.Concatenate()(numbers),
            self.image_shape,
            filters=self.generator_filters,
            kernel_size=self.kernel_size,
            activation="relu",
            initializers=networks.normal_initializers(0.02, self.seed),
            hidden_units=self.hidden_units,
        )
        return keras.Model(inputs, images, name="generator")

    def build_discriminator(self):
        """See `AdversarialModel.build_discriminator`; the recognition network too."""
        initializers = networks.normal_initializers(0.02, self.seed + 1000)
        images = keras.Input(self.image_shape, name="samples")
        trunk = networks.downsampling_stack(
            images,
            filters=self.discriminator_filters,
            kernel_size=self.kernel_size,
            normalization="batch",
            initializers=initializers,
            hidden_units=self.hidden_units,
        )
        logits = networks.logit(trunk, next(initializers))
        x = networks.dense_block(
            trunk, self.recognition_units, "leaky_relu", next(initializers)
        )
        categorical = self.categorical_codes * self.num_categories
        middle = categorical + self.continuous_codes
        says_stddevs = self.recognition_stddev is None
        x = layers.Dense(
            middle + self.continuous_codes * says_stddevs,
            kernel_initializer=next(initializers),
            dtype="float32",
        )(x)
        shape = (self.categorical_codes, self.num_categories)
        outputs = {
            "logits": logits,
            "category_logits": layers.Reshape(shape, dtype="float32")(
                x[:, :categorical]
            ),
            "means": x[:, categorical:middle],
        }
        if says_stddevs:
            outputs["log_stddevs"] = x[:, middle:]
        return keras.Model(images, outputs, name="discriminator")

    # Training

    def default_optimizers(self):
        """Adam, β1 0.5: 2e-4 for the discriminator, 1e-3 for the generator."""
        return {
            "generator": keras.optimizers.Adam(1e-3, beta_1=0.5),
            "discriminator": keras.optimizers.Adam(2e-4, beta_1=0.5),
        }

    def compile(
        self,
        generator_optimizer=None,
        discriminator_optimizer=None,
        loss="non_saturating",
        categorical_weight=1.0,
        continuous_weight=0.1,
        recognition_weight=None,
        averaging=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training; no arguments mean the paper's settings.

        Args:
            generator_optimizer: Keras optimizer, name or config.
            discriminator_optimizer: Keras optimizer, name or config; it trains the
                recognition network as well.
            loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
                `"wasserstein"` or a `zoo.losses.AdversarialLoss`.
            categorical_weight: λ of the categorical codes' information.
            continuous_weight: λ of the continuous codes' information. The paper says
                that it is smaller (section 6) and no number; 0.1 is ours.
            recognition_weight: Weight of both in the objective of the recognition
                network and of the discriminator, whose trunk it shares; None for the
                λ above, as in equation 6. Categories come nearest to the classes where
                the generator's λ is a hundredth of the paper's and this is 1
                (docs/reproduction.md).
            averaging: Decay of an averaged generator for `generate`, such as 0.999.
            metrics: Metrics that `evaluate` feeds real and generated images.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is out of range.
        """
        self._compile(
            {
                "generator": generator_optimizer,
                "discriminator": discriminator_optimizer,
            },
            {
                "loss": losses.get(loss),
                "categorical_weight": checks.number(
                    "categorical_weight", categorical_weight, least=0
                ),
                "continuous_weight": checks.number(
                    "continuous_weight", continuous_weight, least=0
                ),
                "recognition_weight": checks.optional(
                    checks.number, "recognition_weight", recognition_weight, least=0
                ),
                "averaging": averaging,
            },
            metrics=metrics,
            **keras_arguments,
        )
        losses.warn_of_unbounded(self.loss, discriminator=self.discriminator)

    def train_step(self, data):
        """Runs one step of the minimax game with information (equation 6)."""
        images = self._images_of(data)
        count = tf.shape(images)[0]

        latents, codes = self._draw_inputs(count, stream=0)
        fake = self.pass_through(self.generator, [latents, *codes.values()])
        with self.minimizing("discriminator") as objectives:
            real = self.discriminator(images, training=True)
            guessed = self.discriminator(fake, training=True)
            logits = self.logits_of(real), self.logits_of(guessed)
            information = self.information(codes, guessed)
            discriminator_loss = self.loss.discriminator(*logits)
            discriminator_loss -= self._recognition_reward(information)
            objectives["discriminator"] = discriminator_loss
        shares = accuracies(*logits, self.loss.boundary)

        latents, codes = self._draw_inputs(count, stream=1)
        with self.minimizing("generator") as objectives:
            fake = self.generator([latents, *codes.values()], training=True)
            guessed = self.pass_through(self.discriminator, fake)
            information = self.information(codes, guessed)
            generator_loss = self.loss.generator(self.logits_of(guessed))
            generator_loss -= self._weighted(information)
            objectives["generator"] = generator_loss

        return self.end_step(
            count,
            generator_loss=generator_loss,
            discriminator_loss=discriminator_loss,
            information=information[0],
            continuous_information=information[1],
            **shares,
        )

    def test_step(self, data):
        """Compares a batch with as many generated samples; feeds `metrics`."""
        images = self._images_of(data)
        latents = self.draw_test_latents(tf.shape(images)[0])
        codes = self.complete({}, rng.seeds_from(latents))
        fake = self.decoder_in_use()([latents, *codes.values()], training=False)
        real = self.discriminator(images, training=False)
        guessed = self.discriminator(fake, training=False)
        information = self.information(codes, guessed)
        self.feed_metrics(images, fake)
        logits = self.logits_of(real), self.logits_of(guessed)
        generator_loss = self.loss.generator(logits[1])
        generator_loss -= self._weighted(information)
        discriminator_loss = self.loss.discriminator(*logits)
        discriminator_loss -= self._recognition_reward(information)
        return self.end_test_step(
            tf.shape(images)[0],
            generator_loss=generator_loss,
            discriminator_loss=discriminator_loss,
            information=information[0],
            continuous_information=information[1],
            **accuracies(*logits, self.loss.boundary),
        )

    def _draw_inputs(self, count, stream):
        seeds, _ = self.row_seeds(count, stream)
        return self.draw_latents(count, stream), self.complete({}, seeds)

    def _weighted(self, information):
        """λ L_I(G, Q), with a λ for each kind of codes."""
        categorical, continuous = information
        return (
            self.categorical_weight * categorical + self.continuous_weight * continuous
        )

    def _recognition_reward(self, information):
        """What the discriminator's network is rewarded with for finding codes out."""
        if self.recognition_weight is None:
            return self._weighted(information)
        return self.recognition_weight * sum(information)

    def information(self, codes, guessed):
        """Returns L_I(G, Q) = E log Q(c|x) + H(c) in nats (equation 5).

        Args:
            codes: Dict of the codes that images were made from, by their names.
            guessed: What the discriminator's network says of these images.

        Returns:
            Tuple of two scalars: of the categorical codes, at most N ln K, and of the
            continuous ones.
        """
        guessed = {k: tf.cast(v, tf.float32) for k, v in guessed.items()}
        categorical = continuous = tf.constant(0.0)
        if self.categorical_codes:
            log_q = -tf.nn.sparse_softmax_cross_entropy_with_logits(
                codes["categories"], guessed["category_logits"]
            )
            entropy = self.categorical_codes * math.log(self.num_categories)
            categorical = entropy + tf.reduce_mean(tf.reduce_sum(log_q, axis=1))
        if self.continuous_codes:
            # Q is a Gaussian (section 6); Unif(-1, 1) has the entropy ln 2.
            log_stddevs = (
                guessed["log_stddevs"]
                if self.recognition_stddev is None
                else math.log(self.recognition_stddev)
            )
            error = (codes["codes"] - guessed["means"]) / tf.exp(log_stddevs)
            log_q = -(
                0.5 * tf.square(error) + log_stddevs + 0.5 * math.log(2 * math.pi)
            )
            entropy = self.continuous_codes * math.log(2)
            continuous = entropy + tf.reduce_mean(tf.reduce_sum(log_q, axis=1))
        return categorical, continuous

    # Use

    def logits_of(self, judged):
        """See `AdversarialModel.logits_of`."""
        return super().logits_of(judged["logits"])

    def recognize(self, images):
        """Returns `InferredCodes` of a batch of images, as tensors."""
        guessed = self.discriminator(images, training=False)
        probabilities = tf.nn.softmax(guessed["category_logits"])
        return InferredCodes(probabilities, guessed["means"])

    def infer(self, images, batch_size=256):
        """Reads the codes off images.

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            batch_size: Rows computed at once, which bounds memory.

        Returns:
            `InferredCodes` of numpy arrays.

        Raises:
            ValueError: If the images have another shape.
        """
        return self._in_batches(self.recognize, [self.pixels(images)], batch_size)

    def measure(self, **data_arguments):
        """Measures what the categorical codes are worth as classes (section 7.2).

        Returns:
            List of `zoo.metrics.Measurement`: `information`, the bound of the
            categorical codes in nats over as many samples as there are images, and,
            with labels, `code_matching_error`, the share of images whose category is
            matched to another class, of the categorical code that matches best; empty
            without categorical codes.
        """
        if not self.categorical_codes:
            return []
        images, labels = load_arrays(**data_arguments)
        count = len(images)
        information = Measurement(
            "information", self._information_of_samples(count), generated_count=count
        )
        if labels is None:
            return [information]
        images, labels = drop_unlabelled(images, labels)
        probabilities = self.infer(images).category_probabilities
        errors = [
            code_matching_error(probabilities[:, code], labels)
            for code in range(self.categorical_codes)
        ]
        error = Measurement("code_matching_error", min(errors), real_count=len(labels))
        return [information, error]

    def _information_of_samples(self, count):
        """Returns the categorical bound over samples of the seeds 0 to `count` - 1."""
        shape = (count, self.categorical_codes)
        categories = np.random.default_rng(0).integers(self.num_categories, size=shape)
        samples = self.generate(count, categories=categories)
        probabilities = self.infer(samples).category_probabilities
        guessed = np.take_along_axis(probabilities, categories[..., None], axis=2)
        log_q = np.log(np.maximum(guessed, np.finfo(np.float32).tiny))
        ceiling = self.categorical_codes * math.log(self.num_categories)
        return float(ceiling + log_q.sum(axis=(1, 2)).mean())

    def vary(
        self, code, rows=1, seed=0, columns=None, low=-2.0, high=2.0, **conditions
    ):
        """Generates rows in each of which one code varies and all else stays.

        The paper's figures 2 (c) and (d), a category a row: `vary(1, rows=10,
        categories=[[k] for k in range(10)])`.

        Args:
            code: Which: the categorical codes are 0 ... N-1, then the continuous ones.
            rows: Number of rows, from as many seeds.
            seed: The first of them.
            columns: Images a row; None for all categories, or 10.
            low: Where a continuous code starts. In training they are in (-1, 1).
            high: Where it ends.
            **conditions: `categories` and `codes` for each row, or one for all, as
                `generate` takes them; those left out are drawn from the row's seed.

        Returns:
            float32 numpy array `[rows * columns, *image_shape]`, row by row.

        Raises:
            ValueError: If there is no such code, `low` or `high` is no number, or as
                `generate` does.
        """
        if not 0 <= code < self.categorical_codes + self.continuous_codes:
            raise ValueError(
                f"There are the codes 0 ... "
                f"{self.categorical_codes + self.continuous_codes - 1}. "
                f"Received: code={code}"
            )
        columns = columns or self._columns()
        low, high = checks.number("low", low), checks.number("high", high)
        seeds = np.repeat(consecutive_seeds(rows, seed), columns)
        given = {
            name: np.repeat(values, columns, axis=0)
            for name, values in self.checked_conditions(conditions, rows).items()
        }
        if code < self.categorical_codes:
            values = np.arange(columns) % self.num_categories
            given["categories"][:, code] = np.tile(values, rows)
        else:
            values = np.linspace(low, high, columns)
            given["codes"][:, code - self.categorical_codes] = np.tile(values, rows)
        return self.generate(seeds=seeds, **given)

    def sample_grid(self, n=64, seed=0, columns=None, **conditions):
        """See `GenerativeModel.sample_grid`: each code varied, in as many rows each.

        Each has one row at least, so that there may be more than n.

        With conditions the grid shows samples under these instead.
        """
        if conditions:
            return super().sample_grid(n, seed, columns, **conditions)
        n = checks.count("n", n)
        columns = checks.optional(checks.count, "columns", columns) or self._columns()
        count = self.categorical_codes + self.continuous_codes
        rows = max(1, n // (columns * count))
        varied = [self.vary(code, rows, seed, columns) for code in range(count)]
        return np.concatenate(varied), columns

    def _columns(self):
        return self.num_categories if self.categorical_codes else 10

    def _check_judgement(self):
        expected = {
            "logits": (),
            "category_logits": (self.categorical_codes, self.num_categories),
            "means": (self.continuous_codes,),
        }
        if self.recognition_stddev is None:
            expected["log_stddevs"] = (self.continuous_codes,)
        # A sequential model has outputs alone.
        outputs = getattr(self.discriminator, "output", self.discriminator.outputs)
        made = keras.tree.map_structure(lambda x: tuple(x.shape[1:]), outputs)
        if made != expected:
            raise ValueError(
                f"The discriminator must make rows of shapes {expected}, by name. "
                f"It makes {made}."
            )
        network_checks.check_logits("discriminator", outputs["logits"])
        network_checks.check_logits("recognition network", outputs["category_logits"])

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "categorical_codes": self.categorical_codes,
            "num_categories": self.num_categories,
            "continuous_codes": self.continuous_codes,
            "generator_filters": self.generator_filters,
            "discriminator_filters": self.discriminator_filters,
            "kernel_size": self.kernel_size,
            "hidden_units": self.hidden_units,
            "recognition_units": self.recognition_units,
            "recognition_stddev": self.recognition_stddev,
        }
