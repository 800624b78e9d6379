"""From a name to batches: `load_data`, `load_arrays`, `describe`."""

import dataclasses

import tensorflow as tf

from zoo import checks
from zoo.data import batches
from zoo.data.selection import check_split, is_gaussian, select


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """What a model needs to know of a data set.

    Attributes:
        image_shape: `(height, width, channels)`, or `(1,)` for `"gaussian"`.
        num_classes: Number of classes, or `None` where there are no labels.
        size: Number of images in the split.
        class_names: Names of the classes, where folders give them, or `None`.
    """

    image_shape: tuple[int, ...]
    num_classes: int | None
    size: int
    class_names: tuple[str, ...] | None = None


def load_data(
    name,
    split="train",
    batch_size=64,
    image_size=None,
    channels=None,
    labels=False,
    labelled=None,
    shuffle_seed=0,
    *,
    labelled_share=0.5,
    shuffle=None,
    mean=4.0,
    std=0.5,
    size=10_000,
):
    """Loads a data set as batches to train or evaluate on.

    Names:

    - `"digits"`: the 1,797 handwritten digits of scikit-learn (8×8, resized to 28×28
      unless `image_size` says otherwise), 1,500 `train` and 297 `test`.
    - `"gaussian"`: `size` fresh draws an epoch from N(mean, std²), float32 `[B, 1]`.
    - The name of a tensorflow-datasets set, such as `"mnist"` or `"svhn_cropped"`,
      read from the environment variable `TFDS_DATA_DIR` if that is set, downloaded and
      prepared if need be. A name that starts with `.`, `/` or `~`, or ends in `/`, is
      always a path, and any other is one if tensorflow-datasets does not know it.
    - A folder of images. Subfolders are classes, numbered in the order of their names;
      but `train`, with or without `test`, `val`, `valid` and `validation` and nothing
      else, are splits, of images or of classes; `Train` is `train`, too. The files are
      taken in an order of their names' hashes. White shows through what is
      transparent.
    - An `.npz` file with `image` (uint8 `[N, H, W]` or `[N, H, W, C]`) and perhaps
      `label` (integers `[N]`), or a folder of one such `<split>.npz` a split. These,
      and folders of images, are looked for in the working directory and then in the
      environment variable `ZOO_DATA_DIR`: `"mnist_m"` may be a folder there.
    - An array of images like `image`, or a tuple `(images, labels)`.
    - Two of these (not `"gaussian"`), a source and a target domain. An epoch goes once
      through the larger one; the smaller starts again as often as needed. Without
      `image_size` and `channels` both must have the same shape.

    A set without splits of its own has one, `train`. All have slices, `train[:1000]`,
    `train[90%:]`, and sums, `train+test`, which have as many classes and channels as
    the part with the most.

    Every epoch has its own order, a function of `shuffle_seed` and the epoch's number
    alone; `zoo.data.epochs` starts that sequence anywhere. Iterating the dataset
    itself gives a new order each time, too. All images are decoded and resized once
    and kept in memory as uint8, except for tensorflow-datasets sets that need more
    than 2 GiB: these are read anew each epoch through a shuffle buffer of 10,000
    images.

    Under a `tf.distribute` strategy the global batch is split over the replicas in the
    order of its rows.

    Args:
        name: What to load, see above.
        split: Name of the split, with or without slices.
        batch_size: Rows in a batch, over all replicas together.
        image_size: Height and width to resize to: the centred square of the image, by
            antialiased bilinear interpolation. `None` keeps the size.
        channels: 1 converts to grey (luma of ITU-R BT.601), 3 to colour, `None`
            keeps what there is.
        labels: Whether batches are `(images, labels)`.
        labelled: Number of images whose labels are kept, the same number of each
            class, chosen by `shuffle_seed`; a share of each batch is drawn from them.
            The rest of the batch is drawn from the whole set, and its labels are -1.
            An epoch goes once through the whole set.
        shuffle_seed: Integer that all orders and draws derive from.
        labelled_share: That share of each batch, between 0 and 1. The labelled rows are
            spread evenly over the batch, so that every replica gets its part.
        shuffle: Whether to train: shuffle, and drop what remains after the last full
            batch. Otherwise all images come in their order and the last batch may be
            smaller. `None` trains unless the split's name starts with `test` or `val`.
        mean: Mean of `"gaussian"`.
        std: Standard deviation of `"gaussian"`.
        size: Draws in an epoch of `"gaussian"`.

    Returns:
        A finite `tf.data.Dataset` of one epoch with known cardinality. Its elements
        are images, float32 `[B, H, W, C]` in [-1, 1]; with `labels` or `labelled`
        `(images, labels)`, labels int64 `[B]`; for two names
        `((source_images, source_labels), target_images)`.

    Raises:
        ValueError: If there is no such data set or split, if its files cannot be read
            or its download fails, if images differ in size and no `image_size` is
            given, if labels are missing where they are needed, or if an argument does
            not fit the data.
    """
    check_split(split)
    batch_size = checks.count("batch_size", batch_size)
    shuffle_seed = checks.seed("shuffle_seed", shuffle_seed)
    labels = checks.flag("labels", labels)
    labelled = checks.optional(checks.count, "labelled", labelled)
    labelled_share = checks.number("labelled_share", labelled_share, above=0, below=1)
    shuffle = checks.optional(checks.flag, "shuffle", shuffle)
    mean, std = checks.number("mean", mean), checks.number("std", std, least=0)
    size = checks.count("size", size)
    if shuffle is None:
        shuffle = not split.startswith(("test", "val"))
    if labelled is not None and not shuffle:
        raise ValueError(
            "labelled= makes up training batches: leave it out with shuffle=False or a "
            f"test split. Received: labelled={labelled}, split={split!r}"
        )
    if is_gaussian(name):
        _refuse_image_settings(image_size, channels, labels, labelled)
    elif (mean, std, size) != (4.0, 0.5, 10_000):
        raise ValueError(
            "mean, std and size are settings of 'gaussian'; the size of images is "
            f"image_size. Received: mean={mean}, std={std}, size={size}"
        )

    common = {"batch_size": batch_size, "seed": shuffle_seed}
    # Where there is a GPU, constants would be put on it, and tf.data is on the CPU.
    with tf.device("CPU:0"):
        if is_gaussian(name):
            schedule = batches.gaussian(mean, std, size, shuffle=shuffle, **common)
        elif _is_pair(name):
            if labelled is not None:
                raise ValueError("labelled= is for one data set, not for two domains")
            pair = [select(domain, split, image_size, channels) for domain in name]
            schedule = batches.domains(*pair, shuffle=shuffle, **common)
        elif labelled is not None:
            selection = select(name, split, image_size, channels)
            schedule = batches.semi_supervised(
                selection, labelled=labelled, share=labelled_share, **common
            )
        else:
            selection = select(name, split, image_size, channels)
            schedule = batches.images(
                selection, labels=labels, shuffle=shuffle, **common
            )
        return schedule.one_epoch()


def load_arrays(
    name, split="train", image_size=None, channels=None, limit=None, labels=False
):
    """Loads the images that `load_data` makes batches of, for metrics and pictures.

    Args:
        name: As for `load_data`, but neither `"gaussian"` nor two names.
        split: As for `load_data`.
        image_size: As for `load_data`.
        channels: As for `load_data`.
        limit: How many images at most, 1 or more, the first ones, with a warning where
            these lack classes because the labels of an array or `.npz` file are in
            order. `None` loads all, into memory.
        labels: Whether there must be labels.

    Returns:
        uint8 images `[N, H, W, C]`, and int64 labels `[N]` or `None`.

    Raises:
        ValueError: As `load_data` does.
    """
    limit = checks.optional(checks.count, "limit", limit)
    selection = select(name, split, image_size, channels)
    if labels:
        selection.check_labels("what is asked for")
    if limit is not None:
        selection = selection.first(limit)
    images, known = selection.arrays()
    return images, None if selection.num_classes is None else known


def drop_unlabelled(images, labels):
    """Returns those rows of images and labels whose label is known, not -1.

    Raises:
        ValueError: If there are none.
    """
    known = labels >= 0
    if not known.any():
        raise ValueError("There is no label to measure by: all are -1, for unlabelled.")
    return images[known], labels[known]


def native_shape(name, split="train", image_size=None, channels=None):
    """Returns the shape that images have before `load_data` brings them to one.

    Args:
        name: As for `load_data`, but neither `"gaussian"` nor two names.
        split: As for `load_data`.
        image_size: As for `load_data`.
        channels: As for `load_data`.

    Returns:
        `(height, width, channels)`, or None where they differ.
    """
    shape = select(name, split, image_size, channels).native_shape
    return None if None in shape else shape


def shape_arguments(image_shape):
    """Returns the arguments with which images are loaded in a model's shape.

    Images are brought to squares only. Those for a model of another shape keep theirs,
    and fit where the model was trained on such.
    """
    height, width, channels = image_shape
    size = {"image_size": height} if height == width else {}
    return {**size, "channels": channels}


def describe(name, split="train", image_size=None, channels=None):
    """Says what a model must know of a data set, without decoding its images.

    A tensorflow-datasets set that is not prepared yet is prepared.

    Args:
        name: As for `load_data`; of two names it describes the first, the source.
        split: As for `load_data`.
        image_size: As for `load_data`.
        channels: As for `load_data`.

    Returns:
        A `DataInfo`.

    Raises:
        ValueError: As `load_data` does.
    """
    if is_gaussian(name):
        return DataInfo(image_shape=(1,), num_classes=None, size=10_000)
    if _is_pair(name):
        name = name[0]
    selection = select(name, split, image_size, channels)
    return DataInfo(
        selection.shape,
        selection.num_classes,
        selection.size,
        None if selection.num_classes is None else selection.source.class_names,
    )


def _is_pair(name):
    """Whether these are two domains, and not the arrays (images, labels)."""
    return (
        isinstance(name, tuple | list)
        and len(name) == 2
        and not hasattr(name[0], "shape")
    )


def _refuse_image_settings(image_size, channels, labels, labelled):
    if image_size or channels or labels or labelled is not None:
        raise ValueError(
            "'gaussian' has neither images nor labels: leave out image_size, channels, "
            f"labels and labelled. Received: image_size={image_size}, "
            f"channels={channels}, labels={labels}, labelled={labelled}"
        )
