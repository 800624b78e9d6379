"""Classifier score, called Inception score where Inception is the classifier.

Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016,
https://arxiv.org/abs/1606.03498, section 4.
"""

import itertools

import numpy as np
from scipy.special import rel_entr

from zoo import checks
from zoo.metrics.arrays import as_probabilities
from zoo.metrics.measurement import Estimate


def classifier_score(probabilities, splits=10):
    """Computes exp(E_x KL(p(y|x) || p(y))) over generated samples.

    The samples are split in their order into parts of (nearly) equal size, each with
    its own marginal p(y): samples sorted by class must be shuffled first.

    Args:
        probabilities: p(y|x) of generated samples, [samples, classes].
        splits: number of parts, from 1 to the number of samples; the paper's 10.

    Returns:
        `Estimate`: mean and standard deviation over the parts, a number without unit
        from 1 (every sample alike to the classifier) to the number of classes (each
        sample certain, all classes equally many).

    Raises:
        ValueError: if the array is not probabilities, or too small for the splits.
    """
    probabilities = as_probabilities(probabilities)
    count = len(probabilities)
    splits = checks.count("splits", splits)
    if splits > count:
        raise ValueError(
            f"`splits` must be from 1 to the number of samples, {count}. "
            f"Received: {splits}"
        )
    bounds = np.arange(splits + 1) * count // splits
    scores = [
        _score(probabilities[start:stop]) for start, stop in itertools.pairwise(bounds)
    ]
    return Estimate(float(np.mean(scores)), float(np.std(scores)))


def _score(conditional):
    marginal = conditional.mean(axis=0)
    return np.exp(rel_entr(conditional, marginal).sum(axis=1).mean())
