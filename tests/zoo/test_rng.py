"""Seeds decide: known vectors, distributions, and no dependence on anything else."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from zoo import rng


def test_bits_are_those_of_splitmix64():
    # The vector by which implementations of SplitMix64 are checked, for seed 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert rng.random_bits([1234567], 5).numpy().tolist() == [expected]


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63)])
def test_every_int64_is_a_seed(seed):
    row = rng.normal(tf.constant([seed], tf.int64), 1000).numpy()[0]
    assert stats.kstest(row, "norm").pvalue > 0.001


def test_consecutive_seeds_are_unrelated():
    rows = rng.normal(tf.range(20000), 4).numpy()
    correlations = np.corrcoef(np.hstack([rows[:-1], rows[1:]]).T) - np.eye(8)
    assert np.abs(correlations).max() < 5 / np.sqrt(len(rows))
    assert stats.kstest(rows[:, 0], "norm").pvalue > 0.001


def test_uniform_stays_inside_its_range():
    rows = rng.uniform(tf.range(2000), 50, -1.0, 1.0).numpy()
    assert rows.min() > -1
    assert rows.max() < 1
    assert stats.kstest(rows[:, 7], "uniform", args=(-1, 2)).pvalue > 0.001


def test_uniform_never_reaches_its_ends():
    # The first of these seeds' rows begin with 24 ones; float32 rounds that to 1.
    rows = rng.uniform([3747935, 30631272], 1).numpy()
    assert (rows == np.float32(1 - 2**-24)).all()
    assert (rng.uniform([3747935, 30631272], 1, -1.0, 1.0).numpy() < 1).all()


def test_integers_are_even():
    counts = np.bincount(rng.integers(tf.range(30000), 1, 10).numpy()[:, 0])
    assert len(counts) == 10
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_row_does_not_depend_on_its_batch():
    together = rng.normal(tf.range(10), 8).numpy()
    alone = rng.normal([7], 8).numpy()[0]
    assert (together[7] == alone).all()


def test_xla_draws_the_same():
    seeds = tf.range(16, dtype=tf.int64)
    compiled = tf.function(lambda s: rng.normal(s, 10), jit_compile=True)(seeds)
    np.testing.assert_allclose(compiled, rng.normal(seeds, 10), atol=2e-6)
    compiled = tf.function(lambda s: rng.random_bits(s, 10), jit_compile=True)(seeds)
    assert (compiled.numpy() == rng.random_bits(seeds, 10).numpy()).all()


def test_folding_in_gives_new_seeds():
    seeds = rng.fold_in(0, tf.range(1000)).numpy()
    others = rng.fold_in(1, tf.range(1000)).numpy()
    assert len({*seeds, *others}) == 2000
