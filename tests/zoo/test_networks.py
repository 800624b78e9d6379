"""Building blocks of networks."""

import contextlib

import keras
import numpy as np
import pytest

import zoo
from zoo import networks


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match=r"'batch', 'layer' or None.*'group'"):
        networks.normalization_layer("group")


@pytest.mark.parametrize(
    "build",
    [
        zoo.GAN,
        zoo.DCGAN,
        lambda shape: zoo.Classifier(shape, num_classes=2),
        zoo.AAE,
    ],
    ids=["GAN", "DCGAN", "Classifier", "AAE"],
)
@pytest.mark.parametrize("shape", [28, (28.5, 28, 1), "28", (), (28, -28, 1)])
def test_a_shape_that_is_none_is_named(build, shape):
    with pytest.raises(ValueError, match=r"Expected image_shape=.*Received"):
        build(shape)


def test_batch_normalization_is_by_the_batch_and_remembers_nine_tenths():
    rows = np.float32([[0.0], [0.02]])
    layer = networks.normalization_layer("batch")
    # Deviations of a hundredth, beside which 1e-5 is a tenth of the variance.
    expected = np.array([[-0.01], [0.01]]) / np.sqrt(1e-4 + 1e-5)
    np.testing.assert_allclose(layer(rows, training=True), expected, rtol=1e-3)
    np.testing.assert_allclose(layer.moving_mean, [0.1 * 0.01], rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 1e-4], rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "arguments", "together"),
    [((2, 4, 3, 5), {}, (1, 2, 3)), ((2, 7), {"axis": -1}, (1,))],
    ids=["maps", "rows"],
)
def test_layer_normalization_takes_all_of_an_image_together(shape, arguments, together):
    inputs = np.random.default_rng(0).normal(3, 0.01, shape).astype(np.float32)
    layer = networks.normalization_layer("layer", **arguments)
    mean = inputs.mean(together, keepdims=True, dtype=np.float64)
    variance = inputs.var(together, keepdims=True, dtype=np.float64)
    expected = (inputs - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-3)


def test_a_policy_is_that_of_its_block_alone():
    outside = keras.config.dtype_policy()
    with networks.policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).dtype_policy.name == "mixed_bfloat16"
    assert keras.config.dtype_policy() == outside
    with contextlib.suppress(ZeroDivisionError), networks.policy("float16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy() == outside
