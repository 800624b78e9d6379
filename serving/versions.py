"""The versions of a model on disk: `<base_path>/<number>/`."""

import errno
import functools
import logging
import os
import pathlib

from serving import messages

_log = logging.getLogger(__name__)

#: Where a version's folder holds the requests that are replayed when it is loaded.
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")

#: Where a version's folder says what the values of its variables are.
VARIABLES_FILE = os.path.join("variables", "variables.index")


def check_models_dir(models_dir):
    """Raises unless a path is a folder, and not that of one model or version.

    Raises:
        FileNotFoundError: If it is no folder.
        ValueError: If it is the folder of one model, or of one version.
    """
    models_dir = pathlib.Path(os.path.abspath(models_dir))
    if not models_dir.is_dir():
        raise FileNotFoundError(
            f"{models_dir} is not a folder; `python -m export PRESET {models_dir}` "
            "writes the first model into it"
        )
    if (models_dir / "saved_model.pb").exists():
        raise ValueError(
            f"{models_dir} is one version of a model; give the folder of models, "
            f"{models_dir.parent.parent}"
        )
    for version in models_dir.glob("[0-9]*/saved_model.pb"):
        raise ValueError(
            f"{models_dir} is the folder of one model ({version.parent.name} is a "
            f"version of it); give the folder of models, {models_dir.parent}"
        )


def is_folder(entry):
    """Whether a DirEntry is a folder; one where nobody may look, or a loop, is none.

    Raises:
        OSError: If that can't be said now, as of a volume that is briefly away.
    """
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ELOOP, errno.EPERM):
            raise
        _warn_once(entry.path, error.strerror)
        return False


@functools.cache  # Folders are looked at every second.
def _warn_once(path, reason):
    _log.warning("%s is left out: %s", path, reason)


def is_hidden(name):
    """Whether a folder beside the models is not one: hidden, or the file system's."""
    return name.startswith(".") or name == "lost+found"


def versions_in(base_path):
    """Returns {version: path}; `007` is version 7.

    Folders whose names are no version numbers are ignored, as by TensorFlow Serving. Of
    several folders of one number, the last by name counts, also as there.

    Raises:
        OSError: If `base_path` is no folder that can be read.
    """
    found = {}
    for entry in sorted(os.scandir(base_path), key=lambda entry: entry.name):
        if (
            entry.name.isascii()
            and entry.name.isdigit()
            and int(entry.name) <= messages.MAX_VERSION
            and is_folder(entry)
        ):
            version = int(entry.name)
            if version in found:
                _warn_once(found[version], f"{entry.path} has the same number")
            found[version] = entry.path
    return found
