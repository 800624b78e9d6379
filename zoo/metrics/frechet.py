"""Fréchet distance between Gaussians fitted to features.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", NeurIPS 2017, https://arxiv.org/abs/1706.08500, equation 6; the closed
form is from Dowson & Landau, Journal of Multivariate Analysis 12 (1982).
"""

import keras
import numpy as np
from keras import ops

from zoo.metrics.arrays import as_features, as_finite


def feature_gaussian(features):
    """Fits a Gaussian to features.

    Args:
        features: array, [samples, dimension], at least 2 samples.

    Returns:
        Mean, [dimension], and unbiased covariance, [dimension, dimension], float64.

    Raises:
        ValueError: if `features` has another rank, fewer than 2 samples, or NaN.
    """
    features = as_features("features", features)
    if len(features) < 2:
        raise ValueError(
            "`features` must hold at least 2 samples for a covariance. "
            f"Received: {len(features)}"
        )
    mean = features.mean(axis=0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(mean1, cov1, mean2, cov2):
    """Computes the squared Fréchet distance between two Gaussians, the "FID".

    d^2 = |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), equation 6 of Heusel et al.

    The distance falls with the number of samples behind each Gaussian, so it compares
    only with others from as many. With fewer samples than dimensions the covariances
    are singular, which is no obstacle here (see `_covariance_factor`).

    Args:
        mean1: array, [dimension].
        cov1: array, [dimension, dimension], symmetric, positive semi-definite.
        mean2: array, [dimension].
        cov2: array, [dimension, dimension], symmetric, positive semi-definite.

    Returns:
        The squared distance, a float in [0, inf), in squared units of the features.

    Raises:
        ValueError: if shapes differ or are no Gaussian's, a covariance is not
            symmetric, or a value is not finite.
    """
    mean1, cov1 = _as_gaussian("1", mean1, cov1)
    mean2, cov2 = _as_gaussian("2", mean2, cov2)
    if mean1.shape != mean2.shape:
        raise ValueError(
            "Both Gaussians must have the same dimension. "
            f"Received: {len(mean1)} and {len(mean2)}"
        )
    return float(_frechet_distance(mean1, cov1, mean2, cov2, np))


def _as_gaussian(suffix, mean, cov):
    mean = as_finite(f"mean{suffix}", mean, rank=1)
    cov = as_finite(f"cov{suffix}", cov, rank=2)
    if cov.shape != 2 * mean.shape:
        raise ValueError(
            f"`cov{suffix}` must be square with the dimension of `mean{suffix}`, "
            f"{2 * mean.shape}. Received: shape {cov.shape}"
        )
    asymmetry = np.abs(cov - cov.T).max()
    if asymmetry > 1e-6 * np.abs(cov).max():
        raise ValueError(
            f"`cov{suffix}` must be symmetric. "
            f"Received: entries that differ from their mirror by {asymmetry:g}"
        )
    return mean, cov


def _frechet_distance(mean1, cov1, mean2, cov2, ops):
    """Computes it by `numpy`, whose LAPACK is quicker, or by `keras.ops` in graphs."""
    # For C1 = F1 F1' and C2 = F2 F2' the eigenvalues of C1 C2, other than 0, are the
    # squared singular values of F1' F2. So the trace of the root of C1 C2, which is not
    # symmetric, is the sum of those singular values: real, never negative, and there
    # without squaring small numbers into the rounding, as `scipy.linalg.sqrtm(C1 @ C2)`
    # does; that one turns complex or NaN on singular covariances.
    factor1, factor2 = (_covariance_factor(cov, ops) for cov in (cov1, cov2))
    cross = ops.matmul(ops.transpose(factor1), factor2)
    root_trace = ops.sum(ops.linalg.svd(cross, compute_uv=False))
    distance = (
        ops.sum(ops.square(mean1 - mean2))
        + ops.trace(cov1)
        + ops.trace(cov2)
        - 2 * root_trace
    )
    return ops.maximum(distance, 0)


def _covariance_factor(cov, ops):
    """Returns F with F F' = `cov`, from its symmetric eigen-decomposition.

    Eigenvalues within the rounding of 0 are 0 here: a root would lift a rounding of
    1e-16 to 1e-8, once for each dimension the samples do not span.
    """
    values, vectors = ops.linalg.eigh(cov)
    rounding = cov.shape[0] * np.finfo("float64").eps * ops.max(values)
    return vectors * ops.sqrt(ops.where(values > rounding, values, 0))


@keras.saving.register_keras_serializable(package="zoo")
class FrechetDistance(keras.metrics.Metric):
    """Streaming squared Fréchet distance between real and generated samples.

    Counts, sums and sums of outer products are kept in float64; they add up over
    batches and over replicas, and give what `frechet_distance` gives on all the
    features at once, as long as means are not some 1e4 times deviations or more, where
    sums of squares cancel. `result()` decomposes two [dimension, dimension] matrices,
    and `evaluate` asks for it after each batch: for thousands of dimensions, update in
    a loop and ask once.

    Args:
        dimension: number of features of one sample.
        network: a `zoo.Classifier`, or whatever has a `features_of` that maps a tensor
            of images in [-1, 1] to [batch, dimension]; it takes them at their size.
            Without one, `update_state` takes features. The network is not saved with
            the metric: compile a model that was loaded again, with its own optimizers
            (`compile(generator_optimizer=gan.generator_optimizer, ...)`), if it is to
            train on, and a new metric.
        name: name in the logs; None for `frechet_distance` of features. With a network
            it must be given and tell which one: distances through different networks
            do not compare.

    Raises:
        ValueError: if there is a network and no name.

    Example:
        >>> import numpy as np
        >>> metric = FrechetDistance(dimension=2)
        >>> metric.update_state(np.eye(2), np.eye(2) + [3.0, 4.0])
        >>> float(metric.result())
        25.0

        In `evaluate`, on images of the classifier's own size::

            classifier = zoo.from_preset("classifier_mnist")
            width = classifier.features.output_shape[-1]
            distance = zoo.metrics.FrechetDistance(
                width, classifier, name="frechet_distance_classifier_mnist"
            )
            gan.compile(metrics=[distance])
            gan.evaluate(zoo.load_data("mnist", split="test"))
    """

    def __init__(self, dimension, network=None, name=None):
        if network is not None and name is None:
            raise ValueError(
                "A distance through a network needs a `name` that tells which one, "
                "such as 'frechet_distance_classifier_mnist': those through different "
                "networks do not compare."
            )
        super().__init__(name=name or "frechet_distance", dtype="float64")
        self.dimension = dimension
        self.network = network
        self._real = self._add_moments("real")
        self._generated = self._add_moments("generated")

    def _add_moments(self, name):
        shapes = {
            "count": (),
            "sum": (self.dimension,),
            "outer_sum": (self.dimension, self.dimension),
        }
        return [
            self.add_variable(shape, "zeros", dtype="float64", name=f"{name}_{moment}")
            for moment, shape in shapes.items()
        ]

    def update_state(self, real, generated, sample_weight=None):
        """Adds a batch of each; the two may differ in size.

        Args:
            real: features, [batch, dimension], or with a network its images.
            generated: the same of generated samples.
            sample_weight: there because Keras always passes it; must be None.

        Raises:
            ValueError: if the features are not [batch, dimension], or are weighted.
        """
        if sample_weight is not None:
            raise ValueError(
                "A Fréchet distance takes no `sample_weight`: list it in `metrics`, "
                "not in `weighted_metrics`."
            )
        self._accumulate(self._real, "real", real)
        self._accumulate(self._generated, "generated", generated)

    def _accumulate(self, moments, name, samples):
        features = (
            samples if self.network is None else self.network.features_of(samples)
        )
        features = ops.cast(features, "float64")
        if len(features.shape) != 2 or features.shape[1] != self.dimension:
            raise ValueError(
                f"`{name}` must be features of shape (batch, {self.dimension}); images "
                "need `network`, which files don't hold: compile a loaded model with a "
                f"new metric. Received: shape {tuple(features.shape)}"
            )
        count, total, outer_total = moments
        count.assign_add(ops.cast(ops.shape(features)[0], "float64"))
        total.assign_add(ops.sum(features, axis=0))
        outer_total.assign_add(ops.matmul(ops.transpose(features), features))

    def result(self):
        """Returns the distance so far, a float64 scalar.

        It is NaN before each side has 2 samples, and after a feature was not finite.
        """
        gaussians = [*_moments_gaussian(*self._real)]
        gaussians += _moments_gaussian(*self._generated)
        sound = ops.all(ops.stack([ops.all(ops.isfinite(x)) for x in gaussians]))
        # The decomposition of a NaN would raise, and take `evaluate` down with it.
        gaussians = [ops.where(sound, x, 0) for x in gaussians]
        return ops.where(sound, _frechet_distance(*gaussians, ops), np.nan)

    def get_config(self):
        """Returns the constructor's arguments, without the network."""
        return {"dimension": self.dimension, "name": self.name}


def _moments_gaussian(count, total, outer_total):
    mean = total / count
    cov = (outer_total - count * ops.outer(mean, mean)) / (count - 1)
    return mean, cov
