"""The command line: `python -m export`."""

import os
import pathlib
import re
import shlex
import signal
import sys

import click

import zoo
from export.saved_model import BATCH_SIZES, to_saved_model
from zoo import runs
from zoo.commands.errors import Command
from zoo.commands.flags import Integers


def _name_of(preset_or_run):
    """Returns the last part of a preset's name, a run's folder or a URL's path."""
    if "://" in preset_or_run:
        return pathlib.PurePosixPath(preset_or_run.rstrip("/")).name
    # Of a folder by another name, such as `.`, its own; a link has one of its own.
    path = pathlib.Path(os.path.abspath(preset_or_run))
    if path.name == runs.MODEL and (path.parent / runs.SETTINGS).exists():
        return path.parent.name
    return path.name


def _stop(number, frame):
    """Ends the process by an exception, so that what it was writing is removed."""
    del frame
    raise SystemExit(128 + number)


@click.command(cls=Command)
@click.argument("preset_or_run")
@click.argument("models", type=click.Path(file_okay=False))
@click.option("--name", help="Name of the model. [default: the preset's or run's]")
@click.option(
    "--version",
    type=click.IntRange(1),
    help="Version to write. [default: the next number]",
)
@click.option(
    "--jit-compile",
    is_flag=True,
    help="Compile the networks by XLA, for servers with it.",
)
@click.option(
    "--dtype",
    help="Dtype policy to compute by, such as bfloat16. [default: the model's own]",
)
@click.option(
    "--batch-sizes",
    type=Integers(),
    default=",".join(map(str, BATCH_SIZES)),
    show_default=True,
    help="Batches to warm up, those that the model is to be served with.",
)
def main(preset_or_run, models, name, version, jit_compile, dtype, batch_sizes):
    """Write a preset or a run as MODELS/NAME/VERSION, for TensorFlow Serving."""
    if not models:
        raise ValueError("MODELS is empty. Name the folder of models.")
    shipped = zoo.list_presets()
    if models in shipped and preset_or_run not in shipped:
        raise ValueError(
            f"{models} is a preset, and MODELS the folder to write to. The preset "
            f"comes first: python -m export {models} {preset_or_run} (or write "
            f"./{models} for a folder of that name)"
        )
    if name is None:
        name = _name_of(preset_or_run)
    # File systems have a folder of the last name, which servers pass over.
    if (
        not re.fullmatch(r"[^./:][^/:]*", name)
        or not name.isprintable()
        or name == "lost+found"
    ):
        raise ValueError(
            f"{name!r} can't be the name of a model: it names a folder that servers "
            "find, and an address. Give another by --name, of printable characters "
            "without / and :, and not beginning with a dot."
        )
    folder = pathlib.Path(os.path.abspath(models))
    if (folder / "saved_model.pb").exists():  # A version.
        folder = folder.parent
    if any(folder.glob("[0-9]*/saved_model.pb")):
        raise ValueError(
            f"{folder} holds the versions of one model. Give the folder of models that "
            f"it is in, {folder.parent}"
        )
    written = to_saved_model(
        zoo.from_preset(preset_or_run, dtype=dtype),
        pathlib.Path(models) / name,
        version,
        batch_sizes=batch_sizes,
        jit_compile=jit_compile,
    )
    click.echo(f"Version {written.name} of {name}: {written}")
    click.echo(f"Serve it:  python -m serving start {shlex.quote(str(models))}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main(prog_name="python -m export")
    except SystemExit as ended:
        if ended.code != 128 + signal.SIGTERM:
            raise
        # What was half written is gone. Python's own end can crash in TensorFlow's
        # threads, which may be at work still.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)
