"""Adversarial autoencoders (Makhzani et al., 2016, arXiv:1511.05644)."""

import math

import keras
import tensorflow as tf
from keras import layers

from zoo import (
    augmentation,
    checks,
    losses,
    metrics,
    network_checks,
    networks,
    plots,
    priors,
    rng,
)
from zoo.adversarial import accuracies, row_logits
from zoo.autoencoder import AutoencoderModel, euclidean
from zoo.conditions import Classes
from zoo.data import drop_unlabelled, load_arrays
from zoo.layers import ClusterHeads
from zoo.model import in_inference_mode, in_training_mode

#: The paper's length of the latents for each form (sections 4 to 6 and appendix A).
_LATENT_DIMS = {
    "unsupervised": 8,
    "labelled_prior": 2,
    "supervised": 15,
    "semi_supervised": 10,
    "clustering": 5,
}
#: Forms that train on labels.
_LABELLED = ("labelled_prior", "supervised", "semi_supervised")
#: Forms whose encoder infers a category.
_CLASSIFYING = ("semi_supervised", "clustering")
#: Forms whose discriminators of images are told labels.
_JUDGED_BY_LABEL = ("labelled_prior", "supervised")
#: Forms whose decoder takes a category.
_DECODING_CATEGORIES = ("supervised", *_CLASSIFYING)


@keras.saving.register_keras_serializable("zoo")
class AAE(AutoencoderModel):
    """An autoencoder whose latents an adversary makes look like draws from a prior.

    Each training step has the paper's phases: reconstruction, by encoder and decoder;
    regularization, by a discriminator that tells draws from the prior from encoded
    images and by the encoder that confuses it; and, in the semi-supervised form,
    classification. The paper's forms differ in what labels and categories do:

    - `"unsupervised"` (section 2): labels are ignored.
    - `"labelled_prior"` (section 2.3): labels choose the part of the prior, a
      `zoo.priors.LabelledPrior`, that their images shall lie in. Images labelled -1
      may lie anywhere.
    - `"supervised"` (section 4): labels are told to the decoder, so that the latents
      keep the style. Images labelled -1 are not reconstructed.
    - `"semi_supervised"` (section 5): the encoder infers a category beside the style,
      an adversary of its own makes it look like a class, and the labels there are teach
      it which. Images labelled -1 teach it nothing.
    - `"clustering"` (section 6): the same without labels; categories are clusters.

    With batch normalization, images labelled -1 still count in the batch's statistics.

    Four arguments go beyond the paper. Its losses ask for images from codes, not from
    draws, and a squared distance is least for a blurred image. With
    `image_discriminator=True` one more adversary tells images from decoded draws, and
    the decoder confuses it (Rosca et al., 2017). Where the decoder takes a category,
    nothing in the paper's losses keeps the latents from telling it as well, and then a
    style drawn from the prior does not fit every category. With
    `joint_discriminator=True` one adversary, in place of two where there are two, tells
    pairs of latents and category from pairs of draws, which pushes them to be
    independent. Where the encoder infers the category, `compile(consistency_weight=)`
    asks for the same one however an image is moved, turned, stretched or slanted.
    `architecture="convolutional"` replaces perceptrons on images.

    `fit` takes batches of images in [-1, 1], alone or with labels. It logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | | sum of all losses, for callbacks that watch it; no quality |
    | `reconstruction_loss` | an image | ½ ‖x - x̂‖², pixels from 0 to 1 |
    | `generator_loss` | nats | the encoder's, by `loss`; sum of adversaries of codes |
    | `discriminator_loss` | nats | sum of adversaries, each 2 ln 2 when it can't tell |
    | `discriminator_accuracy` | share | mean of the two below |
    | `real_accuracy` | share | draws from the prior taken for such |
    | `fake_accuracy` | share | encoded images not taken for draws |
    | `category_discriminator_accuracy` | share | of the category's adversary, if any |
    | `decoder_loss` | nats | the decoder's, by `loss`; of the adversary of images |
    | `image_discriminator_accuracy` | share | of the adversary of images |
    | `classification_loss` | nats | cross entropy of labelled images |
    | `classification_accuracy` | share | of labelled images |
    | `head_loss` | | by how much cluster heads are nearer than they shall be |
    | `consistency_loss` | nats | divergence of categories of distorted images |

    The decoder's loss and the accuracy below it are those of `image_discriminator`,
    classification that of the semi-supervised form, and the last two those of
    `cluster_heads` and of `consistency_weight`. In `evaluate` batch normalization has
    moving statistics, and adversaries may stand elsewhere than in `fit`.

    The optimizers are `autoencoder_optimizer` (reconstruction, by encoder and decoder,
    and the decoder's part in the game of images),
    `discriminator_optimizer` (all adversaries), `encoder_optimizer` (regularization)
    and `classifier_optimizer` (semi-supervised; the encoder up to its category).

    Args:
        image_shape: Shape of an image. Follows from `decoder` where that is given.
        latent_dim: Length of a latent row; None for the paper's: 8 unsupervised, 2 for
            a prior in the plane, 15 supervised, 10 semi-supervised, 5 clustering.
        prior: `"normal"`, of deviation 1 (the paper's 8 latents have 5), `"uniform"`,
            `"gaussian_mixture"`, `"swiss_roll"` or a `zoo.priors.Prior`.
        form: `"unsupervised"`, `"labelled_prior"`, `"supervised"`, `"semi_supervised"`
            or `"clustering"`.
        num_classes: Number of classes of the labels, or of clusters to find; the
            unsupervised form takes no notice of it.
        posterior: What the encoder gives: `"deterministic"` latents, the mean and
            variance of a `"gaussian"`, or `"universal"`: latents of any distribution,
            from the image and noise.
        units: Widths of the hidden dense layers of every network.
        architecture: `"mlp"`, perceptrons as in the paper, or `"convolutional"`, for
            square images of 16 to 128 pixels with 1 or 3 channels: the networks of
            images have strided convolutions between these and their dense layers, as
            `zoo.DCGAN` has them.
        filters: Channels of the convolutional layers next to an image; each further
            one doubles them.
        kernel_size: Side of the convolutions' kernels.
        batch_normalization: Whether to normalize the hidden layers of the networks of
            images, and the latents and category logits that the encoder gives, as the
            paper does on SVHN (appendix A.2). It keeps a category from being that of
            every image. Of convolutions the first on an image is never normalized, and
            the decoder's always are.
        cluster_heads: Whether the decoder takes the sum of the style and of a learned
            head of its category, so that `represent` maps images to a space of
            `latent_dim` dimensions (section 7); for the forms that infer a category.
        joint_discriminator: Whether one discriminator judges the latents together with
            their category, which pushes them to be independent, as draws from the
            priors are; for the forms whose decoder takes a category.
        image_discriminator: Whether one more discriminator tells images from decoded
            draws, so that these are as sharp. True is for a network with the layers of
            the default encoder, and leaky ReLU; or else give a Keras model from images
            to logits. In the forms `"labelled_prior"` and `"supervised"` it takes a
            one-hot label of `num_classes` + 1 behind them, the last for none.
        encoder: Keras model instead of the default network; see `build_encoder`.
        decoder: Keras model instead of the default network; see `build_decoder`.
        discriminator: Keras model from latents to logits, instead of the default
            network. With a labelled prior, and for a joint discriminator of the
            supervised form, it takes a one-hot label of `num_classes` + 1 behind them;
            other joint ones take the probabilities of `num_classes` categories.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If shapes of networks, prior and images do not fit together, an
            argument is for another form or architecture, or the form lacks
            `num_classes` or a prior with as many parts.

    Example::

        train = zoo.load_data("mnist", batch_size=100, labelled=100)
        aae = zoo.AAE((28, 28, 1), form="semi_supervised", num_classes=10, seed=0)
        aae.compile()
        aae.fit(train, epochs=50)
        probabilities = aae.classify(images)
        threes = aae.generate(64, labels=3)

    Reference:
        - [Adversarial Autoencoders](https://arxiv.org/abs/1511.05644)
        - Discriminator of images: [Variational Approaches for Auto-Encoding Generative
          Adversarial Networks](https://arxiv.org/abs/1706.04987), whose adversary
          tells reconstructions from images as well
        - Consistency: [Learning Discrete Representations via Information Maximizing
          Self-Augmented Training](https://arxiv.org/abs/1702.08720)
    """

    #: Until `compile` chooses another; `logged` depends on it.
    consistency_weight = 0.0

    def __init__(
        self,
        image_shape=None,
        latent_dim=None,
        prior="normal",
        form="unsupervised",
        num_classes=None,
        posterior="deterministic",
        units=(1000, 1000),
        architecture="mlp",
        filters=32,
        kernel_size=5,
        batch_normalization=False,
        cluster_heads=False,
        joint_discriminator=False,
        image_discriminator=False,
        encoder=None,
        decoder=None,
        discriminator=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        if form not in _LATENT_DIMS:
            raise ValueError(
                f"Expected a form of {list(_LATENT_DIMS)}. Received: form={form!r}"
            )
        if form != "unsupervised" and num_classes is None:
            raise ValueError(f"The form {form!r} needs num_classes.")
        if cluster_heads and form not in _CLASSIFYING:
            raise ValueError(
                f"cluster_heads is for the forms {list(_CLASSIFYING)}, which infer a "
                f"category. Received: form={form!r}"
            )
        if joint_discriminator and form not in _DECODING_CATEGORIES:
            raise ValueError(
                f"joint_discriminator is for the forms {list(_DECODING_CATEGORIES)}, "
                f"whose decoder takes a category. Received: form={form!r}"
            )
        self.form = form
        self.num_classes = checks.optional(checks.count, "num_classes", num_classes)
        self.cluster_heads = checks.flag("cluster_heads", cluster_heads)
        self.joint_discriminator = checks.flag(
            "joint_discriminator", joint_discriminator
        )
        given_judge = None
        if isinstance(image_discriminator, keras.Model):
            given_judge, image_discriminator = image_discriminator, True
        self.judges_images = checks.flag("image_discriminator", image_discriminator)
        with_categories = form in _DECODING_CATEGORIES
        super().__init__(
            image_shape=image_shape,
            latent_dim=latent_dim,
            prior=prior,
            posterior=posterior,
            units=units,
            architecture=architecture,
            filters=filters,
            kernel_size=kernel_size,
            batch_normalization=batch_normalization,
            num_categories=self.num_classes if with_categories else 0,
            encodes_categories=self.classifies,
            encoder=encoder,
            decoder=decoder,
            seed=seed,
            name=name,
            dtype=dtype,
        )
        self._check_prior()
        given = {
            "encoder": encoder,
            "decoder": decoder,
            "discriminator": discriminator,
            "image_discriminator": given_judge,
        }
        network_checks.check_built(**given)
        self._remember_given(**given)
        with self._networks_policy():
            self.discriminator = discriminator or self.build_discriminator()
            if "category_discriminator" in self._adversaries():
                self.category_discriminator = self._build_adversary(
                    [(self.num_classes,)], self.seed + 3000, "category_discriminator"
                )
            if self.judges_images:
                self.image_discriminator = (
                    given_judge or self.build_image_discriminator()
                )
            if self.classifies:
                # q(y|x): the encoder up to its last output.
                self.classifier = keras.Model(
                    self.encoder.input, self.encoder.outputs[-1], name="classifier"
                )
        network_checks.check_rows(self.discriminator, self._code_shapes())
        network_checks.check_judge("discriminator", self.discriminator)
        if self.judges_images:
            judged = [self.image_shape]
            if form in _JUDGED_BY_LABEL:
                judged.append((self.num_classes + 1,))
            network_checks.check_rows(self.image_discriminator, judged)
            network_checks.check_judge("image_discriminator", self.image_discriminator)
        if self.classifies:
            network_checks.check_logits("encoder", self.encoder.outputs[-1])
        if cluster_heads and self._heads(self.decoder) is None:
            raise ValueError(
                "cluster_heads=True needs a zoo.layers.ClusterHeads among the layers "
                f"of the decoder. Received: decoder={decoder!r}"
            )

    @classmethod
    def data_arguments_for(cls, arguments):
        """See `Model.data_arguments_for`."""
        form = arguments.get("form", "unsupervised")
        return {"labels": True} if form in _LABELLED else {}

    @property
    def default_latent_dim(self):
        """See `GenerativeModel.default_latent_dim`: the paper's for the form."""
        return _LATENT_DIMS[self.form]

    # Networks

    @property
    def classifies(self):
        """Whether the encoder infers a category: `classify` works."""
        return self.form in _CLASSIFYING

    @property
    def network_names(self):
        """See `Model.network_names`."""
        return ("encoder", "decoder", *self._adversaries())

    def _adversaries(self):
        """Names of the networks that tell draws from codes, `discriminator` first.

        The last may be the one that tells images from samples.
        """
        names = ("discriminator",)
        if self.classifies and not self.joint_discriminator:
            names += ("category_discriminator",)
        if self.judges_images:
            names += ("image_discriminator",)
        return names

    def _code_shapes(self):
        """Shapes of what the discriminator takes."""
        if self._shows_labels:
            return [(self.latent_dim,), (self.num_classes + 1,)]
        if self.joint_discriminator:
            return [(self.latent_dim,), (self.num_classes,)]
        return [(self.latent_dim,)]

    @property
    def _shows_labels(self):
        """Whether the discriminator is told labels; none is a class of its own."""
        return self.form == "labelled_prior" or (
            self.form == "supervised" and self.joint_discriminator
        )

    def join_category(self, inputs, initializers):
        """See `AutoencoderModel.join_category`: a head of each, if asked for."""
        if self.cluster_heads:
            return ClusterHeads(next(initializers), dtype="float32")(inputs)
        return super().join_category(inputs, initializers)

    @staticmethod
    def _heads(decoder):
        """Returns a decoder's layer of cluster heads, None if it has none."""
        found = [x for x in decoder.layers if isinstance(x, ClusterHeads)]
        return found[0] if found else None

    def build_discriminator(self):
        """Returns the network from latents, and what goes with them, to logits."""
        return self._build_adversary(
            self._code_shapes(), self.seed + 2000, "discriminator"
        )

    def _build_adversary(self, shapes, seed, name):
        initializers = networks.glorot_initializers(seed)
        inputs = [keras.Input(shape) for shape in shapes]
        x = inputs[0] if len(inputs) == 1 else layers.Concatenate()(inputs)
        x = networks.mlp(x, self.units, "relu", initializers)
        logits = networks.logit(x, next(initializers))
        return keras.Model(inputs[0] if len(inputs) == 1 else inputs, logits, name=name)

    def build_image_discriminator(self):
        """Returns the network from images, and labels where told, to logits."""
        initializers = networks.glorot_initializers(self.seed + 4000)
        inputs = images = keras.Input(self.image_shape, name="images")
        x = self.image_layers(images, initializers)
        if self.form in _JUDGED_BY_LABEL:
            labels = keras.Input((self.num_classes + 1,), name="labels")
            inputs, x = [images, labels], layers.Concatenate()([x, labels])
        x = networks.mlp(
            x, self.units, "leaky_relu", initializers, self.batch_normalization
        )
        logits = networks.logit(x, next(initializers))
        return keras.Model(inputs, logits, name="image_discriminator")

    def _check_prior(self):
        if self.form != "labelled_prior":
            return
        if not isinstance(self.prior, priors.LabelledPrior):
            raise ValueError(
                "The form 'labelled_prior' needs a prior with a part for each class: "
                "'gaussian_mixture', 'swiss_roll' or a zoo.priors.LabelledPrior. "
                f"Received: {type(self.prior).__name__}"
            )
        if self.prior.num_classes != self.num_classes:
            raise ValueError(
                f"The prior has {self.prior.num_classes} parts and the labels "
                f"{self.num_classes} classes. Build the prior with num_classes="
                f"{self.num_classes}."
            )

    # Conditions

    @property
    def conditions(self):
        """See `GenerativeModel.conditions`: class, or cluster, of an image."""
        if self.form == "unsupervised":
            return {}
        return {"labels": Classes(self.num_classes)}

    @property
    def decoder_conditions(self):
        """See `AutoencoderModel.decoder_conditions`."""
        return {} if self.form == "labelled_prior" else self.conditions

    @property
    def reconstruction_conditions(self):
        """See `AutoencoderModel.reconstruction_conditions`."""
        return {} if self.classifies else self.decoder_conditions

    def sample_prior(self, seeds, labels=None):
        """See `AutoencoderModel.sample_prior`."""
        if self.form == "labelled_prior":
            return self.prior.sample(seeds, labels)
        return self.prior.sample(seeds)

    def decoder_inputs(self, latents, labels=None):
        """See `AutoencoderModel.decoder_inputs`."""
        if labels is None or self.form == "labelled_prior":
            return latents
        return [latents, tf.one_hot(labels, self.num_classes)]

    # Training

    @property
    def logged(self):
        """See `Model.logged`."""
        names = (
            "reconstruction_loss",
            "generator_loss",
            "discriminator_loss",
            "discriminator_accuracy",
            "real_accuracy",
            "fake_accuracy",
        )
        if "category_discriminator" in self._adversaries():
            names += ("category_discriminator_accuracy",)
        if self.judges_images:
            names += ("decoder_loss", "image_discriminator_accuracy")
        if self.form == "semi_supervised":
            names += ("classification_loss", "classification_accuracy")
        if self.cluster_heads:
            names += ("head_loss",)
        if self.consistency_weight:
            names += ("consistency_loss",)
        return names

    def players(self):
        """See `zoo.model.Model.players`."""
        players = {
            "autoencoder": [self.encoder, self.decoder],
            "discriminator": [getattr(self, name) for name in self._adversaries()],
            "encoder": [self.encoder],
        }
        if self.form == "semi_supervised":
            players["classifier"] = [self.classifier]
        return players

    def default_optimizers(self):
        """Gradient descent with momentum, 0.9 and for the adversaries 0.1 (appendix).

        The rates are those that the paper goes down to after 50 epochs. With the ten
        times higher ones that it starts from, and our initial weights, Glorot's (the
        paper's have a deviation of 0.01), codes of MNIST collapsed to a point or
        overflowed within two epochs; with these seven epochs lay them on the prior.
        """
        return {
            "autoencoder": keras.optimizers.SGD(0.001, momentum=0.9),
            "discriminator": keras.optimizers.SGD(0.01, momentum=0.1),
            "encoder": keras.optimizers.SGD(0.01, momentum=0.1),
            "classifier": keras.optimizers.SGD(0.01, momentum=0.9),
        }

    def compile(
        self,
        autoencoder_optimizer=None,
        discriminator_optimizer=None,
        encoder_optimizer=None,
        classifier_optimizer=None,
        loss="non_saturating",
        head_distance=3.0,
        input_noise=0.0,
        consistency_weight=0.0,
        image_weight=None,
        averaging=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training; no arguments mean the paper's settings.

        Args:
            autoencoder_optimizer: Keras optimizer, name or config, of reconstruction.
            discriminator_optimizer: The same of the adversaries.
            encoder_optimizer: The same of the encoder's part in regularization.
            classifier_optimizer: The same of classification, in the semi-supervised
                form.
            loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
                `"wasserstein"` or a `zoo.losses.AdversarialLoss`.
            head_distance: η, the distance that cluster heads are pushed apart to. The
                paper names no value.
            input_noise: Deviation of the Gaussian noise on the images that the encoder
                is trained on, pixels counted from 0 to 1; 0.3 in the paper's
                semi-supervised training (appendix A.2).
            consistency_weight: Weight, in the reconstruction phase, of the
                Jensen-Shannon divergence between q(y|x) of an image and of the same
                image after `zoo.augmentation.distort`; 0, as in the paper, for none.
                Clusters that ignore how a digit is slanted or placed are left with
                which digit it is.
            image_weight: Weight, in the reconstruction phase, of the decoder's loss in
                the game with the `image_discriminator`; None for 10 where there is one.
                The more, the sharper samples are, and the less like their images
                reconstructions.
            averaging: Decay of an averaged decoder for `generate`, such as 0.999.
            metrics: Metrics that `evaluate` feeds real and generated images.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is unknown or out of range.
        """
        optimizers = {
            "autoencoder": autoencoder_optimizer,
            "discriminator": discriminator_optimizer,
            "encoder": encoder_optimizer,
        }
        if self.form == "semi_supervised":
            optimizers["classifier"] = classifier_optimizer
        elif classifier_optimizer is not None:
            raise ValueError(
                "classifier_optimizer is for the form 'semi_supervised'. "
                f"This one is {self.form!r}."
            )
        consistency_weight = checks.number(
            "consistency_weight", consistency_weight, least=0
        )
        if consistency_weight and not self.classifies:
            raise ValueError(
                f"consistency_weight is for the forms {list(_CLASSIFYING)}, which "
                "infer a category. Received: "
                f"consistency_weight={consistency_weight} for the form {self.form!r}"
            )
        if consistency_weight and len(self.image_shape) != 3:
            raise ValueError(
                f"consistency_weight={consistency_weight} is for images, and samples "
                f"have the shape {self.image_shape}."
            )
        settings = {
            "loss": losses.get(loss),
            "head_distance": checks.number("head_distance", head_distance, least=0),
            "input_noise": checks.number("input_noise", input_noise, least=0),
            "consistency_weight": consistency_weight,
            "averaging": averaging,
        }
        if self.judges_images:
            weight = 10.0 if image_weight is None else image_weight
            settings["image_weight"] = checks.number("image_weight", weight, least=0)
        elif image_weight is not None:
            raise ValueError(
                f"image_weight={image_weight} is for a model with an image "
                "discriminator: build it with image_discriminator=True."
            )
        self._compile(optimizers, settings, metrics=metrics, **keras_arguments)
        critics = {name: getattr(self, name) for name in self._adversaries()}
        losses.warn_of_unbounded(self.loss, **critics)

    def train_step(self, data):
        """Runs the paper's phases on a batch (sections 2 and 5)."""
        images, labels = self.unpack(data)
        count = tf.shape(images)[0]
        seeds, _ = self.row_seeds(count, stream=1)
        draws = self._draws(seeds, self.draw_latents(count, stream=1), labels)

        # Reconstruction phase.
        with self.minimizing("autoencoder") as objectives:
            code = self._encode_in_training(images, stream=0)
            inputs = self._to_decode(code, labels)
            if self.judges_images:
                # Batch normalization takes codes and draws as one batch.
                more = self._draws_to_decode(seeds, *draws, labels)
                inputs = tf.nest.map_structure(concatenate, inputs, more)
            reconstructions = self.decoder(inputs, training=True)[:count]
            reconstruction = self._reconstruction_loss(images, reconstructions, labels)
            heads = self._head_loss(self.decoder)
            logs = {"reconstruction_loss": reconstruction, **heads}
            objectives["autoencoder"] = reconstruction + sum(heads.values())
            if self.judges_images:
                # Through the statistics of the batch the game would move the encoder.
                inputs = tf.nest.map_structure(tf.stop_gradient, inputs)
                samples = self.pass_through(self.decoder, inputs)[count:]
                judged = self._judge_images(samples, labels, self.pass_through)
                logs["decoder_loss"] = self.loss.generator(judged)
                objectives["autoencoder"] += self.image_weight * logs["decoder_loss"]
            if self.consistency_weight:
                distorting, _ = self.row_seeds(count, stream=4)
                distorted = self._encode_in_training(
                    augmentation.distort(images, distorting),
                    stream=5,
                    call=self.pass_through,
                )
                logs["consistency_loss"] = self._consistency_loss(code, distorted)
                objectives["autoencoder"] += (
                    self.consistency_weight * logs["consistency_loss"]
                )

        # Regularization phase: first the adversaries, then the encoder.
        code = self._encode_in_training(images, stream=2, call=self.pass_through)
        with self.minimizing("discriminator") as objectives:
            real = self._judge(*draws, labels, in_training_mode)
            fake = self._judge(*self._encoded(code), labels, in_training_mode)
            if self.judges_images:
                name, call = "image_discriminator", in_training_mode
                real[name] = self._judge_images(images, labels, call)
                fake[name] = self._judge_images(samples, labels, call)
            objectives["discriminator"] = sum(
                self.loss.discriminator(real[name], fake[name]) for name in real
            )
        logs |= {"discriminator_loss": objectives["discriminator"]}
        logs |= self._accuracies(real, fake)

        with self.minimizing("encoder") as objectives:
            code = self._encode_in_training(images, stream=2)
            fake = self._judge(*self._encoded(code), labels, self.pass_through)
            objectives["encoder"] = sum(map(self.loss.generator, fake.values()))
        logs |= {"generator_loss": objectives["encoder"]}

        # Semi-supervised classification phase.
        if self.form == "semi_supervised":
            with self.minimizing("classifier") as objectives:
                code = self._encode_in_training(images, stream=3)
                loss, accuracy = self.label_loss(labels, code.category_logits)
                objectives["classifier"] = loss
            logs |= {"classification_loss": loss, "classification_accuracy": accuracy}
        return self.end_step(count, self._label_weights(labels), **logs)

    def test_step(self, data):
        """Does the phases of a batch without training; feeds `metrics`."""
        images, labels = self.unpack(data)
        count = tf.shape(images)[0]
        code = self.infer(images)
        reconstructions = self.decoder_in_use()(self._to_decode(code, labels))
        seeds, _ = self.test_row_seeds(count)
        # The adversaries tell draws of q(z|x), and not its means, from the prior's.
        encoded = self._encoded(self.infer(images, rng.fold_in(seeds, 3)))
        draws = self._draws(seeds, self.prior.sample(seeds), labels)
        real = self._judge(*draws, labels, in_inference_mode)
        fake = self._judge(*encoded, labels, in_inference_mode)
        logs = {"generator_loss": sum(map(self.loss.generator, fake.values()))}
        conditions = self.complete({}, seeds)
        samples = self.draw(seeds, **conditions)
        self.feed_metrics(images, samples)
        if self.judges_images:
            # Behind the encoder's loss, which this game is none of.
            name, call = "image_discriminator", in_inference_mode
            real[name] = self._judge_images(images, labels, call)
            fake[name] = self._judge_images(samples, conditions.get("labels"), call)
            logs["decoder_loss"] = self.loss.generator(fake[name])
        logs |= {
            "reconstruction_loss": self._reconstruction_loss(
                images, reconstructions, labels
            ),
            "discriminator_loss": sum(
                self.loss.discriminator(real[name], fake[name]) for name in real
            ),
            **self._accuracies(real, fake),
            **self._head_loss(self.decoder_in_use()),
        }
        if self.consistency_weight:
            distorted = augmentation.distort(images, rng.fold_in(seeds, 2))
            logs["consistency_loss"] = self._consistency_loss(
                code, self.infer(distorted)
            )
        if self.form == "semi_supervised":
            loss, accuracy = self.label_loss(labels, code.category_logits)
            logs |= {"classification_loss": loss, "classification_accuracy": accuracy}
        return self.end_test_step(count, self._label_weights(labels), **logs)

    def _label_weights(self, labels):
        """Returns by how many rows the logs of labelled rows alone weigh."""
        names = {
            "supervised": ["reconstruction_loss"],
            "semi_supervised": ["classification_loss", "classification_accuracy"],
        }.get(self.form, [])
        return {name: self.mean_count(labels >= 0) for name in names}

    def unpack(self, data):
        """Splits a batch into images and labels, None where the form needs none."""
        if self.form not in _LABELLED:
            return self._images_of(data), None
        images, (labels,) = self._split(data, ["labels"])
        return images, self.conditions["labels"].in_training("labels", labels)

    def _encode_in_training(self, images, stream, call=in_training_mode):
        """See `AutoencoderModel`; adds noise to the images, if asked for."""
        if self.input_noise:
            seeds, _ = self.row_seeds(tf.shape(images)[0], stream=100 + stream)
            images = augmentation.add_noise(images, seeds, self.input_noise)
        return super()._encode_in_training(images, stream, call)

    def _to_decode(self, code, labels):
        """Inputs of the decoder for encoded images."""
        if self.classifies:
            # The decoder is given the distribution over categories as it is.
            return [code.latents, tf.nn.softmax(code.category_logits)]
        return self.decoder_inputs(code.latents, labels)

    def _reconstruction_loss(self, images, reconstructions, labels):
        errors = euclidean(images, reconstructions)
        if self.form == "supervised":
            # Without its label an image can't be decoded.
            return self.mean_where(labels >= 0, errors)
        return tf.reduce_mean(errors)

    def _head_loss(self, decoder):
        """Keeps the cluster heads apart (section 7); nothing without them."""
        if not self.cluster_heads:
            return {}
        heads = self._heads(decoder)
        return {"head_loss": heads.crowding(self.head_distance)}

    def _consistency_loss(self, code, distorted):
        """Mean divergence of the categories of images and of their distortions."""
        return tf.reduce_mean(
            jensen_shannon(code.category_logits, distorted.category_logits)
        )

    def _draws(self, seeds, latents, labels):
        """Returns draws from the priors: latents, and categories or None.

        Latents are of the whole prior, which labels may divide.
        """
        if self.form == "labelled_prior":
            latents = self.prior.sample(seeds, labels)
        if not self.classifies:
            return latents, None
        drawn = self.conditions["labels"].draw(rng.fold_in(seeds, 1))
        return latents, tf.one_hot(drawn, self.num_classes)

    def _draws_to_decode(self, seeds, latents, categories, labels):
        """Inputs of the decoder for draws, with the images' labels if it takes any."""
        if self.classifies:
            return [latents, categories]
        if self.form == "supervised":
            labels = self.complete({"labels": labels}, seeds)["labels"]
        return self.decoder_inputs(latents, labels)

    def _encoded(self, code):
        """Returns latents and categories, or None, of encoded images."""
        categories = tf.nn.softmax(code.category_logits) if self.classifies else None
        return code.latents, categories

    def _judge(self, latents, categories, labels, call):
        """Returns the logits `[n]` of each adversary of codes by its name."""
        inputs = {"discriminator": latents}
        if self.classifies and self.joint_discriminator:
            inputs = {"discriminator": [latents, categories]}
        elif self.classifies:
            inputs["category_discriminator"] = categories
        elif self._shows_labels:
            inputs = {"discriminator": [latents, self._label_rows(labels)]}
        return {
            name: row_logits(call(getattr(self, name), given))
            for name, given in inputs.items()
        }

    def _judge_images(self, images, labels, call):
        """Returns the logits `[n]` of images, or samples, of being images."""
        inputs = images
        if self.form in _JUDGED_BY_LABEL:
            inputs = [images, self._label_rows(labels)]
        return row_logits(call(self.image_discriminator, inputs))

    def _label_rows(self, labels):
        """Returns one-hot labels `[n, num_classes + 1]`; none is the last class."""
        none = tf.cast(self.num_classes, tf.int64)
        return tf.one_hot(tf.where(labels < 0, none, labels), self.num_classes + 1)

    def _accuracies(self, real, fake):
        boundary = self.loss.boundary
        logs = accuracies(real["discriminator"], fake["discriminator"], boundary)
        for name in self._adversaries()[1:]:
            judged = accuracies(real[name], fake[name], boundary)
            logs[f"{name}_accuracy"] = judged["discriminator_accuracy"]
        return logs

    # Classifying

    def classify_rows(self, images):
        """Returns q(y|x) `[n, num_classes]` of a tensor of images."""
        return tf.nn.softmax(self.infer(images).category_logits)

    def classify(self, images, batch_size=256):
        """Gives the probability of each class, or cluster, for images.

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            batch_size: Rows computed at once.

        Returns:
            float32 numpy array of shape `[n, num_classes]`.

        Raises:
            ValueError: If the form has no classifier, or the images are of another
                shape.
        """
        if not self.classifies:
            raise ValueError(
                "Only the forms 'semi_supervised' and 'clustering' classify. "
                f"This one is {self.form!r}."
            )
        return self._in_batches(self.classify_rows, [self.pixels(images)], batch_size)

    def represent_rows(self, images):
        """Returns `W_C y + z` `[n, latent_dim]` of a tensor of images."""
        heads = self._heads(self.decoder_in_use())
        return heads(self._to_decode(self.infer(images), None))

    def represent(self, images, batch_size=256):
        """Maps images to the space of style and cluster heads (section 7).

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            batch_size: Rows computed at once.

        Returns:
            float32 numpy array of shape `[n, latent_dim]`.

        Raises:
            ValueError: If the model has no cluster heads, or the images are of another
                shape.
        """
        if not self.cluster_heads:
            raise ValueError("Build the model with cluster_heads=True to represent.")
        return self._in_batches(self.represent_rows, [self.pixels(images)], batch_size)

    def latent_space(self, images, labels=None, columns=20):
        """See `AutoencoderModel.latent_space`; with cluster heads of `represent`."""
        if self.cluster_heads:
            return plots.latent_space(self.represent(images), labels)
        return super().latent_space(images, labels, columns)

    def measure(self, **data_arguments):
        """Measures reconstruction, and what the form's labels or clusters are worth.

        Returns:
            List of `zoo.metrics.Measurement`: `reconstruction_loss`, see
            `AutoencoderModel.measure`; and, where the images have labels,
            semi-supervised `test_error`, the share of images classified wrong;
            clustering `clustering_error`, that share on the second half of the images,
            when each cluster has the label of its surest image of the first (section
            6).
        """
        measured = super().measure(**data_arguments)
        if not self.classifies:
            return measured
        images, labels = load_arrays(**data_arguments)
        if labels is None:
            return measured
        images, labels = drop_unlabelled(images, labels)
        probabilities = self.classify(images)
        if self.form == "semi_supervised":
            wrong = 1 - metrics.label_accuracy(probabilities, labels)
            error = metrics.Measurement("test_error", wrong, real_count=len(labels))
        else:
            half = len(labels) // 2
            found = metrics.cluster_labels(probabilities[:half], labels[:half])
            wrong = metrics.clustering_error(probabilities[half:], labels[half:], found)
            error = metrics.Measurement(
                "clustering_error", wrong, real_count=len(labels) - half
            )
        return [*measured, error]

    def reconstruct_rows(self, images, **conditions):
        """See `AutoencoderModel.reconstruct_rows`."""
        code = self.infer(images)
        if self.classifies:
            return self.decoder_in_use()(self._to_decode(code, None))
        return self.decode_rows(code.means, **conditions)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            # Behind it, for a network that was given stands under the same name.
            "image_discriminator": self.judges_images,
            **super().get_config(),
            "form": self.form,
            "num_classes": self.num_classes,
            "posterior": self.posterior,
            "batch_normalization": self.batch_normalization,
            "cluster_heads": self.cluster_heads,
            "joint_discriminator": self.joint_discriminator,
        }


def concatenate(first, second):
    """Returns the rows of two tensors, one after the other."""
    return tf.concat([first, second], 0)


def jensen_shannon(logits, other_logits):
    """Divergence of the distributions over categories of two rows of logits.

    Args:
        logits: Tensor of shape `[n, categories]`.
        other_logits: The same, of the distributions to compare with.

    Returns:
        Tensor of shape `[n]`, nats from 0 to ln 2.

    Reference:
        [Divergence measures based on the Shannon entropy](
        https://doi.org/10.1109/18.61115), Lin, 1991, section IV, with equal weights
    """
    log_p, log_q = tf.nn.log_softmax(logits), tf.nn.log_softmax(other_logits)
    # log (p + q) / 2p is softplus(log q - log p) - log 2. Nothing is used more than
    # twice, so that gradients are sums of two, which have no order.
    log_ratio = log_q - log_p
    return 0.5 * tf.reduce_sum(
        tf.exp(log_p) * (math.log(2) - tf.math.softplus(log_ratio))
        + tf.exp(log_q) * (math.log(2) - tf.math.softplus(-log_ratio)),
        axis=-1,
    )
