"""The versions of a model on disk: `<base_path>/<number>/`."""

import os

# Versions travel as int64.
_MAX_VERSION = 2**63 - 1


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
        and int(entry.name) <= _MAX_VERSION
        and entry.is_dir()
    }
