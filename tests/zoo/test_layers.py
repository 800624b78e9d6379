"""Layers against plain numpy loops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo import rng
from zoo.layers import (
    GradientReversal,
    Maxout,
    MinibatchDiscrimination,
    RowNoise,
    WeightNormalizedDense,
    noise_seeds,
)


def test_minibatch_discrimination_equals_the_loop_of_the_paper():
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    layer = MinibatchDiscrimination(num_kernels=3, kernel_dim=2, seed=0)
    layer.build((None, 4))
    layer.kernel.assign(np.random.default_rng(1).normal(size=(4, 6)))
    tensor = layer.kernel.numpy().reshape(4, 3, 2)

    expected = np.zeros((5, 3))
    for i in range(5):
        for b in range(3):
            for j in range(5):
                if i != j:
                    m_i, m_j = x[i] @ tensor[:, b], x[j] @ tensor[:, b]
                    expected[i, b] += np.exp(-np.abs(m_i - m_j).sum())
    output = layer(x).numpy()
    np.testing.assert_array_equal(output[:, :4], x)
    np.testing.assert_allclose(output[:, 4:], expected, rtol=1e-5)


def test_minibatch_discrimination_finds_a_collapsed_batch():
    layer = MinibatchDiscrimination(num_kernels=2, kernel_dim=3, seed=0)
    same = layer(np.ones((8, 4), np.float32)).numpy()[:, 4:]
    np.testing.assert_allclose(same, 7.0, rtol=1e-6)
    assert (layer(np.ones((1, 4), np.float32)).numpy()[:, 4:] == 0).all()


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_minibatch_discrimination_keeps_a_small_closeness_in_half_precision(dtype):
    layer = MinibatchDiscrimination(num_kernels=1, kernel_dim=1, dtype=dtype)
    layer.build((None, 1))
    layer.kernel.assign([[1.0]])
    output = layer(np.array([[0.0], [8.0]], np.float32)).numpy()[:, 1:]
    np.testing.assert_allclose(output.astype(float), np.exp(-8), rtol=0.01)


def test_minibatch_discrimination_refuses_images():
    with pytest.raises(ValueError, match="flatten first"):
        MinibatchDiscrimination(2, 3)(np.zeros((2, 8, 8, 1), np.float32))


def test_maxout_equals_numpy():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    layer = Maxout(units=2, pieces=5)
    output = layer(x).numpy()
    kernel, bias = layer.get_weights()
    pieces = (x @ kernel + bias).reshape(6, 2, 5)
    np.testing.assert_allclose(output, pieces.max(-1), rtol=1e-5)


def test_weight_normalized_dense_equals_numpy():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    layer = WeightNormalizedDense(2, "relu")
    layer.build((None, 3))
    directions, lengths, bias = (w.copy() for w in layer.get_weights())
    np.testing.assert_array_equal(lengths, 1)
    np.testing.assert_array_equal(bias, 0)
    lengths[:], bias[:] = [2, 0.5], [0.1, -0.2]
    layer.set_weights([directions, lengths, bias])
    kernel = lengths * directions / np.sqrt((directions**2).sum(axis=0))
    np.testing.assert_allclose(layer(x), np.maximum(x @ kernel + bias, 0), atol=1e-6)
    # Longer directions are the same weights.
    layer.set_weights([7 * directions, lengths, bias])
    np.testing.assert_allclose(layer(x), np.maximum(x @ kernel + bias, 0), atol=1e-6)


def noise_of(layer, seeds, width=400):
    with noise_seeds(tf.constant(seeds, tf.int64)):
        return layer(np.zeros((len(seeds), width), np.float32), training=True).numpy()


def test_row_noise_of_a_row_follows_from_its_seed_alone():
    layer = RowNoise(0.5, stream=3)
    noise = noise_of(layer, [5, 6, 7, 8])
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert abs(np.corrcoef(noise) - np.eye(4)).max() < 0.2
    np.testing.assert_array_equal(noise_of(layer, [7, 5]), noise[[2, 0]])
    expected = rng.normal(rng.fold_in(np.array([5, 6, 7, 8]), 3), 400)
    np.testing.assert_array_equal(noise, 0.5 * expected.numpy())
    other = noise_of(RowNoise(0.5, stream=4), [5, 6, 7, 8])
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.1


def test_row_noise_of_maps_is_another_at_every_place():
    maps = np.zeros((2, 5, 6, 3), np.float32)
    with noise_seeds(tf.constant([1, 2], tf.int64)):
        noise = RowNoise(0.5)(maps, training=True).numpy()
    assert noise.shape == maps.shape
    assert len(np.unique(noise)) == noise.size


def test_row_noise_is_of_training_and_needs_seeds_there():
    layer, rows = RowNoise(0.5), np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(layer(rows), rows)
    np.testing.assert_array_equal(RowNoise(0.0)(rows, training=True), rows)
    with pytest.raises(ValueError, match=r"with zoo\.layers\.noise_seeds\(seeds\)"):
        layer(rows, training=True)
    assert noise_of(layer, [1]).any()
    with pytest.raises(ValueError, match="needs a seed for each row"):
        layer(rows, training=True)


@pytest.mark.parametrize(
    "layer",
    [
        MinibatchDiscrimination(3, 2, seed=1),
        Maxout(4, 2),
        RowNoise(0.5, stream=2),
        WeightNormalizedDense(4, "relu", kernel_initializer="zeros"),
    ],
    ids=type,
)
def test_layers_come_back_from_their_config(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config
    assert {"seed", "stream", "kernel_initializer"} & vars(
        layer
    ).keys() <= config.keys()
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layer(inputs))
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_array_equal(copy(x), model(x))
    assert copy.output_shape == model.output_shape


def test_gradient_reversal_is_a_layer_of_keras_s_models():
    x = tf.constant([[1.0, 2.0]])
    symbolic = keras.Input((2,))
    network = keras.Model(symbolic, GradientReversal()(symbolic, factor=2.0))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(tape.gradient(y, x), [[-2.0, -2.0]])
    stacked = keras.Sequential([keras.Input((2,)), GradientReversal()])
    assert stacked.output_shape == (None, 2)


def test_maxout_refuses_images():
    with pytest.raises(ValueError, match="flatten first"):
        Maxout(2, 3).build((None, 4, 4, 1))
