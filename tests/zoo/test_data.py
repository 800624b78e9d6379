import http.server
import io
import itertools
import json
import os
import textwrap
import threading
import types
import urllib.error
import warnings
import zipfile

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from workers import run_workers

from zoo.data import (
    DataInfo,
    array_source,
    describe,
    epochs,
    fitting,
    folder_source,
    load_arrays,
    load_data,
    native_shape,
    schedule,
    selection,
    tfds_source,
)


@pytest.fixture
def mnist_m(shared_data):
    return shared_data / "mnist_m"


def numbered(count, shape=(2, 2, 1)):
    """Images whose label is their number, which is also in their pixels."""
    labels = np.arange(count)
    images = np.broadcast_to(labels[:, None, None, None], (count, *shape))
    return images.astype(np.uint8), labels


def numbers_in(images):
    """The numbers of such images, once they are floats."""
    return np.rint((np.asarray(images)[:, 0, 0, 0] + 1) * 127.5).astype(int)


def elements(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def assert_same(first, second):
    assert len(first) == len(second)
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)


def rows_of(dataset, count=None):
    return np.concatenate([labels for _, labels in elements(dataset, count)])


def save_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


# Values, shapes, sizes


def test_digits_are_scikit_learns():
    images, labels = load_arrays("digits", image_size=8)
    test_images, test_labels = load_arrays("digits", split="test", image_size=8)
    from sklearn.datasets import load_digits

    original = load_digits()
    expected = np.rint(original.images * 255 / 16)[..., None]
    np.testing.assert_array_equal(np.concatenate([images, test_images]), expected)
    np.testing.assert_array_equal(
        np.concatenate([labels, test_labels]), original.target
    )
    assert (len(images), len(test_images)) == (1500, 297)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert describe("digits") == DataInfo((28, 28, 1), 10, 1500)


def test_batches_hold_the_images_as_floats():
    images = np.arange(256, dtype=np.uint8).reshape(16, 4, 4, 1)
    dataset = load_data((images, np.arange(16)), batch_size=4, labels=True)
    assert dataset.element_spec == (
        tf.TensorSpec([4, 4, 4, 1], tf.float32),
        tf.TensorSpec([4], tf.int64),
    )
    for batch, labels in dataset.as_numpy_iterator():
        expected = images[labels] / np.float32(127.5) - np.float32(1)
        np.testing.assert_allclose(batch, expected, rtol=0, atol=1e-7)


def test_training_drops_the_remainder_and_evaluation_keeps_it():
    arrays = numbered(10)
    train = load_data(arrays, batch_size=4, labels=True)
    assert len(train) == train.cardinality() == 2
    assert len(rows_of(train)) == 8
    evaluate = load_data(arrays, batch_size=4, labels=True, shuffle=False)
    assert len(evaluate) == evaluate.cardinality() == 3
    np.testing.assert_array_equal(rows_of(evaluate), arrays[1])
    np.testing.assert_array_equal(rows_of(epochs(evaluate), 6), [*range(10)] * 2)


def test_a_test_split_is_not_shuffled():
    labels = load_arrays("digits", split="test")[1]
    test = load_data("digits", split="test", labels=True)
    np.testing.assert_array_equal(rows_of(test), labels)


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train[:3]", [0, 1, 2]),
        ("train[90%:]", [18, 19]),
        ("train[-2:]", [18, 19]),
        ("train[-30:2]", [0, 1]),
        ("train[:1]+train[5:7]", [0, 5, 6]),
        ("train[:13%]", [0, 1, 2]),
    ],
)
def test_slices(split, rows):
    np.testing.assert_array_equal(load_arrays(numbered(20), split)[1], rows)


@pytest.mark.filterwarnings("ignore:The images of .* one class after the other")
def test_limit_reads_the_first_rows():
    images, labels = load_arrays(numbered(20), "train[15:]+train[:5]", limit=7)
    np.testing.assert_array_equal(labels, [15, 16, 17, 18, 19, 0, 1])
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_channels_convert():
    colour = np.zeros((1, 2, 2, 3), np.uint8)
    colour[..., 0], colour[..., 1], colour[..., 2] = 255, 100, 10
    grey = load_arrays(colour, channels=1)[0]
    assert (grey == round(0.299 * 255 + 0.587 * 100 + 0.114 * 10)).all()
    back = load_arrays(grey, channels=3)[0]
    assert back.shape == (1, 2, 2, 3)
    assert (back == grey).all()


def test_resizing_averages_and_crops_to_the_centre():
    checkers = np.indices((8, 8)).sum(0) % 2 * 255
    wide = np.full((1, 8, 12, 1), 77, np.uint8)
    wide[0, :, 2:10, 0] = checkers
    small = load_arrays(wide, image_size=4)[0]
    assert small.shape == (1, 4, 4, 1)
    # Without antialiasing a checkerboard gives black and white; the margin is gone.
    assert abs(small[0, 1:3, 1:3].astype(int) - 127.5).max() < 10
    assert load_arrays(wide, image_size=8)[0][0, ..., 0].tolist() == checkers.tolist()


def test_plain_fit_sees_every_epoch():
    seen = []

    class Recorder(keras.Model):
        def train_step(self, data):
            seen.append(data[1].numpy())
            return {"loss": tf.constant(0.0)}

    model = Recorder()
    model.compile(run_eagerly=True)
    train = load_data(numbered(12), batch_size=4, labels=True)
    model.fit(train, epochs=3, shuffle=False, verbose=0)
    orders = np.reshape(seen, (3, 12))
    assert (np.sort(orders) == np.arange(12)).all()
    assert len(np.unique(orders, axis=0)) == 3


# The order of an epoch


def streamed_mnist(monkeypatch):
    monkeypatch.setattr(selection, "MEMORY_LIMIT", 0)
    return load_data("mnist", "train[:100]", batch_size=16, labels=True)


KINDS = {
    "images": lambda: load_data(numbered(50), batch_size=8),
    "labels": lambda: load_data(numbered(50), batch_size=8, labels=True),
    "evaluation": lambda: load_data(numbered(50), batch_size=8, shuffle=False),
    "gaussian": lambda: load_data("gaussian", batch_size=8, size=50),
    "domains": lambda: load_data([numbered(50), numbered(20)], batch_size=8),
    "labelled": lambda: load_data(
        (numbered(50)[0], np.arange(50) % 5), batch_size=8, labelled=10
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_starts_anywhere(kind):
    dataset = KINDS[kind]()
    steps = len(dataset)
    whole = elements(epochs(dataset), 3 * steps)
    for epoch, batch in [(0, 2), (1, steps - 1), (0, steps + 1)]:
        start = epoch * steps + batch
        resumed = elements(epochs(KINDS[kind](), epoch, batch), 3 * steps - start)
        assert_same(resumed, whole[start:])


def test_a_streamed_set_starts_anywhere(shared_tfds, monkeypatch):
    dataset = streamed_mnist(monkeypatch)
    whole = elements(epochs(dataset), 18)
    again = streamed_mnist(monkeypatch)
    assert_same(elements(epochs(again, 1, 2), 10), whole[8:])
    orders = [
        np.concatenate([labels for _, labels in whole[i : i + 6]]) for i in (0, 6)
    ]
    assert (orders[0] != orders[1]).any()


def test_each_pass_over_a_small_streamed_set_has_its_own_order():
    def decode(number):
        return tf.zeros([1, 1, 1], tf.uint8), number

    streamed = schedule.Streamed(tf.data.Dataset.range(8), decode, size=8)
    seed, epoch = tf.constant(3, tf.int64), tf.constant(0, tf.int64)
    batches = streamed.batches(schedule.Plan(16, 8, True, seed), epoch, 0)
    first, second = (numbers for _, numbers in batches.as_numpy_iterator())
    assert (first != second).any()


def test_what_is_in_memory_already_is_not_streamed(monkeypatch):
    monkeypatch.setattr(selection, "MEMORY_LIMIT", 0)
    assert len(load_data(numbered(8), batch_size=4)) == 2


def test_a_streamed_set_has_the_images_of_one_in_memory(shared_tfds, monkeypatch):
    arguments = {"split": "train[:50]", "image_size": 14, "channels": 3}
    in_memory = load_data("mnist", **arguments, labels=True, shuffle=False)
    monkeypatch.setattr(selection, "MEMORY_LIMIT", 0)
    streamed = load_data("mnist", **arguments, labels=True, shuffle=False)
    assert streamed.element_spec[0].shape[1:] == (14, 14, 3)
    assert_same(elements(in_memory, None), elements(streamed, None))


def test_a_streamed_set_may_have_no_labels(shared_tfds, monkeypatch):
    arguments = {"split": "train[:5]", "image_size": 16, "shuffle": False}
    in_memory = load_data("afhq_cats", **arguments)
    monkeypatch.setattr(selection, "MEMORY_LIMIT", 0)
    streamed = load_data("afhq_cats", **arguments)
    assert_same(elements(in_memory, None), elements(streamed, None))


def test_each_epoch_has_its_own_order_of_all_rows():
    dataset = load_data(numbered(64), batch_size=16, labels=True)
    orders = rows_of(epochs(dataset), 40).reshape(10, 64)
    assert (np.sort(orders) == np.arange(64)).all()
    assert len(np.unique(orders, axis=0)) == 10
    iterated = np.stack([rows_of(dataset) for _ in range(3)])
    assert (np.sort(iterated) == np.arange(64)).all()
    assert len(np.unique(iterated, axis=0)) == 3


def test_orders_are_uniform():
    dataset = load_data(numbered(8), batch_size=8, labels=True)
    orders = rows_of(epochs(dataset), 1000).reshape(1000, 8)
    counts = np.stack([np.bincount(column, minlength=8) for column in orders.T])
    chi_squared = ((counts - 125) ** 2 / 125).sum()
    assert chi_squared < 85.4  # 49 degrees of freedom, one in a thousand


def test_the_seed_changes_the_order():
    orders = [
        rows_of(
            epochs(load_data(numbered(32), "train", 32, labels=True, shuffle_seed=s)), 1
        )
        for s in (0, 1, 0)
    ]
    assert (orders[0] == orders[2]).all()
    assert (orders[0] != orders[1]).any()


def test_the_order_of_a_seed_and_epoch_is_settled():
    dataset = load_data(numbered(10), batch_size=10, labels=True, shuffle_seed=7)
    np.testing.assert_array_equal(
        rows_of(epochs(dataset, epoch=3), 1), [4, 8, 7, 1, 0, 9, 6, 2, 3, 5]
    )


def test_epochs_knows_only_its_own():
    dataset = load_data(numbered(10), batch_size=2)
    assert epochs(dataset.map(lambda images: images)) is None
    assert epochs(tf.data.Dataset.range(3)) is None
    assert epochs(dataset).cardinality() == tf.data.INFINITE_CARDINALITY
    with pytest.raises(ValueError, match=r"count from 0.*batch=-1"):
        epochs(dataset, batch=-1)


# What batches are made up of


def test_gaussian_draws():
    dataset = load_data("gaussian", batch_size=500, mean=-2.0, std=3.0)
    assert len(dataset) == 20
    assert dataset.element_spec == tf.TensorSpec([500, 1], tf.float32)
    draws = np.concatenate(elements(dataset, None))
    assert len(np.unique(draws)) > 9_900
    assert abs(draws.mean() + 2) < 4 * 3 / np.sqrt(10_000)
    assert abs(draws.std() - 3) < 4 * 3 / np.sqrt(20_000)
    assert (np.concatenate(elements(dataset, None)) != draws).all()
    assert describe("gaussian") == DataInfo((1,), None, 10_000)


def test_labelled_rows_are_a_balanced_fixed_share():
    images, classes = numbered(60)[0], np.arange(60) % 3
    dataset = load_data(
        (images, classes), batch_size=8, labelled=6, labelled_share=0.25
    )
    assert len(dataset) == 10  # 60 images, 6 new ones a batch
    batches = elements(epochs(dataset), 20)
    kept = set()
    for batch, labels in batches:
        assert (labels >= 0).sum() == 2
        # Each half of the batch, and so each of two replicas, has its part.
        assert (labels[:4] >= 0).sum() == 1
        numbers = numbers_in(batch)
        known = labels >= 0
        np.testing.assert_array_equal(classes[numbers[known]], labels[known])
        kept |= {*numbers[known]}
    assert len(kept) == 6
    assert np.bincount(classes[sorted(kept)]).tolist() == [2, 2, 2]
    unlabelled = [numbers_in(batch[labels < 0]) for batch, labels in batches]
    np.testing.assert_array_equal(np.sort(np.concatenate(unlabelled[:10])), range(60))


def test_a_batch_may_take_all_images_and_as_many_labelled_ones():
    arrays = numbered(8)[0], np.arange(8) % 2
    (batch,) = elements(load_data(arrays, batch_size=16, labelled=4), None)
    images, labels = batch
    np.testing.assert_array_equal(np.sort(numbers_in(images[labels < 0])), range(8))
    assert (labels >= 0).sum() == 8


def test_rows_with_labels_do_not_go_along_with_those_without():
    arrays = numbered(8)[0], np.arange(8) % 2
    first, second = (
        dict(
            zip(
                numbers_in(images[labels < 0]),
                numbers_in(images[labels >= 0]),
                strict=True,
            )
        )
        for images, labels in elements(
            epochs(load_data(arrays, batch_size=16, labelled=8)), 2
        )
    )
    assert first.keys() == second.keys()
    assert first != second


def test_which_rows_are_labelled_follows_from_the_seed():
    def kept(seed):
        arrays = numbered(60)[0], np.arange(60) % 3
        data = load_data(arrays, batch_size=8, labelled=6, shuffle_seed=seed)
        return frozenset(
            number
            for images, labels in data.as_numpy_iterator()
            for number in numbers_in(images[labels >= 0])
        )

    assert kept(0) == kept(0)
    assert len({kept(seed) for seed in range(3)}) == 3


def test_domains_go_once_through_the_larger():
    source, target = numbered(9), numbered(30)[0]
    dataset = load_data((source, target), batch_size=6)
    assert len(dataset) == 5
    sources, targets = [], []
    for (images, labels), others in dataset.as_numpy_iterator():
        np.testing.assert_array_equal(numbers_in(images), labels)
        sources.append(labels)
        targets.append(numbers_in(others))
    np.testing.assert_array_equal(np.sort(np.concatenate(targets)), range(30))
    counts = np.bincount(np.concatenate(sources), minlength=9)
    assert counts.sum() == 30
    assert {*counts} <= {3, 4}
    # What a model must know is that of the source.
    assert describe((source, target)) == DataInfo((2, 2, 1), 9, 9)


def test_images_of_two_domains_are_not_paired():
    dataset = load_data((numbered(64), numbered(64)[0]), batch_size=64)
    ((_, labels), others) = next(iter(dataset))
    assert abs(np.corrcoef(labels, numbers_in(others))[0, 1]) < 0.5


def test_two_names(mnist_m):
    dataset = load_data(
        ("digits", mnist_m), split="train[:200]", batch_size=8, channels=3
    )
    (images, labels), others = elements(dataset, 1)[0]
    assert images.shape == others.shape == (8, 28, 28, 3)
    assert labels.shape == (8,)


# Where images come from


def test_tensorflow_datasets(shared_tfds):
    assert describe("mnist", "test") == DataInfo((28, 28, 1), 10, 10_000)
    assert describe("afhq_cats", image_size=64).image_shape == (64, 64, 3)
    assert describe("afhq_cats").num_classes is None
    images, labels = load_arrays("mnist:3.0.1", "train[:50]", image_size=32)
    assert images.shape == (50, 32, 32, 1)
    assert np.bincount(labels, minlength=10).sum() == 50
    (batch,) = elements(load_data("cifar10_jpeg", "test[:7]", batch_size=7), None)
    assert batch.shape == (7, 32, 32, 3)


def test_a_label_is_one_class_an_image():
    import tensorflow_datasets as tfds

    one = tfds.features.ClassLabel(num_classes=3)
    for label, found in (
        (one, one),
        (tfds.features.Sequence(one), None),
        (tfds.features.Scalar(tf.int64), None),
    ):
        assert tfds_source._class_label({"label": label}) is found


def test_own_sets_are_found_by_name_in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    np.savez(tmp_path / "sets" / "mine.npz", image=numbered(3)[0])
    with pytest.raises(ValueError, match=r"or in ZOO_DATA_DIR.*'mine.npz'"):
        describe("mine.npz")
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "sets"))
    assert describe("mine.npz").size == 3


def test_own_sets_are_found_here_before_zoo_data_dir(tmp_path, monkeypatch):
    for size, folder in ((3, tmp_path / "here"), (4, tmp_path / "home" / "sets")):
        folder.mkdir(parents=True)
        np.savez(folder / "mine.npz", image=numbered(size)[0])
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_DATA_DIR", "~/sets")
    monkeypatch.chdir(tmp_path)
    assert describe("mine.npz").size == 4
    assert describe("~/sets/mine.npz").size == 4
    monkeypatch.chdir(tmp_path / "here")
    assert describe("mine.npz").size == 3


def test_a_slash_at_the_end_tells_a_folder_from_a_known_set(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "train.npz", image=numbered(3)[0])
    monkeypatch.chdir(tmp_path)
    assert describe("mnist/").size == 3


def test_npz(mnist_m):
    assert describe(mnist_m, "test") == DataInfo((28, 28, 3), 10, 3_000)
    with np.load(mnist_m / "test.npz") as members:
        expected = members["image"][:5], members["label"][:5]
    assert_same(load_arrays(str(mnist_m), "test", limit=5), expected)
    assert_same(load_arrays(mnist_m / "test.npz", limit=5), expected)


def test_the_native_shape_is_that_of_all_parts(tmp_path):
    for split, side in (("train", 8), ("test", 12)):
        np.savez(tmp_path / f"{split}.npz", image=numbered(3, (side, side, 1))[0])
    assert native_shape(tmp_path, "test") == (12, 12, 1)
    for both in ("train+test", "test+train"):
        assert native_shape(tmp_path, both, image_size=8) is None


def test_folder_of_classes(tmp_path):
    for number in range(4):
        save_image(tmp_path / "cat" / f"{number}.png", np.full((6, 6, 3), number, "u1"))
        save_image(tmp_path / "dog" / f"{number}.bmp", np.full((6, 6), 100, "u1"))
    (tmp_path / ".DS_Store").write_text("hidden files are passed over")
    assert describe(tmp_path) == DataInfo((6, 6, 3), 2, 8, ("cat", "dog"))
    images, labels = load_arrays(tmp_path)
    assert ((images[..., 0] == 100).all(axis=(1, 2)) == (labels == 1)).all()
    assert {*labels[:4]} == {0, 1}  # a slice has something of every class
    assert load_arrays(tmp_path, channels=1)[0].shape == (8, 6, 6, 1)


def test_folder_of_splits(tmp_path):
    for level, file in enumerate(("train/cat/0", "train/dog/1", "test/emu/2")):
        save_image(tmp_path / f"{file}.png", np.full((6, 6), level, np.uint8))
    save_image(tmp_path / "train/emu/3.png", np.full((6, 6), 3, np.uint8))
    assert describe(tmp_path) == DataInfo((6, 6, 1), 3, 3, ("cat", "dog", "emu"))
    images, labels = load_arrays(tmp_path)
    assert dict(zip(images[:, 0, 0, 0], labels, strict=True)) == {0: 0, 1: 1, 3: 2}
    # A class has its number in every split.
    images, labels = load_arrays(tmp_path, "test")
    assert (images[:, 0, 0, 0], labels) == ([2], [2])
    assert load_data(tmp_path, "test", labels=True).cardinality() == 1
    with pytest.raises(ValueError, match=r"the splits test, train.*--split"):
        load_data(tmp_path, "val")
    # Beside other folders these are classes like them.
    save_image(tmp_path / "own/train/a.png", np.zeros((6, 6), np.uint8))
    save_image(tmp_path / "own/car/b.png", np.zeros((6, 6), np.uint8))
    assert describe(tmp_path / "own").class_names == ("car", "train")


def test_splits_of_images_without_classes(tmp_path):
    for split, count in (("train", 3), ("validation", 2)):
        for number in range(count):
            path = tmp_path / split / f"{number}.png"
            save_image(path, np.zeros((6, 6), np.uint8))
    for split, count in (("train", 3), ("validation", 2)):
        assert describe(tmp_path, split) == DataInfo((6, 6, 1), None, count)
    save_image(tmp_path / "own/Train/a.png", np.zeros((6, 6), np.uint8))
    save_image(tmp_path / "own/TEST/b.png", np.zeros((6, 6), np.uint8))
    assert describe(tmp_path / "own", "test") == DataInfo((6, 6, 1), None, 1)


def test_class_names_are_those_of_labelled_splits(tmp_path):
    save_image(tmp_path / "train/a.png", np.zeros((6, 6), np.uint8))
    save_image(tmp_path / "test/cat/b.png", np.zeros((6, 6), np.uint8))
    assert describe(tmp_path) == DataInfo((6, 6, 1), None, 1)
    assert describe(tmp_path, "test") == DataInfo((6, 6, 1), 1, 1, ("cat",))


def test_labels_that_leave_out_0_are_warned_of():
    images = np.zeros((4, 6, 6), np.uint8)
    from_1 = images, np.arange(1, 5)
    with pytest.warns(UserWarning, match="start at 1. Classes are counted from 0"):
        load_data(from_1, batch_size=2, labels=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (np.arange(4), np.array([-1, 1, 2, 3])):
            load_data((images, labels), batch_size=2, labels=True)
        # Nobody learns classes from these.
        load_data(from_1, batch_size=2)
        load_data(from_1, batch_size=2, labels=True, shuffle=False)
        load_arrays(from_1)


def test_the_first_of_images_that_come_by_class_are_warned_of():
    images = np.zeros((6, 6, 6), np.uint8)
    by_class = images, np.repeat([0, 1, 2], 2)
    with pytest.warns(UserWarning, match="the first 3 are taken: shuffle the data"):
        load_arrays(by_class, limit=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_arrays(by_class, limit=6)
        for labels in (np.arange(6) % 3, np.full(6, 2), np.full(6, -1)):
            load_arrays((images, labels), limit=3)
        load_arrays(images, limit=3)


def test_parts_of_which_nothing_is_taken_are_not_warned_of(tmp_path):
    images, labels = np.zeros((6, 6, 6), np.uint8), np.repeat([0, 1, 2], 2)
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", image=images, label=labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_arrays(tmp_path, "train+test", limit=6)
    with pytest.warns(UserWarning, match="'train'.* first 3 are taken") as warned:
        load_arrays(tmp_path, "train+test", limit=3)
    assert len(warned) == 1


@pytest.mark.parametrize("limit", [-1, 0, 2.5])
def test_a_limit_is_a_number_of_images(limit):
    with pytest.raises(ValueError, match=f"1 or more. Received: limit={limit}"):
        load_arrays("digits", limit=limit)


def test_folder_of_images_without_labels(tmp_path):
    save_image(tmp_path / "a.png", np.zeros((6, 6), np.uint8))
    save_image(tmp_path / "b.jpg", np.zeros((8, 6), np.uint8))
    images, labels = load_arrays(tmp_path, image_size=4)
    assert images.shape == (2, 4, 4, 1)
    assert labels is None
    with pytest.raises(ValueError, match=r"differ in size: give an image size"):
        load_data(tmp_path)


def test_a_sum_of_splits_is_described_as_a_whole(tmp_path):
    grey, labels = numbered(6)
    parts = {
        "three": {"image": grey, "label": labels % 3},
        "five": {"image": grey, "label": labels % 5},
        "unlabelled": {"image": grey},
        "colour": {"image": np.repeat(grey, 3, axis=-1), "label": labels % 2},
        "large": {"image": np.repeat(grey, 2, axis=1), "label": labels % 2},
    }
    for name, arrays in parts.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
    assert describe(tmp_path, "three+five") == DataInfo((2, 2, 1), 5, 12)
    assert describe(tmp_path, "three+five[:0]").num_classes == 3
    assert describe(tmp_path, "unlabelled+three").num_classes == 3
    known = load_arrays(tmp_path, "unlabelled+three")[1]
    np.testing.assert_array_equal(known, [*[-1] * 6, *(labels % 3)])
    for split in ("three+colour", "colour+three"):
        assert describe(tmp_path, split).image_shape == (2, 2, 3)
        images = load_arrays(tmp_path, split)[0]
        np.testing.assert_array_equal(images[..., 2], [*grey[..., 0]] * 2)
        assert load_arrays(tmp_path, split, limit=2)[0].shape == (2, 2, 2, 3)
    with pytest.raises(ValueError, match=r"differ in size: give an image size"):
        load_data(tmp_path, "three+large")
    assert describe(tmp_path, "three+large", image_size=4).image_shape == (4, 4, 1)


def test_transparent_pixels_are_white(tmp_path):
    red = np.full((1, 2, 4), (255, 0, 0, 255), np.uint8)
    red[0, 1, 3] = 0
    save_image(tmp_path / "colour" / "rgba.png", red)
    save_image(tmp_path / "grey" / "la.png", np.array([[[9, 255], [9, 0]]], np.uint8))
    palette = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([0, 0, 255, 255, 0, 0])
    (tmp_path / "palette").mkdir()
    palette.save(tmp_path / "palette" / "p.png", transparency=1)
    expected = {
        "colour": [[255, 0, 0], [255, 255, 255]],
        "grey": [[9], [255]],
        "palette": [[0, 0, 255], [255, 255, 255]],
    }
    for name, pixels in expected.items():
        assert load_arrays(tmp_path / name)[0][0, 0].tolist() == pixels


@pytest.mark.parametrize(
    ("mode", "ending", "channels"),
    [("1", "png", 1), ("CMYK", "tif", 3), ("YCbCr", "tif", 3)],
)
def test_images_of_other_modes(tmp_path, mode, ending, channels):
    white = PIL.Image.new("RGB", (4, 4), "white").convert(mode)
    white.save(tmp_path / f"a.{ending}")
    images, _ = load_arrays(tmp_path)
    assert images.shape == (1, 4, 4, channels)
    assert (images == 255).all()


#: What turns pixels upright, by the number of their orientation.
UPRIGHT = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_photographs_are_turned_upright(tmp_path, orientation, ending):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = 8 * np.arange(32, dtype=np.uint8).reshape(4, 8)
    photograph = PIL.Image.fromarray(pixels)
    photograph.save(tmp_path / f"a.{ending}", exif=exif, quality=100)
    expected = UPRIGHT[orientation](pixels)
    assert describe(tmp_path).image_shape == (*expected.shape, 1)
    images = load_arrays(tmp_path)[0].astype(float)
    np.testing.assert_allclose(images[0, ..., 0], expected, atol=2)


@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    ("exif", "shape"),
    [
        (b"no EXIF", (4, 8, 3)),
        (b"Exif\0\0MM\0*\0", (4, 8, 3)),
        # Two tags: orientation 6, and a width that is no number.
        (
            b"Exif\0\0MM\0*\0\0\0\x08\0\2"
            b"\1\x12\0\3\0\0\0\1\0\6\0\0"
            b"\1\0\0\2\0\0\0\4wide"
            b"\0\0\0\0",
            (8, 4, 3),
        ),
    ],
    ids=["other bytes", "cut short", "a damaged width"],
)
def test_photographs_with_damaged_exif_are_whole(tmp_path, ending, exif, shape):
    PIL.Image.new("RGB", (8, 4), "white").save(tmp_path / f"a.{ending}", exif=exif)
    assert describe(tmp_path).image_shape == shape
    images = load_arrays(tmp_path)[0]
    assert images.shape == (1, *shape)
    assert (images == 255).all()


# Strategies


def test_replicas_take_their_rows_in_order():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    dataset = load_data(numbered(16), batch_size=8, labels=True)
    stream = epochs(dataset, epoch=2)
    distributed = iter(strategy.experimental_distribute_dataset(stream))
    for _, labels in elements(stream, 3):
        per_replica = strategy.experimental_local_results(next(distributed)[1])
        assert_same([part.numpy() for part in per_replica], [labels[:4], labels[4:]])


WORKER = """
import json, sys
import numpy as np
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
from zoo.data import epochs, load_data
images = np.zeros((16, 2, 2, 1), np.uint8)
stream = epochs(load_data((images, np.arange(16)), batch_size=8, labels=True), epoch=2)
rows = iter(strategy.experimental_distribute_dataset(stream))
local = strategy.experimental_local_results
print(json.dumps([local(next(rows)[1])[0].numpy().tolist() for _ in range(3)]))
"""


def test_workers_take_their_rows_in_order():
    outputs = run_workers("-c", textwrap.dedent(WORKER), timeout=120)
    parts = [json.loads(output.splitlines()[-1]) for output in outputs]
    dataset = load_data(numbered(16), batch_size=8, labels=True)
    expected = [labels for _, labels in elements(epochs(dataset, epoch=2), 3)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnst"}, r"no such data set.*Did you mean 'mnist'.*'mnst'"),
        ({"name": "digist"}, r"Did you mean 'digits'"),
        ({"name": "MNIST"}, r"Did you mean 'mnist'"),
        ({"name": "./nowhere"}, r"nothing is there.*nowhere"),
        ({"name": 3}, r"a name, a path, an array.*int 3"),
        ({"name": ""}, r"a name, a path, an array.*str ''"),
        ({"name": ["digits", ""]}, r"a name, a path, an array.*str ''"),
        ({"name": "digits", "split": "valid"}, r"splits train, test.*'valid'"),
        (
            {"name": "digits", "split": "train[a:]"},
            r"with a slice such as.*'train\[a:\]'",
        ),
        ({"name": "digits", "split": "test[500:]"}, r"test has 297.*'test\[500:\]'"),
        ({"name": "digits", "split": "test[5:3]"}, r"test has 297.*'test\[5:3\]'"),
        ({"name": "digits", "split": None}, r"name of a split.*split=None"),
        ({"name": "digits", "split": ["test"]}, r"name of a split.*\['test'\]"),
        ({"name": "digits", "shuffle": "no"}, r"True or False.*shuffle='no'"),
        ({"name": "digits", "labels": 2}, r"True or False.*labels=2"),
        ({"name": "digits", "shuffle_seed": None}, r"62 bits.*shuffle_seed=None"),
        ({"name": "digits", "shuffle_seed": 1.5}, r"an integer.*shuffle_seed=1\.5"),
        ({"name": "digits", "labelled": 100.5}, r"an integer.*labelled=100\.5"),
        ({"name": "digits", "batch_size": 0}, r"1 or more.*batch_size=0"),
        ({"name": "digits", "batch_size": 64.5}, r"an integer.*batch_size=64\.5"),
        ({"name": "digits", "batch_size": 2000}, r"digits has 1500.*batches of 2000"),
        ({"name": "digits", "image_size": 0}, r"1 or more.*image_size=0"),
        ({"name": "digits", "image_size": (16, 16)}, r"an integer.*\(16, 16\)"),
        ({"name": "digits", "channels": 2}, r"1 channel \(grey\) or 3.*2 channels"),
        ({"name": "digits", "size": 32}, r"settings of 'gaussian'.*size=32"),
        ({"name": "digits", "labelled": 105}, r"multiple of the 10 classes.*105"),
        (
            {"name": "digits", "labelled": 1600},
            r"at most 1460.*class 8 there are 146.*1600",
        ),
        (
            {"name": "digits", "labelled": 10, "split": "test"},
            r"leave it out with shuffle=False.*split='test'",
        ),
        (
            {"name": "digits", "labelled": 10, "labelled_share": 1.0},
            r"above 0 and below 1. Received: labelled_share=1.0",
        ),
        (
            {"name": "digits", "labelled": 10, "labelled_share": 0.005},
            r"rows with and without labels.*labelled_share=0.005",
        ),
        (
            {
                "name": "digits",
                "split": "train[:40]",
                "labelled": 10,
                "batch_size": 100,
            },
            r"digits has 40.*batch_size=100 .*takes 50.* size of 80 or less",
        ),
        *(
            ({"name": "gaussian", **asked}, r"neither images nor labels")
            for asked in (
                {"labels": True},
                {"image_size": 8},
                {"channels": 1},
                {"labelled": 10},
            )
        ),
        ({"name": "gaussian", "mean": "4"}, r"a finite number.*mean='4'"),
        ({"name": "gaussian", "std": float("nan")}, r"a finite number.*std=nan"),
        ({"name": "gaussian", "std": -1.0}, r"0 or more.*std=-1"),
        ({"name": "gaussian", "size": -5, "shuffle": False}, r"1 or more.*size=-5"),
        (
            {"name": numbered(9)[0], "labels": True},
            r"labels=True needs labels, and .* has none. .*subfolders",
        ),
        ({"name": numbered(9)[0], "labelled": 3}, r"labelled= needs labels, and"),
        ({"name": numbered(9, (2, 2, 2))[0]}, r"1 channel.*2 channels in the given"),
        ({"name": np.zeros((9, 4, 4))}, r"must be uint8.*float64 of shape \(9, 4, 4\)"),
        ({"name": (numbered(9)[0], np.zeros(8, int))}, r"9 integers.*shape \(8,\)"),
        ({"name": (numbered(9)[0], np.full(9, -2))}, r"or -1 for unlabelled.*-2 to"),
        (
            {"name": (numbered(9)[0], np.full(9, 2**64 - 1, np.uint64))},
            r"from 0 to 2147483647.*18446744073709551615",
        ),
        (
            {"name": (numbered(90), numbered(90, (3, 3, 1)))},
            r"one shape: say image_size=.*\(2, 2, 1\).*\(3, 3, 1\)",
        ),
        (
            {"name": ([numbered(9)[0], "digits"])},
            r"labels of the given arrays must be 9 integers",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_data(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inside", [".", "cats", "train", "train/cats"])
def test_files_that_are_no_images_by_their_names_are_left_out(tmp_path, inside):
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    save_image(folder / "a.png", np.zeros((6, 6), np.uint8))
    # Pillow knows .h5 by its name alone.
    for name in ("Thumbs.db", "LICENSE.pdf", "data.h5"):
        (folder / name).write_text("no image")
    with pytest.warns(UserWarning, match=r": LICENSE\.pdf, Thumbs\.db, data\.h5"):
        assert load_arrays(tmp_path)[0].shape == (1, 6, 6, 1)


def test_endings_of_names_may_be_in_capitals(tmp_path):
    for name in ("a.PNG", "b.Jpg"):
        save_image(tmp_path / name, np.zeros((6, 6), np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert describe(tmp_path).size == 2


def test_all_files_that_can_not_be_read_are_named_at_once(tmp_path):
    save_image(tmp_path / "a.png", np.zeros((6, 6), np.uint8))
    for name in ("b.png", "c"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(ValueError, match="2 files are no images that can be") as raised:
        load_data(tmp_path)
    assert f"{tmp_path}/b.png" in str(raised.value)
    assert f"{tmp_path}/c" in str(raised.value)
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match="/c cannot be read as an image"):
        load_data(tmp_path)


def test_an_image_with_more_text_than_pillow_reads_is_named(tmp_path):
    text = PIL.PngImagePlugin.PngInfo()
    text.add_text("prompt", "a" * 2_000_000, zip=True)
    PIL.Image.new("L", (6, 6)).save(tmp_path / "wordy.png", pnginfo=text)
    with pytest.raises(ValueError, match=r"wordy\.png cannot be read as an image"):
        load_data(tmp_path)


def test_a_damaged_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:2000])
    with pytest.raises(ValueError, match=r"cut\.png is damaged"):
        load_data(tmp_path, batch_size=1)


def test_a_16_bit_image_is_named(tmp_path):
    save_image(tmp_path / "deep.png", np.zeros((6, 6), np.uint16))
    with pytest.raises(ValueError, match=r"8 bits a channel.*deep\.png.*I;16"):
        load_data(tmp_path)


def test_images_that_are_refused_do_not_stay_open(tmp_path):
    for number in range(3):
        save_image(tmp_path / f"{number}.png", np.zeros((6, 6), np.uint16))
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(ValueError, match="3 files are no images"):
        load_data(tmp_path)
    assert len(os.listdir("/dev/fd")) <= before


def test_folders_of_the_wrong_form(tmp_path):
    with pytest.raises(ValueError, match=r"must hold images.*there is no image"):
        load_data(tmp_path)
    save_image(tmp_path / "pets" / "cat" / "a.png", np.zeros((6, 6), np.uint8))
    with pytest.raises(ValueError, match=r"choose the folder above.*inside pets"):
        load_data(tmp_path)
    (tmp_path / "pets" / "dog").mkdir()
    with pytest.raises(ValueError, match="no images inside dog"):
        load_data(tmp_path / "pets")
    save_image(tmp_path / "b.png", np.zeros((6, 6), np.uint8))
    with pytest.raises(ValueError, match=r"b\.png beside the folder pets"):
        load_data(tmp_path)


def test_npz_of_the_wrong_form(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(ValueError, match=r"text\.npz cannot be read"):
        load_data(tmp_path / "text.npz")
    np.savez(tmp_path / "keys.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"must hold an array 'image'.*Received: x"):
        load_data(tmp_path, split="keys")


def test_npz_files_run_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "trap.npz", image=np.array([Trap()], object))
    with pytest.raises(ValueError, match=r"trap.npz .*an .npz file of plain arrays"):
        describe(tmp_path / "trap.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["trap.npz"]


def test_damaged_npz_are_named(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8), np.uint8)
    np.savez_compressed(tmp_path / "whole.npz", image=images)
    whole = (tmp_path / "whole.npz").read_bytes()
    # Method 99, in both of its places, is none of zip that Python knows.
    method = bytearray(whole)
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        method[whole.index(header) + offset] = 99
    pixels = bytearray(whole)
    start = whole.index(b"image.npy")
    pixels[start + 29 : start + 39] = b"\xff" * 10
    for name, content in (("method", method), ("pixels", pixels), ("cut", whole[:-40])):
        (tmp_path / f"{name}.npz").write_bytes(content)
    np.save(tmp_path / "array.npy", images)
    array = (tmp_path / "array.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("image.npy", array.replace(b"(50, 8, 8)", b"(50, 8, 8 "))
    for name in ("method", "pixels", "cut", "header"):
        path = tmp_path / f"{name}.npz"
        with pytest.raises(ValueError, match=rf"{name}\.npz cannot be read as an .npz"):
            load_data(path)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(ValueError, match=r"array\.npz cannot be .*numpy\.savez writes"):
        load_data(tmp_path / "array.npz")


def test_a_set_that_cannot_be_downloaded(tmp_path, monkeypatch):
    def offline(*arguments, **keywords):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"'svhn_cropped' is not prepared.*no network.*TFDS_DATA_DIR"
    ) as caught:
        load_data("svhn_cropped")
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.iterdir()]


def test_a_server_that_refuses_to_be_asked_can_be_reached():
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/x"
        # Of many files one is asked for; of this one there is no server.
        others = {"http://127.0.0.1:1/x": None}
        builder = types.SimpleNamespace(url_infos={url: None, **others})
        tfds_source._check_reachable(builder)
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_labelled_needs_one_data_set_with_labels():
    with pytest.raises(ValueError, match="for one data set, not for two domains"):
        load_data(("digits", "digits"), labelled=10)
    images, _ = numbered(9)
    with pytest.raises(ValueError, match="labelled= needs labels, and"):
        load_data((images, np.full(9, -1)), batch_size=4, labelled=3)


def test_numbers_are_no_arrays_of_images():
    with pytest.raises(ValueError, match="'gaussian' is numbers, not images"):
        load_arrays("gaussian")


def test_arrays_of_labels_need_labels():
    with pytest.raises(ValueError, match="needs labels"):
        load_arrays(numbered(3)[0], labels=True)


def test_labelled_needs_the_images_in_memory(shared_tfds, monkeypatch):
    arguments = {"split": "train[:1000]", "labelled": 10}
    monkeypatch.setattr(selection, "MEMORY_LIMIT", 0)
    with pytest.raises(
        ValueError, match=r"needs the images in memory.*mnist with 1000"
    ):
        load_data("mnist", **arguments)


def test_an_epoch_goes_once_through_the_larger_source_too():
    dataset = load_data((numbered(30), numbered(9)[0]), batch_size=6)
    assert len(dataset) == 5
    sources = np.concatenate([labels for (_, labels), _ in dataset.as_numpy_iterator()])
    np.testing.assert_array_equal(np.sort(sources), range(30))


def test_the_smaller_domain_has_another_order_each_time_it_starts_again():
    dataset = load_data((numbered(8), numbered(32)[0]), batch_size=8)
    orders = [labels for (_, labels), _ in epochs(dataset).take(4).as_numpy_iterator()]
    assert len(np.unique(orders, axis=0)) > 1


def test_draws_to_evaluate_on_are_the_same_in_every_epoch():
    dataset = load_data("gaussian", "test", batch_size=8, size=20)
    one, two = np.split(
        np.concatenate(list(epochs(dataset).take(6).as_numpy_iterator())), 2
    )
    np.testing.assert_array_equal(one, two)


def test_labelled_among_images_of_which_some_have_no_label():
    images, _ = numbered(60)
    labels = np.where(np.arange(60) % 4 == 0, -1, np.arange(60) % 3)
    dataset = load_data((images, labels), batch_size=8, labelled=6)
    for batch, known in epochs(dataset).take(5).as_numpy_iterator():
        assert (known >= 0).sum() == 4
        numbers = numbers_in(batch[known >= 0])
        np.testing.assert_array_equal(labels[numbers], known[known >= 0])


def test_tall_images_are_cropped_to_the_centre():
    tall = np.full((1, 12, 8, 1), 77, np.uint8)
    tall[0, 2:10] = 200
    assert (load_arrays(tall, image_size=8)[0] == 200).all()


def test_images_that_fit_are_taken_as_they_are():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    for image_size, channels in ((None, None), (4, None), (None, 3), (4, 3)):
        assert fitting.fit_images(images, image_size, channels) is images


def test_grey_is_rounded():
    colour = np.zeros((1, 2, 2, 3), np.uint8)
    colour[..., 0], colour[..., 1], colour[..., 2] = 255, 101, 10
    assert (load_arrays(colour, channels=1)[0] == 137).all()


def test_a_val_split_is_not_shuffled(tmp_path):
    images, labels = numbered(20)
    for name in ("train", "val", "validation"):
        np.savez(tmp_path / f"{name}.npz", image=images, label=labels)
    for name in ("val", "validation[:20]"):
        found = load_data(tmp_path, name, batch_size=8, labels=True)
        rows = np.concatenate([known for _, known in found.as_numpy_iterator()])
        np.testing.assert_array_equal(rows, labels)


def test_labels_may_be_a_column():
    images, labels = numbered(9)
    np.testing.assert_array_equal(load_arrays((images, labels[:, None]))[1], labels)


def test_many_images_are_handled_in_chunks(monkeypatch):
    monkeypatch.setattr(array_source, "_CHUNK_BYTES", 4 * 7)
    images, labels = load_arrays(numbered(20), "train[1:]", channels=3)
    np.testing.assert_array_equal(labels, np.arange(1, 20))
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


def test_images_of_one_size_in_a_folder_are_handled_in_chunks(tmp_path, monkeypatch):
    for number in range(9):
        shape = (4, 4) if number % 2 else (4, 4, 3)
        path = tmp_path / "same" / f"c{number % 3}" / f"{number}.png"
        save_image(path, np.full(shape, number, np.uint8))
    monkeypatch.setattr(array_source, "_CHUNK_BYTES", 4 * 4 * 3 * 5)
    same = folder_source.FolderSource(tmp_path / "same")
    chunks = [images for images, _ in same.chunks("train", 1, 9)]
    assert [chunk.shape for chunk in chunks] == [(5, 4, 4, 3), (3, 4, 4, 3)]
    images, labels = load_arrays(tmp_path / "same", "train[1:]", image_size=2)
    np.testing.assert_array_equal(images[:, :1, :1], np.concatenate(chunks)[:, :1, :1])
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] % 3)


def test_a_folder_that_is_misspelt_is_guessed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs").mkdir()
    with pytest.raises(ValueError, match=r"Did you mean 'photographs/"):
        load_data("photografs/")


def test_data_that_have_to_be_made_are_told_from_unknown_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match=r"'mnist_m' can't be downloaded: README\.md"):
        load_data("mnist_m")
