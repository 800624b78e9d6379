"""Sets of tensorflow-datasets.

It is imported where it is used: that takes time, and most data needs none of it.
"""

import contextlib
import os
import pathlib
import urllib.error
import urllib.request

import numpy as np
import tensorflow as tf

from zoo.data.array_source import rows_a_chunk
from zoo.data.schedule import Streamed
from zoo.data.source import Source, check_channels

_REACHABLE_WITHIN_SECONDS = 10


class TfdsSource(Source):
    """A set of tensorflow-datasets, prepared at first use."""

    def __init__(self, name):
        self.name = name
        self._builder = _prepared_builder(name)
        features = dict(self._builder.info.features.items())
        image = features.get("image")
        if image is None or image.np_dtype != np.uint8 or len(image.shape) != 3:
            raise ValueError(
                "A data set must have a feature 'image' of uint8 pixels. "
                f"Received: {name!r} with {', '.join(features)}"
            )
        check_channels(image.shape[-1], of=repr(name))
        self._image = image
        self._label = _class_label(features)

    @property
    def splits(self):
        """Names of the splits."""
        return tuple(self._builder.info.splits)

    def size(self, split):
        """Number of images in a split."""
        return self._builder.info.splits[split].num_examples

    def shape(self, split):
        """`(H, W, C)` of its images."""
        return tuple(self._image.shape)

    def num_classes(self, split):
        """Number of classes, `None` without labels."""
        return self._label.num_classes if self._label else None

    def chunks(self, split, start, stop):
        """Pairs of images and labels, row `start` to row `stop`."""
        rows = 1 if None in self._image.shape else rows_a_chunk(self._image.shape)
        records = self._read([(split, start, stop)], decoders=None)
        for chunk in records.batch(rows).as_numpy_iterator():
            yield chunk["image"], chunk["label"] if self._label else None

    def streamed(self, parts, fit):
        """Rows for a set too large for memory.

        Args:
            parts: List of `(split, start, stop)`.
            fit: Function that brings uint8 `[1, H, W, C]` to the wanted shape.

        Returns:
            A `zoo.data.schedule.Streamed`.
        """
        import tensorflow_datasets as tfds

        def decode(record):
            image = fit(self._image.decode_example(record["image"])[tf.newaxis])[0]
            label = record["label"] if self._label else tf.constant(-1, tf.int64)
            return image, label

        records = self._read(parts, decoders={"image": tfds.decode.SkipDecoding()})
        size = sum(stop - start for _, start, stop in parts)
        return Streamed(records, decode, size)

    def _read(self, parts, decoders):
        import tensorflow_datasets as tfds

        return self._builder.as_dataset(
            "+".join(f"{split}[{start}:{stop}]" for split, start, stop in parts),
            decoders=decoders,
            # A cache of small sets would hold a second copy of what we keep anyway.
            read_config=tfds.ReadConfig(try_autocache=False),
        )


def _class_label(features):
    """The feature `label` if it is one class an image, else `None`."""
    label = features.get("label")
    return label if hasattr(label, "num_classes") and label.shape == () else None


def _tfds_folder():
    # tensorflow-datasets reads the variable only when it is imported.
    return os.environ.get("TFDS_DATA_DIR")


def tfds_names():
    """Sorted names of the sets it knows or finds prepared in its folder."""
    import tensorflow_datasets as tfds

    folder = pathlib.Path(_tfds_folder() or tfds.core.constants.DATA_DIR).expanduser()
    prepared = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted({*tfds.list_builders(with_community_datasets=False), *prepared})


def _prepared_builder(name):
    import tensorflow_datasets as tfds

    # What can go wrong in a hundred builders and their downloads has no common class.
    try:
        builder = tfds.builder(name, data_dir=_tfds_folder())
    except Exception as error:
        raise ValueError(
            f"tensorflow-datasets cannot open {name!r}: {_first_line(error)}"
        ) from None
    if builder.is_prepared():
        return builder
    try:
        _check_reachable(builder)
        builder.download_and_prepare()
    except Exception as error:
        raise ValueError(
            f"The tensorflow-datasets set {name!r} is not prepared under "
            f"{builder.data_dir} and cannot be downloaded ({_first_line(error)}). "
            "Prepare it where there is a network and set TFDS_DATA_DIR to its folder."
        ) from None
    return builder


def _check_reachable(builder):
    # Without a network tensorflow-datasets retries for minutes before it gives up.
    for url in list(builder.url_infos or {})[:1]:
        request = urllib.request.Request(url, method="HEAD")
        # With an error of HTTP the server is there; the rest is for the download.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=_REACHABLE_WITHIN_SECONDS).close()


def _first_line(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
