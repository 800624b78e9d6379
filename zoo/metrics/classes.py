"""Errors and shares of classes, from predicted probabilities and labels.

Shares and errors are fractions in [0, 1], not percent.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from zoo.metrics.arrays import as_labels, as_probabilities


class ClassBalance(NamedTuple):
    """How samples spread over the classes.

    Attributes:
        shares: each class's share of the samples, [classes], summing to 1.
        smallest: the smallest share, 0 if a class is missing.
        largest: the largest share.
    """

    shares: np.ndarray
    smallest: float
    largest: float


def class_balance(probabilities):
    """Counts how samples spread over the classes a classifier gives them.

    Args:
        probabilities: of generated samples, [samples, classes].

    Returns:
        `ClassBalance`.

    Raises:
        ValueError: if the array is not probabilities.
    """
    probabilities = as_probabilities(probabilities)
    count, classes = probabilities.shape
    shares = np.bincount(probabilities.argmax(axis=1), minlength=classes) / count
    return ClassBalance(shares, float(shares.min()), float(shares.max()))


def label_accuracy(probabilities, labels):
    """Computes the share of images whose most probable class is their label.

    Of conditional samples, whose labels are those asked for, it says how many show the
    class that they should; of test images, how good the classifier is.

    Args:
        probabilities: by a classifier, [images, classes].
        labels: integers in 0 ... classes - 1, [images].

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: if shapes do not fit, or a label is out of range.
    """
    probabilities = as_probabilities(probabilities)
    count, classes = probabilities.shape
    labels = as_labels(labels, count)
    if labels.max() >= classes:
        raise ValueError(
            f"The probabilities are those of {classes} classes: `labels` must be in "
            f"0 ... {classes - 1}. Received: {labels.max()}"
        )
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def cluster_labels(probabilities, labels):
    """Labels each cluster as its most confident validation example.

    Makhzani et al., "Adversarial Autoencoders", 2016, https://arxiv.org/abs/1511.05644,
    section 6: for cluster i, the validation example x_n that maximizes q(y_i | x_n)
    gives its label to the cluster.

    Args:
        probabilities: q(y | x) of validation examples, [examples, clusters].
        labels: their true labels, [examples].

    Returns:
        One label for each cluster, [clusters]; several may share one.

    Raises:
        ValueError: if shapes do not fit or a label is negative.
    """
    probabilities = as_probabilities(probabilities)
    labels = as_labels(labels, len(probabilities))
    return labels[probabilities.argmax(axis=0)]


def clustering_error(probabilities, labels, labels_of_clusters):
    """Computes the share of test examples whose cluster has another label.

    The test error of Makhzani et al. 2016, section 6.

    Args:
        probabilities: q(y | x) of test examples, [examples, clusters].
        labels: their true labels, [examples].
        labels_of_clusters: from `cluster_labels`, on other examples, [clusters].

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: if shapes do not fit or a label is negative.
    """
    probabilities = as_probabilities(probabilities)
    count, clusters = probabilities.shape
    labels = as_labels(labels, count)
    labels_of_clusters = np.asarray(labels_of_clusters)
    if labels_of_clusters.shape != (clusters,):
        raise ValueError(
            f"`labels_of_clusters` must have shape {(clusters,)}, a label for each "
            f"column of probabilities. Received: shape {labels_of_clusters.shape}"
        )
    assigned = labels_of_clusters[probabilities.argmax(axis=1)]
    return float(np.mean(assigned != labels))


def code_matching_error(probabilities, labels):
    """Computes the error of a categorical code read as a classifier.

    Chen et al., "InfoGAN", NeurIPS 2016, https://arxiv.org/abs/1606.03657, section 7.2:
    each category is matched to one class, here by the one-to-one matching with the
    fewest errors (Hungarian algorithm). Where there are more of one kind than of the
    other, the images of those left over are errors.

    Args:
        probabilities: of the code's categories given real images, [images, categories].
        labels: their true labels, [images].

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: if shapes do not fit or a label is negative.
    """
    probabilities = as_probabilities(probabilities)
    count, categories = probabilities.shape
    labels = as_labels(labels, count)
    pairs = np.zeros((categories, int(labels.max()) + 1), dtype=int)
    np.add.at(pairs, (probabilities.argmax(axis=1), labels), 1)
    matched = pairs[linear_sum_assignment(pairs, maximize=True)].sum()
    return float(1 - matched / count)
