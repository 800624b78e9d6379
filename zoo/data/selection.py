"""A split of a source, at the size and number of channels asked for."""

import dataclasses
import math
import re
import warnings

import numpy as np

from zoo import checks
from zoo.data import fitting
from zoo.data.array_source import DigitsSource
from zoo.data.finding import find_source
from zoo.data.schedule import InMemory
from zoo.data.source import Source, check_channels, common_shape
from zoo.data.tfds_source import TfdsSource

# Sets whose uint8 images need more bytes are streamed instead of kept in memory.
MEMORY_LIMIT = 2 * 2**30

_DIGITS_IMAGE_SIZE = 28

_BOUND = r"(-?\d+%?)?"
_PART = re.compile(rf"([\w.-]+?)(?:\[{_BOUND}:{_BOUND}\])?")


def is_gaussian(name):
    """Whether a name stands for the numbers of `zoo.load_data("gaussian")`."""
    return isinstance(name, str) and name == "gaussian"


def check_split(split):
    """Raises `ValueError` unless a split is given by a text."""
    if not isinstance(split, str):
        raise ValueError(
            f"Expected the name of a split, such as 'train'. Received: split={split!r}"
        )


def select(name, split, image_size=None, channels=None):
    """Finds the images that the arguments of `zoo.load_data` ask for.

    Returns:
        A `Selection`.

    Raises:
        ValueError: If there is nothing of that name or split, or if it cannot be
            brought to one shape.
    """
    check_split(split)
    image_size = checks.optional(checks.count, "image_size", image_size)
    channels = checks.optional(checks.count, "channels", channels)
    if channels is not None:
        check_channels(channels, of="channels=")
    if is_gaussian(name):
        raise ValueError(
            "'gaussian' is numbers, not images, and is loaded alone, by load_data"
        )
    source = find_source(name)
    if isinstance(source, DigitsSource) and image_size is None:
        image_size = _DIGITS_IMAGE_SIZE
    selection = Selection(source, _parts(source, split), image_size, channels)
    if None in selection.shape:
        raise ValueError(
            f"The images of {source.name} differ in size: give an image size, such as "
            "image_size=64 (--image-size 64)"
        )
    return selection


@dataclasses.dataclass(frozen=True)
class Selection:
    """Images of one shape.

    Attributes:
        source: Where they come from.
        parts: List of `(split, start, stop)`.
        image_size: Height and width to resize to, or `None`.
        channels: Channels to convert to, or `None`.
    """

    source: Source
    parts: list[tuple[str, int, int]]
    image_size: int | None
    channels: int | None

    @property
    def name(self):
        """What errors call it."""
        return self.source.name

    @property
    def size(self):
        """Number of images."""
        return sum(stop - start for _, start, stop in self.parts)

    @property
    def shape(self):
        """`(height, width, channels)` after resizing and converting."""
        return fitting.fitted_shape(self.native_shape, self.image_size, self.channels)

    @property
    def native_shape(self):
        """`(height, width, channels)` before that.

        Where images differ, `None` for the height or width, and the most channels.
        """
        return common_shape([self.source.shape(split) for split, _, _ in self.parts])

    @property
    def num_classes(self):
        """Number of classes, the most that a part has, `None` without labels."""
        known = (self.source.num_classes(split) for split, _, _ in self.parts)
        return max((classes for classes in known if classes is not None), default=None)

    def of(self, split):
        """Selects images of another split of the same source, alike."""
        return dataclasses.replace(self, parts=_parts(self.source, split))

    def first(self, limit):
        """Selects the first `limit` images of these; warns if these lack classes."""
        parts = []
        for split, start, whole_stop in self.parts:
            stop = min(whole_stop, start + limit)
            limit -= stop - start
            # Also a part of which nothing is taken: it has its say in the shape.
            parts.append((split, start, stop))
            if start < stop < whole_stop and self.source.comes_by_class(split):
                warnings.warn(
                    f"The images of {self.name}, {split!r}, come one class after the "
                    f"other, and only the first {stop - start} are taken: shuffle the "
                    "data.",
                    stacklevel=2,
                )
        return dataclasses.replace(self, parts=parts)

    def overlaps(self, other):
        """Whether another selection of the same source shares images with this one."""
        return any(
            split == other_split and max(start, other_start) < min(stop, other_stop)
            for split, start, stop in self.parts
            for other_split, other_start, other_stop in other.parts
        )

    def check_labels(self, purpose):
        """Raises `ValueError` if there are no labels for `purpose`."""
        if self.num_classes is None:
            raise ValueError(
                f"{purpose} needs labels, and {self.name} has none. The classes of a "
                "folder of images are its subfolders; an .npz file has `label`."
            )

    def warn_of_no_first_class(self):
        """Warns where labels are counted from 1 or more."""
        lowest = [self.source.lowest_label(split) for split, _, _ in self.parts]
        if None not in lowest and min(lowest) > 0:
            warnings.warn(
                f"The labels of {self.name} start at {min(lowest)}. Classes are "
                "counted from 0: those below have no image, and models of classes "
                "learn nothing of them.",
                stacklevel=4,
            )

    def arrays(self):
        """Decodes the images.

        Returns:
            uint8 images `[N, H, W, C]` and int64 labels `[N]`, -1 where there is none.
        """
        images = np.empty((self.size, *self.shape), np.uint8)
        labels = np.full(self.size, -1, np.int64)
        filled = 0
        for chunk_images, chunk_labels in self._chunks():
            rows = slice(filled, filled + len(chunk_images))
            images[rows] = self._fit(chunk_images)
            if chunk_labels is not None:
                labels[rows] = chunk_labels
            filled = rows.stop
        return images, labels

    def rows(self):
        """The images as batches are made of them: in memory, or streamed."""
        if self.fits_memory:
            return InMemory(*self.arrays())
        return self.source.streamed(self.parts, self._fit)

    @property
    def fits_memory(self):
        """Whether to keep all images in memory; only tensorflow-datasets can stream."""
        small = self.size * math.prod(self.shape) <= MEMORY_LIMIT
        return small or not isinstance(self.source, TfdsSource)

    def _chunks(self):
        for split, start, stop in self.parts:
            if start < stop:
                yield from self.source.chunks(split, start, stop)

    def _fit(self, images):
        # Grey parts beside colour ones become colour.
        return fitting.fit_images(images, self.image_size, self.shape[-1])


def _parts(source, split):
    parts = [_part(source, text.strip()) for text in split.split("+")]
    if all(start == stop for _, start, stop in parts):
        sizes = ", ".join(f"{name} has {source.size(name)}" for name, _, _ in parts)
        raise ValueError(
            f"The split must hold images, and {sizes}. Received: split={split!r}"
        )
    return [(name, start, stop) for name, start, stop in parts if start < stop]


def _part(source, text):
    match = _PART.fullmatch(text)
    if match is None:
        raise ValueError(
            "A split is a name, perhaps with a slice such as [:1000] or [90%:], or "
            f"several joined by +. Received: {text!r}"
        )
    name, start, stop = match.groups()
    if name not in source.splits:
        raise ValueError(
            f"{source.name} has no split {name!r}. It has the splits "
            f"{', '.join(source.splits)}: choose one by split= (--split), with a slice "
            f"such as [:1000] or [90%:] or without. Received: {text!r}"
        )
    size = source.size(name)
    start = _bound(start, size, default=0)
    return name, start, max(start, _bound(stop, size, default=size))


def _bound(text, size, default):
    if text is None:
        return default
    row = round(size * int(text[:-1]) / 100) if text.endswith("%") else int(text)
    return min(max(row + size if row < 0 else row, 0), size)
