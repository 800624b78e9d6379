"""Two replicas, of one process or of two, train every variant as one does."""

import numpy as np
import pytest
from train_every_variant import assert_trained_alike, train
from variants import CASES
from workers import run_workers

import zoo

every_variant = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def by_one_replica():
    """Trains a case on one replica, once."""
    trainings = {}

    def of(case):
        if case.name not in trainings:
            trainings[case.name] = train(case, zoo.strategy("none"))
        return trainings[case.name]

    return of


@pytest.fixture(scope="module")
def by_two_workers(tmp_path_factory):
    """Folder of what two processes came to."""
    folder = tmp_path_factory.mktemp("workers")
    run_workers("tests/support/train_every_variant.py", str(folder))
    return folder


@every_variant
def test_two_replicas_train_as_one(case, by_one_replica):
    """Fact: Keras sums gradients over replicas; SGD shows it and Adam would not."""
    two = train(case, zoo.strategy("mirrored", 2))
    assert_trained_alike(by_one_replica(case), two)


@every_variant
def test_two_workers_train_as_one_process(case, by_one_replica, by_two_workers):
    two = np.load(by_two_workers / f"{case.name}.npz")
    assert_trained_alike(by_one_replica(case), two)
