"""`python -m zoo reproduce`: the papers' numbers, measured on our trainings."""

import pathlib

import click

from zoo import checks, reproduction, runs
from zoo.commands import outputs
from zoo.commands.flags import Integers
from zoo.commands.train import run_training


def _known(ctx, param, names):
    """Returns the rows that are asked for."""
    for name in names:
        if name not in reproduction.ROWS:
            hint = checks.did_you_mean(name, reproduction.ROWS)
            raise click.BadParameter(
                f"There is no row {name!r}.{hint} "
                "`python -m zoo reproduce --help` names them all.",
                ctx,
                param,
            )
    return names


@click.command(epilog=f"ROWS are of: {', '.join(reproduction.ROWS)}.")
@click.argument("rows", nargs=-1, callback=_known)
@click.option(
    "--seeds",
    type=Integers(),
    default="0",
    show_default=True,
    help="Trainings of a row.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default="runs/reproduce",
    show_default=True,
    help="Where the runs go, ROW-SEED each, and with them what was interrupted.",
)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default="runs/reproduce/results",
    show_default=True,
    help="Where what was measured is kept. What is there is not measured again.",
)
def reproduce(rows, seeds, out, results):
    """Train and measure rows of the table of papers' numbers.

    ROWS are trained and measured where they have not been, and their table is printed.
    A training that was interrupted goes on. Without ROWS, print the table of what has
    been measured.
    """
    # What can't stand in the table is said before hours of training.
    reproduction.results_in(results, rows)
    for row in rows:
        for seed in seeds:
            path = reproduction.result_path(results, row, seed)
            if path.exists():
                continue
            run = out / f"{row}-{seed}"
            recipe = reproduction.ROWS[row].recipe_of(seed)
            followed = runs.trained_recipe(run)
            if followed is None or followed.epochs < recipe.epochs:
                run_training(recipe, run, resume=True)
            else:
                reproduction.check_recipe(followed, recipe, f"The run {run}")
            result = reproduction.Result.of(row, run, outputs.progress)
            result.save(path)
    found = reproduction.results_in(results, rows)
    if not found:
        raise ValueError(f"No results are in {results} yet. Name rows to reproduce.")
    click.echo(reproduction.table(found))
