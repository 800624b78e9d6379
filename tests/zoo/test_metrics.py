"""Every metric against a computation that shares no code with it."""

import dataclasses
import itertools

import keras
import numpy as np
import prdc
import pytest
import scipy.linalg
import scipy.stats
from sklearn.metrics import pairwise
from sklearn.neighbors import KernelDensity, NearestNeighbors

import zoo
from zoo import metrics
from zoo.metrics import arrays

TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, **TOLERANCE)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def feature_sets(random):
    """Two sets of different sizes, means and shapes that overlap in part."""
    real = random.normal(size=(300, 6)) @ random.normal(size=(6, 6))
    generated = 0.8 * random.normal(size=(250, 6)) @ random.normal(size=(6, 6)) + 0.5
    return real, generated


@pytest.fixture
def small_blocks(monkeypatch):
    """Distances come in blocks of a few rows, the last one shorter."""
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 7 * 250 * 8)


def random_probabilities(random, count, classes):
    return random.dirichlet(np.full(classes, 0.3), size=count)


class TestFrechetDistance:
    def test_matches_scipy_matrix_root(self, feature_sets):
        real, generated = feature_sets
        covariances = [np.cov(x, rowvar=False) for x in feature_sets]
        expected = (
            np.sum((real.mean(0) - generated.mean(0)) ** 2)
            + np.trace(covariances[0] + covariances[1])
            - 2 * np.trace(scipy.linalg.sqrtm(covariances[0] @ covariances[1])).real
        )
        actual = metrics.frechet_distance(
            *metrics.feature_gaussian(real), *metrics.feature_gaussian(generated)
        )
        assert_close(actual, expected)

    def test_closed_form_of_one_dimension(self):
        # (m1 - m2)^2 + (s1 - s2)^2
        distance = metrics.frechet_distance([1.0], [[4.0]], [4.0], [[25.0]])
        assert_close(distance, 9 + 9)

    def test_closed_form_of_covariances_with_common_axes(self, random):
        axes = scipy.stats.ortho_group.rvs(5, random_state=random)
        deviations = random.uniform(1e-4, 10, size=(2, 5))
        cov1, cov2 = (axes * s**2 @ axes.T for s in deviations)
        mean1, mean2 = random.normal(size=(2, 5))
        expected = np.sum((mean1 - mean2) ** 2)
        expected += np.sum((deviations[0] - deviations[1]) ** 2)
        assert_close(metrics.frechet_distance(mean1, cov1, mean2, cov2), expected)

    def test_singular_covariances_in_orthogonal_subspaces(self, random):
        # Nothing is shared, so the traces add up: (C1 C2)^(1/2) is 0. The root of a
        # rounding error would be some 1e-8 of them.
        axes = scipy.stats.ortho_group.rvs(40, random_state=random)
        cov1 = 1e3 * axes[:, :15] @ axes[:, :15].T
        cov2 = 1e3 * axes[:, 15:30] @ axes[:, 15:30].T
        zero = np.zeros(40)
        distance = metrics.frechet_distance(zero, cov1, zero, cov2)
        assert distance == pytest.approx(30e3, rel=1e-12)

    def test_fewer_samples_than_dimensions(self, random):
        real, generated = random.normal(size=(2, 8, 50))
        # For the factor F = X' / sqrt(n - 1) of each covariance, the root's trace is
        # the nuclear norm of F1' F2.
        factors = [(x - x.mean(0)).T / np.sqrt(7) for x in (real, generated)]
        expected = np.sum((real.mean(0) - generated.mean(0)) ** 2)
        expected += sum(np.sum(factor**2) for factor in factors)
        expected -= 2 * np.linalg.norm(factors[0].T @ factors[1], "nuc")
        actual = metrics.frechet_distance(
            *metrics.feature_gaussian(real), *metrics.feature_gaussian(generated)
        )
        assert_close(actual, expected)

    def test_is_zero_for_equal_and_symmetric_for_swapped(self, feature_sets):
        real, generated = (metrics.feature_gaussian(x) for x in feature_sets)
        assert 0 <= metrics.frechet_distance(*real, *real) < 1e-9
        assert_close(
            metrics.frechet_distance(*real, *generated),
            metrics.frechet_distance(*generated, *real),
        )

    def test_point_masses(self):
        zero, none = np.zeros(3), np.zeros((3, 3))
        assert metrics.frechet_distance(zero, none, zero + 2, none) == 12

    def test_gaussian_is_numpys(self, feature_sets):
        mean, cov = metrics.feature_gaussian(feature_sets[0])
        assert_close(mean, feature_sets[0].mean(axis=0))
        assert_close(cov, np.cov(feature_sets[0], rowvar=False))

    @pytest.mark.parametrize(
        ("gaussians", "message"),
        [
            (([0.0], np.eye(2), [0.0, 0], np.eye(2)), r"`cov1` must be square.*\(2, 2"),
            (([0.0], np.eye(1), [0.0, 0], np.eye(2)), r"same dimension.*1 and 2"),
            ((0.0, np.eye(1), [0.0], np.eye(1)), r"`mean1`.*rank 1.*shape \(\)"),
            (([0.0], [[np.nan]], [0.0], [[1.0]]), r"`cov1` must be finite.*1 values"),
            (([0.0, 0], np.eye(2), [0.0, 0], [[1, 1], [0, 1]]), r"`cov2`.*symmetric"),
            (
                ([0.0, 0], np.eye(2), [0.0, 0], [[1e-9, 1e-9], [0, 1e-9]]),
                r"`cov2`.*symmetric",
            ),
        ],
    )
    def test_refuses_what_is_no_gaussian(self, gaussians, message):
        with pytest.raises(ValueError, match=message):
            metrics.frechet_distance(*gaussians)

    def test_takes_covariances_that_are_symmetric_but_for_rounding(self):
        cov = 1e6 * np.eye(2)
        cov[0, 1] = 1e-3
        distance = metrics.frechet_distance([300, 400], cov, [0, 0], cov)
        assert distance == pytest.approx(500**2)

    def test_refuses_a_covariance_of_one_sample(self):
        with pytest.raises(ValueError, match=r"at least 2 samples.*Received: 1"):
            metrics.feature_gaussian(np.ones((1, 3)))


class TestStreamingFrechetDistance:
    def test_equals_one_shot(self, feature_sets):
        # Far from the origin, where sums of squares cancel.
        real, generated = (x.astype("float32") + 100 for x in feature_sets)
        metric = metrics.FrechetDistance(dimension=6)
        for start in range(0, 300, 64):
            part = slice(start, start + 64)
            metric.update_state(real[part], generated[part])
        expected = metrics.frechet_distance(
            *metrics.feature_gaussian(real), *metrics.feature_gaussian(generated)
        )
        assert_close(metric.result(), expected)

    def test_reset_forgets(self, feature_sets):
        metric = metrics.FrechetDistance(dimension=6)
        metric.update_state(*feature_sets)
        before = metric.result()
        metric.reset_state()
        assert np.isnan(metric.result())
        metric.update_state(*feature_sets)
        assert metric.result() == before

    def test_is_nan_where_there_is_no_covariance(self):
        metric = metrics.FrechetDistance(dimension=2)
        assert np.isnan(metric.result())
        metric.update_state(np.ones((1, 2)), np.ones((5, 2)))
        assert np.isnan(metric.result())
        metric.update_state(np.ones((4, 2)), np.full((4, 2), np.nan))
        assert np.isnan(metric.result())

    def test_in_evaluate_with_a_network(self, random):
        class Halves(keras.Model):
            """Features: the means of the left and of the right half."""

            def features_of(self, images):
                return keras.ops.mean(
                    keras.ops.reshape(images, (-1, 2, 2, 2)), axis=(1, 3)
                )

        class Copier(keras.Model):
            def call(self, images):
                return 0.5 * images

        images = random.normal(size=(30, 2, 4)).astype("float32")
        model = Copier()
        metric = metrics.FrechetDistance(2, network=Halves(), name="halves")
        model.compile(loss="mse", metrics=[metric])
        logs = model.evaluate(images, images, batch_size=8, return_dict=True, verbose=0)
        halves = images.reshape(30, 2, 2, 2).mean(axis=(1, 3)).astype("float64")
        expected = metrics.frechet_distance(
            *metrics.feature_gaussian(halves), *metrics.feature_gaussian(halves / 2)
        )
        assert_close(logs["halves"], expected)

    def test_of_a_generator_in_evaluate(self):
        classifier = zoo.Classifier((16, 16, 1), num_classes=10, seed=0)
        width = classifier.features.output_shape[-1]
        test = zoo.load_data("digits", "test", batch_size=32, image_size=16)

        def evaluated(network, replicas=1, **arguments):
            with zoo.strategy("mirrored", replicas).scope():
                gan = zoo.DCGAN((16, 16, 1), generator_filters=4, seed=0)
                metric = metrics.FrechetDistance(width, network, name="distance")
                gan.compile(metrics=[metric], **arguments)
            logs = gan.evaluate(test, steps=4, return_dict=True, verbose=0)
            return logs["distance"]

        recorded = []

        class Recorder:
            def features_of(self, images):
                recorded.append(classifier.features_of(images).numpy())
                return recorded[-1]

        by_hand = evaluated(Recorder(), run_eagerly=True)
        real, generated = recorded[::2], recorded[1::2]
        expected = metrics.frechet_distance(
            *metrics.feature_gaussian(np.concatenate(real)),
            *metrics.feature_gaussian(np.concatenate(generated)),
        )
        np.testing.assert_allclose(by_hand, expected, rtol=1e-6)
        for replicas in (1, 2):
            found = evaluated(classifier, replicas)
            np.testing.assert_allclose(found, expected, rtol=1e-3)

    def test_through_networks_each_has_a_name_of_its_own(self):
        network = zoo.Classifier((16, 16, 1), num_classes=10, filters=(4,), seed=0)
        with pytest.raises(ValueError, match="needs a `name` that tells which one"):
            metrics.FrechetDistance(4, network)
        assert metrics.FrechetDistance(4).name == "frechet_distance"

    def test_serializes(self):
        metric = metrics.FrechetDistance(dimension=3, name="distance")
        config = keras.saving.serialize_keras_object(metric)
        restored = keras.saving.deserialize_keras_object(config)
        assert restored.get_config() == {"dimension": 3, "name": "distance"}

    def test_refuses_weights(self):
        metric = metrics.FrechetDistance(dimension=2)
        with pytest.raises(ValueError, match="no `sample_weight`"):
            metric.update_state(np.eye(2), np.eye(2), sample_weight=np.ones(2))

    @pytest.mark.parametrize("shape", [(5, 3), (5, 2, 2, 1), (5,)])
    def test_refuses_other_shapes(self, shape):
        metric = metrics.FrechetDistance(dimension=2)
        with pytest.raises(ValueError, match=r"`generated` must be features of shape"):
            metric.update_state(np.ones((5, 2)), np.ones(shape))


class TestKernelDistance:
    def test_matches_sklearn_kernel_on_whole_sets(self, feature_sets):
        real, generated = feature_sets[0][:250], feature_sets[1]

        def kernel(x, y):
            return pairwise.polynomial_kernel(x, y, degree=3, gamma=1 / 6, coef0=1)

        off_diagonal = ~np.eye(250, dtype=bool)
        expected = kernel(real, real)[off_diagonal].mean()
        expected += kernel(generated, generated)[off_diagonal].mean()
        expected -= 2 * kernel(real, generated).mean()
        value, spread = metrics.kernel_distance(
            real, generated, subsets=2, subset_size=250
        )
        # All subsets are the whole sets in another order.
        assert_close(value, expected)
        assert_close(spread, 0)

    def test_matches_the_sum_over_pairs(self, random):
        real, generated = random.normal(size=(2, 4, 3))

        def kernel(x, y):
            return (x @ y / 3 + 1) ** 3

        within = sum(
            kernel(x[i], x[j])
            for x in (real, generated)
            for i, j in itertools.permutations(range(4), 2)
        )
        across = sum(kernel(x, y) for x in real for y in generated)
        distance = metrics.kernel_distance(real, generated, subsets=1, subset_size=4)
        assert_close(distance.value, within / 12 - 2 * across / 16)

    def test_is_unbiased(self, random):
        real, generated = random.normal(size=(2, 5000, 4))
        value, spread = metrics.kernel_distance(
            real, generated, subsets=100, subset_size=50
        )
        assert abs(value) < 3 * spread / np.sqrt(100)
        assert spread > 0

    def test_seed_determines_the_subsets(self, feature_sets):
        first, again, other = (
            metrics.kernel_distance(*feature_sets, subsets=3, subset_size=50, seed=seed)
            for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other

    def test_refuses_subsets_larger_than_a_set(self, feature_sets):
        with pytest.raises(ValueError, match=r"from 2 to 250.*Received: 1000"):
            metrics.kernel_distance(*feature_sets)

    def test_refuses_no_subsets(self, feature_sets):
        with pytest.raises(ValueError, match=r"1 or more\. Received: subsets=0"):
            metrics.kernel_distance(*feature_sets, subsets=0, subset_size=10)

    def test_refuses_parts_of_a_sample(self, feature_sets):
        with pytest.raises(ValueError, match=r"Received: subset_size=10\.5"):
            metrics.kernel_distance(*feature_sets, subset_size=10.5)

    def test_refuses_subsets_without_a_pair(self, feature_sets):
        with pytest.raises(ValueError, match=r"2 or more\. Received: subset_size=1"):
            metrics.kernel_distance(*feature_sets, subset_size=1)


class TestClassifierScore:
    def test_matches_scipy_entropy(self, random):
        probabilities = random_probabilities(random, 103, 7)
        scores = []
        for split in range(10):
            part = probabilities[103 * split // 10 : 103 * (split + 1) // 10]
            divergences = [scipy.stats.entropy(row, part.mean(axis=0)) for row in part]
            scores.append(np.exp(np.mean(divergences)))
        value, spread = metrics.classifier_score(probabilities)
        assert_close(value, np.mean(scores))
        assert_close(spread, np.std(scores))

    def test_certain_and_balanced_is_the_number_of_classes(self):
        probabilities = np.tile(np.eye(5), (20, 1))
        assert_close(metrics.classifier_score(probabilities), (5, 0))

    def test_all_alike_is_one(self):
        probabilities = np.tile([0.2, 0.8, 0.0], (20, 1))
        assert_close(metrics.classifier_score(probabilities, splits=4), (1, 0))

    def test_refuses_more_splits_than_samples(self):
        with pytest.raises(ValueError, match=r"`splits`.*from 1 to.*5. Received: 10"):
            metrics.classifier_score(np.eye(5))


def neighbour_distances(features, k):
    """Distances to the k-th neighbour; without a query, sklearn leaves out itself."""
    return NearestNeighbors(n_neighbors=k).fit(features).kneighbors()[0][:, -1]


@pytest.mark.usefixtures("small_blocks")
class TestManifolds:
    @pytest.mark.parametrize("k", [1, 3, 10])
    def test_precision_and_recall_match_sklearn(self, feature_sets, k):
        real, generated = feature_sets
        distances = pairwise.euclidean_distances(real, generated)
        real_radii = neighbour_distances(real, k)[:, None]
        generated_radii = neighbour_distances(generated, k)
        precision = (distances <= real_radii).any(axis=0).mean()
        recall = (distances <= generated_radii).any(axis=1).mean()
        assert 0 < precision < 1
        assert 0 < recall < 1
        assert_close(metrics.precision_recall(*feature_sets, k), (precision, recall))

    @pytest.mark.parametrize("k", [1, 5, 10])
    def test_density_and_coverage_match_sklearn(self, feature_sets, k):
        real, generated = feature_sets
        distances = pairwise.euclidean_distances(real, generated)
        inside = distances < neighbour_distances(real, k)[:, None]
        density = inside.sum() / (k * len(generated))
        coverage = inside.any(axis=1).mean()
        assert 0 < coverage < 1
        assert_close(metrics.density_coverage(*feature_sets, k), (density, coverage))

    @pytest.mark.parametrize("k", [1, 5, 10])
    def test_both_match_the_authors_package(self, feature_sets, k):
        expected = prdc.compute_prdc(*feature_sets, nearest_k=k)
        found = {
            **metrics.precision_recall(*feature_sets, k)._asdict(),
            **metrics.density_coverage(*feature_sets, k)._asdict(),
        }
        assert found == pytest.approx(expected, rel=1e-6)

    def test_by_hand(self):
        real = [[0.0], [1.0], [3.0]]  # radii for k = 1: 1, 1, 2
        generated = [[0.5], [10.0], [10.5]]  # radii: 9.5, 0.5, 0.5
        assert metrics.precision_recall(real, generated, neighbours=1) == (1 / 3, 1)
        assert metrics.density_coverage(real, generated, neighbours=1) == (2 / 3, 2 / 3)

    def test_the_edge_of_a_ball_is_in_it_for_precision_and_recall_alone(self):
        # On the edges of the balls about 0, 1 and 3 lies -1, and on that of 3 lies 5.
        real, generated = [[0.0], [1.0], [3.0]], [[-1.0], [5.0], [9.0]]
        assert metrics.precision_recall(real, generated, 1).precision == 2 / 3
        assert metrics.precision_recall(generated, real, 1).recall == 2 / 3
        assert metrics.density_coverage(real, generated, 1) == (0, 0)
        assert metrics.density_coverage(real, real, 1) == (1, 1)

    def test_copies_of_rows_are_within_balls_of_no_radius(self, random):
        real = np.repeat(random.normal(size=(60, 8)), 5, axis=0)
        same = random.permutation(real)
        assert metrics.precision_recall(real, same) == (1, 1)

    def test_squared_distances_are_not_rounded_below_zero(self, random):
        far = random.normal(size=(50, 6)) + 1e4
        for _, block in arrays.squared_distances(far, far):
            assert (block >= 0).all()

    def test_identical_sets_are_precise_and_recalled(self, feature_sets):
        real = feature_sets[0]
        assert metrics.precision_recall(real, real.copy()) == (1, 1)
        assert metrics.density_coverage(real, real.copy()).coverage == 1

    def test_disjoint_sets_share_nothing(self, feature_sets):
        real = feature_sets[0]
        assert metrics.precision_recall(real, real + 1e3) == (0, 0)
        assert metrics.density_coverage(real, real + 1e3) == (0, 0)

    def test_precision_is_the_recall_of_swapped_sets(self, feature_sets):
        real, generated = feature_sets
        forth = metrics.precision_recall(real, generated)
        back = metrics.precision_recall(generated, real)
        assert forth == (back.recall, back.precision)

    def test_equal_distributions_have_density_one(self, random):
        real, generated = random.normal(size=(2, 2000, 3))
        density, coverage = metrics.density_coverage(real, generated)
        assert density == pytest.approx(1, abs=0.05)
        # Naeem et al.: 1 - (n-1) ... (n-k) / ((2n-1) ... (2n-k)), about 1 - 2^-k
        assert coverage == pytest.approx(1 - 2**-5, abs=0.02)

    def test_refuses_sets_too_small_for_k(self, feature_sets):
        real, generated = feature_sets
        with pytest.raises(ValueError, match=r"1 to 2 for the 3 samples of `generated"):
            metrics.precision_recall(real, generated[:3], neighbours=3)
        with pytest.raises(ValueError, match=r"Received: neighbours=0"):
            metrics.density_coverage(real, generated, neighbours=0)


def exact_density(samples, sigma):
    """A window of scikit-learn's, in one leaf: among several it loses far samples."""
    return KernelDensity(bandwidth=sigma, leaf_size=len(samples)).fit(samples)


@pytest.mark.usefixtures("small_blocks")
class TestParzenWindow:
    @pytest.fixture
    def images(self, random):
        """Samples, validation and test images of 5 x 4 pixels."""
        return [random.uniform(size=(count, 5, 4, 1)) for count in (250, 60, 90)]

    @pytest.mark.parametrize("sigma", [0.02, 0.2, 1.0])
    def test_likelihoods_match_sklearn(self, images, sigma):
        samples, _, test = images
        density = exact_density(samples.reshape(250, 20), sigma)
        expected = density.score_samples(test.reshape(90, 20))
        actual = metrics.parzen_log_likelihood(samples, test, sigma)
        assert_close(actual, expected)

    def test_protocol_matches_sklearn(self, images):
        samples, validation, test = (x.reshape(len(x), 20) for x in images)
        windows = {
            sigma: exact_density(samples, sigma) for sigma in np.logspace(-1, 0, 10)
        }
        sigma = max(windows, key=lambda sigma: windows[sigma].score(validation))
        likelihoods = windows[sigma].score_samples(test)
        expected = likelihoods.mean(), scipy.stats.sem(likelihoods, ddof=0), sigma
        assert_close(metrics.parzen_score(*images), expected)
        # Neither end of the grid, or the choice would not be tested.
        assert 0.1 < sigma < 1

    def test_finer_widths_find_a_likelier_one(self, images):
        samples, validation, _ = images
        coarse, finer = (
            metrics.parzen_sigma(samples, validation, *grid)
            for grid in ((), (metrics.FINE_SIGMAS,))
        )
        # In steps of a tenth, within the two steps beside the coarser choice.
        assert 0 < abs(np.log10(finer / coarse)) < 1 / 9
        finer, coarse = (
            metrics.parzen_log_likelihood(samples, validation, sigma).mean()
            for sigma in (finer, coarse)
        )
        assert finer > coarse

    @pytest.mark.parametrize("sigmas", [[0.02, 0.01], [5.0, 10.0, 20.0]])
    def test_an_end_of_the_grid_is_warned_of(self, images, sigmas):
        with pytest.warns(UserWarning, match=r"is at an end of those tried, .* to "):
            found = metrics.parzen_sigma(*images[:2], sigmas)
        assert found == sigmas[0]

    def test_the_ends_of_a_grid_are_its_least_and_its_largest(self, images, recwarn):
        metrics.parzen_sigma(*images[:2], [0.3, 20.0, 0.01])
        assert not recwarn.list
        with pytest.warns(UserWarning, match=r"at an end of those tried, 0\.3 to 20"):
            metrics.parzen_sigma(*images[:2], [10.0, 0.3, 20.0])

    def test_one_sample_is_a_gaussian(self, random):
        sample, image = random.uniform(size=(2, 1, 784))
        pixels = scipy.stats.norm(sample[0], 0.3).logpdf(image[0])
        likelihood = metrics.parzen_log_likelihood(sample, image, sigma=0.3)
        assert_close(likelihood, [pixels.sum()])

    def test_far_images_do_not_underflow(self):
        likelihood = metrics.parzen_log_likelihood(
            np.zeros((2, 784)), np.ones((1, 784)), sigma=0.01
        )
        expected = -784 / (2 * 0.01**2) - 392 * np.log(2 * np.pi * 0.01**2)
        assert_close(likelihood, [expected])

    def test_refuses_images_out_of_range(self, images):
        samples, validation, test = images
        with pytest.raises(ValueError, match=r"`samples` must be images in \[0, 1\]"):
            metrics.parzen_score(2 * samples - 1, validation, test)

    def test_refuses_other_sizes_and_widths(self, images):
        samples, _, test = images
        with pytest.raises(ValueError, match=r"equally many pixels.*20 and 16"):
            metrics.parzen_log_likelihood(samples, test[:, :4], 0.2)
        with pytest.raises(ValueError, match=r"must be positive. Received: 0"):
            metrics.parzen_log_likelihood(samples, test, 0)
        with pytest.raises(ValueError, match=r"non-empty array of images.*\(0, 5, 4"):
            metrics.parzen_log_likelihood(samples, test[:0], 0.2)


class TestClasses:
    def test_label_accuracy(self):
        probabilities = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]]
        assert metrics.label_accuracy(probabilities, [0, 1, 0, 0]) == 0.75

    def test_label_accuracy_matches_keras(self, random):
        probabilities = random_probabilities(random, 200, 10)
        labels = random.integers(10, size=200)
        reference = keras.metrics.SparseCategoricalAccuracy()
        reference.update_state(labels, probabilities)
        accuracy = metrics.label_accuracy(probabilities, labels)
        assert_close(accuracy, reference.result())

    def test_class_balance(self):
        probabilities = np.eye(4)[[0, 0, 0, 1, 1, 3, 3, 3, 3, 3]]
        shares, smallest, largest = metrics.class_balance(probabilities)
        np.testing.assert_array_equal(shares, [0.3, 0.2, 0, 0.5])
        assert (smallest, largest) == (0, 0.5)

    def test_cluster_takes_the_label_of_its_most_confident_example(self):
        # A majority would give cluster 0 the label 7.
        probabilities = [[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]
        labels = np.array([7, 7, 2, 2, 5])
        np.testing.assert_array_equal(
            metrics.cluster_labels(probabilities, labels), [2, 2]
        )
        assert metrics.clustering_error(probabilities, labels, [2, 2]) == 3 / 5

    def test_clustering_matches_a_transcription(self, random):
        validation, test = (random_probabilities(random, n, 16) for n in (80, 120))
        validation_labels = random.integers(10, size=80)
        test_labels = random.integers(10, size=120)
        label_of = {}
        for cluster in range(16):
            confidences = [row[cluster] for row in validation]
            label_of[cluster] = validation_labels[confidences.index(max(confidences))]
        wrong = 0
        for row, label in zip(test, test_labels, strict=True):
            cluster = max(range(16), key=lambda cluster: row[cluster])
            wrong += label_of[cluster] != label
        error = metrics.clustering_error(
            test, test_labels, metrics.cluster_labels(validation, validation_labels)
        )
        assert_close(error, wrong / 120)

    @pytest.mark.parametrize("classes", [3, 5, 6])
    def test_code_matching_tries_every_matching(self, random, classes):
        probabilities = random_probabilities(random, 60, 5)
        labels = random.integers(classes, size=60)
        labels[0] = classes - 1
        categories = probabilities.argmax(axis=1)
        # More places than classes: a category may also stay unmatched.
        accuracies = [
            np.mean(np.array(matching)[categories] == labels)
            for matching in itertools.permutations(range(max(classes, 5)), 5)
        ]
        error = metrics.code_matching_error(probabilities, labels)
        assert_close(error, 1 - max(accuracies))

    def test_permuted_classes_match_without_error(self, random):
        labels = np.arange(50) % 10
        categories = random.permutation(10)[labels]
        assert metrics.code_matching_error(np.eye(10)[categories], labels) == 0
        largest = np.array([0, 1, 255], np.uint8)
        assert metrics.code_matching_error(np.eye(3), largest) == 0

    def test_refuses_labels_that_do_not_fit(self):
        probabilities = np.full((4, 2), 0.5)
        with pytest.raises(ValueError, match=r"of 2 classes: .* 0 ... 1. Rec.*: 2"):
            metrics.label_accuracy(probabilities, [0, 1, 2, 0])
        with pytest.raises(ValueError, match=r"not be negative.*Received: -1"):
            metrics.label_accuracy(probabilities, [0, 1, -1, 0])
        with pytest.raises(ValueError, match=r"integers of shape \(4,\).*\(3,\)"):
            metrics.code_matching_error(probabilities, [0, 1, 1])
        with pytest.raises(ValueError, match=r"integers.*Received: float64"):
            metrics.cluster_labels(probabilities, [0.0, 1.0, 1.0, 0.0])
        with pytest.raises(ValueError, match=r"shape \(2,\).*Received: shape \(3,\)"):
            metrics.clustering_error(probabilities, [0, 1, 1, 0], [0, 1, 2])


@pytest.mark.parametrize(
    "metric",
    [metrics.kernel_distance, metrics.precision_recall, metrics.density_coverage],
)
@pytest.mark.parametrize(
    ("generated", "message"),
    [
        (np.ones((20, 4, 4, 3)), r"`generated`.*rank 2. Received: shape \(20, 4, 4, 3"),
        (np.ones((0, 3)), r"`generated` must be a non-empty array"),
        (np.ones((20, 4)), r"same dimension. Received: shapes \(20, 3\) and \(20, 4\)"),
        (np.full((20, 3), np.nan), r"`generated` must be finite.*60 values of 60"),
    ],
)
def test_refuses_wrong_features(metric, generated, message):
    with pytest.raises(ValueError, match=message):
        metric(np.ones((20, 3)), generated)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.ones(3) / 3, r"rank 2. Received: shape \(3,\)"),
        ([[2.0, -1.0]], r"are these logits\?\). Received: values in \[-1, 2\]"),
        ([[0.5, 0.4]], r"rows that sum to 1.*row sums in \[0.9, 0.9\]"),
        ([[np.nan, 1.0]], r"`probabilities` must be finite"),
    ],
)
def test_refuses_what_are_no_probabilities(probabilities, message):
    with pytest.raises(ValueError, match=message):
        metrics.classifier_score(probabilities, splits=1)


class TestMeasurement:
    @pytest.fixture
    def distance(self):
        return metrics.Measurement(
            "frechet_distance",
            3.25,
            spread=0.125,
            features="classifier_mnist",
            hash="5eed" * 16,
            resize="none",
            real_count=10_000,
            generated_count=5_000,
            seed=7,
        )

    def test_prints_its_provenance(self, distance):
        assert str(distance) == (
            "frechet_distance[classifier_mnist@5eed5eed, resize none]: 3.25 ± 0.12 "
            "(10000 real, 5000 generated, seed 7)"
        )

    def test_without_a_network_and_without_spread(self):
        score = metrics.Measurement("parzen_score", 225.0, real_count=100)
        assert str(score) == "parzen_score: 225 (100 real, seed 0)"

    def test_a_table_has_a_heading_for_each_network_and_count(self, distance):
        recall = dataclasses.replace(distance, name="recall", spread=0.5)
        other = dataclasses.replace(distance, hash="f00d" * 16)
        score = metrics.Measurement("parzen", 225.0, real_count=100)
        counts = "10000 real, 5000 generated, seed 7"

        assert metrics.table([distance, other, recall, score]).splitlines() == [
            f"classifier_mnist@5eed5eed, resize none; {counts}",
            "  frechet_distance  3.25 ± 0.12",
            "  recall            3.25 ± 0.5",
            f"classifier_mnist@f00df00d, resize none; {counts}",
            "  frechet_distance  3.25 ± 0.12",
            "100 real, seed 0",
            "  parzen            225",
        ]

    def test_of_nothing_the_table_is_empty(self):
        assert metrics.table([]) == ""

    def test_real_images_are_said_to_be_compared_with_those_of_train(self, distance):
        floor = dataclasses.replace(distance, train_count=9000)
        heading, _ = metrics.table([floor]).splitlines()
        assert heading.endswith("resize none; 10000 real against 9000 of train")

    @pytest.mark.parametrize(
        "other",
        [{"features": "inception"}, {"hash": "f00d" * 16}, {"resize": "bilinear 299"}],
    )
    def test_other_networks_have_other_names(self, distance, other):
        assert dataclasses.replace(distance, value=1.0).label == distance.label
        assert dataclasses.replace(distance, **other).label != distance.label

    def test_refuses_a_network_without_hash(self):
        with pytest.raises(ValueError, match=r"`hash`.*features='a', hash=None"):
            metrics.Measurement("frechet_distance", 1.0, features="a")

    def test_refuses_a_network_without_a_resize_rule(self, distance):
        with pytest.raises(ValueError, match=r"together\. .* resize=None"):
            dataclasses.replace(distance, resize=None)

    def test_refuses_what_is_not_finite(self):
        with pytest.raises(ValueError, match=r"frechet_distance must be finite.*nan"):
            metrics.Measurement("frechet_distance", float("nan"))
