"""Variational autoencoders (Kingma & Welling, 2014, arXiv:1312.6114)."""

import math

import keras
import tensorflow as tf

from zoo import priors, rng
from zoo.autoencoder import AutoencoderModel, euclidean


@keras.saving.register_keras_serializable("zoo")
class VAE(AutoencoderModel):
    """An autoencoder that maximizes a lower bound of the likelihood of its data.

    It has the networks of `zoo.AAE` with a Gaussian posterior, to compare the two. A
    pixel from 0 to 1 counts as the share of ones among draws of a Bernoulli variable
    (appendix C.1). Labels in the data are ignored.

    `fit` takes batches of images in [-1, 1], alone or with labels. It logs:

    | name | unit | what |
    |---|---|---|
    | `loss` | nats an image | the negative lower bound, the sum of the next two |
    | `reconstruction_loss` | nats an image | -log p(x given z) of one z drawn |
    | `divergence_loss` | nats an image | of q(z given x) from the prior |
    | `euclidean_error` | an image | what the AAE logs as `reconstruction_loss` |

    The optimizer is `autoencoder_optimizer`.

    Args:
        image_shape: Shape of an image, or `(length,)` of a vector of pixels. Follows
            from `decoder` where that is given.
        latent_dim: Length of a latent row; None for 8, or 2 for a prior in the plane.
        prior: `"normal"`, `"gaussian_mixture"` or a `zoo.priors.Prior` with `log_prob`.
        units: Widths of the hidden dense layers of both networks.
        architecture: `"mlp"`, perceptrons like the AAE's, or `"convolutional"`, for
            square images of 16 to 128 pixels with 1 or 3 channels: encoder and decoder
            have strided convolutions between an image and their dense layers, as
            `zoo.DCGAN` has them.
        filters: Channels of the convolutional layers next to an image; each further
            one doubles them.
        kernel_size: Side of the convolutions' kernels.
        encoder: Keras model instead of the default network, from images to means and
            log variances of the latents.
        decoder: Keras model instead of the default network, from latents to images.
        seed: Integer from which initial weights and noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy, such as `"mixed_bfloat16"`; None for the global one.

    Raises:
        ValueError: If shapes of networks, prior and images do not fit together, an
            argument is for the other architecture, or the density of the prior is not
            known.

    Example::

        train = zoo.load_data("mnist", batch_size=100)
        vae = zoo.VAE((28, 28, 1), latent_dim=2, seed=0)
        vae.compile()
        vae.fit(train, epochs=50)
        latents = vae.encode(images)

    Reference:
        [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114)
    """

    logged = ("reconstruction_loss", "divergence_loss", "euclidean_error")
    euclidean_name = "euclidean_error"
    default_latent_dim = 8
    #: Those of vectors too, or the bound would have no end.
    _takes_pixels = True

    def __init__(
        self,
        image_shape=None,
        latent_dim=None,
        prior="normal",
        units=(1000, 1000),
        architecture="mlp",
        filters=32,
        kernel_size=5,
        encoder=None,
        decoder=None,
        seed=None,
        name=None,
        dtype=None,
    ):
        super().__init__(
            image_shape=image_shape,
            latent_dim=latent_dim,
            prior=prior,
            posterior="gaussian",
            units=units,
            architecture=architecture,
            filters=filters,
            kernel_size=kernel_size,
            encoder=encoder,
            decoder=decoder,
            seed=seed,
            name=name,
            dtype=dtype,
        )
        if type(self.prior).log_prob is priors.Prior.log_prob:
            raise ValueError(
                "The lower bound needs the density of the prior, and "
                f"{type(self.prior).__name__} has no log_prob. Take 'normal', "
                "'gaussian_mixture' or a prior of yours that has it."
            )

    def players(self):
        """See `zoo.model.Model.players`."""
        return {"autoencoder": [self.encoder, self.decoder]}

    def default_optimizers(self):
        """Adam 1e-3. The paper's Adagrad of 0.01 diverges on colour images of 64×64."""
        return {"autoencoder": keras.optimizers.Adam(1e-3)}

    def compile(
        self,
        autoencoder_optimizer=None,
        averaging=None,
        metrics=None,
        **keras_arguments,
    ):
        """Chooses everything about training.

        Args:
            autoencoder_optimizer: Keras optimizer, name or config; None for Adam, where
                the paper has Adagrad.
            averaging: Decay of an averaged decoder for `generate`, such as 0.999.
            metrics: Metrics that `evaluate` feeds real and generated images.
            **keras_arguments: `run_eagerly`, `jit_compile`, `steps_per_execution`.

        Raises:
            ValueError: If an argument is out of range.
        """
        self._compile(
            {"autoencoder": autoencoder_optimizer},
            {"averaging": averaging},
            metrics=metrics,
            **keras_arguments,
        )

    def train_step(self, data):
        """Runs one iteration of the paper's algorithm 1, with L = 1."""
        images = self._images_of(data)
        with self.minimizing("autoencoder") as objectives:
            code = self._encode_in_training(images, stream=0)
            reconstructions = self.decoder(code.latents, training=True)
            logs = self._bound(images, code, reconstructions)
            objectives["autoencoder"] = (
                logs["reconstruction_loss"] + logs["divergence_loss"]
            )
        return self.end_step(tf.shape(images)[0], **logs)

    def test_step(self, data):
        """Computes the bound of a batch; feeds `metrics`."""
        images = self._images_of(data)
        count = tf.shape(images)[0]
        seeds, _ = self.test_row_seeds(count)
        # The seeds themselves are those of the generated images.
        code = self.infer(images, rng.fold_in(seeds, 3))
        reconstructions = self.decoder_in_use()(code.latents)
        self.feed_metrics(images, self.draw(seeds))
        return self.end_test_step(count, **self._bound(images, code, reconstructions))

    def _bound(self, images, code, reconstructions):
        """Both parts of the negative lower bound (eq. 7), means over the images."""
        return {
            "reconstruction_loss": tf.reduce_mean(
                bernoulli_loss(images, reconstructions)
            ),
            "divergence_loss": tf.reduce_mean(self._divergence(code)),
            "euclidean_error": tf.reduce_mean(euclidean(images, reconstructions)),
        }

    def _divergence(self, code):
        """KL(q(z|x) || p(z)) of each row, or its estimate by the one draw of z."""
        if type(self.prior) is priors.Normal:  # A subclass may have another density.
            return normal_divergence(code.means, code.log_variances, self.prior.stddev)
        scaled = (code.latents - code.means) * tf.exp(-code.log_variances / 2)
        log_posterior = -0.5 * tf.reduce_sum(
            tf.square(scaled) + code.log_variances + math.log(2 * math.pi), axis=-1
        )
        return log_posterior - self.prior.log_prob(code.latents)


def normal_divergence(means, log_variances, stddev=1.0):
    """KL(N(m, diag v) || N(0, s²)) of each row in nats (appendix B, with s = 1).

    Args:
        means: float32 `[n, width]`, m.
        log_variances: float32 `[n, width]`, log v.
        stddev: s.

    Returns:
        float32 `[n]`.
    """
    variance = stddev**2
    return 0.5 * tf.reduce_sum(
        (tf.exp(log_variances) + tf.square(means)) / variance
        - 1.0
        - log_variances
        + math.log(variance),
        axis=-1,
    )


def bernoulli_loss(images, reconstructions):
    """Returns -log p(x|z) of each row in nats: the cross entropy of its pixels.

    Args:
        images: `[n, *image_shape]` in [-1, 1]; their pixels count as shares of ones.
        reconstructions: The same, the probabilities.

    Returns:
        float32 `[n]`.
    """
    pixels = (tf.cast(images, tf.float32) + 1.0) / 2.0
    ones = (tf.cast(reconstructions, tf.float32) + 1.0) / 2.0
    # tanh reaches ±1 in float32, where the logarithm would be infinite. Drawn in, not
    # cut off, a wrong pixel keeps a gradient for as long as tanh itself has one.
    ones = 1e-6 + (1.0 - 2e-6) * ones
    each = pixels * tf.math.log(ones) + (1.0 - pixels) * tf.math.log(1.0 - ones)
    return -tf.reduce_sum(each, axis=range(1, len(images.shape)))
