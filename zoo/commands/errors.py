"""A user's mistake is one line on stderr and status 1, never a traceback.

A warning is one line, too, without the place in the code that Python adds.
"""

import contextlib
import re
import warnings

import click
import tensorflow as tf

from zoo.checkpoints import CheckpointError, DivergenceError


@contextlib.contextmanager
def one_line_errors():
    """Puts warnings, and the errors that a user can cause, into one line each."""
    format_before, warnings.formatwarning = warnings.formatwarning, _warning
    try:
        yield
    except BrokenPipeError:
        raise  # Nobody reads on, as behind `| head`: click ends without a word.
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        # TensorFlow has one class of errors for memory and for disks.
        full = any(why in str(error) for why in ("No space left", "quota exceeded"))
        told = (
            "The disk is full: make room."
            if full
            else "This does not fit into memory: ask for less at a time."
        )
        raise click.ClickException(_line(f"{told} {error}")) from error
    except (
        ValueError,
        OSError,
        OverflowError,
        CheckpointError,
        DivergenceError,
        tf.errors.OpError,
    ) as error:
        raise click.ClickException(_line(str(error))) from error
    finally:
        warnings.formatwarning = format_before


def _warning(message, *place):
    """Returns a warning as it is printed, in place of `warnings.formatwarning`."""
    del place
    return f"Warning: {_line(str(message))}\n"


def _line(text):
    """Returns the text in one line, without TensorFlow's names of nodes."""
    return " ".join(re.sub(r"\[*\{\{.*?\}\}\]*|\[Op:.*", "", text).split())


class Group(click.Group):
    """A group of commands with one-line errors."""

    def invoke(self, ctx):
        """Runs the command."""
        with one_line_errors():
            return super().invoke(ctx)


class Command(click.Command):
    """A command with one-line errors."""

    def invoke(self, ctx):
        """Runs the command."""
        with one_line_errors():
            return super().invoke(ctx)
