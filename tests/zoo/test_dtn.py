"""DTN: each loss on known inputs, the fixed f, the switches, errors."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import zoo
from zoo import dtn, plots
from zoo.data import load_arrays
from zoo.dtn import FROM_SOURCE, FROM_TARGET, REAL
from zoo.metrics import Measurement
from zoo.recipes import Recipe
from zoo.runs import Run


@pytest.fixture(scope="module")
def classifier():
    """A classifier whose batch statistics are not those of a fresh one."""
    model = zoo.Classifier((16, 16, 1), 10, filters=(4, 8), seed=0)
    model.compile()
    train = zoo.load_data("digits", image_size=16, labels=True, batch_size=32)
    model.fit(train, steps_per_epoch=3, verbose=0)
    return model


def tiny(classifier, **kwargs):
    widths = {"generator_filters": 4, "discriminator_filters": 4, "kernel_size": 3}
    return zoo.DTN(classifier, seed=0, **widths, **kwargs)


def pairs(rows=8):
    return zoo.load_data(("digits", "digits"), image_size=16, batch_size=rows)


def softmax(logits):
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


LOGITS = np.random.default_rng(0).normal(size=(3, 5, 3)).astype(np.float32)


def test_discriminator_loss_is_ternary():
    d = softmax(LOGITS)
    expected = -sum(np.log(d[kind, :, kind]).mean() for kind in range(3))
    assert float(sum(dtn.discriminator_terms(*LOGITS))) == pytest.approx(
        expected, rel=1e-6
    )
    blind = np.zeros((5, 3), np.float32)
    assert float(sum(dtn.discriminator_terms(blind, blind, blind))) == pytest.approx(
        3 * math.log(3)
    )


def test_generator_loss_wants_both_kinds_taken_for_real():
    d = softmax(LOGITS)
    expected = -np.log(d[0, :, REAL]).mean() - np.log(d[1, :, REAL]).mean()
    assert float(dtn.generator_loss(*LOGITS[:2])) == pytest.approx(expected, rel=1e-6)
    assert (FROM_SOURCE, FROM_TARGET, REAL) == (0, 1, 2)


def test_ternary_accuracy():
    rows = np.eye(3, dtype=np.float32)
    assert float(dtn.ternary_accuracy(rows, rows, rows)) == pytest.approx(1 / 3)
    told = [np.tile(rows[kind], (4, 1)) for kind in range(3)]
    assert float(dtn.ternary_accuracy(*told)) == 1


def test_total_variation_equals_the_loop_of_the_paper():
    images = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    expected = 0
    for z in np.moveaxis(images, 3, 1).reshape(6, 4, 5):
        for i in range(3):
            for j in range(4):
                right, below = z[i, j + 1] - z[i, j], z[i + 1, j] - z[i, j]
                expected += math.sqrt(right**2 + below**2)
    assert float(dtn.total_variation(images)) == pytest.approx(expected / 2, rel=1e-5)


def test_total_variation_of_an_even_image_has_a_gradient():
    images = tf.Variable(tf.ones([1, 4, 4, 1]))
    with tf.GradientTape() as tape:
        value = dtn.total_variation(images)
    assert float(value) == pytest.approx(0, abs=1e-4)
    np.testing.assert_array_equal(tape.gradient(value, images), tf.zeros([1, 4, 4, 1]))


def test_mean_square():
    assert float(dtn.mean_square(np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]]))) == 2


def logs_of(model, batch):
    data = tf.data.Dataset.from_tensors(batch)
    return model.evaluate(data, verbose=0, return_dict=True)


def test_logged_losses_are_the_papers(classifier):
    model = tiny(classifier)
    model.compile(tv_weight=0.5)
    (source, labels), target = next(iter(pairs()))
    logs = logs_of(model, ((source, labels), target))
    transferred, again = model.transfer(source), model.transfer(target)
    features = classifier.embed(source)
    const = np.square(features - classifier.embed(transferred)).mean()
    tid = np.square(target - again).mean()
    d = [softmax(model.discriminator(x)) for x in (transferred, again, target)]
    gang = -np.log(d[0][:, REAL]).mean() - np.log(d[1][:, REAL]).mean()
    assert logs["l_const"] == pytest.approx(const, rel=1e-4)
    assert logs["l_tid"] == pytest.approx(tid, rel=1e-4)
    assert logs["l_gang"] == pytest.approx(gang, rel=1e-4)
    assert logs["generator_loss"] == pytest.approx(
        gang + 15 * const + 15 * tid + 0.5 * logs["l_tv"], rel=1e-4
    )


def test_f_stays_as_it_is(classifier):
    model = tiny(classifier)
    before = classifier.features.get_weights()
    model.compile(averaging=0.9)
    model.fit(pairs(), steps_per_epoch=3, verbose=0)
    for network in (model.features, classifier.features):
        for old, new in zip(before, network.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    assert not model.features.trainable_variables
    # The copy is the DTN's own: training the classifier on does not change it.
    assert not {id(v) for v in model.features.variables} & {
        id(v) for v in classifier.features.variables
    }


def test_a_step_of_one_player_leaves_the_statistics_of_the_other(classifier):
    model = tiny(classifier)
    model.compile(
        generator_optimizer=keras.optimizers.SGD(0.0),
        discriminator_optimizer=keras.optimizers.SGD(0.0),
        run_eagerly=True,
    )
    data = pairs()
    model.fit(data, steps_per_epoch=1, verbose=0)
    stack = [v for v in model.discriminator.non_trainable_variables if "mean" in v.path]
    (source, _), target = next(iter(zoo.data.epochs(data, epoch=0)))
    # Three passes of momentum 0.9 from 0: those of L_D; that of L_GANG would be more.
    fake = model.generator.stateless_call(
        model.generator.trainable_variables,
        model.generator.non_trainable_variables,
        tf.concat([model.features_of(source), model.features_of(target)], 0),
        training=True,
    )[0]
    fresh = tiny(classifier).discriminator
    for images in (fake[:8], fake[8:], target):
        fresh(images, training=True)
    expected = [v for v in fresh.non_trainable_variables if "mean" in v.path]
    for ours, theirs in zip(stack, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_each_term_moves_the_generator_alone(classifier):
    model = tiny(classifier)
    (source, _), target = next(iter(pairs()))
    with tf.GradientTape(persistent=True) as tape:
        fake, again = model(source, training=True), model(target, training=True)
        terms = model._terms(
            model.features_of(source), fake, target, again, model.discriminator
        )
        losses = {}
        for term in ("gang", "const", "tid", "tv"):
            weights = dict.fromkeys(("gang", "const", "tid", "tv"), 0.0)
            weights[term] = 2.0
            model.compile(**{f"{name}_weight": w for name, w in weights.items()})
            losses[term] = model._weighted(terms)
    for term, loss in losses.items():
        assert float(loss) == pytest.approx(2 * float(terms[f"l_{term}"]))
        gradients = tape.gradient(loss, model.generator.trainable_variables)
        assert all(np.abs(gradient).max() > 0 for gradient in gradients), term


def test_transfer_takes_pixels_and_keeps_shape(classifier):
    model = tiny(classifier)
    pixels, labels = zoo.data.load_arrays("digits", "test", image_size=16, limit=10)
    images = model.transfer(pixels, batch_size=4)
    assert images.shape == pixels.shape
    assert np.abs(images).max() <= 1
    np.testing.assert_allclose(images[3:4], model.transfer(pixels[3:4]), atol=1e-6)
    np.testing.assert_allclose(model.embed(pixels), classifier.embed(pixels), atol=1e-6)
    again = classifier.classify(zoo.images.to_uint8(images)).argmax(-1)
    assert model.transfer_accuracy(pixels, labels, classifier) == pytest.approx(
        (again == labels).mean()
    )


def test_transferred_images_that_are_no_squares_are_read_as_they_are():
    shape = (16, 24, 1)
    classifier = zoo.Classifier(shape, num_classes=10, filters=(4,), seed=0)
    layers = keras.layers
    generator = [keras.Input((4,)), layers.Dense(384, "tanh"), layers.Reshape(shape)]
    discriminator = [keras.Input(shape), layers.Flatten(), layers.Dense(3)]
    model = zoo.DTN(
        classifier,
        generator=keras.Sequential(generator),
        discriminator=keras.Sequential(discriminator),
    )
    pixels = np.random.default_rng(0).integers(256, size=(4, 16, 24, 1), dtype=np.uint8)
    labels = classifier.classify(model.transfer(pixels)).argmax(-1)
    assert model.transfer_accuracy(pixels, labels, classifier) == 1


def test_transfer_is_by_the_average(classifier):
    model = tiny(classifier)
    model.compile(averaging=0.9)
    for variable in model.averaged_generator.weights:
        variable.assign(2 * variable + 0.1)
    (source, _), _ = next(iter(pairs()))
    expected = model.averaged_generator(model.features_of(source), training=False)
    np.testing.assert_allclose(model.transfer(source), expected, atol=1e-6)
    trained = model.generator(model.features_of(source), training=False)
    assert np.abs(expected - trained).max() > 1e-3


def test_a_grid_has_source_images_above_what_they_become(classifier, tmp_path):
    model = tiny(classifier)
    pixels, _ = zoo.data.load_arrays("digits", "test", image_size=16, limit=20)
    grid, columns = model.sample_grid(16, images=pixels)
    assert columns == 4
    rows = grid.reshape(4, 4, 16, 16, 1)
    for row, first in ((0, 0), (2, 4)):
        given = pixels[first : first + 4]
        np.testing.assert_array_equal(zoo.images.to_uint8(rows[row]), given)
        np.testing.assert_allclose(rows[row + 1], model.transfer(given), atol=1e-6)
    for n, given, asked, columns, count in (
        (64, 3, None, 3, 6),  # All of the few there are,
        (12, 20, None, 4, 8),  # the side of a square with room for all,
        (7, 20, 3, 3, 6),  # whole rows,
        (2, 20, 5, 5, 10),  # two at least.
    ):
        grid, found = model.sample_grid(n, 0, asked, images=pixels[:given])
        assert (found, len(grid)) == (columns, count)
    for wrong in ({"n": 0}, {"n": 2.5}, {"columns": -1}):
        (argument,) = wrong
        with pytest.raises(ValueError, match=f"Received: {argument}="):
            model.sample_grid(**wrong, images=pixels)

    model.compile()
    film = zoo.callbacks.SampleGrid(tmp_path, n=16, images=pixels)
    model.fit(pairs(), steps_per_epoch=2, callbacks=[film], verbose=0)
    expected = zoo.plots.image_grid(*model.sample_grid(16, images=pixels))
    with Image.open(tmp_path / "000002.png") as last:
        np.testing.assert_array_equal(last, expected)
    blind = zoo.callbacks.SampleGrid(tmp_path / "blind")
    with pytest.raises(ValueError, match="pass source images"):
        model.fit(pairs(), steps_per_epoch=2, callbacks=[blind], verbose=0)


def test_features_may_be_a_preset_or_a_network(classifier, tmp_path):
    classifier.save_to_preset(tmp_path / "f")
    images = np.zeros((1, 16, 16, 1), np.float32)
    expected = classifier.embed(images)
    for features in (tmp_path / "f", str(tmp_path / "f"), classifier.features):
        np.testing.assert_array_equal(tiny(features).embed(images), expected)


def test_errors_name_what_is_wrong(classifier):
    with pytest.raises(ValueError, match="features is the fixed network f"):
        zoo.DTN()
    with pytest.raises(ValueError, match="Unknown preset"):
        zoo.DTN("no_such_preset")
    with pytest.raises(ValueError, match="maps images"):
        zoo.DTN(classifier.label_head)
    pooled = keras.layers.GlobalAveragePooling2D()
    with pytest.raises(ValueError, match=r"rows of known shapes.*\(None, None, 3\) to"):
        zoo.DTN(keras.Sequential([keras.Input((None, None, 3)), pooled]))
    of_any_width = keras.layers.Lambda(lambda x: x[:, 0, 0], output_shape=(None,))
    with pytest.raises(ValueError, match=r"rows of known shapes.*to \(None,\)"):
        zoo.DTN(keras.Sequential([keras.Input((16, 16, 3)), of_any_width]))
    with pytest.raises(ValueError, match="classifier_digits"):
        zoo.DTN.check_measurable(["digits", "digits"])
    model = tiny(classifier)
    with pytest.raises(ValueError, match=r"0 or more\. Received: tid_weight=-1"):
        model.compile(tid_weight=-1.0)
    with pytest.raises(ValueError, match="above 0"):
        model.compile(gang_weight=0, const_weight=0, tid_weight=0)
    model.compile()
    with pytest.raises(ValueError, match="load two names"):
        model.fit(pairs().map(lambda source, target: source), verbose=0)
    with pytest.raises(ValueError, match="built for samples of shape"):
        model.transfer(np.zeros((2, 28, 28, 1), np.uint8))


@pytest.mark.parametrize(
    ("units", "activation", "message"),
    [(2, None, "discriminator"), (3, "softmax", "logits")],
)
def test_a_discriminator_of_one_s_own_tells_three_kinds_by_logits(
    classifier, units, activation, message
):
    last = keras.layers.Dense(units, activation)
    network = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten(), last])
    with pytest.raises(ValueError, match=message):
        zoo.DTN(classifier, discriminator=network)


def test_folders_named_as_presets_are_not_taken_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    local = zoo.Classifier((8, 8, 1), 2, filters=(2,), seed=0)
    for name in ("classifier_mnist", "classifier_mnist_m"):
        local.save_to_preset(name)
    widths = {"generator_filters": 2, "discriminator_filters": 2}
    model = zoo.DTN("classifier_mnist_m", seed=0, **widths)
    assert model.image_shape == (28, 28, 3)

    sizes = {"split": "test[:40]", "image_size": 28, "channels": 3}
    images, labels = load_arrays("digits", **sizes)
    folder = zoo.presets.built_in("classifier_mnist")
    accuracy = model.transfer_accuracy(images, labels, zoo.from_preset(folder))
    expected = Measurement(
        "transfer_accuracy",
        accuracy,
        features="classifier_mnist",
        hash=zoo.presets.fingerprint(folder),
        resize="antialiased 8x8x1>28x28x3>28x28x1",
        real_count=40,
        generated_count=40,
    )
    for target in ("mnist", "mnist:3.0.1"):
        assert model.measure(name=("digits", target), **sizes) == [expected]


def test_a_run_shows_source_images_above_their_transfers(tmp_path):
    data = {"name": ["digits", "digits"], "image_size": 28, "channels": 3}
    networks = {"generator_filters": 2, "discriminator_filters": 2}
    recipe = Recipe("dtn", data, {"features": "classifier_mnist_m", **networks})
    run, model = Run(tmp_path / "run", recipe), recipe.build()
    model.compile(run_eagerly=True)
    images, _ = load_arrays("digits", image_size=28, channels=3, limit=32)
    expected = plots.image_grid(*model.sample_grid(images=images))
    with run.started():
        model.fit(
            recipe.load_data(),
            steps_per_epoch=2,
            verbose=0,
            callbacks=run.callbacks(model),
        )
    samples = tmp_path / "run" / "samples"
    names = sorted(path.name for path in samples.iterdir())
    assert names == ["000000.png", "000002.png", "samples.gif"]
    with Image.open(samples / "000000.png") as shown:
        np.testing.assert_array_equal(shown, expected)
