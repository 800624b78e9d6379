"""`python -m zoo sample`: a picture of samples."""

import click

from zoo import data, images, plots
from zoo.commands import outputs
from zoo.commands.flags import Integers
from zoo.commands.handles import class_names, image_model
from zoo.infogan import InfoGAN


@click.command()
@click.argument("preset_or_run")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="How many; with a class a column, as many whole rows as fit, one at least.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the first sample.")
@click.option("--columns", type=click.IntRange(1), help="Samples a row.")
@click.option(
    "--labels",
    type=Integers(),
    help="Classes, such as 0,1,2, one a column; with --columns, a sample each in turn. "
    "[default: all; with --columns, any]",
)
@outputs.picture("samples.png")
@click.option(
    "--beside", metavar="DATA", help="Put real images of this data set beside them."
)
def sample(preset_or_run, count, seed, columns, labels, out, beside):
    """Write a picture of samples of a preset or a run.

    A preset is given by name, folder or URL, a run by its folder.

    A model of classes has one class a column, and one seed a row; few classes have
    several columns each, side by side, and as many seeds a row. With --columns, which
    says how many samples a row has, each sample has its own seed.
    """
    model = image_model(preset_or_run)
    conditions = {} if labels is None else {"labels": labels}
    samples, columns = model.sample_grid(count, seed, columns, **conditions)
    images.check_finite(samples, f"The samples of {preset_or_run}")
    grid = plots.image_grid(samples, columns)
    if beside is not None:
        shape = data.shape_arguments(model.image_shape)
        real, _ = data.load_arrays(beside, "train", **shape, limit=len(samples))
        grid = plots.beside(
            plots.image_grid(real, columns), grid, ("real", "generated")
        )
    grid.save(out)
    click.echo(f"{len(samples)} samples from seed {seed} on: {out}")
    if isinstance(model, InfoGAN):
        click.echo(
            "Along a row one code varies, from code to code downwards; `python -m zoo "
            "vary` has more of it."
        )
    names = class_names(preset_or_run)
    if names is not None and "labels" in model.conditions:
        named = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        click.echo(f"The classes are {named}.")
