"""Changes of training images: what they do, and that a row's follow from its seed."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from zoo import rng
from zoo.augmentation import distort, shift_and_flip

UNCHANGED = {"shift": 0, "angle": 0, "scale": 0, "shear": 0}


def test_shift_moves_by_whole_pixels_and_repeats_the_border():
    image = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    changed = shift_and_flip(np.repeat(image, 200, 0), tf.range(200), shift=1).numpy()
    padded = np.pad(image[0, :, :, 0], 1, mode="edge")
    windows = [padded[i : i + 5, j : j + 5] for i in range(3) for j in range(3)]
    seen = {
        next(k for k, w in enumerate(windows) if (w == row[..., 0]).all())
        for row in changed
    }
    assert seen == set(range(9))


def test_flip_mirrors_half_of_the_images():
    images = np.random.default_rng(0).normal(size=(1, 4, 6, 2)).astype(np.float32)
    changed = shift_and_flip(np.repeat(images, 400, 0), tf.range(400), flip=True)
    mirrored = (changed.numpy() == images[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (changed.numpy() == images).all((1, 2, 3))).all()
    assert 160 < mirrored.sum() < 240


def test_each_row_is_changed_by_its_own_seed():
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    seeds = tf.range(6, dtype=tf.int64)
    whole = shift_and_flip(images, seeds, 2, True).numpy()
    parts = [shift_and_flip(images[i:][:3], seeds[i:][:3], 2, True) for i in (0, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert shift_and_flip(images, seeds) is images


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {**UNCHANGED, "shift": 0.3},
        {**UNCHANGED, "angle": 90.0},
        {**UNCHANGED, "scale": 1.0},
        {**UNCHANGED, "shear": 1.0},
    ],
    ids=["all", "shift", "angle", "scale", "shear"],
)
def test_distortion_is_that_of_scipy(bounds):
    images = np.random.default_rng(0).normal(size=(6, 9, 7, 2)).astype(np.float32)
    seeds = tf.range(6, dtype=tf.int64)
    changed = distort(images, seeds, **bounds).numpy()
    most = {"shift": 1 / 14, "angle": 15.0, "scale": 0.15, "shear": 0.3} | bounds
    for image, ours, draws in zip(
        images, changed, rng.uniform(seeds, 6, -1.0, 1.0).numpy(), strict=True
    ):
        down, right, turn, tall, wide, slant = draws.astype(np.float64)
        angle = np.radians(most["angle"] * turn)
        turned = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        height, width = np.exp(most["scale"] * np.array([tall, wide]))
        matrix = turned @ np.array([[height, 0], [most["shear"] * slant, width]])
        centre = np.array([4.0, 3.0])
        offset = (
            centre
            - matrix @ centre
            + most["shift"]
            * np.array([9, 7])
            * [
                down,
                right,
            ]
        )
        for channel in range(2):
            expected = scipy.ndimage.affine_transform(
                image[..., channel], matrix, offset, order=1, mode="nearest"
            )
            np.testing.assert_allclose(ours[..., channel], expected, atol=1e-4)
    assert np.abs(changed - images).max() > 0.1


def test_a_distortion_without_bounds_changes_nothing():
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(distort(images, tf.range(3), **UNCHANGED), images)


def test_each_row_is_distorted_by_its_own_seed():
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    seeds = tf.range(6, dtype=tf.int64)
    parts = [distort(images[i:][:3], seeds[i:][:3]) for i in (0, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), distort(images, seeds))
