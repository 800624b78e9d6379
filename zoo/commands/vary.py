"""`python -m zoo vary`: a picture of what the codes of an InfoGAN mean."""

import click
import numpy as np

from zoo.commands import outputs
from zoo.commands.flags import Integers
from zoo.commands.handles import image_model
from zoo.infogan import InfoGAN


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--code",
    type=click.IntRange(0),
    help="Which: the categorical codes come first, then the continuous ones. [default: "
    "each in turn]",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="How many for each code, from a seed each.",
)
@click.option(
    "--categories",
    type=Integers(),
    help="Categories of the first categorical code, such as 0,1,2: a row each, in "
    "place of --rows.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the first row.")
@click.option(
    "--columns",
    type=click.IntRange(1),
    help="Images a row. [default: as many as there are categories, or 10]",
)
@click.option(
    "--low",
    default=-2.0,
    show_default=True,
    help="Where a continuous code starts; in training they are from -1 to 1.",
)
@click.option("--high", default=2.0, show_default=True, help="Where it ends.")
@outputs.picture("codes.png")
def vary(preset_or_run, code, rows, categories, seed, columns, low, high, out):
    """Write a picture of what the codes of an InfoGAN mean.

    Along a row one code varies, and all else stays.
    """
    model = image_model(preset_or_run, InfoGAN)
    count = model.categorical_codes + model.continuous_codes
    codes = range(count) if code is None else [code]
    given = {}
    if categories is not None:
        if not model.categorical_codes:
            raise ValueError(f"{preset_or_run} has no categories: name none.")
        codes = [each for each in codes if each > 0]
        if not codes:
            raise ValueError("--categories holds code 0, so another has to vary.")
        rows = len(categories)
        # The other categorical codes of a row are drawn.
        others = model.categorical_codes - 1
        given["categories"] = np.column_stack([categories, np.full((rows, others), -1)])
    varied, titles = [], []
    for each in codes:
        pictures = model.vary(each, rows, seed, columns, low, high, **given)
        varied += list(pictures.reshape(rows, -1, *model.image_shape))
        title = _title(model, each, low, high)
        titles += (
            [f"category {k}, {title}" for k in categories] if given else [title] * rows
        )
    outputs.save_table(out, preset_or_run, varied, titles)
    click.echo(f"{len(varied)} rows, along each of which one code varies: {out}")


def _title(model, code, low, high):
    if code < model.categorical_codes:
        return f"code {code}: category"
    return f"code {code}: {low:g} … {high:g}"
