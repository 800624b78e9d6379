"""The two forms of an image, and the way from one to the other."""

import numpy as np
import pytest
import tensorflow as tf

from zoo import images

LEVELS = np.arange(256)

both_kinds = pytest.mark.parametrize("kind", [np.asarray, tf.constant])


@both_kinds
def test_every_level_comes_back(kind):
    floats = images.from_uint8(kind(LEVELS.astype(np.uint8)))
    np.testing.assert_allclose(floats, LEVELS / 127.5 - 1, atol=1e-6)
    levels = np.asarray(images.to_uint8(floats))
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, LEVELS)


@both_kinds
@pytest.mark.parametrize(
    ("off", "moves"), [(-0.51, -1), (-0.49, 0), (0.49, 0), (0.51, 1)]
)
def test_a_pixel_has_the_level_that_is_nearest(kind, off, moves):
    floats = (LEVELS + off) / 127.5 - 1
    nearest = np.clip(LEVELS + moves, 0, 255)
    np.testing.assert_array_equal(images.to_uint8(kind(floats)), nearest)


@both_kinds
def test_what_is_beyond_the_range_is_black_or_white(kind):
    beyond = kind([-9.0, -1.1, 1.1, 9.0])
    np.testing.assert_array_equal(images.to_uint8(beyond), [0, 0, 255, 255])
