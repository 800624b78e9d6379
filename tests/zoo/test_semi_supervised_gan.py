"""What the GAN with K + 1 classes promises beyond the shared tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from variants import CASES

import zoo
from zoo.layers import RowNoise

(CASE,) = (case for case in CASES if case.name == "semi_supervised_gan")


@pytest.fixture
def model():
    model = CASE.build()
    model.compile()
    return model


def digits(**arguments):
    return zoo.load_data("digits", image_size=16, **arguments)


def probabilities_of_k_plus_1_classes(model, images):
    """The softmax over K logits and a 0 for "generated", as the paper writes it."""
    logits = model.discriminator(images).numpy().astype(np.float64)
    logits = np.pad(logits, [(0, 0), (0, 1)])
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_losses_are_those_of_a_softmax_over_k_plus_1_classes(model):
    images, labels = next(iter(digits(labels=True, batch_size=20)))
    labels = tf.where(tf.range(20) < 5, tf.cast(labels, tf.int32), -1)
    logs = model.evaluate(tf.data.Dataset.from_tensors((images, labels)), verbose=0)
    logs = dict(zip(["loss", *model.logged], logs, strict=True))

    real = probabilities_of_k_plus_1_classes(model, images)
    of_real_classes = real[:5, :10] / real[:5, :10].sum(axis=1, keepdims=True)
    supervised = -np.log(of_real_classes[range(5), labels[:5]]).mean()
    assert logs["classification_loss"] == pytest.approx(supervised, rel=1e-5)
    hits = of_real_classes.argmax(axis=1) == labels[:5]
    assert logs["classification_accuracy"] == pytest.approx(hits.numpy().mean())

    # `evaluate` starts from the same latents each time.
    model.reset_metrics()
    fake = probabilities_of_k_plus_1_classes(
        model, model.generator(model.draw_test_latents(20))
    )
    # Of the real ones those without a label.
    unsupervised = -np.log(1 - real[5:, 10]).mean() - np.log(fake[:, 10]).mean()
    assert logs["discriminator_loss"] == pytest.approx(unsupervised, rel=1e-5)
    taken_for_real = real[5:, 10] < 0.5
    assert logs["real_accuracy"] == pytest.approx(taken_for_real.mean())
    np.testing.assert_allclose(
        model.classify(images.numpy())[:5], of_real_classes, rtol=1e-5, atol=1e-7
    )


def test_where_all_images_have_labels_all_are_draws_of_the_data(model):
    images, labels = next(iter(digits(labels=True, batch_size=20)))
    logs = {}
    for name, given in (("all", labels), ("none", tf.fill([20], -1))):
        data = tf.data.Dataset.from_tensors((images, given))
        logs[name] = model.evaluate(data, verbose=0, return_dict=True)
    assert logs["all"]["classification_loss"] > 0
    for name in ("discriminator_loss", "generator_loss", "real_accuracy"):
        assert logs["all"][name] == logs["none"][name]
        assert logs["all"][name] != 0


def test_without_labels_the_game_alone_trains_the_discriminator(model):
    images, _ = next(iter(digits(labels=True, batch_size=20)))
    before = model.discriminator.get_weights()
    batch = images, tf.fill([20], -1)
    logs = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert logs["classification_loss"] == [0]
    assert logs["discriminator_loss"][0] > 0
    after = model.discriminator.get_weights()
    assert all(
        (ours != theirs).any() for ours, theirs in zip(before, after, strict=True)
    )


def test_evaluate_weighs_labelled_rows_alike(model):
    images, labels = next(iter(digits(labels=True, batch_size=24)))
    labels = tf.where(tf.range(24) < 3, tf.cast(labels, tf.int32), -1)
    whole = tf.data.Dataset.from_tensors((images, labels))
    parts = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    for name in ("classification_loss", "classification_accuracy", "real_accuracy"):
        one, two = (
            model.evaluate(data, verbose=0, return_dict=True)[name]
            for data in (whole, parts)
        )
        assert one == pytest.approx(two, rel=1e-5), name


def test_the_discriminator_sees_noise_in_training_alone():
    batch = next(iter(digits(labels=True, batch_size=20)))
    data = tf.data.Dataset.from_tensors(batch)
    losses = {}
    for noise in (0.0, 0.3):
        model = CASE.build()
        model.compile(input_noise=noise, run_eagerly=True)
        evaluated = model.evaluate(data, verbose=0, return_dict=True)
        trained = model.fit(data, verbose=0).history
        losses[noise] = evaluated, {name: trained[name][0] for name in evaluated}
    assert losses[0.0][0] == losses[0.3][0]
    for name in ("discriminator_loss", "classification_loss", "generator_loss"):
        assert losses[0.0][1][name] != losses[0.3][1][name]
    images = batch[0]
    noise = [
        model._see(model.discriminator, images, n, call=lambda _, seen: seen) - images
        for n in (100, 101)
    ]
    assert np.std(noise[0]) / 2 == pytest.approx(0.3, rel=0.05)
    assert abs(np.corrcoef(np.ravel(noise[0]), np.ravel(noise[1]))[0, 1]) < 0.1


def test_every_layer_of_the_perceptron_sees_noise_in_training_alone():
    arguments = {
        "architecture": "mlp",
        "generator_units": (8,),
        "discriminator_units": (32, 16),
        "seed": 0,
    }
    noisy = zoo.SemiSupervisedGAN((8, 8, 1), 10, layer_noise=0.5, **arguments)
    quiet = zoo.SemiSupervisedGAN((8, 8, 1), 10, layer_noise=0.0, **arguments)
    quiet.set_weights(noisy.get_weights())
    images = np.random.default_rng(0).uniform(-1, 1, (20, 8, 8, 1))
    np.testing.assert_array_equal(
        noisy.discriminator(images), quiet.discriminator(images)
    )
    noisy.compile()
    features = noisy.loss.features(noisy.discriminator)
    hidden = [x for x in noisy.discriminator.layers if isinstance(x, RowNoise)]
    assert len(hidden) == 2
    first = keras.Model(noisy.discriminator.input, hidden[0].output)
    for network in (first, features):
        clean = network(images).numpy()
        one, two = (noisy._see(network, images, n).numpy() for n in (100, 101))
        assert (one != clean).all()
        assert (one != two).all()
    first_noise = noisy._see(first, images, 100)
    assert np.std(first_noise - first(images)) == pytest.approx(0.5, rel=0.1)


def test_noise_is_no_part_of_what_features_differ_by():
    bias = keras.initializers.Constant(np.arctanh(0.5))
    generator = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(64, "tanh", True, "zeros", bias_initializer=bias),
            keras.layers.Reshape((8, 8, 1)),
        ]
    )
    model = zoo.SemiSupervisedGAN(num_classes=10, generator=generator, seed=0)
    model.compile(input_noise=0.3)
    batch = tf.fill([20, 8, 8, 1], 0.5), tf.fill([20], -1)
    logs = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert logs["generator_loss"][0] == pytest.approx(0, abs=1e-6)
    # Each batch of the discriminator's has noise of its own.
    assert logs["real_accuracy"] != logs["fake_accuracy"]


def test_a_discriminator_of_half_precision_trains():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        images = keras.Input((16, 16, 1))
        x = keras.layers.Dense(8, "relu")(keras.layers.Flatten()(images))
        discriminator = keras.Model(images, keras.layers.Dense(10)(x))
    finally:
        keras.config.set_dtype_policy("float32")
    model = CASE.build(dtype="mixed_bfloat16", discriminator=discriminator)
    model.compile()
    logs = model.fit(CASE.load_data(), steps_per_epoch=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert model.classify(np.zeros((1, 16, 16, 1), np.uint8)).dtype == np.float32


@pytest.mark.parametrize(
    ("architecture", "widths"),
    [
        ("mlp", {"discriminator_units": (500, 250, 100), "layer_noise": 0.3}),
        ("convolutional", {"generator_filters": 8, "discriminator_filters": 16}),
    ],
)
def test_reads_digits_from_a_hundred_labels(architecture, widths):
    model = zoo.SemiSupervisedGAN(
        (16, 16, 1), 10, architecture, latent_dim=16, seed=0, **widths
    )
    adam = keras.optimizers.Adam(1e-3, beta_1=0.5)
    model.compile(generator_optimizer="adam", discriminator_optimizer=adam)
    train = digits(labelled=100, labelled_share=0.25, batch_size=64)
    model.fit(train, epochs=5, verbose=0)
    (error,) = model.measure(name="digits", split="test", image_size=16)
    assert (error.name, error.real_count) == ("test_error", 297)
    assert error.value < 0.2  # Of six seeds, 0.11 to 0.17.
    assert model.generate(3).shape == (3, 16, 16, 1)


def test_bad_input_is_refused(model):
    with pytest.raises(ValueError, match=r"2 or more.*num_classes=None"):
        zoo.SemiSupervisedGAN((16, 16, 1))
    with pytest.raises(ValueError, match=r"discriminator must map .* to .*\(10,\)"):
        zoo.SemiSupervisedGAN(
            (16, 16, 1), 10, discriminator=zoo.DCGAN((16, 16, 1)).discriminator
        )
    with pytest.raises(ValueError, match="labels=True"):
        model.fit(digits(), verbose=0)
    images = np.zeros((4, 16, 16, 1), np.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="or -1: unlabelled"):
        model.evaluate(images, np.array([0, 1, 10, 2]), verbose=0)
    with pytest.raises(ValueError, match="Unknown loss"):
        model.compile(loss="mean_squared_error")
    with pytest.raises(ValueError, match=r"0 or more.*input_noise=-0\.1"):
        model.compile(input_noise=-0.1)
    for noise in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=r"0 or more.*layer_noise="):
            zoo.SemiSupervisedGAN((16, 16, 1), 10, layer_noise=noise)
    with pytest.raises(ValueError, match=r"1 or more.*discriminator_units="):
        zoo.SemiSupervisedGAN((16, 16, 1), 10, discriminator_units=(8, -1))
    with pytest.raises(ValueError, match="architecture 'mlp' or 'convolutional'"):
        zoo.SemiSupervisedGAN((16, 16, 1), 10, architecture="dense")
    with pytest.raises(ValueError, match=r"layer_noise is for .*'mlp'"):
        zoo.SemiSupervisedGAN((16, 16, 1), 10, "convolutional", layer_noise=0.3)
    with pytest.raises(ValueError, match=r"generator_filters is for .*'convolutional'"):
        zoo.SemiSupervisedGAN((16, 16, 1), 10, generator_filters=16)


def test_a_discriminator_without_a_hidden_layer_has_no_features_to_match():
    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    discriminator = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    model = zoo.SemiSupervisedGAN(
        num_classes=3, discriminator=discriminator, image_shape=(4, 4, 1), seed=0
    )
    with pytest.raises(ValueError, match="at least two layers with weights"):
        model.compile()
    model.compile(loss="non_saturating")


def test_the_perceptrons_are_those_of_the_docstring():
    model = zoo.SemiSupervisedGAN(
        (8, 8, 1), 10, generator_units=(4, 5), discriminator_units=(6, 7), seed=0
    )

    def kinds(network):
        return [
            type(x).__name__
            for x in network.layers
            if not isinstance(
                x, (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape)
            )
        ]

    assert kinds(model.generator) == [
        *["Dense", "BatchNormalization", "Activation"] * 2,
        "WeightNormalizedDense",
    ]
    softplus = [
        x for x in model.generator.layers if isinstance(x, keras.layers.Activation)
    ]
    assert {x.activation for x in softplus} == {keras.activations.softplus}
    assert kinds(model.discriminator) == [
        *["WeightNormalizedDense", "RowNoise"] * 2,
        "WeightNormalizedDense",
    ]
    noises = [x.stream for x in model.discriminator.layers if hasattr(x, "stream")]
    assert len(set(noises)) == 2


def test_noise_of_layers_differs_by_row_step_and_layer():
    model = zoo.SemiSupervisedGAN(
        (4, 4, 1), 3, generator_units=(4,), discriminator_units=(16, 16), seed=0
    )
    model.compile()

    hidden = [x for x in model.discriminator.layers if isinstance(x, RowNoise)]
    network = keras.Model(
        model.discriminator.input, [y for x in hidden for y in (x.input, x.output)]
    )
    images = np.zeros((8, 4, 4, 1), np.float32)

    def noises():
        a, b, c, d = (x.numpy() for x in model._see(network, images, 100))
        return b - a, d - c

    first, second = noises()
    assert len(np.unique(first.round(4), axis=0)) == 8
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.4
    model.steps.assign_add(1)
    assert (noises()[0] != first).all()
