"""Changes of training images: what they do, and that a row's follow from its seed."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from zoo import rng
from zoo.augmentation import (
    color,
    cut_out,
    differentiable_augmentation,
    distort,
    shift_and_flip,
    translate,
)

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


def test_whether_an_image_is_mirrored_has_nothing_to_do_with_its_shift():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    seeds = tf.range(500, dtype=tf.int64)
    changed = shift_and_flip(np.repeat(image, 500, 0), seeds, shift=1, flip=True)
    assert len({row.tobytes() for row in changed.numpy()}) == 18


def test_each_row_is_changed_by_its_own_seed():
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    seeds = tf.range(6, dtype=tf.int64)
    whole = shift_and_flip(images, seeds, 2, True).numpy()
    parts = [shift_and_flip(images[i:][:3], seeds[i:][:3], 2, True) for i in (0, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert shift_and_flip(images, seeds) is images


def some_images(count, shape):
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)


def test_color_is_brightness_then_saturation_then_contrast():
    images, seeds = some_images(5, (4, 6, 3)), tf.range(5, dtype=tf.int64)
    for image, ours, (b, s, c) in zip(
        images, color(images, seeds), rng.uniform(seeds, 3).numpy(), strict=True
    ):
        bright = image + (b - 0.5)
        grey = bright.mean(axis=2, keepdims=True)
        saturated = (bright - grey) * (s * 2) + grey
        expected = (saturated - saturated.mean()) * (c + 0.5) + saturated.mean()
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 8), (12, 4)])
def test_translation_moves_by_an_eighth_at_most_and_zeros_come_in(height, width):
    # As Zhao et al. round it: 1.5 is 2, and 0.5 is 1.
    image = np.arange(1, height * width + 1, dtype=np.float32)
    image = image.reshape(1, height, width, 1)
    moved = translate(np.repeat(image, 400, 0), tf.range(400)).numpy()[..., 0]
    padded = np.pad(image[0, :, :, 0], ((2, 2), (1, 1)))
    windows = [
        padded[i : i + height, j : j + width] for i in range(5) for j in range(3)
    ]
    seen = {next(k for k, w in enumerate(windows) if (w == row).all()) for row in moved}
    assert seen == set(range(15))


def test_cutout_is_a_rectangle_of_half_the_sides_about_any_pixel():
    # Half of 8 is 4, about one of 9 middles; half of 5 is 3, about one of 5 pixels.
    holes = 1 - cut_out(np.ones((2000, 8, 5, 1), np.float32), tf.range(2000)).numpy()
    expected = set()
    for row in range(9):
        for column in range(5):
            hole = np.zeros((8, 5))
            hole[max(row - 2, 0) : row + 2, max(column - 1, 0) : column + 2] = 1
            expected.add(hole.tobytes())
    assert {hole[..., 0].astype(float).tobytes() for hole in holes} == expected


def test_a_policy_is_its_changes_in_order_each_with_draws_of_its_own():
    images, seeds = some_images(6, (8, 8, 3)), tf.range(6, dtype=tf.int64)
    policy = "cutout,flip,color,translation"
    expected = cut_out(images, rng.fold_in(seeds, 0))
    expected = shift_and_flip(expected, rng.fold_in(seeds, 1), flip=True)
    expected = color(expected, rng.fold_in(seeds, 2))
    expected = translate(expected, rng.fold_in(seeds, 3))
    changed = differentiable_augmentation(images, seeds, policy)
    np.testing.assert_array_equal(changed, expected)
    parts = [
        differentiable_augmentation(images[i:][:3], seeds[i:][:3], policy)
        for i in (0, 3)
    ]
    np.testing.assert_allclose(np.concatenate(parts), changed, atol=1e-6)


def test_gradients_flow_back_through_every_change():
    images, seeds = tf.constant(some_images(6, (8, 8, 3))), tf.range(6, dtype=tf.int64)
    with tf.GradientTape() as tape:
        tape.watch(images)
        changed = differentiable_augmentation(
            images, seeds, "flip,color,translation,cutout"
        )
        loss = tf.reduce_sum(changed**2)
    slopes = tape.gradient(loss, images).numpy()
    nudge = np.zeros_like(images)
    nudge[:, 3, 4, 1] = 1e-2

    def loss_at(step):
        moved = differentiable_augmentation(
            images + step * nudge, seeds, "flip,color,translation,cutout"
        )
        return tf.reduce_sum(moved**2, axis=(1, 2, 3)).numpy()

    numeric = (loss_at(1) - loss_at(-1)) / 2e-2
    np.testing.assert_allclose(slopes[:, 3, 4, 1], numeric, atol=2e-2)
    assert np.abs(numeric).max() > 0.1


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
