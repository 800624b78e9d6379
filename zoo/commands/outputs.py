"""Files that commands write: what is wrong with them is said before the work."""

import os
import pathlib
import tempfile

import click
import PIL.Image


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


def picture(name):
    """Returns the option of the picture that a command writes, by default of a name."""
    return click.option(
        "--out",
        type=PictureFile(),
        default=name,
        show_default=True,
        help="The picture to write.",
    )
