"""The versions of a model on disk: `<base_path>/<number>/`."""

import os

from serving import messages

#: Where a version's folder holds the requests that are replayed when it is loaded.
WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")


def is_hidden(name):
    """Whether a folder beside the models is not one: hidden, or the file system's."""
    return name.startswith(".") or name == "lost+found"


def versions_in(base_path):
    """Returns {version: path}; `007` is version 7.

    Folders whose names are no version numbers are ignored, as by TensorFlow Serving.

    Raises:
        OSError: If `base_path` is no folder that can be read.
    """
    return {
        int(entry.name): entry.path
        for entry in os.scandir(base_path)
        if entry.name.isascii()
        and entry.name.isdigit()
        and int(entry.name) <= messages.MAX_VERSION
        and entry.is_dir()
    }
