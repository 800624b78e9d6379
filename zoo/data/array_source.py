"""Images in arrays: the user's own, scikit-learn's digits, `.npz` files."""

import numpy as np
from sklearn.datasets import load_digits

from zoo.data.source import Source, check_channels

# Images are resized in chunks of about this size, to bound what float32 needs.
_CHUNK_BYTES = 2**24

_DIGITS_TRAIN = 1_500

# More classes than anything here could count.
_MAX_LABEL = 2**31 - 1


class ArraySource(Source):
    """Images, and perhaps labels, in arrays."""

    def __init__(self, name, arrays):
        """Checks the arrays.

        Args:
            name: What errors call the set.
            arrays: Dictionary from split to `(images, labels or None)`.
        """
        self.name = name
        self._arrays = {
            split: _checked_arrays(name, images, labels)
            for split, (images, labels) in arrays.items()
        }

    @property
    def splits(self):
        """Names of the splits."""
        return tuple(self._arrays)

    def arrays(self, split):
        """Images and labels of a split."""
        return self._arrays[split]

    def size(self, split):
        """Number of images in a split."""
        return len(self.arrays(split)[0])

    def shape(self, split):
        """`(H, W, C)` of its images."""
        return self.arrays(split)[0].shape[1:]

    def num_classes(self, split):
        """Number of classes, `None` without labels."""
        labels = self.arrays(split)[1]
        return None if labels is None else int(labels.max()) + 1 or None

    def lowest_label(self, split):
        """See `Source.lowest_label`."""
        labels = self.arrays(split)[1]
        return None if labels is None else int(labels.min())

    def comes_by_class(self, split):
        """See `Source.comes_by_class`."""
        labels = self.arrays(split)[1]
        return labels is not None and bool(
            labels[0] < labels[-1] and (labels[:-1] <= labels[1:]).all()
        )

    def chunks(self, split, start, stop):
        """Pairs of images and labels, row `start` to row `stop`."""
        images, labels = self.arrays(split)
        rows = rows_a_chunk(self.shape(split))
        for first in range(start, stop, rows):
            chunk = slice(first, min(first + rows, stop))
            yield images[chunk], None if labels is None else labels[chunk]


def rows_a_chunk(shape):
    """How many images of `shape` to handle at a time."""
    return max(1, _CHUNK_BYTES // int(np.prod(shape)))


def _checked_arrays(name, images, labels):
    images = np.asarray(images)
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"The images of {name} must be uint8 (0 to 255) of shape [N, H, W] or "
            f"[N, H, W, C]. Received: {images.dtype} of shape {images.shape}"
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    check_channels(images.shape[-1], of=name)
    return images, None if labels is None else _checked_labels(name, images, labels)


def _checked_labels(name, images, labels):
    labels = np.asarray(labels)
    if labels.shape == (len(images), 1):  # as keras.datasets.cifar10 has them
        labels = labels[:, 0]
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"The labels of {name} must be {len(images)} integers, one an image. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < -1 or labels.max() > _MAX_LABEL:
        raise ValueError(
            f"The labels of {name} must be from 0 to {_MAX_LABEL}, or -1 for "
            f"unlabelled. Received: {labels.min()} to {labels.max()}"
        )
    return labels


class DigitsSource(ArraySource):
    """The 1,797 handwritten digits that come with scikit-learn, 8×8."""

    def __init__(self):
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        # In their own order, so that most of the test digits are by other writers.
        train, test = slice(None, _DIGITS_TRAIN), slice(_DIGITS_TRAIN, None)
        super().__init__(
            "digits",
            {
                "train": (images[train], digits.target[train]),
                "test": (images[test], digits.target[test]),
            },
        )


class NpzSource(ArraySource):
    """`.npz` files with `image` and perhaps `label`, one a split."""

    def __init__(self, path, files):
        super().__init__(str(path), {})
        self._files = files

    @property
    def splits(self):
        """Names of the splits."""
        return tuple(self._files)

    def arrays(self, split):
        """Images and labels of a split."""
        if split not in self._arrays:
            self._arrays[split] = _read_npz(self._files[split])
        return self._arrays[split]


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as members:
            arrays = {key: members[key] for key in members}
    # What zip, zlib and numpy say of a damaged file has no common class.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as an .npz file of plain arrays, as numpy.savez "
            f"writes it: {error}"
        ) from None
    if "image" not in arrays:
        raise ValueError(
            f"{path} must hold an array 'image' and may hold 'label'. "
            f"Received: {', '.join(arrays) or 'no arrays'}"
        )
    return _checked_arrays(str(path), arrays["image"], arrays.get("label"))
