"""Fidelity and diversity by nearest neighbours in feature space.

Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for
Assessing Generative Models", NeurIPS 2019, https://arxiv.org/abs/1904.06991.
Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for
Generative Models", ICML 2020, https://arxiv.org/abs/2002.09797.

Both surround each sample with a ball that reaches to its k-th nearest neighbour in its
own set, itself not counted.
"""

from typing import NamedTuple

import numpy as np

from zoo import checks
from zoo.metrics.arrays import as_feature_sets, squared_distances


class PrecisionRecall(NamedTuple):
    """Fidelity and diversity, both in [0, 1]."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Fidelity in [0, inf), 1 for equal distributions, and diversity in [0, 1]."""

    density: float
    coverage: float


def precision_recall(real, generated, neighbours=3):
    """Computes improved precision and recall, equations 1 and 2 of Kynkäänniemi et al.

    Precision is the share of generated samples inside a ball of some real sample,
    recall the share of real samples inside a ball of some generated one. The balls are
    closed, as in equation 1.

    Args:
        real: features, [n, dimension], n > neighbours.
        generated: features, [m, dimension], m > neighbours.
        neighbours: k, the paper's 3.

    Returns:
        `PrecisionRecall`.

    Raises:
        ValueError: if ranks or dimensions do not fit, a value is not finite, or a set
            is too small for k.
    """
    real, generated = as_feature_sets(real, generated)
    real_radii = _squared_radii("real", real, neighbours)
    generated_radii = _squared_radii("generated", generated, neighbours)
    realistic = np.zeros(len(generated), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    for part, distances in squared_distances(real, generated):
        realistic |= (distances <= real_radii[part, None]).any(axis=0)
        recalled[part] = (distances <= generated_radii).any(axis=1)
    return PrecisionRecall(float(realistic.mean()), float(recalled.mean()))


def density_coverage(real, generated, neighbours=5):
    """Computes density and coverage as Naeem et al. define them.

    For n real samples x_i with balls B_i and m generated samples y_j:

    density = 1 / (k m) sum_j sum_i 1[y_j in B_i]
    coverage = 1 / n sum_i 1[some y_j in B_i]

    Density is relative to the k balls in which a sample of the real distribution is
    expected. The balls are open, as in the authors' code, so that a set against itself
    has a density of 1; in another order, rounding puts some samples on the other side
    of an edge.

    Args:
        real: features, [n, dimension], n > neighbours.
        generated: features, [m, dimension].
        neighbours: k, the paper's 5.

    Returns:
        `DensityCoverage`.

    Raises:
        ValueError: if ranks or dimensions do not fit, a value is not finite, or the
            real set is too small for k.
    """
    real, generated = as_feature_sets(real, generated)
    radii = _squared_radii("real", real, neighbours)
    inside_count = 0
    covered = np.zeros(len(real), dtype=bool)
    for part, distances in squared_distances(real, generated):
        inside = distances < radii[part, None]
        inside_count += np.count_nonzero(inside)
        covered[part] = inside.any(axis=1)
    density = inside_count / (neighbours * len(generated))
    return DensityCoverage(float(density), float(covered.mean()))


def _squared_radii(name, features, neighbours):
    """Returns each sample's squared distance to its k-th neighbour, [samples]."""
    neighbours = checks.count("neighbours", neighbours)
    if neighbours >= len(features):
        raise ValueError(
            f"`neighbours` must be from 1 to {len(features) - 1} for the "
            f"{len(features)} samples of `{name}`. Received: {neighbours}"
        )
    radii = np.empty(len(features))
    for part, distances in squared_distances(features, features):
        # By position, not by value: the rounded distance to itself may not be 0, and
        # a duplicate is a neighbour.
        rows = np.arange(part.start, part.stop)
        distances[rows - part.start, rows] = np.inf
        distances.partition(neighbours - 1, axis=1)
        radii[part] = distances[:, neighbours - 1]
    return radii
