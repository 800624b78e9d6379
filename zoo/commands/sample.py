"""`python -m zoo sample`: a picture of samples."""

import click

from zoo import data, plots
from zoo.model import Model


@click.command()
@click.argument("preset_or_run")
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the first sample.")
@click.option("--columns", type=click.IntRange(1), help="Samples a row.")
@click.option(
    "--out", default="samples.png", show_default=True, help="The picture to write."
)
@click.option(
    "--beside", metavar="DATA", help="Put real images of this data set beside them."
)
def sample(preset_or_run, count, seed, columns, out, beside):
    """Write a grid of samples of a preset, by name, folder or URL, or of a run."""
    model = Model.from_preset(preset_or_run)
    grid = plots.image_grid(model.generate(count, seed=seed), columns)
    if beside:
        size, _, channels = model.image_shape
        real, _ = data.load_arrays(
            beside, "train", image_size=size, channels=channels, limit=count
        )
        grid = plots.beside(
            plots.image_grid(real, columns), grid, ("real", "generated")
        )
    grid.save(out)
    click.echo(f"{count} samples of seeds {seed} ... {seed + count - 1}: {out}")
