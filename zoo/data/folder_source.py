"""A folder of image files."""

import functools
import hashlib
import struct
import textwrap
import warnings

import numpy as np
import PIL.Image

from zoo.data.array_source import rows_a_chunk
from zoo.data.source import Source, common_shape

_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_EXIF_ORIENTATION = 0x0112
#: What turns an image upright, by its orientation; 1 is upright.
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
#: Formats that pillow knows by name, and reads with other libraries only.
_STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
#: Folders that are splits where one is `train` and nothing else is beside them.
_SPLITS = {"train", "test", "val", "valid", "validation"}


class FolderSource(Source):
    """A folder of image files, or of one subfolder of them a class.

    Or a folder of such folders, each a split. White shows through what is transparent.
    Files whose names say that they are no images are left out, with a warning.
    """

    def __init__(self, path):
        """Looks at every file, so that a wrong one is named before training."""
        self.name = str(path)
        folders = _split_folders(path)
        self.splits = tuple(folders)
        self._classes = {split: _subfolders(folders[split]) for split in folders}
        self._files = {
            split: _image_files(folders[split], self._classes[split])
            for split in folders
        }
        self._shapes = {
            split: common_shape(_file_shapes(files))
            for split, files in self._files.items()
        }
        # A class has one number in all splits, though not all have images of it.
        self.class_names = tuple(sorted(set().union(*self._classes.values()))) or None

    def size(self, split):
        """Number of images in a split."""
        return len(self._files[split])

    def shape(self, split):
        """`(H, W, C)` of its images."""
        return self._shapes[split]

    def num_classes(self, split):
        """Number of classes, `None` without labels."""
        return len(self.class_names) if self._classes[split] else None

    def chunks(self, split, start, stop):
        """Pairs of images and labels, row `start` to row `stop`."""
        shape = self._shapes[split]
        # Together if they can be: to resize each alone takes ten times as long.
        rows = 1 if None in shape else rows_a_chunk(shape)
        for first in range(start, stop, rows):
            files = self._files[split][first : min(first + rows, stop)]
            labels = None
            if self._classes[split]:
                labels = [self.class_names.index(file.parent.name) for file in files]
            yield np.stack([_decode_file(file, shape[-1]) for file in files]), labels


def _split_folders(path):
    """Returns a dict from split to its folder; the folder itself is `train` else."""
    names = _subfolders(path)
    has_images = any(
        _may_be_image(entry) for entry in _visible(path) if not entry.is_dir()
    )
    splits = {name.lower(): path / name for name in names}
    known = "train" in splits and _SPLITS.issuperset(splits)
    if known and not has_images and len(splits) == len(names):
        return splits
    return {"train": path}


def _subfolders(path):
    return sorted(entry.name for entry in _visible(path) if entry.is_dir())


def _visible(folder):
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _may_be_image(file):
    """Whether the ending of a file's name is one of images, or there is none."""
    return file.suffix.lower() in _endings()


@functools.cache
def _endings():
    formats = PIL.Image.registered_extensions()  # Which also loads PIL.Image.OPEN.
    readable = PIL.Image.OPEN.keys() - _STUBS
    return {"", *(ending for ending, name in formats.items() if name in readable)}


def _image_files(path, classes):
    left_out = set()

    def images_among(entries):
        there = [entry for entry in entries if not entry.is_dir()]
        left_out.update(file.name for file in there if not _may_be_image(file))
        return list(filter(_may_be_image, there))

    files = images_among(_visible(path))
    if files and classes:
        raise ValueError(
            "A folder holds either images, or one subfolder of images a class. "
            f"Received: {path} with the file {files[0].name} beside the folder "
            f"{classes[0]}"
        )
    for name in classes:
        inside = _visible(path / name)
        if any(entry.is_dir() for entry in inside):
            raise ValueError(
                "The subfolders of a folder of images are its classes and hold files "
                f"only; choose the folder above the classes. Received: {path} with "
                f"folders inside {name}"
            )
        images = images_among(inside)
        if not images:
            raise ValueError(
                "Every subfolder of a folder of images is a class and holds images; "
                f"remove those without. Received: {path} with no images inside {name}"
            )
        files += images
    if not files:
        raise ValueError(
            "A folder of images must hold images, or one subfolder of them a class. "
            f"Received: {path}, where there is no image"
        )
    if left_out:
        names = textwrap.shorten(", ".join(sorted(left_out)), 100, placeholder=" …")
        warnings.warn(
            f"{path} holds other files than images, which are left out: {names}",
            stacklevel=2,
        )
    # By hash, so that a slice such as train[:90%] has something of every class.
    return sorted(files, key=lambda file: _name_hash(file.relative_to(path)))


def _name_hash(relative_path):
    return hashlib.sha256(relative_path.as_posix().encode()).digest()


def _file_shapes(files):
    """Returns the shape of each file; one error names all that are no images."""
    shapes, wrong = [], {}
    for file in files:
        try:
            shapes.append(_file_shape(file))
        except ValueError as error:
            # As text: the error itself would keep its file open.
            wrong[str(file)] = str(error)
    if not wrong:
        return shapes
    reason = next(iter(wrong.values()))
    if len(wrong) > 1:
        names = textwrap.shorten(", ".join(wrong), 500, placeholder=" …")
        reason = (
            f"{len(wrong)} files are no images that can be read: {names}. Of the "
            f"first: {reason}"
        )
    raise ValueError(reason)


def _file_shape(file):
    """Shape by the file's header alone: (height, width, 1 or 3)."""
    with _opened(file) as image:
        width, height = image.size
        # Turned as the camera was held, height and width may change places.
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return height, width, 1 if image.mode in _GREY_MODES else 3


def _orientation(image):
    """How the camera was held, 1 to 8; other values, or None, where nothing says so."""
    # Not by getexif, which decodes a whole PNG in search of it.
    if "exif" not in image.info:
        return None
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    except (SyntaxError, struct.error):  # Damaged, which the pixels need not be.
        return None


def _opened(file):
    try:
        image = PIL.Image.open(file)
    except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} cannot be read as an image ({type(error).__name__}); move it away."
        ) from None
    if image.mode not in _GREY_MODES | _COLOUR_MODES:
        image.close()
        raise ValueError(
            "Images must be grey or colour with 8 bits a channel. "
            f"Received: {file} with pillow's mode {image.mode!r}"
        )
    return image


def _decode_file(file, channels):
    with _opened(file) as image:
        try:
            # Not by exif_transpose, which fails where anything in EXIF is damaged.
            turn = _UPRIGHT.get(_orientation(image))
            upright = image if turn is None else image.transpose(turn)
            if upright.has_transparency_data:
                white = PIL.Image.new("RGBA", upright.size, "white")
                upright = PIL.Image.alpha_composite(white, upright.convert("RGBA"))
            pixels = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"The image {file} is damaged: {error}") from None
    return pixels.reshape(*pixels.shape[:2], channels)
