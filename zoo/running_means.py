"""Means of what steps report, over an epoch."""

import keras
import tensorflow as tf


class RunningMeans:
    """Means over an epoch, kept out of Keras's sight so that no file saves them."""

    def __init__(self, names):
        self.metrics = [keras.metrics.Mean(name) for name in names]

    def update(self, values, weight, weights):
        """Adds a batch.

        Args:
            values: Dict with a scalar for every name.
            weight: What the batch weighs, such as its rows.
            weights: Dict from the names that weigh otherwise to their weights.

        Raises:
            ValueError: If the names are not those that were announced.
        """
        if set(values) != {metric.name for metric in self.metrics}:
            raise ValueError(
                f"Expected logs {[metric.name for metric in self.metrics]}. "
                f"Received: {sorted(values)}"
            )
        for metric in self.metrics:
            own = weights.get(metric.name, weight)
            metric.update_state(
                zero_without_rows(values[metric.name], own), sample_weight=own
            )


def zero_without_rows(value, weight):
    """Returns a mean, or 0 in place of that over no rows, which is no number."""
    return tf.where(tf.equal(weight, 0), 0.0, value)
