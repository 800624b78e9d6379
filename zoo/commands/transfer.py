"""`python -m zoo transfer`: a picture of a domain transfer network at work."""

import click
import numpy as np

from zoo import data, images, presets
from zoo.commands import outputs
from zoo.commands.handles import image_model
from zoo.dtn import DTN


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--data",
    "name",
    metavar="DATA",
    help="Source images. [default: the source domain the model was trained on]",
)
@click.option("--split", default="test", show_default=True)
@click.option("-n", "count", type=click.IntRange(1), default=32, show_default=True)
@click.option("--columns", type=click.IntRange(1), default=8, show_default=True)
@outputs.picture("transfer.png")
def transfer(preset_or_run, name, split, count, columns, out):
    """Write a picture of images and what a DTN makes of them.

    On the right of each source image is the result.
    """
    model = image_model(preset_or_run, DTN)
    if name is None:
        name = presets.trained_on(preset_or_run)[0]
    shape = data.shape_arguments(model.image_shape)
    source, _ = data.load_arrays(name, split, **shape, limit=count)
    pairs = np.stack([images.from_uint8(source), model.transfer(source)], axis=1)
    pairs = pairs.reshape(-1, *model.image_shape)
    columns = 2 * min(columns, len(source))
    rows = [pairs[start : start + columns] for start in range(0, len(pairs), columns)]
    titles = ["source", "result"] * (columns // 2)
    outputs.save_table(out, preset_or_run, rows, [""] * len(rows), titles)
    click.echo(f"{len(source)} images of {name} and what becomes of them: {out}")
