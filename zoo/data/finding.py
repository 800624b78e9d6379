"""From a name to the source it means."""

import glob
import os
import pathlib
import re

from zoo import checks
from zoo.data.array_source import ArraySource, DigitsSource, NpzSource
from zoo.data.folder_source import FolderSource
from zoo.data.tfds_source import TfdsSource, tfds_names

#: Environment variable: the folder in which data sets of one's own lie by their names,
#: as those of tensorflow-datasets lie in TFDS_DATA_DIR.
DATA_DIR = "ZOO_DATA_DIR"
#: Data of the recipes that nobody can download by their name.
_MADE = ("mnist_m", "afhq_cats", "cifar10_jpeg")


def find_source(name):
    """Finds what `name` names.

    Args:
        name: See `zoo.load_data`.

    Returns:
        A `zoo.data.source.Source`.

    Raises:
        ValueError: If there is nothing of that name, or if it cannot be used.
    """
    if _is_array(name):
        return ArraySource("the given arrays", {"train": (name, None)})
    if isinstance(name, tuple | list) and len(name) == 2 and _is_array(name[0]):
        return ArraySource("the given arrays", {"train": tuple(name)})
    # The path "" would be the working directory.
    if not isinstance(name, str | os.PathLike) or name == "":
        raise ValueError(
            "A data set is a name, a path, an array of images, or a tuple "
            f"(images, labels). Received: {_short(name)}"
        )
    if name == "digits":
        return DigitsSource()
    path = pathlib.Path(name).expanduser()
    if _looks_like_path(name):
        return _source_at(path)
    known = tfds_names()
    # "emnist/letters" and "mnist:3.0.1" name a configuration and a version; "mnist/" is
    # a folder, as shells complete it.
    if re.split("[/:]", name)[0] in known and not name.endswith("/"):
        return TfdsSource(name)
    own = (
        [pathlib.Path(os.environ[DATA_DIR]).expanduser()]
        if DATA_DIR in os.environ
        else []
    )
    for folder in (pathlib.Path(), *own):
        if (folder / name).exists():
            return _source_at(folder / name)
    raise ValueError(_unknown_name(name, known))


def _is_array(value):
    return hasattr(value, "shape") and hasattr(value, "__array__")


def _short(value):
    return f"{type(value).__name__} {value!r:.80}"


def _looks_like_path(name):
    return isinstance(name, os.PathLike) or name.startswith((".", "/", "~"))


def _unknown_name(name, known):
    if name in _MADE:
        return (
            f"{name!r} can't be downloaded: README.md says under Data how to make it, "
            f"or get it, and have it found here or in {DATA_DIR}. Or name other data."
        )
    folders_here = glob.glob("*/")
    hint = checks.did_you_mean(name, ["digits", "gaussian", *known, *folders_here])
    return (
        "There is no such data set. There are 'digits', 'gaussian', the names of "
        "tensorflow-datasets (prepared ones in TFDS_DATA_DIR too), a folder of images, "
        "an .npz file, and a folder of <split>.npz files, here or in "
        f"{DATA_DIR}.{hint} Received: {name!r}"
    )


def _source_at(path):
    if path.is_file() and path.suffix == ".npz":
        return NpzSource(path, {"train": path})
    if not path.is_dir():
        raise ValueError(
            "A path must lead to a folder of images, an .npz file, or a folder of "
            f"<split>.npz files{'' if path.exists() else ', and nothing is there'}. "
            f"Received: {str(path)!r}"
        )
    npz_files = sorted(path.glob("*.npz"))
    if npz_files:
        return NpzSource(path, {file.stem: file for file in npz_files})
    return FolderSource(path)
