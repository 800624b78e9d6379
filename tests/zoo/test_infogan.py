"""What InfoGAN promises beyond the shared tests."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import zoo
from zoo import metrics, plots
from zoo.__main__ import main
from zoo.data import load_arrays


def small(**kwargs):
    arguments = {
        "latent_dim": 8,
        "generator_filters": 8,
        "discriminator_filters": 8,
        "hidden_units": 64,
        "recognition_units": 32,
        "seed": 1,
        **kwargs,
    }
    return zoo.InfoGAN((16, 16, 1), **arguments)


def test_information_by_hand():
    model = small(categorical_codes=2, num_categories=4, continuous_codes=1)
    random = np.random.default_rng(0)
    guessed = {
        "category_logits": random.normal(size=(5, 2, 4)).astype("float32"),
        "means": random.normal(size=(5, 1)).astype("float32"),
        "log_stddevs": random.normal(size=(5, 1)).astype("float32"),
    }
    categories = random.integers(0, 4, (5, 2))
    codes = random.uniform(-1, 1, (5, 1)).astype("float32")
    q = np.exp(guessed["category_logits"])
    q /= q.sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(q, categories[..., None], axis=-1)
    expected = np.log(chosen).sum() / 5 + 2 * math.log(4)
    stddevs = np.exp(guessed["log_stddevs"])
    densities = np.exp(-(((codes - guessed["means"]) / stddevs) ** 2) / 2)
    densities /= stddevs * math.sqrt(2 * math.pi)
    continuous = np.log(densities).mean() + math.log(2)
    found = model.information(
        {"categories": tf.constant(categories), "codes": tf.constant(codes)}, guessed
    )
    np.testing.assert_allclose(found, [expected, continuous], rtol=1e-5)


@pytest.mark.parametrize("stddev", [1, 0.5])
def test_continuous_information_at_a_given_deviation(stddev):
    """By hand; at its best, means without error, it ends at a ceiling."""
    model = small(categorical_codes=0, recognition_stddev=stddev)
    random = np.random.default_rng(0)
    codes = random.uniform(-1, 1, (5, 2)).astype("float32")
    means = random.normal(size=(5, 2)).astype("float32")
    found = model.information({"codes": tf.constant(codes)}, {"means": means})[1]
    densities = scipy.stats.norm(means, stddev).logpdf(codes)
    assert float(found) == pytest.approx(densities.sum() / 5 + 2 * math.log(2))
    ceiling = 2 * math.log(2 / (stddev * math.sqrt(2 * math.pi)))
    found = model.information({"codes": tf.constant(codes)}, {"means": codes})[1]
    assert float(found) == pytest.approx(ceiling)
    assert set(model.discriminator.output) == {"logits", "category_logits", "means"}


def test_a_guess_that_is_sure_and_right_reaches_the_ceiling_and_chance_gives_zero():
    model = small(continuous_codes=0)
    categories = tf.constant([[3], [0], [9]], tf.int64)
    sure = {"category_logits": 1e4 * tf.one_hot(categories, 10)}
    assert float(
        model.information({"categories": categories}, sure)[0]
    ) == pytest.approx(math.log(10))
    chance = {"category_logits": tf.zeros([3, 1, 10])}
    assert float(
        model.information({"categories": categories}, chance)[0]
    ) == pytest.approx(0)


def test_the_bound_rises_on_digits_and_stays_below_its_ceiling():
    model = small()
    model.compile()
    train = zoo.load_data("digits", image_size=16, batch_size=32)
    history = model.fit(train, epochs=4, verbose=0).history
    bounds = history["information"]
    assert (np.diff(bounds) > 0).all()
    assert bounds[-1] > 0.75
    assert max(bounds) <= math.log(10)


def test_the_recognition_network_reads_off_what_the_codes_mean_to_the_generator():
    model = zoo.from_preset("infogan_mnist")
    asked = np.arange(200) % 10
    codes = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    images = model.generate(200, seed=0, categories=asked[:, None], codes=codes)
    inferred = model.infer(images)
    assert inferred.category_probabilities.shape == (200, 1, 10)
    assert inferred.codes.shape == (200, 2)
    read = inferred.category_probabilities[:, 0]
    assert np.mean(read.argmax(axis=1) == asked) > 0.9
    assert metrics.code_matching_error(read, asked) < 0.1
    correlations = np.corrcoef(inferred.codes, codes, rowvar=False)[:2, 2:]
    np.testing.assert_allclose(correlations, 0.75 * np.eye(2), atol=0.25)


def guess(model, logits):
    """Lets a recognition network say the same of every image."""
    (last,) = (
        layer
        for layer in model.discriminator.layers
        if isinstance(layer, keras.layers.Dense)
        and layer.kernel.shape[0] == model.recognition_units
    )
    last.set_weights([np.zeros(last.kernel.shape), np.resize(logits, last.units)])


def test_measured_information_of_blind_guesses_is_zero():
    model = small(categorical_codes=2, num_categories=4)
    guess(model, [3.0])
    information, _ = model.measure(name="digits", split="test[:40]", image_size=16)
    assert (information.name, information.generated_count) == ("information", 40)
    assert information.value == pytest.approx(0, abs=1e-3)


def test_measured_information_of_guesses_that_are_sure_and_wrong_is_a_number():
    model = small(num_categories=3, continuous_codes=0)
    guess(model, [1e4, 0.0, 0.0])
    information, _ = model.measure(name="digits", split="test[:40]", image_size=16)
    # Of about two thirds; float32 has numbers down to exp(-87).
    assert -75 < information.value < -45


@keras.saving.register_keras_serializable("tests")
class Nothing(zoo.losses.AdversarialLoss):
    """A game that is always 0, so that only information moves the weights."""

    def discriminator(self, real_logits, fake_logits, label_smoothing=0.0):
        return 0.0 * tf.reduce_mean(real_logits + fake_logits)

    def generator(self, fake_logits):
        return 0.0 * tf.reduce_mean(fake_logits)


def test_both_players_are_rewarded_for_information():
    model = small()
    weights = {
        name: network.trainable_variables for name, network in model.networks().items()
    }
    before = {name: [v.numpy() for v in weights[name]] for name in weights}
    model.compile(loss=Nothing())
    train = zoo.load_data("digits", image_size=16)
    history = model.fit(train, steps_per_epoch=1, verbose=0).history
    reward = history["information"][0] + 0.1 * history["continuous_information"][0]
    assert history["generator_loss"][0] == pytest.approx(-reward, abs=1e-6)
    for name, values in before.items():
        moved = [
            (v.numpy() != w).any() for v, w in zip(weights[name], values, strict=True)
        ]
        assert np.mean(moved) > 0.8, name


def test_one_code_varies_along_a_row():
    model = small(categorical_codes=2, num_categories=3, continuous_codes=1)
    images = model.vary(0, rows=2, seed=4)
    given = {"codes": [np.nan], "seeds": [4, 4, 4, 5, 5, 5]}
    expected = model.generate(categories=[[0, -1], [1, -1], [2, -1]] * 2, **given)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    images = model.vary(2, columns=3)
    expected = model.generate(seeds=[0, 0, 0], codes=[[-2.0], [0.0], [2.0]])
    np.testing.assert_allclose(images, expected, atol=1e-6)
    images = model.vary(2, rows=2, columns=2, categories=[[0, 1], [2, -1]])
    expected = model.generate(
        seeds=[0, 0, 1, 1],
        categories=[[0, 1], [0, 1], [2, -1], [2, -1]],
        codes=[[-2.0], [2.0]] * 2,
    )
    np.testing.assert_allclose(images, expected, atol=1e-6)
    samples, columns = model.sample_grid(20)
    assert columns == 3
    assert len(samples) == 3 * 2 * 3
    with pytest.raises(ValueError, match=r"codes 0 ... 2. Received: code=3"):
        model.vary(3)
    last = 2**63 - 1
    np.testing.assert_array_equal(
        model.vary(0, seed=last)[0], model.generate(1, last, categories=[0, -1])[0]
    )
    with pytest.raises(ValueError, match=r"64 bits. Received: seed=9.*, n=2"):
        model.vary(0, rows=2, seed=last)


def test_the_command_draws_a_row_of_each_code(tmp_path):
    model = small(categorical_codes=2, num_categories=3, continuous_codes=1)
    model.save_to_preset(tmp_path / "infogan")
    out = tmp_path / "codes.png"

    def run(command, *arguments):
        asked = [command, tmp_path / "infogan", "--out", out, *arguments]
        return CliRunner().invoke(main, list(map(str, asked)))

    def assert_drawn(rows, titles):
        with Image.open(out) as shown:
            np.testing.assert_array_equal(shown, plots.table(rows, titles))

    done = run("vary", "--rows", 2, "--seed", 5)
    assert done.exit_code == 0, done.output
    rows = [model.vary(code, 2, seed=5).reshape(2, 3, 16, 16, 1) for code in range(3)]
    titles = ["code 0: category", "code 1: category", "code 2: -2 … 2"]
    assert_drawn(np.concatenate(rows), np.repeat(titles, 2).tolist())

    asked = ["--code", 2, "--categories", "2,0", "--low", -1, "--high", 1.5]
    done = run("vary", *asked, "--columns", 4)
    assert done.exit_code == 0, done.output
    categories = [[2, -1], [0, -1]]
    varied = model.vary(2, 2, 0, 4, -1, 1.5, categories=categories)
    titles = [f"category {k}, code 2: -1 … 1.5" for k in (2, 0)]
    assert_drawn(varied.reshape(2, 4, 16, 16, 1), titles)

    for asked, message in (
        (["--code", 3], "There are the codes 0 ... 2"),
        (["--categories", "3"], "categories"),
        (["--categories", "1", "--code", 0], "another has to vary"),
        (["--low", "nan"], "a finite number. Received: low=nan"),
    ):
        done = run("vary", *asked)
        assert done.exit_code == 1
        assert message in done.output
        assert "Traceback" not in done.output
    assert "`python -m zoo vary`" in run("sample").output
    small(categorical_codes=0).save_to_preset(tmp_path / "infogan")
    done = run("vary", "--code", 0, "--categories", "1")
    assert done.exit_code == 1
    assert "infogan has no categories: name none" in done.output


@pytest.mark.parametrize(
    "codes", [{"categorical_codes": 0}, {"continuous_codes": 0, "num_categories": 3}]
)
def test_either_kind_of_codes_may_be_missing(codes):
    model = small(**codes)
    inferred = model.infer(model.generate(3))
    assert inferred.category_probabilities.shape[:2] == (3, model.categorical_codes)
    assert inferred.codes.shape == (3, model.continuous_codes)


def test_the_noise_is_as_long_as_prior_or_generator_say():
    networks = {"discriminator_filters": 2, "recognition_units": 2, "hidden_units": 2}
    networks["generator_filters"] = 2
    assert zoo.InfoGAN((16, 16, 1), **networks).latent_dim == 62
    prior = zoo.priors.Normal(5)
    model = zoo.InfoGAN((16, 16, 1), prior=prior, **networks)
    assert zoo.InfoGAN.from_config(model.get_config()).latent_dim == 5
    assert zoo.InfoGAN(generator=model.generator, **networks).latent_dim == 5


def test_clear_errors():
    with pytest.raises(ValueError, match="needs a code"):
        small(categorical_codes=0, continuous_codes=0)
    with pytest.raises(ValueError, match="0 or more"):
        small().compile(continuous_weight=-1)
    with pytest.raises(ValueError, match=r"0 or more\. Received: recog.*=-1"):
        small().compile(recognition_weight=-1)
    with pytest.raises(ValueError, match=r"above 0\. Received: recognition_stddev=0"):
        small(recognition_stddev=0)
    with pytest.raises(ValueError, match="by name"):
        small(
            discriminator=zoo.DCGAN((16, 16, 1), discriminator_filters=4).discriminator
        )
    layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
    judge = keras.Sequential([keras.Input((16, 16, 1)), *layers])
    with pytest.raises(ValueError, match=r"by name. It makes \[\(1,\)\]"):
        small(discriminator=judge)
    judge = small().discriminator
    shares = keras.layers.Softmax()(judge.output["category_logits"])
    judge = keras.Model(judge.input, {**judge.output, "category_logits": shares})
    with pytest.raises(ValueError, match="recognition network must return logits"):
        small(discriminator=judge)
    with pytest.raises(ValueError, match="built for samples of shape"):
        small().infer(np.zeros([1, 28, 28, 1]))


def test_the_code_that_matches_best_is_measured():
    images, labels = load_arrays("digits", "test", image_size=16)
    for seed in range(9):
        model = small(categorical_codes=3, seed=seed)
        (_, error) = model.measure(name="digits", split="test", image_size=16)
        read = model.infer(images).category_probabilities
        errors = [metrics.code_matching_error(read[:, k], labels) for k in range(3)]
        assert error.value == min(errors)
        if errors[0] > min(errors):
            break
    assert errors[0] > min(errors)


def test_a_grid_of_continuous_codes_alone_has_ten_columns():
    samples, columns = small(categorical_codes=0, num_categories=0).sample_grid(20)
    assert (len(samples), columns) == (20, 10)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 2.5}, {"columns": 0}])
def test_a_grid_is_of_one_image_or_more(wrong):
    (argument,) = wrong
    with pytest.raises(ValueError, match=f"Received: {argument}="):
        small().sample_grid(**wrong)


def test_codes_are_uniform_from_minus_one_to_one():
    seeds = tf.range(4000, dtype=tf.int64)
    codes = small().complete({}, seeds)["codes"]
    for column in codes.numpy().T:
        assert scipy.stats.kstest(column, "uniform", args=(-1, 2)).pvalue > 0.001
