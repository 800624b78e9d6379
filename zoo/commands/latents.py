"""`python -m zoo latents`: a picture of an autoencoder's latents."""

import click

from zoo import data, images, presets
from zoo.autoencoder import AutoencoderModel
from zoo.commands import outputs
from zoo.commands.handles import image_model


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--data",
    "name",
    help="The images to encode, as for train. [default: the data the model was trained "
    "on]",
)
@click.option("--split", default="test", show_default=True)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    default=5000,
    show_default=True,
    help="How many images at most.",
)
@outputs.picture("latents.png")
def latents(preset_or_run, name, split, count, out):
    """Write a picture of an autoencoder's latents.

    It shows where images lie among them. Where the prior lies in the plane, images
    decoded along a walk over it stand beside.
    """
    model = image_model(preset_or_run, AutoencoderModel)
    if name is None:
        name = presets.trained_on(preset_or_run)[0]
    shape = data.shape_arguments(model.image_shape)
    pixels, labels = data.load_arrays(name, split, **shape, limit=count)
    model.latent_space(images.from_uint8(pixels), labels).save(out)
    click.echo(f"{len(pixels)} images of {name} among the latents: {out}")
