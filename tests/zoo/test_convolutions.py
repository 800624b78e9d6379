"""The strided convolutions are Keras's, to rounding, in every derivative."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import convolutions

# Each is such that the functions of the module compute it; maps of 7 and 5 rows are
# what images of odd sides would be halved to.
WIDE = 16
NARROW = 3


def pair(name, filters, kernel_size, inputs, **arguments):
    """Returns Keras's layer and ours with the same weights."""
    layers = [
        getattr(module, name)(
            filters, kernel_size, strides=2, padding="same", **arguments
        )
        for module in (keras.layers, convolutions)
    ]
    for layer in layers:
        layer.build(inputs.shape)
    layers[1].set_weights(layers[0].get_weights())
    return layers


def derivatives(layer, inputs):
    """Returns outputs, first derivatives, and those of the first's squared norm."""
    kernel = layer.kernel.value
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(tf.sin(outputs))
        first = inner.gradient(loss, [inputs, kernel])
        norm = sum(tf.reduce_sum(tf.square(gradient)) for gradient in first)
    return [outputs, *first, *outer.gradient(norm, [inputs, kernel])]


def assert_same(layers, inputs):
    ours, theirs = (derivatives(layer, inputs) for layer in reversed(layers))
    for mine, other in zip(ours, theirs, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(mine / scale, other / scale, atol=3e-6)


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5, (4, 3)])
@pytest.mark.parametrize("size", [(4, 4), (7, 5)])
def test_doubling_is_that_of_keras(kernel_size, size):
    inputs = tf.random.stateless_normal((2, *size, WIDE), seed=(0, 1))
    layers = pair("Conv2DTranspose", NARROW, kernel_size, inputs, activation="tanh")

    assert_same(layers, inputs)


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5, (4, 3)])
@pytest.mark.parametrize("size", [(8, 8), (14, 6), (7, 6)])
def test_halving_is_that_of_keras(kernel_size, size):
    inputs = tf.random.stateless_normal((2, *size, NARROW), seed=(0, 1))
    layers = pair("Conv2D", WIDE, kernel_size, inputs)

    assert_same(layers, inputs)


def test_the_functions_are_used_where_they_pay(monkeypatch):
    used = []
    for name in ("halve", "double"):
        function = getattr(convolutions, name)
        monkeypatch.setattr(
            convolutions,
            name,
            lambda *a, name=name, f=function: used.append(name) or f(*a),
        )

    def call(layer, size, channels):
        layer(tf.zeros((1, size, size, channels)))
        names = list(used)
        used.clear()
        return names

    arguments = {"kernel_size": 4, "strides": 2, "padding": "same"}
    assert call(convolutions.Conv2D(WIDE, **arguments), 8, NARROW) == ["halve"]
    assert call(convolutions.Conv2DTranspose(NARROW, **arguments), 4, WIDE) == [
        "double"
    ]
    assert call(convolutions.Conv2D(WIDE, **arguments), 7, NARROW) == []
    assert call(convolutions.Conv2D(WIDE, **arguments), 8, WIDE) == []
    assert call(convolutions.Conv2DTranspose(WIDE, **arguments), 4, WIDE) == []
    assert call(convolutions.Conv2D(WIDE, 4, padding="same"), 8, NARROW) == []
    assert call(convolutions.Conv2D(WIDE, 4, strides=2), 8, NARROW) == []


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_computes_in_it(policy):
    inputs = tf.random.stateless_normal((2, 4, 4, WIDE), seed=(0, 1))
    layer = convolutions.Conv2DTranspose(
        NARROW, 4, strides=2, padding="same", dtype=policy
    )
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs)
    gradient = tape.gradient(loss, layer.kernel.value)

    assert outputs.dtype == policy.removeprefix("mixed_")
    assert gradient.dtype == "float32"


def test_xla_compiles_them():
    inputs = tf.random.stateless_normal((2, 4, 4, WIDE), seed=(0, 1))
    _, layer = pair("Conv2DTranspose", NARROW, 4, inputs)

    free = derivatives(layer, inputs)
    compiled = tf.function(lambda x: derivatives(layer, x), jit_compile=True)(inputs)

    for one, other in zip(free, compiled, strict=True):
        scale = np.abs(one).max()
        np.testing.assert_allclose(one / scale, other / scale, atol=3e-6)


def test_a_model_with_them_is_saved_and_loaded(tmp_path):
    images = keras.Input((8, 8, NARROW))
    maps = convolutions.Conv2D(WIDE, 4, strides=2, padding="same")(images)
    outputs = convolutions.Conv2DTranspose(1, 4, strides=2, padding="same")(maps)
    model = keras.Model(images, outputs)
    model.save(tmp_path / "model.keras")
    inputs = tf.random.stateless_normal((2, 8, 8, NARROW), seed=(0, 1))

    loaded = keras.models.load_model(tmp_path / "model.keras")

    np.testing.assert_array_equal(model(inputs), loaded(inputs))
