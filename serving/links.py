"""Links on the disk: where they lead, and what there is behind them."""

import os
import pathlib


def lies_in(path, roots):
    """Whether a path, its links followed, is inside one of some folders."""
    real = pathlib.Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(root)) for root in roots)


def walk(path):
    """Yields a path and all that is under it, also behind links.

    Top-down, and each before it is followed.
    """
    yield path
    seen = set()
    for folder, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()  # Links may go in circles.
            continue
        seen.add(real)
        for name in (*folders, *files):
            yield os.path.join(folder, name)
