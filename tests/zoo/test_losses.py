"""Losses and penalties against numbers worked out from the formulas with numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import losses

REAL = np.array([2.0, -1.0, 0.5], np.float32)
FAKE = np.array([-0.5, 1.5, -3.0], np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


DISCRIMINATOR_CROSS_ENTROPY = (
    -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean()
)

GOLDEN = {
    "minimax": (DISCRIMINATOR_CROSS_ENTROPY, np.log(1 - sigmoid(FAKE)).mean()),
    "non_saturating": (DISCRIMINATOR_CROSS_ENTROPY, -np.log(sigmoid(FAKE)).mean()),
    # ½ mean(1, 4, ¼) + ½ mean(¼, 9/4, 9) and ½ mean(9/4, ¼, 16)
    "least_squares": (0.5 * 5.25 / 3 + 0.5 * 11.5 / 3, 0.5 * 18.5 / 3),
    # mean(0, 2, ½) + mean(½, 5/2, 0) and -mean(-½, 3/2, -3)
    "hinge": (2.5 / 3 + 3.0 / 3, 2.0 / 3),
    "wasserstein": (-2.0 / 3 - 1.5 / 3, 2.0 / 3),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    loss = losses.get(name)
    discriminator, generator = GOLDEN[name]
    assert float(loss.discriminator(REAL, FAKE)) == pytest.approx(discriminator, 1e-6)
    assert float(loss.generator(FAKE)) == pytest.approx(generator, 1e-6)


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_smoothing_is_one_sided(name):
    real = -(0.9 * np.log(sigmoid(REAL)) + 0.1 * np.log(1 - sigmoid(REAL))).mean()
    fake = -np.log(1 - sigmoid(FAKE)).mean()
    smoothed = losses.get(name).discriminator(REAL, FAKE, label_smoothing=0.1)
    assert float(smoothed) == pytest.approx(real + fake, rel=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_some_real_rows_may_be_left_out(name):
    loss = losses.get(name)
    some = loss.discriminator(
        REAL, FAKE, mean_real=lambda terms: tf.reduce_mean(terms[1:])
    )
    assert float(some) == pytest.approx(float(loss.discriminator(REAL[1:], FAKE)), 1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_no_overflow(name):
    huge = np.array([-1e4, 1e4], np.float32)
    loss = losses.get(name)
    assert np.isfinite(loss.discriminator(huge, huge))
    assert np.isfinite(loss.generator(huge))


def test_generator_gradient_of_minimax_vanishes_and_of_non_saturating_does_not():
    # Section 3 of the paper: early in learning D rejects samples with confidence.
    for name, expected in (
        ("minimax", -sigmoid(-10)),
        ("non_saturating", -sigmoid(10)),
    ):
        logits = tf.constant([-10.0])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = losses.get(name).generator(logits)
        assert float(tape.gradient(loss, logits)[0]) == pytest.approx(
            expected, rel=1e-4
        )


WEIGHTS = np.array([[1.0, 2.0], [2.0, -1.0], [0.0, 0.5]], np.float32)
SEEDS = tf.range(4, dtype=tf.int64)


def linear(x):
    """A critic whose gradient is (3, 4) everywhere, of norm 5."""
    return tf.reduce_sum(x * [3.0, 4.0], axis=1)


def test_gradient_penalty_of_a_linear_critic():
    x = tf.random.stateless_normal([4, 2], [0, 0])
    penalty = losses.get_penalty("gradient_penalty")
    assert float(penalty(linear, x, -x, SEEDS)) == pytest.approx((5 - 1) ** 2, rel=1e-6)


def test_penalties_weigh_as_in_their_papers():
    weights = {
        name: losses.get_penalty(name).default_weight for name in losses.PENALTIES
    }
    # λ of Gulrajani et al. 2017 and γ of Mescheder et al. 2018.
    assert weights == {"gradient_penalty": 10, "r1": 10}


def test_r1_of_a_linear_critic():
    x = tf.random.stateless_normal([4, 2], [0, 0])
    assert float(losses.get_penalty("r1")(linear, x, -x, SEEDS)) == pytest.approx(
        0.5 * 25, rel=1e-6
    )


def test_r1_looks_at_real_data_only():
    # The gradient of Σ x² is 2x, so the penalty is ½ mean ||2x||².
    real, fake = tf.constant([[1.0, 2.0], [0.0, -1.0]]), tf.constant([[9.0, 9.0]] * 2)
    penalty = losses.get_penalty("r1")
    value = penalty(lambda x: tf.reduce_sum(x**2, 1), real, fake, SEEDS[:2])
    assert float(value) == pytest.approx(0.5 * (20 + 4) / 2)


def test_gradient_penalty_interpolates_each_row_by_its_own_share():
    # Between 0 and 1 the gradient of ½ x² is the share itself.
    real, fake = tf.ones([1000, 1]), tf.zeros([1000, 1])
    penalty = losses.get_penalty("gradient_penalty")
    seeds = tf.range(1000, dtype=tf.int64)
    value = penalty(lambda x: 0.5 * tf.reduce_sum(x**2, 1), real, fake, seeds)
    # E (u - 1)² = 1/3 for u uniform on (0, 1).
    assert float(value) == pytest.approx(1 / 3, abs=0.03)


def test_penalties_of_half_precision_do_not_overflow():
    # Squares of the gradient, (300, 400), are above all that float16 holds.
    x = tf.zeros([4, 2], tf.float16)
    for name, expected in (("gradient_penalty", 499**2), ("r1", 0.5 * 500**2)):
        penalty = losses.get_penalty(name)
        value = penalty(lambda x: 100 * linear(tf.cast(x, tf.float32)), x, x, SEEDS)
        assert float(value) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("get", "known"), [(losses.get, "hinge"), (losses.get_penalty, "r1")]
)
def test_unknown_names_are_refused(get, known):
    words = rf"Expected one of \[.*'{known}'.*Received: .*'no_such_thing'"
    with pytest.raises(ValueError, match=words):
        get("no_such_thing")


@pytest.mark.parametrize("shape", [(5,), (4, 3, 5), (8, 2)])
def test_feature_matching_compares_means(shape):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(8, *shape)), rng.normal(size=(8, *shape))
    distance = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    matched = losses.FeatureMatching().match(real, fake, lambda mean: mean)
    assert float(matched) == pytest.approx(distance, rel=1e-6)
    counting = np.arange(8) % 3 == 0
    distance = ((real[counting].mean(0) - fake[counting].mean(0)) ** 2).sum()
    matched = losses.FeatureMatching().match(real, fake, lambda mean: mean, counting)
    assert float(matched) == pytest.approx(distance, rel=1e-5)


def test_matched_features_are_what_the_last_layer_takes():
    gan = zoo.GAN((4, 4, 1), 3, generator_units=(8,), discriminator_units=(4,), seed=0)
    features = losses.FeatureMatching().features(gan.discriminator)
    images = gan.generate(6)
    assert features(images).shape == (6, 4)
    kernel, bias = gan.discriminator.layers[-2].get_weights()
    logits = features(images) @ kernel + bias
    np.testing.assert_allclose(logits[:, 0], gan.discriminate(images), rtol=1e-5)


def test_matched_features_are_of_the_samples():
    samples = keras.Input((3,))
    label = keras.Input((), dtype="int64")
    of_samples = keras.layers.Dense(1)(keras.layers.Dense(4)(samples))
    of_label = keras.layers.Embedding(10, 1)(label)
    parts = [of_samples, of_label]
    judge = keras.Model([samples, label], keras.layers.Add()(parts))
    assert isinstance(judge.layers[-2], keras.layers.Embedding)
    with pytest.raises(ValueError, match="the last of them must look at the samples"):
        losses.FeatureMatching().features(judge)
    judge = keras.Model([samples, label], keras.layers.Add()(parts[::-1]))
    assert losses.FeatureMatching().features(judge).output_shape == (None, 4)


def test_what_a_model_within_the_discriminator_takes_is_not_matched():
    within = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    judge = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), within])
    with pytest.raises(ValueError, match="none of them a model itself"):
        losses.FeatureMatching().features(judge)


@pytest.mark.parametrize("variant", [zoo.InfoGAN, zoo.AAE])
def test_feature_matching_is_refused_where_it_means_nothing(variant):
    model = variant((16, 16, 1))
    with pytest.raises(ValueError, match="loss of GAN, DCGAN, CGAN and Semi"):
        model.compile(loss="feature_matching")


@pytest.mark.parametrize(
    ("build", "critics"),
    [
        (lambda: zoo.GAN((3,), 3), ["discriminator"]),
        (lambda: zoo.InfoGAN((16, 16, 1)), ["discriminator"]),
        (lambda: zoo.SemiSupervisedGAN((4, 4, 1), 3), ["discriminator"]),
        (
            lambda: zoo.AAE((3,), form="clustering", num_classes=2, units=(4,)),
            ["discriminator", "category_discriminator"],
        ),
    ],
)
def test_a_critic_that_nothing_bounds_is_warned_of(build, critics):
    model = build()
    with pytest.warns(UserWarning, match="needs a Lipschitz critic") as warned:
        model.compile(loss="wasserstein")
    assert len(warned) == len(critics)
    for warning, name in zip(warned, critics, strict=True):
        assert f"keeps the {name} so" in str(warning.message)
        assert warning.filename == __file__


@pytest.mark.parametrize(
    ("last", "compiled"),
    [
        (keras.layers.SpectralNormalization(keras.layers.Dense(1)), {}),
        (keras.layers.Dense(1, kernel_constraint="max_norm"), {}),
        (keras.layers.Dense(1), {"penalty": "gradient_penalty"}),
    ],
)
def test_a_bounded_critic_is_not_warned_of(last, compiled):
    critic = keras.Sequential([keras.Input((3,)), last])
    zoo.GAN((3,), 3, discriminator=critic).compile(loss="wasserstein", **compiled)


def test_feature_matching_needs_alternate_updates():
    gan = zoo.GAN((4, 4, 1), 3, generator_units=(8,), discriminator_units=(4,), seed=0)
    with pytest.raises(ValueError, match="use 'alternate'"):
        gan.compile(loss="feature_matching", update="simultaneous")


def test_the_gradient_penalty_of_a_flat_critic_has_a_gradient():
    x = tf.random.stateless_normal([4, 2], [0, 0])
    seeds = tf.range(4, dtype=tf.int64)
    slope = tf.Variable([0.0, 0.0])
    with tf.GradientTape() as tape:
        penalty = losses.get_penalty("gradient_penalty")
        value = penalty(lambda x: tf.reduce_sum(x * slope, 1), x, -x, seeds)
    assert float(value) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(tape.gradient(value, slope)).all()


def test_feature_matching_counts_rows_of_all_replicas_alike():
    strategy = zoo.strategy("mirrored", 2)
    real = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    fake = np.random.default_rng(1).normal(size=(6, 3)).astype("float32")
    cut = [slice(0, 4), slice(4, 6)]

    def per_replica(rows):
        return strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(rows[cut[c.replica_id_in_sync_group]])
        )

    def run(a, b):
        context = tf.distribute.get_replica_context()
        return losses.FeatureMatching().match(
            a, b, lambda x: context.all_reduce("mean", x)
        )

    found = strategy.run(run, args=(per_replica(real), per_replica(fake)))
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum()
    for value in strategy.experimental_local_results(found):
        assert float(value) == pytest.approx(expected, rel=1e-5)
