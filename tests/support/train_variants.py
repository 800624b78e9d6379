"""Trains variants for some steps of SGD, as one of several workers.

`python tests/support/train_variants.py FOLDER CASE ...` writes the weights and the logs
of each case into `FOLDER/<case>.npz`; the first worker does.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from variants import CASES

import zoo

# Sums in another order differ in their last bits, until a rectifier's input rounds
# to the other side of 0, where the gradient jumps: then weights differ by 1e-4. What
# goes wrong between replicas shows at once.
STEPS = 2


def train(case, strategy, run_eagerly=False):
    """Returns weights and logs after some steps, by name."""
    with strategy.scope():
        model = case.build()
        optimizers = {
            f"{player}_optimizer": keras.optimizers.SGD(0.01)
            for player in model.players()
        }
        model.compile(**case.compile, **optimizers, run_eagerly=run_eagerly)
    logs = model.fit(case.load_data(), steps_per_epoch=STEPS, verbose=0).history
    weights = {
        f"{name}/{number}": weight
        for name, network in model.networks().items()
        for number, weight in enumerate(network.get_weights())
    }
    return weights | {f"logs/{name}": np.ravel(value) for name, value in logs.items()}


def assert_trained_alike(one, two):
    """Compares what `train` gave of one replica and of several."""
    assert two.keys() == one.keys()
    for name, expected in one.items():
        # Logs are sums over many rows, in another order.
        atol = 1e-4 if name.startswith("logs/") else 1e-5
        np.testing.assert_allclose(two[name], expected, rtol=0, atol=atol, err_msg=name)


def main(folder, *names):
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    strategy = zoo.strategy("multi_worker_mirrored")
    for case in (case for case in CASES if case.name in names):
        trained = train(case, strategy)
        if zoo.distribution.is_chief(strategy):
            np.savez(pathlib.Path(folder) / f"{case.name}.npz", **trained)


if __name__ == "__main__":
    main(*sys.argv[1:])
