"""Networks, priors and losses of a user's own: what they may be, and what not."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import export
import zoo
from zoo import losses, priors, rng
from zoo.data import load_data

ROWS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def gan(**arguments):
    given = {"generator_units": (4,), "discriminator_units": (4,), "seed": 0}
    return zoo.GAN((3,), **{**given, **arguments})


# What a file or an export is rebuilt from


class Wide(priors.Prior):
    def __init__(self, width, scale=1.0):
        super().__init__(width)
        self.scale = scale

    def sample(self, seeds):
        return self.scale * rng.normal(seeds, self.width)


@keras.saving.register_keras_serializable("test_own_parts")
class Whole(Wide):
    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class Steep(losses.NonSaturating):
    def __init__(self, slope=1.0):
        self.slope = slope


class Deep(zoo.GAN):
    def __init__(self, *args, depth=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.depth = depth


class DeepByItself(Deep):
    @staticmethod
    def from_config(config):
        return DeepByItself(**{**config, "dtype": None, "depth": 3})


def test_what_a_config_lacks_is_said_before_it_is_lost():
    lacking = r"{}\.get_config\(\) lacks {}, which the constructor takes"
    with pytest.raises(ValueError, match=lacking.format("Wide", "scale")):
        gan(prior=Wide(2, 5.0))
    assert gan(prior=Whole(2, 5.0)).inference_copy().prior.scale == 5
    with pytest.raises(ValueError, match=lacking.format("Steep", "slope")):
        gan().compile(loss=Steep(2.0))
    deep = Deep((3,), 2, depth=3, seed=0)
    for use in (deep.compile, deep.inference_copy):
        with pytest.raises(ValueError, match=lacking.format("Deep", "depth")):
            use()
    assert DeepByItself((3,), 2, depth=3, seed=0).inference_copy().depth == 3


class Times(layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("test_own_parts")
class Lacking(Times):
    def get_config(self):
        return layers.Layer.get_config(self)


@keras.saving.register_keras_serializable("test_own_parts")
class Sparing(Times):
    """Leaves out what nobody gave, as layers of Keras do."""

    def __init__(self, factor=1.0, activity_regularizer=None, **kwargs):
        super().__init__(factor, activity_regularizer=activity_regularizer, **kwargs)

    def get_config(self):
        given = {} if self.factor == 1 else {"factor": self.factor}
        return {**layers.Layer.get_config(self), **given}


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_config_may_leave_out_what_nobody_gave(factor):
    model = through(Sparing(factor))
    model.compile(averaging=0.9)
    (copied,) = [
        layer for layer in model.averaged_generator.layers if isinstance(layer, Sparing)
    ]
    assert copied.factor == factor


def through(layer):
    """A GAN whose generator has a layer of a user's own."""
    samples = x = keras.Input((3,))
    x = layer(layers.Dense(3)(x))
    return gan(generator=keras.Model(samples, layers.Dense(3)(x)), latent_dim=3)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (layers.Lambda(lambda x: 2 * x), "deserialization of a `Lambda`"),
        (layers.Activation(lambda x: 2 * x), "Could not interpret activation"),
        (Lacking(2.0), r"Lacking\.get_config\(\) lacks factor"),
    ],
)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_layer_that_no_config_describes_is_named(layer, said, tmp_path):
    model = through(layer)
    named = f"generator's layer '{layer.name}' can't be built again.*{said}"
    for use in (
        lambda: model.compile(averaging=0.9),
        lambda: model.save_to_preset(tmp_path / "preset"),
        lambda: export.to_saved_model(model, tmp_path / "models" / "gan"),
    ):
        with pytest.raises(ValueError, match=named) as caught:
            use()
        assert len(str(caught.value)) < 600
    assert [path for path in tmp_path.iterdir() if path.name != "models"] == []
    assert not model.compiled
    # It trains as it is.
    model.compile()
    model.fit(ROWS, batch_size=8, verbose=0)


def test_a_layer_without_a_registered_class_is_averaged_but_not_saved(tmp_path):
    layer = Times(2.0)
    model = through(layer)
    model.compile(averaging=0.9)
    model.fit(ROWS, batch_size=8, verbose=0)
    copied = model.averaged_generator.get_layer(layer.name)
    assert copied.factor == 2
    with pytest.raises(ValueError, match="Could not locate class 'Times'"):
        model.save_to_preset(tmp_path / "preset")
    assert not list(tmp_path.iterdir())


def adapted():
    """Keras's Normalization, as it is used: fitted to the data."""
    layer = layers.Normalization()
    layer.adapt(5 * ROWS + 3)
    return layer


def test_copies_normalize_as_the_network_does(tmp_path):
    model = gan(
        generator=keras.Sequential([keras.Input((3,)), adapted(), layers.Dense(3)]),
        discriminator=judging(adapted()),
        latent_dim=3,
    )
    made, judged = model.generate(4), model.discriminate(ROWS)
    copy = model.inference_copy()
    np.testing.assert_allclose(copy.generate(4), made, atol=1e-6)
    np.testing.assert_allclose(copy.discriminate(ROWS), judged, atol=1e-6)
    model.compile(averaging=0.9)
    np.testing.assert_allclose(model.generate(4), made, atol=1e-6)


# Networks


def ending_in(last):
    samples = keras.Input((3,))
    return keras.Model(samples, last(layers.Dense(1)(samples)))


@pytest.mark.parametrize(
    ("last", "named"),
    [
        (keras.activations.sigmoid, "sigmoid"),
        (keras.ops.sigmoid, "sigmoid"),
        (keras.ops.softmax, "softmax"),
        (layers.Activation("hard_sigmoid"), "hardsigmoid"),
        (lambda x: keras.ops.squeeze(keras.ops.sigmoid(x), -1), "sigmoid"),
        (lambda x: layers.Dropout(0.5)(layers.Activation("sigmoid")(x)), "sigmoid"),
        (
            lambda x: layers.Activation("linear", dtype="float32")(
                keras.ops.cast(keras.ops.sigmoid(x), "float32")
            ),
            "sigmoid",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
def test_probabilities_are_found_however_they_are_written(last, named):
    with pytest.raises(ValueError, match=f"must return logits.* the {named} "):
        gan(discriminator=ending_in(last))


@pytest.mark.parametrize(
    "last", [keras.ops.tanh, layers.Dropout(0.5), lambda x: keras.ops.squeeze(x, -1)]
)
def test_other_ends_are_logits(last):
    model = gan(discriminator=ending_in(last))
    assert model.discriminate(ROWS).shape == (16,)


def drawing(end):
    latents = keras.Input((3,))
    x = layers.Reshape((16, 16, 1))(layers.Dense(256)(latents))
    return keras.Model(latents, layers.Activation(end)(x))


def test_images_of_another_range_are_warned_of():
    features = keras.Sequential(
        [keras.Input((16, 16, 1)), layers.Flatten(), layers.Dense(3)]
    )
    for build, name in (
        (lambda network: gan(generator=network), "generator"),
        (lambda network: zoo.AAE(latent_dim=3, decoder=network, units=(4,)), "decoder"),
        (lambda network: zoo.DTN(features, generator=network, seed=0), "generator"),
    ):
        with pytest.warns(UserWarning, match=f"The {name} ends in a sigmoid"):
            build(drawing("sigmoid"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            build(drawing("tanh"))


def test_networks_share_no_layer():
    shared = layers.Dense(3)
    generator = keras.Sequential([keras.Input((3,)), shared])
    discriminator = keras.Sequential([keras.Input((3,)), shared, layers.Dense(1)])
    with pytest.raises(ValueError, match="generator and discriminator share the layer"):
        gan(generator=generator, discriminator=discriminator)
    coder = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="encoder and decoder share the layer"):
        zoo.VAE(encoder=coder, decoder=coder)
    for name in ("encoder", "decoder"):
        given = {name: generator, "discriminator": discriminator}
        with pytest.raises(ValueError, match=f"{name} and discriminator share the"):
            zoo.AAE((3,), 3, units=(4,), **given)


@pytest.mark.parametrize("end", ["inputs", "outputs"])
def test_networks_take_and_return_no_dicts(end):
    rows = keras.Input((2,), name="rows")
    ends = {"inputs": rows, "outputs": layers.Dense(3)(rows)}
    ends[end] = {"rows": ends[end]}
    with pytest.raises(ValueError, match=r"generator must (take|return).* no dict"):
        zoo.GAN(generator=keras.Model(**ends))


def test_latents_are_rows_of_numbers():
    generator = keras.Sequential(
        [keras.Input((1, 1, 4)), layers.Flatten(), layers.Dense(3)]
    )
    with pytest.raises(ValueError, match=r"shape \(1, 1, 4\): begin it with a Reshape"):
        zoo.GAN(generator=generator)


def test_the_number_of_rows_is_left_open():
    discriminator = keras.Sequential([keras.Input(batch_shape=(8, 3)), layers.Dense(1)])
    with pytest.raises(ValueError, match="leave the batch size of its Input open"):
        gan(discriminator=discriminator)


def test_a_penalty_takes_batch_normalization_that_is_frozen():
    norm = layers.BatchNormalization()
    discriminator = keras.Sequential([keras.Input((3,)), norm, layers.Dense(1)])
    with pytest.raises(ValueError, match="mix the rows"):
        gan(discriminator=discriminator).compile(penalty="r1")
    norm.trainable = False
    model = gan(discriminator=discriminator)
    model.compile(penalty="r1")
    logs = model.fit(ROWS, batch_size=8, verbose=0).history
    assert np.isfinite(logs["discriminator_loss"]).all()


def test_a_penalty_refuses_minibatch_discrimination():
    compared = zoo.layers.MinibatchDiscrimination(2, 2)
    discriminator = keras.Sequential([keras.Input((3,)), compared, layers.Dense(1)])
    with pytest.raises(ValueError, match=r"minibatch_discrimination.* mix the rows"):
        gan(discriminator=discriminator).compile(penalty="gradient_penalty")


class FadeIn(layers.Layer):
    """Makes nothing at first, and all after ten batches."""

    def build(self, shape):
        self.batches = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", trainable=False
        )
        self.seen = self.add_weight(
            shape=(), dtype="bool", initializer="zeros", trainable=False
        )

    def call(self, rows, training=False):
        if training:
            self.batches.assign_add(1)
            self.seen.assign(True)
        return (
            rows * keras.ops.minimum(keras.ops.cast(self.batches, "float32"), 10) / 10
        )


@keras.saving.register_keras_serializable("test_own_parts")
class Block(layers.Layer):
    """A layer of layers, as residual blocks and heads are written."""

    def __init__(self, parts, **kwargs):
        super().__init__(**kwargs)
        self.parts = parts

    def build(self, shape):
        for part in self.parts:
            if not part.built:
                part.build(shape)
            shape = part.compute_output_shape(shape)
        self.built = True

    def call(self, rows):
        for part in self.parts:
            rows = part(rows)
        return rows

    def get_config(self):
        parts = keras.saving.serialize_keras_object(self.parts)
        return {**super().get_config(), "parts": parts}

    @classmethod
    def from_config(cls, config):
        parts = keras.saving.deserialize_keras_object(config.pop("parts"))
        return cls(parts, **config)


def judging(*parts):
    return keras.Sequential([keras.Input((3,)), Block([*parts, layers.Dense(1)])])


def test_layers_within_layers_are_looked_at(tmp_path):
    compared = zoo.layers.MinibatchDiscrimination(2, 2)
    model = gan(discriminator=judging(compared))
    with pytest.raises(ValueError, match=r"minibatch_discrimination.* mix the rows"):
        model.compile(penalty="r1")
    version = export.to_saved_model(model, tmp_path)
    assert "discriminate" not in tf.saved_model.load(str(version)).signatures
    model = gan(discriminator=judging(layers.BatchNormalization()))
    with pytest.raises(ValueError, match=r"batch_normalization.* mix the rows"):
        model.compile(penalty="r1")


@pytest.mark.parametrize("block", [False, True])
def test_losses_are_scaled_where_only_layers_are_halves(block, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        if block:
            discriminator = judging(layers.Dense(4))
        else:
            parts = [keras.Input((3,)), layers.Dense(4), layers.Dense(1)]
            discriminator = keras.Sequential(parts)
    finally:
        keras.config.set_dtype_policy("float32")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((100,))  # Whose policy is the global one.
    finally:
        keras.config.set_dtype_policy("float32")
    generator = keras.Sequential([inputs, layers.Dense(3, dtype="float32")])
    model = gan(generator=generator, discriminator=discriminator)
    with pytest.warns(UserWarning, match="float16 is for GPUs"):
        model.compile()
    model.fit(ROWS, batch_size=8, verbose=0)
    model.save(tmp_path / "gan.keras")
    with pytest.warns(UserWarning, match="float16 is for GPUs"):
        loaded = keras.models.load_model(tmp_path / "gan.keras")
    for each in (model, loaded):
        # The generator's gradient comes through the discriminator, halves too.
        for optimizer in (each.discriminator_optimizer, each.generator_optimizer):
            assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
            assert int(optimizer.iterations) == 2


@keras.saving.register_keras_serializable("test_own_parts")
class Weighted(zoo.model.Model):
    """As `zoo.model.Model` says that a variant is written."""

    network_names = ("net",)
    logged = ("net_loss",)

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.net = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
        self.built = True

    def players(self):
        return {"net": [self.net]}

    def default_optimizers(self):
        return {"net": keras.optimizers.SGD(0.1)}

    def compile(self, net_optimizer=None, weight=1.0, **keras_arguments):
        self._compile({"net": net_optimizer}, {"weight": weight}, **keras_arguments)

    def train_step(self, data):
        with self.minimizing("net") as objectives:
            squares = tf.square(self.net(data, training=True))
            objectives["net"] = self.weight * tf.reduce_mean(squares)
        return self.end_step(tf.shape(data)[0], net_loss=objectives["net"])


@keras.saving.register_keras_serializable("test_own_parts")
class WithEncoder(zoo.GAN):
    """A game with a third player, which learns what the generator made images of."""

    network_names = (*zoo.GAN.network_names, "encoder")
    logged = (*zoo.GAN.logged, "encoder_loss")

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.encoder = keras.Sequential(
            [keras.Input(self.image_shape), layers.Dense(self.latent_dim)]
        )

    def players(self):
        return {**super().players(), "encoder": [self.encoder]}

    def default_optimizers(self):
        return {**super().default_optimizers(), "encoder": keras.optimizers.SGD(0.1)}

    def end_step(self, count, **values):
        latents = self.draw_latents(count, stream=9)
        samples = self.pass_through(self.generator, latents)
        with self.minimizing("encoder") as objectives:
            errors = tf.square(latents - self.encoder(samples, training=True))
            objectives["encoder"] = tf.reduce_mean(errors)
        return super().end_step(count, encoder_loss=objectives["encoder"], **values)


def with_encoder():
    return WithEncoder((3,), 2, generator_units=(4,), discriminator_units=(4,), seed=0)


def test_a_derived_class_adds_a_player_without_a_compile_of_its_own(tmp_path):
    model = with_encoder()
    model.compile(averaging=0.9)
    assert float(model.encoder_optimizer.learning_rate) == pytest.approx(0.1)
    model.compile(averaging=0.9, encoder_optimizer=keras.optimizers.Adam(0.02))
    before = model.encoder.get_weights()
    history = model.fit(ROWS, batch_size=8, epochs=2, verbose=0).history
    assert "encoder_loss" in history
    assert (before[0] != model.encoder.get_weights()[0]).any()

    model.save(tmp_path / "three.keras")
    loaded = keras.models.load_model(tmp_path / "three.keras")
    assert float(loaded.encoder_optimizer.learning_rate) == pytest.approx(0.02)
    assert int(loaded.encoder_optimizer.iterations) == 4
    model.save_to_preset(tmp_path / "three")
    for same in (loaded, zoo.from_preset(tmp_path / "three")):
        np.testing.assert_array_equal(same.encoder(ROWS), model.encoder(ROWS))

    with pytest.raises(ValueError, match=r"encoder_optimiser\..*, encoder_opt"):
        model.compile(encoder_optimiser="adam")


def test_every_player_has_an_optimizer_by_default():
    class Forgetful(WithEncoder):
        def default_optimizers(self):
            return zoo.GAN.default_optimizers(self)

    model = Forgetful((3,), 2, generator_units=(4,), seed=0)
    with pytest.raises(
        ValueError, match=r"default_optimizers\(\) has none for encoder"
    ):
        model.compile()


@pytest.mark.filterwarnings("ignore:float16 is for GPUs")
def test_losses_are_scaled_for_halves_that_players_alone_names():
    class Unnamed(Weighted):
        network_names = ()

    model = Unnamed(seed=0)
    model.net = keras.Sequential([keras.Input((3,)), layers.Dense(1, dtype="float16")])
    model.compile()
    assert isinstance(model.net_optimizer, keras.optimizers.LossScaleOptimizer)


class OfEachRow(losses.NonSaturating):
    def generator(self, fake_logits):
        return keras.ops.softplus(-fake_logits)


def test_a_loss_of_each_row_is_refused():
    # Its gradient would be that of the sum over the rows, and its log their mean.
    model = gan()
    model.compile(loss=OfEachRow())
    with pytest.raises(ValueError, match=r"generator's loss is a scalar.*\(8,\)"):
        model.fit(ROWS, batch_size=8, verbose=0)


def test_a_variant_of_its_own_hands_on_what_compile_takes(tmp_path):
    model = Weighted(seed=0)
    model.compile(weight=7.0)
    model.fit(ROWS, batch_size=8, verbose=0)
    model.save(tmp_path / "own.keras")
    assert keras.models.load_model(tmp_path / "own.keras").weight == 7.0


class Rewarded(zoo.GAN):
    def compile(self, *args, reward=1.0, **kwargs):
        super().compile(*args, **kwargs)
        self.reward = reward


@keras.saving.register_keras_serializable("test_own_parts")
class RewardedAgain(Rewarded):
    def get_compile_config(self):
        return {**super().get_compile_config(), "reward": self.reward}


def test_an_own_argument_of_compile_is_kept_or_refused(tmp_path):
    sizes = {"generator_units": (4,), "discriminator_units": (4,), "seed": 0}
    with pytest.raises(ValueError, match=r"get_compile_config\(\) lacks reward, which"):
        Rewarded((3,), **sizes).compile(reward=7.0)
    model = RewardedAgain((3,), **sizes)
    model.compile(reward=7.0)
    assert model.settings()["reward"] == 7.0
    model.save(tmp_path / "gan.keras")
    assert keras.models.load_model(tmp_path / "gan.keras").reward == 7.0


def test_an_average_has_the_counters_of_the_network():
    generator = keras.Sequential([keras.Input((2,)), layers.Dense(3), FadeIn()])
    model = gan(generator=generator)
    model.compile(averaging=0.9)
    model.fit(ROWS, batch_size=4, epochs=3, verbose=0)
    for own, average in zip(
        generator.layers[-1].weights,
        model.averaged_generator.layers[-1].weights,
        strict=True,
    ):
        assert own.numpy() == average.numpy() != 0
    assert np.abs(model.generate(2)).max() > 0


def test_batch_normalization_of_each_replica_is_warned_of():
    def build(**arguments):
        norm = layers.BatchNormalization(**arguments)
        return gan(
            discriminator=keras.Sequential([keras.Input((3,)), norm, layers.Dense(1)])
        )

    with zoo.strategy("mirrored", replicas=2).scope():
        apart, together = build(name="alone"), build(synchronized=True)
        with pytest.warns(UserWarning, match="normalizes by itself in alone"):
            apart.compile()
        together.compile()


# Calls


def test_labels_beside_latents_are_no_targets():
    model = zoo.CGAN((3,), num_classes=4, latent_dim=2, seed=0)
    latents = np.zeros((4, 2), np.float32)
    labels = np.arange(4)
    data = tf.data.Dataset.from_tensors((latents, labels))
    with pytest.raises(ValueError, match="predict takes latents alone, or a list"):
        model.predict(data, verbose=0)
    named = data.map(lambda latents, labels: {"latents": latents, "labels": labels})
    np.testing.assert_allclose(
        model.predict(named, verbose=0), model.decode(latents, labels=labels), rtol=1e-5
    )


@pytest.mark.parametrize("form", ["semi_supervised", "supervised"])
def test_labels_beside_images_are_no_targets_of_an_autoencoder(form):
    model = zoo.AAE((3,), form=form, num_classes=4, units=(4,), seed=0)
    images, labels = ROWS[:4], np.arange(4)
    data = tf.data.Dataset.from_tensors((images, labels))
    if form == "semi_supervised":  # Its encoder infers the category.
        found = model.predict(data, verbose=0)
        np.testing.assert_allclose(found, model.reconstruct(images), rtol=1e-5)
        return
    with pytest.raises(ValueError, match="images alone, or a list or dict of them and"):
        model.predict(data, verbose=0)
    named = data.map(lambda images, labels: {"images": images, "labels": labels})
    found = model.predict(named, verbose=0)
    expected = model.reconstruct(images, labels=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.SwapEMAWeights(),
        keras.callbacks.TensorBoard(write_steps_per_second=True),
    ],
)
def test_callbacks_that_ask_the_only_optimizer_are_refused(callback):
    model = gan()
    model.compile()
    with pytest.raises(ValueError, match=r"asks model\.optimizer.*averaging="):
        model.fit(ROWS, callbacks=[callback], verbose=0)


class Watched(zoo.GAN):
    seen = ()

    def unpack(self, data):
        images, conditions = super().unpack(data)
        self.seen = (*self.seen, *images.numpy()[:, 0, 0, 0])
        return images, conditions


def test_other_data_begin_with_a_whole_epoch():
    model = Watched((2, 2, 1), 2, generator_units=(4,), discriminator_units=(4,))
    model.compile(run_eagerly=True)
    one, other = (
        load_data(np.broadcast_to(levels[:, None, None], (count, 2, 2)), batch_size=8)
        for count in (24, 32)
        for levels in [np.arange(count, dtype=np.uint8)]
    )
    for data, count in ((one, 24), (other, 32), (other, 32)):
        model.seen = ()
        model.fit(data, verbose=0)
        assert len(model.seen) == len(set(model.seen)) == count


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_images_of_any_channels_are_exported(channels, tmp_path):
    model = zoo.GAN((4, 4, channels), 2, generator_units=(4,), seed=0)
    path = export.to_saved_model(model, tmp_path / "m")
    signatures = set(tf.saved_model.load(path).signatures)
    assert ("png" in signatures) == (channels <= 4)
    if channels <= 4:
        grid = zoo.plots.image_grid(model.generate(4))
        assert grid.mode == {2: "LA", 4: "RGBA"}[channels]


@pytest.mark.parametrize("variant", ["gan", "classifier"])
def test_replicas_feed_metrics_by_name(variant):
    images = np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 1)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(16) % 3)).batch(8)
    build = {
        "gan": lambda: zoo.GAN((8, 8, 1), 2, generator_units=(4,), seed=0),
        "classifier": lambda: zoo.Classifier((8, 8, 1), 3, filters=(4,), seed=0),
    }[variant]
    metric = {"gan": "mae", "classifier": "accuracy"}[variant]
    found = []
    with zoo.strategy("mirrored", replicas=2).scope():
        found.append(build())
        found[0].compile(metrics=[metric])
    found.append(build())
    found[1].compile(metrics=[metric])
    two, one = (m.evaluate(data, verbose=0, return_dict=True) for m in found)
    assert two[metric] == pytest.approx(one[metric], rel=1e-5)


def test_what_is_trained_is_as_compile_found_it():
    model = gan()
    model.compile(keras.optimizers.Adam())
    trained = model.generator_optimizer
    model.generator.layers[1].trainable = False
    with pytest.raises(
        ValueError, match=r"generator's .* since compile.*Compile again"
    ):
        model.fit(ROWS, verbose=0)
    with pytest.raises(ValueError, match=r"generator_optimizer has .* other weights"):
        model.compile(trained)
    with pytest.raises(ValueError, match=r"discriminator_optimizer has .* other weigh"):
        model.compile(discriminator_optimizer=trained)
    with pytest.raises(ValueError, match=r"generator_optimizer has .* other weights"):
        model.compile(keras.optimizers.LossScaleOptimizer(trained))
    model.generator.layers[1].trainable = True
    model.compile(trained)
    assert model.generator_optimizer is trained
