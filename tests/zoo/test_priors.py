"""Priors draw what their formulas say, each row from its seed alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, stats

import zoo
from zoo import priors, rng

MIXTURE = priors.GaussianMixture(num_classes=7, radius=2.0, along=0.8, across=0.2)
ROLL = priors.SwissRoll(num_classes=5, radius=2.0, turns=1.5)


@keras.saving.register_keras_serializable("test_priors")
class Steps(priors.LabelledPrior):
    def sample_part(self, seeds, parts):
        return rng.uniform(seeds, self.width) + tf.cast(parts, tf.float32)[:, None]


EVERY = [
    priors.Normal(3, stddev=2.0),
    priors.Uniform(3, -2.0, 5.0),
    priors.StratifiedRange(1, -8.0, 8.0),
    MIXTURE,
    ROLL,
    Steps(3, num_classes=4),
]
every_prior = pytest.mark.parametrize("prior", EVERY, ids=lambda p: type(p).__name__)


@every_prior
def test_a_row_follows_from_its_seed_alone(prior):
    rows = prior.sample(tf.range(50, dtype=tf.int64)).numpy()
    assert rows.shape == (50, prior.width)
    assert rows.dtype == np.float32
    alone = prior.sample(tf.constant([17], tf.int64)).numpy()
    np.testing.assert_allclose(alone[0], rows[17], atol=1e-6)
    assert len(np.unique(rows, axis=0)) == 50


@every_prior
def test_comes_back_from_its_configuration(prior):
    config = keras.saving.serialize_keras_object(prior)
    seeds = tf.range(9)
    again = priors.get(config, prior.width)
    np.testing.assert_array_equal(again.sample(seeds), prior.sample(seeds))


def test_components_of_the_mixture_have_their_means_and_covariances():
    seeds = tf.range(20_000)
    for k in (0, 1, 5):
        points = MIXTURE.sample(seeds, tf.fill([20_000], k)).numpy()
        angle = 2 * np.pi * k / 7
        outwards = np.array([np.cos(angle), np.sin(angle)])
        aside = np.array([-np.sin(angle), np.cos(angle)])
        covariance = 0.8**2 * np.outer(outwards, outwards) + 0.2**2 * np.outer(
            aside, aside
        )
        np.testing.assert_allclose(points.mean(0), 2 * outwards, atol=0.02)
        np.testing.assert_allclose(np.cov(points.T), covariance, atol=0.02)


def test_the_mixture_s_density_is_that_of_its_components():
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32) * 2
    density = np.zeros(20)
    for k in range(7):
        angle = 2 * np.pi * k / 7
        turn = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        covariance = turn @ np.diag([0.8**2, 0.2**2]) @ turn.T
        mean = turn @ [2.0, 0.0]
        density += stats.multivariate_normal(mean, covariance).pdf(points) / 7
    np.testing.assert_allclose(MIXTURE.log_prob(points), np.log(density), rtol=1e-4)


def test_the_normal_s_density_integrates_to_one():
    prior = priors.Normal(1, stddev=2.0)
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    total = integrate.trapezoid(np.exp(prior.log_prob(x[:, None])), x)
    assert total == pytest.approx(1, abs=1e-5)
    row = np.array([[1.0, -3.0, 0.5]], np.float32)
    expected = stats.norm(0, 2).logpdf(row).sum()
    assert float(priors.Normal(3, 2.0).log_prob(row)[0]) == pytest.approx(expected)


def test_the_swiss_roll_is_its_curve():
    points = ROLL.sample(tf.range(5000)).numpy()
    distance = np.hypot(*points.T)
    root = distance / 2.0
    # Distance √t from the origin means that t, the squared share, is uniform.
    assert stats.kstest(root**2, "uniform").pvalue > 0.001
    angle = 2 * np.pi * 1.5 * root
    expected = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(points, expected, atol=1e-5)


def test_labels_choose_the_part_of_the_swiss_roll():
    for k in range(5):
        points = ROLL.sample(tf.range(500), tf.fill([500], k)).numpy()
        t = (points**2).sum(1) / 4
        assert t.min() >= k / 5 - 1e-6
        assert t.max() <= (k + 1) / 5 + 1e-6


@pytest.mark.parametrize("prior", [MIXTURE, ROLL], ids=["mixture", "roll"])
def test_a_label_out_of_range_means_any_part(prior):
    seeds = tf.range(4)
    anything = prior.sample(seeds).numpy()
    labels = tf.constant([-1, prior.num_classes, 2**62, -(2**62)])
    np.testing.assert_array_equal(prior.sample(seeds, labels), anything)
    chosen = prior.sample(seeds, tf.constant([-1, 0, 1, -1])).numpy()
    np.testing.assert_array_equal(chosen[[0, 3]], anything[[0, 3]])


def test_parts_and_conditions_of_a_seed_have_nothing_to_do_with_one_another():
    mixture = priors.GaussianMixture(num_classes=2, radius=9.0)
    model = zoo.CGAN((4,), num_classes=2, latent_dim=2, prior=mixture)
    seeds = tf.range(4000, dtype=tf.int64)
    labels = model.complete({}, seeds)["labels"]
    parts = mixture.sample(seeds)[:, 0] < 0
    assert abs(np.corrcoef(labels, parts)[0, 1]) < 0.05


def test_strata_are_of_one_number():
    assert zoo.GAN((4,), prior="stratified").latent_dim == 1
    with pytest.raises(ValueError, match=r"length 1 alone.*width=100"):
        zoo.GAN((4,), 100, prior="stratified")


def test_all_parts_are_drawn_equally():
    points = MIXTURE.sample(tf.range(7000)).numpy()
    nearest = np.round(np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi / 7)) % 7
    counts = np.bincount(nearest.astype(int), minlength=7)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_the_walk_goes_over_the_whole_prior():
    square = priors.Normal(2, stddev=2.0).walk(5).numpy()
    assert square.shape == (5, 5, 2)
    quantiles = stats.norm(0, 2).ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(square[0, :, 0], quantiles, atol=1e-5)
    # The second axis points up, as in the scatter plot.
    np.testing.assert_allclose(square[:, 0, 1], quantiles[::-1], atol=1e-5)
    assert MIXTURE.walk(4).shape == (7, 4, 2)
    np.testing.assert_allclose(
        MIXTURE.walk(3)[:, 1], [MIXTURE._turn([2.0, 0.0], k) for k in range(7)]
    )
    assert ROLL.walk(6).shape == (5, 6, 2)
    assert priors.Normal(3).walk(5) is None


@pytest.mark.parametrize("name", ["gaussian_mixture", "swiss_roll"])
def test_priors_of_the_plane_refuse_another_width(name):
    assert priors.get(name, None, default=100).width == 2
    with pytest.raises(ValueError, match="latent_dim=2"):
        priors.get(name, 8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: priors.Normal(0), "1 or more.*width=0"),
        (lambda: priors.GaussianMixture(num_classes=0), "1 or more.*num_classes=0"),
        (lambda: priors.Normal(2.5), "an integer.*width=2.5"),
        (lambda: priors.Normal(2, 0), "above 0.*stddev=0"),
        (lambda: priors.Normal(2, "0.5x"), "finite number.*stddev='0.5x'"),
        (lambda: priors.Uniform(2, 1.0, -1.0), "above where it begins.*low=1.0"),
        (lambda: priors.Uniform(2, 1.0, 1.0), "above where it begins.*high=1.0"),
        (lambda: priors.Uniform(2, float("nan")), "finite number.*low=nan"),
        (lambda: priors.GaussianMixture(across=-1), "above 0.*across=-1"),
        (lambda: priors.SwissRoll(num_classes=2.5), "an integer.*num_classes=2.5"),
        (lambda: priors.SwissRoll(radius="a"), "finite number.*radius='a'"),
        (lambda: priors.get("cauchy", 3), r"Unknown prior.*'normal'.*'cauchy'"),
        (lambda: priors.get("normal", "3"), "1 or more.*latent_dim='3'"),
        (lambda: priors.get(3.0, 3), r"a name or a zoo\.priors\.Prior.*prior=3\.0"),
    ],
)
def test_what_is_no_prior_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_whole_numbers_are_numbers():
    points = tf.constant([[1.0, 2.0], [0.0, -3.0]])
    np.testing.assert_array_equal(
        priors.GaussianMixture(radius=2, along=1, across=1).log_prob(points),
        priors.GaussianMixture(radius=2.0, along=1.0, across=1.0).log_prob(points),
    )


def test_a_prior_of_another_width_than_asked_for_is_refused():
    with pytest.raises(ValueError, match="rows of 2 numbers, and latent_dim asks"):
        priors.get(MIXTURE, 8)


def test_walks():
    square = priors.Uniform(2, 1.0, 5.0).walk(4).numpy()
    np.testing.assert_allclose(square[0, :, 0], [1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(square[:, 0, 1], [4.5, 3.5, 2.5, 1.5])
    roll = priors.SwissRoll(num_classes=5, radius=2.0, turns=1.5)
    along = np.hypot(*np.moveaxis(roll.walk(6).numpy(), -1, 0))
    np.testing.assert_allclose(
        (along / 2) ** 2 * 30, np.arange(30).reshape(5, 6) + 0.5, rtol=1e-4
    )
    mixture = priors.GaussianMixture(num_classes=7, radius=2.0, along=0.8, across=0.2)
    np.testing.assert_allclose(
        mixture.walk(3)[0, :, 0],
        2 + stats.norm(0, 0.8).ppf([1 / 6, 1 / 2, 5 / 6]),
        rtol=1e-4,
    )


def test_a_batch_has_a_number_in_each_stratum():
    prior = priors.StratifiedRange(1, -8.0, 8.0)
    seeds, rows = tf.range(12, dtype=tf.int64), tf.range(12, dtype=tf.int64)
    whole = prior.sample_batch(seeds, rows, 12).numpy()[:, 0]
    strata = (whole + 8) / 16 * 12
    np.testing.assert_array_equal(np.floor(strata), np.arange(12))
    assert np.std(strata % 1) > 0.1
    rest = prior.sample_batch(seeds[6:], rows[6:], 12).numpy()[:, 0]
    np.testing.assert_array_equal(rest, whole[6:])
