"""Two replicas, of one process or of two, train as one does."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from train_variants import assert_trained_alike, train
from variants import CASES
from workers import run_workers

import zoo

every_variant = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def by_one_replica():
    """Trains a case on one replica, once, and eagerly: that takes half as long."""
    trainings = {}

    def of(case):
        if case.name not in trainings:
            one = zoo.strategy("none")
            trainings[case.name] = train(case, one, run_eagerly=True)
        return trainings[case.name]

    return of


#: Trained by two processes, too, which takes longer: what the variants have in common
#: is theirs there as well.
WITH_WORKERS = ("gan", "classifier", "dtn", "infogan", "semi_supervised_gan", "aae")


@pytest.fixture(scope="module")
def by_two_workers(tmp_path_factory):
    """Folder of what two processes came to."""
    folder = tmp_path_factory.mktemp("workers")
    run_workers("tests/support/train_variants.py", str(folder), *WITH_WORKERS)
    return folder


@every_variant
def test_two_replicas_train_as_one(case, by_one_replica):
    """Fact: Keras sums gradients over replicas; SGD shows it and Adam would not."""
    two = train(case, zoo.strategy("mirrored", 2))
    assert_trained_alike(by_one_replica(case), two)


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_two_workers_train_as_one_process(name, by_one_replica, by_two_workers):
    (case,) = (case for case in CASES if case.name == name)
    two = np.load(by_two_workers / f"{name}.npz")
    assert_trained_alike(by_one_replica(case), two)


@pytest.mark.filterwarnings("ignore:float16 is for GPUs")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_replica_updates_where_one_of_them_overflows(dtype):
    """Keras asks the first replica alone whether its gradients are finite."""
    strategy = zoo.strategy("mirrored", 2)
    units = {"generator_units": (1,), "discriminator_units": (1,)}
    with strategy.scope():
        gan = zoo.GAN((1,), 1, **units, seed=0, dtype=dtype)
        gan.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), 8.0))
    weights = gan.generator.trainable_variables
    before = [weight.numpy() for weight in weights]

    def update():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        size = tf.where(tf.equal(replica, 1), math.inf, 1.0)
        with gan.minimizing("generator") as losses:
            sums = [tf.cast(tf.reduce_sum(weight), tf.float32) for weight in weights]
            losses["generator"] = size * sum(sums)

    # As `fit` does: eagerly TensorFlow is less strict about dtypes.
    tf.function(lambda: strategy.run(update), autograph=False)()
    for was, weight in zip(before, weights, strict=True):
        for on_replica in strategy.experimental_local_results(weight.value):
            np.testing.assert_array_equal(on_replica, was)
    assert gan.generator_optimizer.dynamic_scale.numpy() == 4.0
