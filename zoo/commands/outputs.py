"""Files that commands write: what is wrong with them is said before the work."""

import os
import pathlib
import sys
import tempfile

import click
import numpy as np
import PIL.Image

from zoo import images, plots


class OutputFile(click.Path):
    """A file that can be written, in a folder that is there."""

    def __init__(self):
        super().__init__(dir_okay=False, path_type=pathlib.Path)

    def convert(self, value, param, ctx):
        """Returns the path."""
        path = super().convert(value, param, ctx)
        if not path.parent.is_dir():
            self.fail(f"There is no folder {path.parent}.", param, ctx)
        if path.exists() and not os.access(path, os.W_OK):
            self.fail(f"{path} is there and can't be written.", param, ctx)
        try:
            # Like the file itself, which may be written beside its final name first.
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            self.fail(f"Nothing can be written to {path.parent}: {error}.", param, ctx)
        return path


class PictureFile(OutputFile):
    """Such a file in a format of pictures, by its ending."""

    def convert(self, value, param, ctx):
        """Returns the path."""
        path = super().convert(value, param, ctx)
        # Some formats are only read, and some only by a library that is not there.
        kind = PIL.Image.registered_extensions().get(path.suffix.lower())
        if kind not in PIL.Image.SAVE:
            self.fail(f"{path} names no picture, such as grid.png.", param, ctx)
        return path


class PictureOrFilmFile(PictureFile):
    """Such a file, or a film, by its ending."""

    def convert(self, value, param, ctx):
        """Returns the path."""
        if not plots.is_animation(value):
            return super().convert(value, param, ctx)
        try:
            plots.check_animation(value)
        except RuntimeError as error:  # There is no ffmpeg.
            self.fail(str(error), param, ctx)
        return OutputFile.convert(self, value, param, ctx)


def picture(name, kind=PictureFile, what="The picture to write."):
    """Returns the option of the file that a command writes.

    Args:
        name: Its name by default.
        kind: Type of the option.
        what: Help.
    """
    return click.option(
        "--out", type=kind(), default=name, show_default=True, help=what
    )


def progress(length):
    """Returns a bar of so many images, which shows on a terminal alone."""
    return click.progressbar(
        length=length, label="images", file=sys.stderr, hidden=not sys.stderr.isatty()
    )


def save_table(out, preset_or_run, rows, *titles):
    """Writes a table of images, of which those by the model must be finite.

    Args:
        out: The picture.
        preset_or_run: What the model was loaded from.
        rows: As `zoo.plots.table` takes them.
        *titles: Of rows and columns, as it takes them.
    """
    check_finite(np.concatenate(rows), preset_or_run)
    plots.table(rows, *titles).save(out)


def check_finite(pictures, preset_or_run):
    """Raises `ValueError` where images by a model have pixels that are no numbers."""
    images.check_finite(pictures, f"The images by {preset_or_run}")
