"""The game of generator against discriminator, as the first GAN plays it.

`GameModel` trains by algorithm 1 of "Generative Adversarial Nets" (Goodfellow et al.,
2014, arXiv:1406.2661), with the losses, penalties and refinements of the papers that
followed. A variant adds its networks.
"""

import tensorflow as tf

from zoo import checks, losses, network_checks
from zoo.adversarial import AdversarialModel, accuracies
from zoo.augmentation import check_policy, differentiable_augmentation
from zoo.generative import join
from zoo.model import in_inference_mode


class GameModel(AdversarialModel):
    """A generator and a discriminator that play the minimax game.

    `fit` takes batches of images in [-1, 1], alone or with labels, and logs what
    `zoo.GAN` says.
    """

    #: Until `compile` says otherwise.
    discriminator_steps = 1

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

        # The generator moves by as many latents as the last part has, with its labels.
        latents = self.draw_latents(tf.shape(real)[0], stream=self.discriminator_steps)
        with self.minimizing("generator") as objectives:
            fake = self.generator(join(latents, given), training=True)
            fake = self.augment(fake, stream=self.discriminator_steps)
            objectives["generator"] = self._generator_loss(
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
            generator_loss=self._generator_loss(
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

    @property
    def parts(self):
        """See `TrainingLoop.parts`."""
        return self.discriminator_steps

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

    def _penalty(self, real, fake, conditions, stream):
        """Returns the list of the weighted penalty, empty without one."""
        if self.penalty is None:
            return []

        def critic(samples):
            inputs = join(samples, conditions)
            return self.logits_of(self.pass_through(self.discriminator, inputs))

        seeds, _ = self.row_seeds(tf.shape(real)[0], stream=1000 + stream)
        return [self.penalty_weight * self.penalty(critic, real, fake, seeds)]

    # Arguments

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
                With `"wasserstein"` the logged accuracies say little: a constant added
                to all of a critic's outputs changes them and not its loss.
            penalty: `"gradient_penalty"`, `"r1"`, a `zoo.losses.Penalty` or None. The
                discriminator has to judge each row by itself, without batch
                normalization: `DCGAN(discriminator_normalization="layer")`. With
                `augmentation` it is taken at the augmented images.
            penalty_weight: Factor of the penalty; None for its paper's.
            discriminator_steps: Updates of the discriminator for each of the
                generator (k in the paper). A batch is split into k equal parts, one
                for each of them; the generator draws as many latents as a part has
                rows.
            update: `"alternate"`, as in the paper, or `"simultaneous"`: both players
                move after one shared forward pass, which is faster and another
                algorithm.
            label_smoothing: In training, real images count as real by 1 minus this
                (Salimans et al. 2016); for losses of probabilities.
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
        if penalty is None:
            losses.warn_of_unbounded(self.loss, discriminator=self.discriminator)

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
        mixing = network_checks.mixing_rows(self.discriminator)
        if penalty and mixing:
            raise ValueError(
                "A penalty asks for each row's own gradient, and the discriminator's "
                f"{', '.join(mixing)} mix the rows (Gulrajani et al. 2017, section 4). "
                "Normalize by layer or not at all: "
                "DCGAN(discriminator_normalization='layer'), elsewhere a discriminator "
                "of your own."
            )
