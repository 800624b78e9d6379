"""GAN and DCGAN: who trains what, what is refused, and the one-dimensional GAN."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo import networks, priors
from zoo.recipes import Recipe
from zoo.training_loop import TrainingLoop


def tiny_dcgan(**kwargs):
    sizes = {"generator_filters": 4, "discriminator_filters": 4, "kernel_size": 3}
    return zoo.DCGAN((16, 16, 1), latent_dim=8, seed=0, **sizes, **kwargs)


def copy_of(network):
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    return copy


def assert_equal_statistics(network, expected):
    for ours, theirs in zip(
        network.non_trainable_variables, expected.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_each_player_moves_its_own_weights_and_statistics_only():
    """What a step should do to the batch-norm statistics is done by hand to copies."""
    gan = tiny_dcgan()
    images = tf.constant(
        np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 1)), tf.float32
    )
    for trained in ("generator", "discriminator"):
        optimizers = {
            f"{player}_optimizer": keras.optimizers.SGD(
                0.1 if player == trained else 0.0
            )
            for player in gan.players()
        }
        gan.compile(**optimizers)
        before = {name: copy_of(network) for name, network in gan.networks().items()}
        first, second = (gan.draw_latents(8, stream=number) for number in (0, 1))
        # The generator plays for the discriminator, and only its own step counts.
        fake = copy_of(gan.generator)(first, training=True)
        gan.train_step(images)
        for name, network in gan.networks().items():
            changed = any(
                (now.numpy() != then.numpy()).any()
                for now, then in zip(
                    network.trainable_variables,
                    before[name].trainable_variables,
                    strict=True,
                )
            )
            assert changed == (name == trained)
        expected = before["generator"]
        expected(second, training=True)
        assert_equal_statistics(gan.generator, expected)
        expected = before["discriminator"]
        expected(images, training=True)
        expected(fake, training=True)
        assert_equal_statistics(gan.discriminator, expected)


def test_averages_are_those_of_the_weights_and_statistics():
    gan = tiny_dcgan()
    gan.compile(averaging=0.15)
    expected = gan.generator.get_weights()
    data = zoo.load_data("digits", image_size=16, batch_size=32)
    for step in range(3):
        gan.fit(data, steps_per_epoch=1, initial_epoch=step, epochs=step + 1, verbose=0)
        decay = min(0.15, (1 + step) / (10 + step))  # 0.1 at first.
        expected = [
            decay * average + (1 - decay) * weight
            for average, weight in zip(
                expected, gan.generator.get_weights(), strict=True
            )
        ]
    for ours, theirs in zip(
        gan.averaged_generator.get_weights(), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert not gan.averaged_generator.trainable_variables
    # It is what generates.
    latents = gan.prior.sample([3])
    np.testing.assert_allclose(
        gan.generate(1, seed=3), gan.averaged_generator(latents), atol=1e-6
    )


def test_augmentation_takes_what_a_network_in_half_precision_makes():
    half = {"dtype": "mixed_bfloat16"}
    generator = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(16, "tanh", **half),
            keras.layers.Reshape((4, 4, 1), **half),
        ]
    )
    gan = zoo.GAN(generator=generator, discriminator_units=(4,), seed=0)
    gan.compile(augmentation="color,translation,cutout,flip")
    gan.fit(np.zeros((8, 4, 4, 1), np.float32), batch_size=4, verbose=0)


def test_vectors_are_not_augmented():
    with pytest.raises(ValueError, match=r"for images, and .*\(2,\)"):
        zoo.GAN((2,)).compile(augmentation="translation")


def test_replicas_draw_different_noise():
    strategy = zoo.strategy("mirrored", 2)
    with strategy.scope():
        gan = tiny_dcgan()
    drawn = strategy.run(lambda: gan.draw_latents(4, stream=0))
    together = np.concatenate(strategy.experimental_local_results(drawn))
    assert len(np.unique(together, axis=0)) == 8
    # Side by side they are what one replica draws.
    np.testing.assert_array_equal(together, tiny_dcgan().draw_latents(8, stream=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "no_such"}, "Expected one of"),
        ({"update": "both"}, "'alternate' or 'simultaneous'"),
        ({"discriminator_steps": 0}, "1 or more"),
        (
            {"update": "simultaneous", "discriminator_steps": 2},
            "use update='alternate'",
        ),
        ({"label_smoothing": 0.7}, "below 0.5"),
        ({"label_smoothing": "0.1"}, "a finite number.*label_smoothing='0.1'"),
        ({"label_smoothing": 0.1, "loss": "hinge"}, "needs a loss of probabilities"),
        ({"penalty_weight": 3.0}, "no effect without a penalty"),
        ({"penalty": False}, "Unknown penalty.*Received: penalty=False"),
        ({"penalty": "gradient_penalty"}, "batch_normalization.* mix the rows"),
        ({"averaging": 1.5}, "above 0 and below 1"),
        ({"averaging": "0.9"}, "a finite number.*averaging='0.9'"),
        ({"steps_per_execution": 0}, "1 or more.*steps_per_execution=0"),
        ({"augmentation": "flip,colour"}, "flip, color, .*'flip,colour'"),
        ({"augmentation": ""}, "names from flip"),
        ({"augmentation": ["flip"]}, "names from flip"),
    ],
)
def test_compile_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_dcgan().compile(**arguments)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (keras.layers.Dense(1, activation="sigmoid", name="last"), "sigmoid.*last"),
        (keras.layers.Dense(2), r"a logit for each row.*\(None, 2\)"),
        (keras.layers.Activation("sigmoid"), "must return logits"),
        (keras.layers.Softmax(), "softmax"),
        (
            keras.Sequential(
                [
                    keras.Input((1,)),
                    keras.layers.Activation("sigmoid"),
                    keras.layers.Reshape(()),
                ]
            ),
            "sigmoid",
        ),
        (keras.layers.Lambda(keras.ops.sigmoid), "sigmoid"),
    ],
)
def test_discriminators_without_a_logit_a_row_are_refused(last, message):
    layers = [keras.Input((3,)), keras.layers.Dense(1), last]
    with pytest.raises(ValueError, match=message):
        zoo.GAN((3,), discriminator=keras.Sequential(layers))


def test_a_discriminator_may_end_in_any_model():
    class Judge(keras.Model):
        def __init__(self):
            super().__init__()
            self.last = keras.layers.Dense(1)

        def call(self, rows):
            return self.last(rows)

    gan = zoo.GAN((3,), 2, discriminator=keras.Sequential([keras.Input((3,)), Judge()]))
    assert gan.discriminate(gan.generate(4, seed=0)).shape == (4,)


def test_classifiers_of_probabilities_are_refused():
    head = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation="softmax")]
    )
    with pytest.raises(ValueError, match="label_head must return logits"):
        zoo.Classifier((8, 8, 1), 3, filters=(4,), label_head=head)


def test_the_step_of_fit_is_that_of_keras(monkeypatch):
    """Ours, Keras's own, and Keras's of several steps a call train the same weights."""
    data = zoo.load_data("digits", image_size=16, batch_size=16)

    def trained(**compile_arguments):
        gan = tiny_dcgan()
        gan.compile(**compile_arguments)
        history = gan.fit(data, epochs=2, steps_per_epoch=4, verbose=0).history
        return gan.get_weights(), history

    ours, history = trained()
    assert len(history["discriminator_loss"]) == 2
    several = trained(steps_per_execution=2)
    monkeypatch.delattr(TrainingLoop, "make_train_function")
    for weights, logs in (several, trained()):
        for one, other in zip(ours, weights, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
        for name, values in history.items():
            np.testing.assert_allclose(values, logs[name], rtol=1e-4)


def test_one_optimizer_for_both_is_refused():
    adam = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="share one optimizer"):
        tiny_dcgan().compile(generator_optimizer=adam, discriminator_optimizer=adam)


@pytest.mark.parametrize(
    "arguments", [{"steps_per_execution": 2}, {"jit_compile": True}]
)
def test_what_fails_under_replicas_is_refused(arguments):
    with zoo.strategy("mirrored", 2).scope():
        gan = tiny_dcgan()
        with pytest.raises(ValueError, match="2 replicas"):
            gan.compile(**arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((16, 32, 1), "square"),
        ((8, 8, 1), "16 to 128"),
        ((22, 22, 1), "halves to 11"),
        ((18, 18, 1), "halves to 9"),
        ((32, 32, 2), "1 or 3 channels"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        zoo.DCGAN(shape)


@pytest.mark.parametrize("size", [16, 28, 32, 64, 128])
def test_sizes(size):
    gan = zoo.DCGAN((size, size, 3), 4, generator_filters=2, discriminator_filters=2)
    assert gan.generate(1).shape == (1, size, size, 3)


def test_the_cats_tutorial_s_networks():
    gan = Recipe.of_preset("dcgan_afhq_cats_128").model
    start, *larger = networks.upsampling_sizes(128, gan["start_size"])
    assert start == 8
    assert gan["generator_filters"] * 2 ** (len(larger) - 1) == 1024


def test_28_pixels_grow_from_4_by_dropping_a_row_and_a_column():
    assert networks.upsampling_sizes(28) == [7, 14, 28]
    assert networks.upsampling_sizes(28, 4) == [4, 7, 14, 28]
    with pytest.raises(ValueError, match="start_size=5 cannot be doubled"):
        networks.upsampling_sizes(28, 5)
    gan = zoo.DCGAN(
        (28, 28, 1), 4, generator_filters=2, discriminator_filters=2, start_size=4
    )
    assert gan.generate(1).shape == (1, 28, 28, 1)
    sides = {layer.output.shape[1] for layer in gan.generator.layers[2:]}
    assert {4, 7, 14, 28} <= sides
    assert gan.discriminator.layers[-3].output.shape[1] == 4 * 4 * 8


@pytest.mark.parametrize("normalization", ["batch", "layer", None])
def test_hidden_layers_of_a_dcgan_lie_at_both_ends(normalization):
    gan = zoo.DCGAN(
        (16, 16, 1),
        4,
        generator_filters=2,
        discriminator_filters=2,
        hidden_units=6,
        discriminator_normalization=normalization,
    )
    dense = {
        name: [layer for layer in network.layers if hasattr(layer, "units")]
        for name, network in gan.networks().items()
    }
    assert [layer.units for layer in dense["generator"]] == [6, 4 * 4 * 4]
    assert [layer.units for layer in dense["discriminator"]] == [6, 1]
    # What normalizes adds a bias of its own.
    assert dense["discriminator"][0].use_bias == (normalization is None)
    assert zoo.DCGAN.from_config(gan.get_config()).hidden_units == 6
    gan.compile(penalty=None if normalization == "batch" else "r1")
    logs = gan.train_on_batch(np.zeros((4, 16, 16, 1), "float32"), return_dict=True)
    assert np.isfinite(logs["loss"])


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no weights yet"):
        zoo.GAN(generator=keras.Sequential([keras.layers.Dense(2)]))
    rows = keras.Input((3,))
    with pytest.raises(ValueError, match=r"generator must have one output.* 2"):
        zoo.GAN(generator=keras.Model(rows, [rows, rows]))
    rows = keras.Input((None,))
    with pytest.raises(ValueError, match=r"generator must take .*\(None,\)"):
        zoo.GAN(generator=keras.Model(rows, keras.layers.Embedding(2, 2)(rows)))
    with pytest.raises(ValueError, match="Set latent_dim=1"):
        zoo.GAN(generator=zoo.one_dimensional.Generator(), latent_dim=3)
    with pytest.raises(ValueError, match="build a prior of rows of 1"):
        zoo.GAN(generator=zoo.one_dimensional.Generator(), prior=zoo.priors.Normal(3))
    with pytest.raises(ValueError, match="discriminator takes"):
        zoo.GAN((3,), discriminator=zoo.one_dimensional.Discriminator())
    with pytest.raises(ValueError, match="rows of 3 numbers"):
        zoo.GAN((3,), latent_dim=4, prior=zoo.priors.Normal(3))


def test_batches_of_another_shape_are_refused():
    gan = tiny_dcgan()
    gan.compile()
    with pytest.raises(ValueError, match=r"shape \(16, 16, 1\)"):
        gan.fit(zoo.load_data("digits"), verbose=0)


def test_levels_of_pixels_are_refused_where_pixels_are_meant():
    gan = tiny_dcgan()
    gan.compile()
    levels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), np.uint8)
    for data in (levels, tf.data.Dataset.from_tensors(levels)):
        with pytest.raises(ValueError, match=r"from -1 to 1.*zoo\.images\.from_uint8"):
            gan.fit(data, verbose=0)
    gan.fit(zoo.images.from_uint8(levels), batch_size=8, verbose=0)


def test_a_penalty_of_a_user_s_own_weighs_one_unless_told():
    class Zero(zoo.losses.Penalty):
        def __call__(self, critic, real, fake, seeds):
            return 0.0

    gan = zoo.GAN((4, 4, 1), generator_units=(4,), discriminator_units=(4,))
    gan.compile(penalty=Zero())
    assert gan.penalty_weight == 1.0


def test_the_penalty_is_no_part_of_the_discriminators_loss():
    losses, weights = [], []
    for arguments in ({}, {"penalty": "r1", "penalty_weight": 1000.0}):
        gan = zoo.GAN((8, 8, 1), generator_units=(8,), discriminator_units=(8,), seed=0)
        gan.compile(**arguments)
        history = gan.fit(gan.generate(8) / 2, batch_size=8, verbose=0).history
        losses += history["discriminator_loss"]
        weights.append(np.concatenate([w.numpy().ravel() for w in gan.weights]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert (weights[0] != weights[1]).any()


@pytest.mark.parametrize("arguments", [{}, {"n": 1, "seeds": [1]}, {"seeds": [0.5]}])
def test_generate_refuses(arguments):
    with pytest.raises(ValueError, match="seeds"):
        tiny_dcgan().generate(**arguments)


def test_the_one_dimensional_gan_learns_mean_and_width():
    recipe = Recipe.of_preset("gan_gaussian1d_minibatch")
    gan = recipe.build()
    recipe.compile_model(gan)
    untrained = gan.generate(2000)
    assert abs(untrained.mean() - 4) > 1
    # The game goes round its end, so several epochs are looked at together.
    train, samples = recipe.load_data(), []
    for epochs in (10, 2, 2):
        gan.fit(train, epochs=epochs, verbose=0)
        samples.append(gan.generate(2000))
    assert np.mean(samples) == pytest.approx(4, abs=0.6)
    assert 0.25 < np.std(samples) < 0.85


@pytest.mark.parametrize("network", ["Generator", "Discriminator"])
def test_one_dimensional_networks_keep_their_precision(network):
    whole = getattr(zoo.one_dimensional, network)(dtype="mixed_bfloat16")
    again = type(whole).from_config(whole.get_config())
    for each in (whole, again):
        assert each.layers[1].compute_dtype == "bfloat16"
        assert each.layers[-1].compute_dtype == "float32"


def test_replicas_together_cover_the_range():
    def build():
        return zoo.GAN(
            generator=zoo.one_dimensional.Generator(),
            discriminator=zoo.one_dimensional.Discriminator(),
            prior=priors.StratifiedRange(1, -8.0, 8.0),
            seed=0,
        )

    strategy = zoo.strategy("mirrored", 2)
    with strategy.scope():
        gan = build()
    drawn = strategy.run(lambda: gan.draw_latents(4, stream=0))
    together = np.concatenate(strategy.experimental_local_results(drawn))
    np.testing.assert_array_equal(together, build().draw_latents(8, stream=0))
