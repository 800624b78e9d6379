"""What variants of generator against discriminator share: the game of two players.

`AdversarialModel` trains by algorithm 1 of "Generative Adversarial Nets" (Goodfellow et
al., 2014, arXiv:1406.2661), with the losses, penalties and refinements of the papers
that followed. A variant adds its networks, and its own `train_step` where its paper
has another algorithm.
"""

import math

import keras
import tensorflow as tf
from keras import layers

from zoo import checks, losses, network_checks
from zoo.augmentation import check_policy, differentiable_augmentation
from zoo.generative import GenerativeModel, join
from zoo.model import in_inference_mode


class AdversarialModel(GenerativeModel):
    """A generator and a discriminator that play the minimax game.

    `fit` takes batches of images in [-1, 1], alone or with labels, and logs what
    `zoo.GAN` says.

    A subclass sets the attributes that its networks depend on, then calls this
    constructor, which calls `build_generator` and `build_discriminator`.

    Args:
        image_shape: Shape of a sample. Follows from `generator` where that is given.
        latent_dim: Length of a latent row; None for what `prior` or `generator` say,
            or else `default_latent_dim`.
        prior: Name of a prior or a `zoo.priors.Prior`.
        generator: Keras model to use instead of `build_generator`'s, or None.
        discriminator: Keras model to use instead of `build_discriminator`'s, or None.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    network_names = ("generator", "discriminator")
    default_latent_dim = 100
    logged = (
        "generator_loss",
        "discriminator_loss",
        "discriminator_accuracy",
        "real_accuracy",
        "fake_accuracy",
    )

    def __init__(
        self, *, image_shape, latent_dim, prior, generator, discriminator, **kwargs
    ):
        network_checks.check_built(generator=generator, discriminator=discriminator)
        if generator is not None:
            image_shape = network_checks.made_shape("generator", generator)
        if image_shape is None:
            raise ValueError("Pass image_shape, or a generator that it follows from.")
        image_shape = checks.sample_shape(image_shape)
        if latent_dim is None and isinstance(prior, str) and generator is not None:
            latent_dim = math.prod(network_checks.row_shapes(generator)[0])
        super().__init__(prior=prior, latent_dim=latent_dim, **kwargs)
        self.image_shape = image_shape
        self._remember_given(generator=generator, discriminator=discriminator)
        with self._networks_policy():
            self.generator = generator or self.build_generator()
            self.discriminator = discriminator or self.build_discriminator()
        self._check_shapes()
        self.built = True

    def build_generator(self):
        """Returns the paper's generator, from latents to samples in [-1, 1]."""
        raise NotImplementedError

    def build_discriminator(self):
        """Returns the paper's discriminator, from samples to logits `[n]`."""
        raise NotImplementedError

    # Training

    def players(self):
        """See `zoo.model.Model.players`."""
        return {
            "generator": [self.generator],
            "discriminator": [self.discriminator],
        }

    def default_optimizers(self):
        """Adam 2e-4, β1 0.5, as DCGAN's paper has it; GAN's says only "momentum"."""
        return {
            player: keras.optimizers.Adam(2e-4, beta_1=0.5)
            for player in ("generator", "discriminator")
        }

    def compile(
        self,
        generator_optimizer=None,
        discriminator_optimizer=None,
        loss="non_saturating",
        penalty=None,
        penalty_weight=None,
        discriminator_steps=1,
        update="alternate",
        label_smoothing=0.0,
        averaging=None,
        metrics=None,
        augmentation=None,
        **keras_arguments,
    ):
        """Chooses everything about training; no arguments mean the paper's losses.

        Args:
            generator_optimizer: Keras optimizer, name or config.
            discriminator_optimizer: Keras optimizer, name or config.
            loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
                `"wasserstein"`, `"feature_matching"` or a `zoo.losses.AdversarialLoss`.
            penalty: `"gradient_penalty"`, `"r1"`, a `zoo.losses.Penalty` or None. The
                discriminator has to judge each row by itself, without batch
                normalization: `DCGAN(discriminator_normalization="layer")`.
            penalty_weight: Factor of the penalty; None for its paper's.
            discriminator_steps: Updates of the discriminator for each of the
                generator (k in the paper). A batch is split into k equal parts, one
                for each of them; the generator draws as many latents as a part has
                rows.
            update: `"alternate"`, as in the paper, or `"simultaneous"`: both players
                move after one shared forward pass, which is faster and another
                algorithm.
            label_smoothing: Real images count as real by 1 minus this (Salimans et
                al. 2016); for losses of probabilities.
            averaging: Decay of an averaged generator for `generate`, such as 0.999.
            metrics: Metrics that `evaluate` feeds real and generated images.
            augmentation: Random changes of all images that the discriminator sees in
                training, against its learning few images by heart (Zhao et al. 2020):
                names with commas between them, from `flip`, `color`, `translation` and
                `cutout`, such as `"flip,translation"`; None for none.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is out of range or two do not go together.
        """
        penalty = losses.get_penalty(penalty)
        if penalty:
            if penalty_weight is None:
                penalty_weight = penalty.default_weight
            penalty_weight = checks.number("penalty_weight", penalty_weight, least=0)
        settings = {
            "loss": losses.get(loss, matching=True),
            "penalty": penalty,
            "penalty_weight": penalty_weight,
            "discriminator_steps": checks.count(
                "discriminator_steps", discriminator_steps
            ),
            "update": update,
            "label_smoothing": checks.number(
                "label_smoothing", label_smoothing, least=0, below=0.5
            ),
            "augmentation": augmentation,
        }
        self._check_game(**settings)
        self._compile(
            {
                "generator": generator_optimizer,
                "discriminator": discriminator_optimizer,
            },
            {**settings, "averaging": averaging},
            metrics=metrics,
            **keras_arguments,
        )

    def train_step(self, data):
        """Runs one iteration of the paper's algorithm 1 on a batch."""
        images, conditions = self.unpack(data)
        if self.update == "simultaneous":
            return self._simultaneous_step(images, conditions)

        logs = []
        for k in range(self.discriminator_steps):
            real, given = self._part(images, k), [self._part(c, k) for c in conditions]
            latents = self.draw_latents(tf.shape(real)[0], stream=k)
            fake = self.pass_through(self.generator, join(latents, given))
            real, fake = self.augment(real, stream=k), self.augment(fake, stream=-1 - k)
            with self.minimizing("discriminator") as objectives:
                real_logits = self.discriminate(real, given, training=True)
                fake_logits = self.discriminate(fake, given, training=True)
                loss = self.loss.discriminator(
                    real_logits, fake_logits, self.label_smoothing
                )
                penalty = self._penalty(real, fake, given, stream=k)
                objectives["discriminator"] = [loss, *penalty]
            logs.append((loss, real_logits, fake_logits))

        latents = self.draw_latents(tf.shape(real)[0], stream=self.discriminator_steps)
        with self.minimizing("generator") as objectives:
            fake = self.generator(join(latents, given), training=True)
            fake = self.augment(fake, stream=self.discriminator_steps)
            objectives["generator"] = self.generator_loss(
                real, fake, given, self.pass_through
            )

        discriminator_losses, real_logits, fake_logits = zip(*logs, strict=True)
        return self.end_step(
            tf.shape(images)[0],
            generator_loss=objectives["generator"],
            discriminator_loss=tf.reduce_mean(discriminator_losses),
            **accuracies(
                tf.concat(real_logits, 0),
                tf.concat(fake_logits, 0),
                self.loss.boundary,
            ),
        )

    @property
    def matches_features(self):
        """Whether the generator's loss is feature matching."""
        return isinstance(self.loss, losses.FeatureMatching)

    def generator_loss(self, real, fake, conditions, call):
        """Returns what the generator minimizes.

        Args:
            real: Batch of samples, whose features feature matching looks at.
            fake: Batch of generated samples.
            conditions: List of what the discriminator takes behind the samples.
            call: Function of a network and its inputs that gives its outputs.
        """
        if self.matches_features:
            features = self.loss.features(self.discriminator)
            return self.loss.match(
                call(features, join(real, conditions)),
                call(features, join(fake, conditions)),
                self.mean_of_replicas,
            )
        judged = call(self.discriminator, join(fake, conditions))
        return self.loss.generator(self.logits_of(judged))

    def _simultaneous_step(self, images, conditions):
        images = self.augment(images, stream=0)
        latents = self.draw_latents(tf.shape(images)[0], stream=0)
        with self.minimizing("discriminator", "generator") as objectives:
            fake = self.generator(join(latents, conditions), training=True)
            fake = self.augment(fake, stream=-1)
            real_logits = self.discriminate(images, conditions, training=True)
            fake_logits = self.discriminate(fake, conditions, training=True)
            loss = self.loss.discriminator(
                real_logits, fake_logits, self.label_smoothing
            )
            penalty = self._penalty(
                images, tf.stop_gradient(fake), conditions, stream=0
            )
            objectives["discriminator"] = [loss, *penalty]
            objectives["generator"] = self.loss.generator(fake_logits)
        return self.end_step(
            tf.shape(images)[0],
            generator_loss=objectives["generator"],
            discriminator_loss=loss,
            **accuracies(real_logits, fake_logits, self.loss.boundary),
        )

    def test_step(self, data):
        """Compares a batch with as many generated samples; feeds `metrics`."""
        images, conditions = self.unpack(data)
        latents = self.draw_test_latents(tf.shape(images)[0])
        fake = self.decoder_in_use()(join(latents, conditions), training=False)
        real_logits = self.discriminate(images, conditions)
        fake_logits = self.discriminate(fake, conditions)
        self.feed_metrics(images, fake)
        return self.end_test_step(
            tf.shape(images)[0],
            generator_loss=self.generator_loss(
                images, fake, conditions, in_inference_mode
            ),
            discriminator_loss=self.loss.discriminator(real_logits, fake_logits),
            **accuracies(real_logits, fake_logits, self.loss.boundary),
        )

    def unpack(self, data):
        """Splits a batch into images and the list of conditions of both networks."""
        images, given = self._split(data, self.conditions)
        pairs = zip(self.conditions.items(), given, strict=True)
        return images, [c.in_training(name, values) for (name, c), values in pairs]

    @property
    def discriminator_conditions(self):
        """Those of `conditions` that the discriminator is told as well: all."""
        return self.conditions

    def discriminate(self, images, conditions=(), training=False):
        """Returns the logits `[n]` of samples being real.

        Outside of training batch normalization takes moving statistics of real and
        generated batches together, and training has each by its own. So 0 may be far
        from where the two kinds part; logits compare with one another.
        """
        inputs = join(images, conditions)
        return self.logits_of(self.discriminator(inputs, training=training))

    def logits_of(self, judged):
        """Returns the logits `[n]` of being real in the discriminator's outputs."""
        return tf.reshape(tf.cast(judged, tf.float32), [-1])

    def _part(self, rows, k):
        """Returns the k-th of `discriminator_steps` parts of a batch.

        Rows are dealt out in turn, so that several replicas together form the same
        parts as one.
        """
        if self.discriminator_steps == 1:
            return rows
        # `fit` has looked where it could; XLA leaves this out.
        tf.debugging.assert_equal(
            tf.shape(rows)[0] % self.discriminator_steps,
            0,
            "The rows of a batch can't be split into discriminator_steps="
            f"{self.discriminator_steps} equal parts.",
        )
        return rows[k :: self.discriminator_steps]

    def augment(self, images, stream):
        """Changes a batch at random, by what `compile(augmentation=)` names.

        Args:
            images: Real or generated samples, `[n, height, width, channels]`.
            stream: Integer that tells apart the batches of one step.
        """
        if self.augmentation is None:
            return images
        seeds, _ = self.row_seeds(tf.shape(images)[0], stream=2000 + stream)
        # Networks of a user's own may give less than float32.
        images = tf.cast(images, tf.float32)
        return differentiable_augmentation(images, seeds, self.augmentation)

    #: What `compile` was told, where it takes it.
    discriminator_steps = 1

    @property
    def parts(self):
        """See `TrainingLoop.parts`."""
        return self.discriminator_steps

    def _penalty(self, real, fake, conditions, stream):
        """Returns the list of the weighted penalty, empty without one."""
        if self.penalty is None:
            return []

        def critic(samples):
            inputs = join(samples, conditions)
            return self.logits_of(self.pass_through(self.discriminator, inputs))

        seeds, _ = self.row_seeds(tf.shape(real)[0], stream=1000 + stream)
        return [self.penalty_weight * self.penalty(critic, real, fake, seeds)]

    # Networks and arguments

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
        }

    def _check_shapes(self):
        taken, *_ = network_checks.row_shapes(self.generator)
        if taken != (self.latent_dim,):
            raise ValueError(
                f"The prior draws rows of {self.latent_dim} numbers and the generator "
                f"takes {taken}. Set latent_dim={math.prod(taken)}."
            )
        taken, *_ = network_checks.row_shapes(self.discriminator)
        if taken != self.image_shape:
            raise ValueError(
                f"The generator makes samples of shape {self.image_shape} and the "
                f"discriminator takes {taken}."
            )
        for network, conditions in (
            (self.generator, self.conditions),
            (self.discriminator, self.discriminator_conditions),
        ):
            expected = [tuple(c.spec.shape[1:]) for c in conditions.values()]
            _, *taken = network_checks.row_shapes(network)
            if taken != expected:
                raise ValueError(
                    f"Behind its first input the {network.name} must take "
                    f"{list(conditions) or 'nothing'}, rows of shapes {expected}. "
                    f"It takes rows of shapes {taken}."
                )
        self._check_judgement()

    def _check_judgement(self):
        """Raises `ValueError` unless the discriminator returns a logit a row."""
        network_checks.check_judge("discriminator", self.discriminator)

    def _check_game(
        self,
        loss,
        penalty,
        penalty_weight,
        discriminator_steps,
        update,
        label_smoothing,
        augmentation,
    ):
        """Raises `ValueError` unless these arguments of `compile` go together."""
        if update not in ("alternate", "simultaneous"):
            raise ValueError(
                "Expected update='alternate' or 'simultaneous'. "
                f"Received: update={update!r}"
            )
        if update == "simultaneous" and discriminator_steps > 1:
            raise ValueError(
                "update='simultaneous' moves both players once a batch; with "
                f"discriminator_steps={discriminator_steps} use update='alternate'."
            )
        if isinstance(loss, losses.FeatureMatching):
            loss.features(self.discriminator)
            if update == "simultaneous":
                raise ValueError(
                    "'feature_matching' looks at features of real images beside "
                    "generated ones, which update='simultaneous' has no pass for: use "
                    "'alternate'."
                )
        if label_smoothing and not loss.probabilistic:
            raise ValueError(
                f"label_smoothing needs a loss of probabilities, and "
                f"{type(loss).__name__} has none. Use 'non_saturating' or "
                "'minimax', or leave label_smoothing at 0."
            )
        if augmentation is not None:
            check_policy(augmentation)
            if len(self.image_shape) != 3:
                raise ValueError(
                    f"augmentation={augmentation!r} is for images, and samples have "
                    f"the shape {self.image_shape}."
                )
        if penalty_weight is not None and penalty is None:
            raise ValueError(
                f"penalty_weight={penalty_weight} has no effect without a penalty."
            )
        mixing = [
            layer.name
            for layer in network_checks.nested_layers(self.discriminator)
            if isinstance(layer, layers.BatchNormalization)
            or getattr(layer, "across_batch", False)
        ]
        if penalty and mixing:
            raise ValueError(
                "A penalty asks for each row's own gradient, and the discriminator's "
                f"{', '.join(mixing)} mix the rows (Gulrajani et al. 2017, section 4). "
                "Normalize by layer or not at all: "
                "DCGAN(discriminator_normalization='layer'), elsewhere a discriminator "
                "of your own."
            )


def accuracies(real_logits, fake_logits, boundary):
    """Returns the discriminator's accuracies as logs.

    Args:
        real_logits: Its outputs for real samples, `[n]`.
        fake_logits: Its outputs for generated ones, `[n]`.
        boundary: `AdversarialLoss.boundary`, above which one counts as taken for real.
    """
    real = tf.reduce_mean(tf.cast(real_logits > boundary, tf.float32))
    fake = tf.reduce_mean(tf.cast(fake_logits < boundary, tf.float32))
    return {
        "discriminator_accuracy": (real + fake) / 2,
        "real_accuracy": real,
        "fake_accuracy": fake,
    }
