"""A user's mistake is one line on stderr and status 1, never a traceback."""

import contextlib

import click

from zoo.checkpoints import CheckpointError, DivergenceError


@contextlib.contextmanager
def one_line_errors():
    """Turns the errors that a user can cause into click's one-line form."""
    try:
        yield
    except (ValueError, OSError, CheckpointError, DivergenceError) as error:
        raise click.ClickException(" ".join(str(error).split())) from error


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
