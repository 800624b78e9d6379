"""What every kind of source of images answers."""

import abc


class Source(abc.ABC):
    """Images by split, in an order that never changes.

    Attributes:
        name: What errors call it.
        splits: Names of its splits.
        class_names: Names of the classes by number, `None` where they have none.
    """

    name: str
    splits: tuple[str, ...]
    class_names: tuple[str, ...] | None = None

    @abc.abstractmethod
    def size(self, split):
        """Number of images in a split."""

    @abc.abstractmethod
    def shape(self, split):
        """`(H, W, C)` of its images; `None` for a height or width that varies."""

    @abc.abstractmethod
    def num_classes(self, split):
        """Number of classes, `None` without labels."""

    def lowest_label(self, split):
        """The lowest label of a split, `None` where it isn't known beforehand."""
        del split

    def comes_by_class(self, split):
        """Whether a split has its images one class after the other."""
        del split
        return False

    @abc.abstractmethod
    def chunks(self, split, start, stop):
        """Yields the images of rows `start` to `stop`, some at a time.

        Returns:
            Iterator of uint8 images `[n, H, W, C]` and integer labels `[n]` or `None`.
        """


def common_shape(shapes):
    """The shape that covers all shapes `(H, W, C)` of images.

    Returns:
        `(H, W, C)`: `None` for a height or width that varies, and the most channels.
    """
    heights, widths, channels = (set(sizes) for sizes in zip(*shapes, strict=True))
    return (
        heights.pop() if len(heights) == 1 else None,
        widths.pop() if len(widths) == 1 else None,
        max(channels),
    )


def check_channels(channels, of):
    """Raises `ValueError` unless images have one channel (grey) or three (colour)."""
    if channels not in (1, 3):
        raise ValueError(
            "Images must have 1 channel (grey) or 3 (colour). "
            f"Received: {channels} channels in {of}"
        )
