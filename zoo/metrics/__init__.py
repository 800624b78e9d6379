"""Numbers for how good samples are, each with its paper in its docstring.

The functions take features, probabilities, labels or images as arrays and know
nothing of the network these came from. `Measurement` joins such a number to the
network, the resize rule, the sample counts and the seed, without which it must
not be compared with another.
"""

from zoo.metrics.classes import (
    ClassBalance,
    class_balance,
    cluster_labels,
    clustering_error,
    code_matching_error,
    label_accuracy,
)
from zoo.metrics.classifier_score import classifier_score
from zoo.metrics.frechet import FrechetDistance, feature_gaussian, frechet_distance
from zoo.metrics.kernel import kernel_distance
from zoo.metrics.manifold import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
)
from zoo.metrics.measurement import Estimate, Measurement, table
from zoo.metrics.parzen import (
    FINE_SIGMAS,
    ParzenScore,
    parzen_log_likelihood,
    parzen_score,
    parzen_sigma,
)

__all__ = [
    "FINE_SIGMAS",
    "ClassBalance",
    "DensityCoverage",
    "Estimate",
    "FrechetDistance",
    "Measurement",
    "ParzenScore",
    "PrecisionRecall",
    "class_balance",
    "classifier_score",
    "cluster_labels",
    "clustering_error",
    "code_matching_error",
    "density_coverage",
    "feature_gaussian",
    "frechet_distance",
    "kernel_distance",
    "label_accuracy",
    "parzen_log_likelihood",
    "parzen_score",
    "parzen_sigma",
    "precision_recall",
    "table",
]
