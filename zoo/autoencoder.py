"""What autoencoders with a prior on their latents share: the AAE and the VAE.

Both have the same encoder and decoder, so that comparing them compares what their
papers say and nothing else.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from zoo import checks, network_checks, networks, plots, rng
from zoo.data import drop_unlabelled, load_arrays
from zoo.generative import GenerativeModel, by_name
from zoo.metrics import Measurement
from zoo.model import in_inference_mode, in_training_mode


class Code(NamedTuple):
    """What the encoder says of a batch of images.

    Attributes:
        latents: float32 `[n, latent_dim]`, drawn from q(z|x).
        means: float32 `[n, latent_dim]`, the mean of q(z|x).
        log_variances: float32 `[n, latent_dim]` of a Gaussian q(z|x), else None.
        category_logits: float32 `[n, num_categories]` of q(y|x), or None without it.
    """

    latents: tf.Tensor
    means: tf.Tensor
    log_variances: tf.Tensor | None
    category_logits: tf.Tensor | None


POSTERIORS = ("deterministic", "gaussian", "universal")
#: The arguments of its own that an architecture has.
_ARCHITECTURES = {"mlp": (), "convolutional": ("filters", "kernel_size")}


class AutoencoderModel(GenerativeModel):
    """An encoder from images to latents, and a decoder back.

    Args:
        image_shape: Shape of an image. Follows from `decoder` where that is given.
        latent_dim: Length of a latent row; None takes it from the prior.
        prior: `zoo.priors.Prior` or its name.
        posterior: q(z|x): `"deterministic"`, a function of the image; `"gaussian"`,
            whose mean and variance are; or `"universal"`, any distribution, a function
            of the image and of noise.
        units: Widths of the hidden dense layers of every network.
        architecture: `"mlp"`, or `"convolutional"` for strided convolutions before
            the encoder's dense layers and transposed ones behind the decoder's.
        filters: Channels of the convolutional layers next to an image; each further
            one doubles them.
        kernel_size: Side of the convolutions' kernels.
        batch_normalization: Whether to normalize the hidden layers of encoder and
            decoder, and the latents and category logits that the encoder gives. Of
            convolutions the encoder's first never is, and the decoder's always are.
        num_categories: Length of the category y that encoder and decoder have beside
            the latents; 0 for none.
        encodes_categories: Whether the encoder infers y; the decoder is told otherwise.
        encoder: Keras model to use instead of `build_encoder`'s, or None.
        decoder: Keras model to use instead of `build_decoder`'s, or None.
        **kwargs: Arguments of `zoo.model.Model`.
    """

    decoder_name = "decoder"
    network_names = ("encoder", "decoder")
    #: What the model logs `euclidean` as, and `measure` names it.
    euclidean_name = "reconstruction_loss"

    def __init__(
        self,
        *,
        image_shape,
        latent_dim,
        prior,
        posterior,
        units,
        architecture="mlp",
        filters=32,
        kernel_size=5,
        batch_normalization=False,
        num_categories=0,
        encodes_categories=False,
        encoder,
        decoder,
        **kwargs,
    ):
        if posterior not in POSTERIORS:
            raise ValueError(
                f"Expected a posterior of {POSTERIORS}. Received: {posterior!r}"
            )
        network_checks.check_built(encoder=encoder, decoder=decoder)
        if decoder is not None:
            image_shape = network_checks.made_shape("decoder", decoder)
            network_checks.warn_of_range("decoder", decoder)
        if image_shape is None:
            raise ValueError("Pass image_shape, or a decoder that it follows from.")
        image_shape = checks.sample_shape(image_shape)
        super().__init__(prior=prior, latent_dim=latent_dim, **kwargs)
        self.image_shape = image_shape
        self.posterior = posterior
        self.units = checks.widths("units", units)
        self.architecture = architecture
        self.filters = checks.count("filters", filters)
        self.kernel_size = checks.count("kernel_size", kernel_size)
        network_checks.check_architecture(
            self, AutoencoderModel.__init__, _ARCHITECTURES
        )
        self.batch_normalization = checks.flag(
            "batch_normalization", batch_normalization
        )
        self._num_categories = num_categories
        self._encodes_categories = encodes_categories
        self._remember_given(encoder=encoder, decoder=decoder)
        with self._networks_policy():
            self.encoder = encoder or self.build_encoder()
            self.decoder = decoder or self.build_decoder()
        self._check_networks()
        self.built = True

    # Networks

    def build_encoder(self):
        """Returns the network from images to the parameters of q(z|x) and q(y|x).

        Its outputs are the means `[n, latent_dim]`; behind them, for a Gaussian
        posterior, the log variances; behind these, where it infers a category, logits
        `[n, num_categories]`. A universal posterior takes noise `[n, latent_dim]`
        behind the images.
        """
        initializers = networks.glorot_initializers(self.seed)
        images = keras.Input(self.image_shape, name="images")
        x = self.image_layers(images, initializers)
        inputs = images
        if self.posterior == "universal":
            noise = keras.Input((self.latent_dim,), name="noise")
            inputs, x = [images, noise], layers.Concatenate()([x, noise])
        x = networks.mlp(x, self.units, "relu", initializers, self.batch_normalization)
        outputs = [
            self._encoder_output(x, name, width, next(initializers))
            for name, width in self._encoder_outputs().items()
        ]
        outputs = outputs[0] if len(outputs) == 1 else outputs
        return keras.Model(inputs, outputs, name="encoder")

    def image_layers(self, images, initializers):
        """Returns rows of an image each, for the dense layers of a network."""
        if self.architecture == "mlp":
            return layers.Flatten()(images)
        return networks.downsampling_stack(
            images,
            filters=self.filters,
            kernel_size=self.kernel_size,
            normalization="batch" if self.batch_normalization else None,
            initializers=initializers,
        )

    def _encoder_output(self, x, name, width, initializer):
        normalized = self.batch_normalization and name != "log_variances"
        x = layers.Dense(
            width,
            use_bias=not normalized,
            kernel_initializer=initializer,
            dtype="float32",
            name=name,
        )(x)
        if normalized:
            x = networks.normalization_layer(
                "batch", dtype="float32", name=f"normalized_{name}"
            )(x)
        return x

    def build_decoder(self):
        """Returns the network from latents, and categories, to images in [-1, 1]."""
        initializers = networks.glorot_initializers(self.seed + 1000)
        latents = keras.Input((self.latent_dim,), name="latents")
        inputs = x = latents
        if self._num_categories:
            categories = keras.Input((self._num_categories,), name="categories")
            inputs = [latents, categories]
            x = self.join_category(inputs, initializers)
        x = networks.mlp(x, self.units, "relu", initializers, self.batch_normalization)
        if self.architecture == "mlp":
            images = networks.samples(x, self.image_shape, next(initializers))
        else:
            images = networks.upsampling_stack(
                x,
                self.image_shape,
                filters=self.filters,
                kernel_size=self.kernel_size,
                activation="relu",
                initializers=initializers,
            )
        return keras.Model(inputs, images, name="decoder")

    def join_category(self, inputs, initializers):
        """Returns what the decoder's first layer takes of latents and category."""
        del initializers
        return layers.Concatenate()(inputs)

    def _encoder_outputs(self):
        """Returns a dict from name to width of what the encoder has to return."""
        outputs = {"means": self.latent_dim}
        if self.posterior == "gaussian":
            outputs["log_variances"] = self.latent_dim
        if self._encodes_categories:
            outputs["category_logits"] = self._num_categories
        return outputs

    def _check_networks(self):
        wanted = [(None, width) for width in self._encoder_outputs().values()]
        # Keras gives the shape of a lone output by itself.
        if self.encoder.output_shape != (wanted if len(wanted) > 1 else wanted[0]):
            raise ValueError(
                f"The encoder has to return {self._encoder_outputs()} with a "
                f"{self.posterior} posterior and latents of {self.latent_dim} numbers. "
                f"Received: outputs of shape {self.encoder.output_shape}"
            )
        takes = [self.image_shape]
        if self.posterior == "universal":
            takes.append((self.latent_dim,))
        network_checks.check_rows(self.encoder, takes)
        takes = [(self.latent_dim,)]
        if self._num_categories:
            takes.append((self._num_categories,))
        network_checks.check_rows(self.decoder, takes)

    # Both directions, on tensors

    def infer(self, images, seeds=None, call=in_inference_mode):
        """Encodes a batch.

        Args:
            images: float32 `[n, *image_shape]` in [-1, 1].
            seeds: int64 `[n]` that q(z|x) is drawn by. None takes its mean; of a
                universal posterior the point at noise 0, the mean of the noise.
            call: Function of the encoder and its inputs that gives its outputs.

        Returns:
            `Code`.
        """
        images = tf.convert_to_tensor(images)
        shape = (tf.shape(images)[0], self.latent_dim)
        noise = tf.zeros(shape) if seeds is None else rng.normal(seeds, shape[1])
        inputs = [images, noise] if self.posterior == "universal" else images
        outputs = call(self.encoder, inputs)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        outputs = [tf.cast(output, tf.float32) for output in outputs]
        code = dict(zip(self._encoder_outputs(), outputs, strict=True))
        latents, log_variances = code["means"], code.get("log_variances")
        if log_variances is not None and seeds is not None:
            latents = latents + tf.exp(log_variances / 2) * noise
        logits = code.get("category_logits")
        return Code(latents, code["means"], log_variances, logits)

    def _encode_in_training(self, images, stream, call=in_training_mode):
        """Encodes a batch of the current step, by its seeds of this stream."""
        seeds, _ = self.row_seeds(tf.shape(images)[0], stream)
        return self.infer(images, seeds, call)

    @property
    def reconstruction_conditions(self):
        """Those of `decoder_conditions` that the encoder does not infer."""
        return self.decoder_conditions

    @property
    def call_names(self):
        """See `GenerativeModel.call_names`."""
        return ["images", *self.reconstruction_conditions]

    def call(self, images, *conditions, training=False, **named):
        """Encodes and decodes.

        Args:
            images: Images `[n, *image_shape]` in [-1, 1]; or a list or dict of them and
                of conditions.
            *conditions: `reconstruction_conditions` in their order.
            training: Has no effect: `fit` trains by `train_step`.
            **named: The same by name.

        Returns:
            Reconstructed images.
        """
        del training
        inputs = by_name(self.call_names, images, *conditions, **named)
        self._check_images(inputs["images"])
        return self.reconstruct_rows(**inputs)

    def reconstruct_rows(self, images, **conditions):
        """Encodes and decodes tensors; never an error. See `decode_rows`."""
        return self.decode_rows(self.infer(images).means, **conditions)

    # Both directions, on arrays

    def encode(self, images, batch_size=256):
        """Encodes images to the mean of their latents.

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            batch_size: Rows computed at once.

        Returns:
            float32 numpy array of shape `[n, latent_dim]`.

        Raises:
            ValueError: If the images are of another shape.
        """
        images = self.pixels(images)
        return self._in_batches(lambda x: self.infer(x).means, [images], batch_size)

    def reconstruct(self, images, batch_size=256, **conditions):
        """Encodes and decodes images.

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            batch_size: Rows computed at once.
            **conditions: `reconstruction_conditions` by name, as `generate` takes them.

        Returns:
            float32 numpy array of the same shape, in [-1, 1].

        Raises:
            ValueError: As `encode` and `decode` do.
        """
        return self._conditioned_batches(
            self.reconstruct_rows,
            self.pixels(images),
            self.reconstruction_conditions,
            conditions,
            batch_size,
        )

    def latent_space(self, images, labels=None, columns=20):
        """Draws where images lie among the latents, and a walk over the prior.

        The walk is there for priors of the plane and decoders without conditions.

        Args:
            images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
            labels: Integers `[n]`, which colour the images' latents, or None.
            columns: Images a row of the walk.

        Returns:
            `PIL.Image.Image`; see `zoo.plots.latent_space`.

        Raises:
            ValueError: If the images are of another shape, or the latents have
                fewer than two numbers a row.
        """
        points, manifold = self.prior.walk(columns), None
        if points is not None and not self.decoder_conditions:
            points = points.numpy()
            decoded = self.decode(points.reshape(-1, self.latent_dim))
            manifold = decoded.reshape(*points.shape[:2], *self.image_shape)
        prior = self.prior.sample(tf.range(2000, dtype=tf.int64)).numpy()
        latents = self.encode(images)
        return plots.latent_space(latents, labels, prior, manifold)

    def measure(self, **data_arguments):
        """Measures `euclidean` of test images, by the name that `fit` logs it under."""
        images, labels = load_arrays(**data_arguments)
        told = {}
        if self.reconstruction_conditions:
            if labels is None:
                raise ValueError(
                    f"{type(self).__name__} decodes an image with its label, and the "
                    f"data have none. Received: {data_arguments}"
                )
            images, told["labels"] = drop_unlabelled(images, labels)
        errors = euclidean(self.pixels(images), self.reconstruct(images, **told))
        mean = float(np.mean(errors))
        return [Measurement(self.euclidean_name, mean, real_count=len(images))]

    def get_config(self):
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "image_shape": self.image_shape,
            "units": self.units,
            "architecture": self.architecture,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
        }


def euclidean(images, reconstructions):
    """Half the squared Euclidean distance of each pair of images, `[n]`.

    The pixels are counted from 0 to 1, as in the paper (Makhzani et al. 2016, A.2).
    """
    images, reconstructions = (
        ops.cast(pixels, "float32") for pixels in (images, reconstructions)
    )
    difference = (images - reconstructions) / 2
    return 0.5 * ops.sum(ops.square(difference), axis=range(1, len(images.shape)))
