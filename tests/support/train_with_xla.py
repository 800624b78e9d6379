"""Trains small models with XLA and without, in a process that allows it.

`python tests/support/train_with_xla.py CASE ...` prints the logs of fit and of evaluate
by case, as JSON. The tests' own process asks for deterministic operations, with which
Keras trains without XLA.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from variants import CASES

from zoo import metrics

STEPS = 2


class Halves:
    """Features: the means of the upper and of the lower half."""

    def features_of(self, images):
        return tf.reduce_mean(tf.reshape(images, [-1, 2, 28 * 28 // 2]), axis=2)


def trained(case, jit_compile):
    """Returns the logs of a short training, and of an evaluation after it."""
    model = case.build()
    arguments = dict(case.compile)
    if case.name == "gan":
        arguments["metrics"] = [metrics.FrechetDistance(2, Halves(), name="halves")]
    model.compile(**arguments, jit_compile=jit_compile)
    assert model.jit_compile is jit_compile
    data = case.load_data()
    history = model.fit(data, steps_per_epoch=STEPS, verbose=0).history
    logs = {f"fit/{name}": value for name, (value,) in history.items()}
    return logs | model.evaluate(data, steps=STEPS, verbose=0, return_dict=True)


def main(*names):
    logs = {
        case.name: [trained(case, jit_compile) for jit_compile in (False, True)]
        for case in CASES
        if case.name in names
    }
    print(json.dumps(logs))


if __name__ == "__main__":
    main(*sys.argv[1:])
