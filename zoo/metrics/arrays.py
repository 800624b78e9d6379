"""Checked inputs and chunked distances: what the metrics share."""

import numpy as np

# A block of distances takes at most this much memory, whatever the set sizes.
BLOCK_BYTES = 64 * 2**20

# Softmax rows in float32 sum to 1 within 1e-6, those stored as float16 within 1e-3.
PROBABILITY_TOLERANCE = 2e-3


def as_finite(name, array, rank):
    """Returns `array` as float64, checked for its rank, for NaN and for infinity."""
    array = np.asarray(array, dtype="float64")
    if array.ndim != rank or array.size == 0:
        raise ValueError(
            f"`{name}` must be a non-empty array of rank {rank}. "
            f"Received: shape {array.shape}"
        )
    if not np.isfinite(array).all():
        bad = np.count_nonzero(~np.isfinite(array))
        raise ValueError(
            f"`{name}` must be finite. "
            f"Received: {bad} values of {array.size} that are NaN or infinite"
        )
    return array


def as_features(name, array):
    """Returns features, [samples, dimension], as finite float64."""
    return as_finite(name, array, rank=2)


def as_feature_sets(real, generated):
    """Returns both sets of features, checked to be of one dimension."""
    real = as_features("real", real)
    generated = as_features("generated", generated)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            "`real` and `generated` must be features of one network, of the same "
            f"dimension. Received: shapes {real.shape} and {generated.shape}"
        )
    return real, generated


def as_probabilities(array):
    """Returns probabilities, [samples, classes], as float64."""
    array = as_finite("probabilities", array, rank=2)
    sums = array.sum(axis=1)
    if array.min() < 0 or np.abs(sums - 1).max() > PROBABILITY_TOLERANCE:
        raise ValueError(
            "`probabilities` must be non-negative with rows that sum to 1 (are these "
            f"logits?). Received: values in [{array.min():g}, {array.max():g}], "
            f"row sums in [{sums.min():g}, {sums.max():g}]"
        )
    return array


def as_labels(array, count):
    """Returns `count` integer labels, [samples], none of them negative."""
    array = np.asarray(array)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"`labels` must be integers of shape {(count,)}, one for each row of "
            f"probabilities. Received: {array.dtype} of shape {array.shape}"
        )
    if array.min() < 0:
        raise ValueError(
            "`labels` must not be negative: leave out what is unlabelled. "
            f"Received: {array.min()}"
        )
    return array


def squared_distances(rows, columns):
    """Yields blocks of the squared Euclidean distances between two sets.

    |x - y|^2 = |x|^2 - 2 x.y + |y|^2 leaves the work to one matrix product. The sum
    cancels for close pairs, hence float64, and its rounding can fall below zero,
    where it is cut.

    Args:
        rows: float64 array, [n, dimension].
        columns: float64 array, [m, dimension].

    Yields:
        Pairs of the slice of rows covered and their distances, [rows in slice, m].
        The distances are the caller's to overwrite.
    """
    column_norms = np.einsum("ij,ij->i", columns, columns)
    height = max(1, BLOCK_BYTES // column_norms.nbytes)
    for start in range(0, len(rows), height):
        part = slice(start, min(start + height, len(rows)))
        block = rows[part] @ columns.T
        block *= -2
        block += np.einsum("ij,ij->i", rows[part], rows[part])[:, None]
        block += column_norms
        yield part, np.maximum(block, 0, out=block)
