"""Log-likelihood under a Parzen window, with the protocol of the first GAN paper.

Goodfellow et al., "Generative Adversarial Networks", NeurIPS 2014,
https://arxiv.org/abs/1406.2661, section 5: a Gaussian Parzen window is fitted to
generated samples, its width sigma is chosen on validation images, and the test images'
mean log-likelihood is reported. It rewards blur (Theis et al., ICLR 2016,
https://arxiv.org/abs/1511.01844): print a Fréchet distance beside it.
"""

import warnings
from typing import NamedTuple

import numpy as np

from zoo.metrics.arrays import as_finite, squared_distances

# The grid of the authors' code, which scores it on 1,000 validation images.
SIGMAS = np.logspace(-1, 0, 10)
# The same range in steps ten times as small. A step of the authors' is a factor of 1.3,
# and with 784 pixels a width that is wrong by half of that costs up to 13 nats.
FINE_SIGMAS = np.logspace(-1, 0, 91)


class ParzenScore(NamedTuple):
    """The mean log-likelihood of the test images and its standard error, in nats.

    Attributes:
        value: mean over the test images.
        standard_error: standard deviation over the test images over the root of their
            number.
        sigma: width of the window, chosen on the validation images.
    """

    value: float
    standard_error: float
    sigma: float


def parzen_score(samples, validation, test, sigmas=SIGMAS):
    """Scores samples by the paper's protocol: sigma on validation, value on test.

    Images are in [0, 1]; a density over pixels scaled otherwise is another number. The
    papers take 10,000 samples of MNIST and the 10,000 test images.

    Args:
        samples: generated images, [n, ...], in [0, 1].
        validation: real images that are not test images, [v, ...], in [0, 1].
        test: real images, [t, ...], in [0, 1].
        sigmas: candidate widths, [candidates].

    Returns:
        `ParzenScore`, in nats an image.

    Raises:
        ValueError: if images are out of range, not finite or of different sizes, or a
            width is not positive.
    """
    sigma = parzen_sigma(samples, validation, sigmas)
    likelihoods = parzen_log_likelihood(samples, test, sigma)
    standard_error = likelihoods.std() / np.sqrt(len(likelihoods))
    return ParzenScore(float(likelihoods.mean()), float(standard_error), sigma)


def parzen_sigma(samples, validation, sigmas=SIGMAS):
    """Returns the width under which validation images have the highest likelihood.

    Warns where that is the least or the largest: one beyond might be better.

    Args:
        samples: generated images, [n, ...], in [0, 1].
        validation: real images, [v, ...], in [0, 1].
        sigmas: candidate widths, [candidates].

    Returns:
        One of `sigmas`, a float.

    Raises:
        ValueError: as `parzen_score`.
    """
    likelihoods = _log_likelihoods(samples, validation, sigmas).mean(axis=1)
    sigma = float(sigmas[np.argmax(likelihoods)])
    ends = min(sigmas), max(sigmas)
    if sigma in ends:
        warnings.warn(
            f"The width of Parzen windows, {sigma:g}, is at an end of those tried, "
            "{:g} to {:g}: one beyond might be better.".format(*ends),
            stacklevel=2,
        )
    return sigma


def parzen_log_likelihood(samples, images, sigma):
    """Computes log p(x) = log mean_i N(x; samples_i, sigma^2 I) for each image.

    Args:
        samples: generated images, [n, ...], in [0, 1].
        images: images to score, [t, ...], in [0, 1].
        sigma: width of the window, positive.

    Returns:
        Log-likelihoods in nats, float64 [t].

    Raises:
        ValueError: as `parzen_score`.
    """
    return _log_likelihoods(samples, images, [sigma])[0]


def _log_likelihoods(samples, images, sigmas):
    """Returns the log-likelihoods for several widths, [widths, images].

    The distances, most of the work, do not depend on the width.
    """
    samples = _as_pixels("samples", samples)
    images = _as_pixels("images", images)
    if samples.shape[1] != images.shape[1]:
        raise ValueError(
            "`samples` and the real images must have equally many pixels. "
            f"Received: {samples.shape[1]} and {images.shape[1]}"
        )
    sigmas = as_finite("sigmas", sigmas, rank=1)
    if sigmas.min() <= 0:
        raise ValueError(f"`sigmas` must be positive. Received: {sigmas.min():g}")
    count, pixels = samples.shape
    log_normalizers = np.log(count) + pixels / 2 * np.log(2 * np.pi * sigmas**2)
    likelihoods = np.empty((len(sigmas), len(images)))
    for part, distances in squared_distances(images, samples):
        # Log-sum-exp: the nearest sample's term, the largest, is taken out of the sum.
        nearest = distances.min(axis=1)
        distances -= nearest[:, None]
        for row, sigma in enumerate(sigmas):
            terms = distances * (-0.5 / sigma**2)
            np.exp(terms, out=terms)
            likelihoods[row, part] = np.log(terms.sum(axis=1))
            likelihoods[row, part] -= nearest / (2 * sigma**2)
    return likelihoods - log_normalizers[:, None]


def _as_pixels(name, images):
    images = np.asarray(images)
    if images.ndim < 2 or images.size == 0:
        raise ValueError(
            f"`{name}` must be a non-empty array of images, [count, ...]. "
            f"Received: shape {images.shape}"
        )
    pixels = as_finite(name, images.reshape(len(images), -1), rank=2)
    if pixels.min() < 0 or pixels.max() > 1:
        raise ValueError(
            f"`{name}` must be images in [0, 1]. "
            f"Received: values in [{pixels.min():g}, {pixels.max():g}]"
        )
    return pixels
