"""Layers against plain numpy loops."""

import keras
import numpy as np
import pytest

from zoo.layers import Maxout, MinibatchDiscrimination


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


@pytest.mark.parametrize(
    "layer", [MinibatchDiscrimination(3, 2, seed=1), Maxout(4, 2)], ids=type
)
def test_layers_come_back_from_their_config(layer):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layer(inputs))
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_array_equal(copy(x), model(x))
    assert copy.output_shape == model.output_shape
