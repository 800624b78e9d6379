"""Makes MNIST-M: `python examples/make_mnist_m.py PHOTOGRAPHS OUT`.

Each digit of MNIST is blended with a random patch of a photograph by the absolute
difference of the two, channel by channel (Ganin & Lempitsky 2015, arXiv:1409.7495,
section 4). The paper takes the photographs of BSDS500, its folder `images`. With OUT
`mnist_m` the recipes find the data when they are run from the same folder.
"""

import io
import pathlib

import click
import numpy as np
from PIL import Image

import zoo
from zoo import files

SIDE = 28


def read_photographs(folder):
    """Returns the photographs anywhere in a folder, uint8 `[H, W, 3]` each.

    Raises:
        click.UsageError: If there are none of 28×28 pixels or more.
    """
    paths = sorted(
        path
        for path in pathlib.Path(folder).rglob("*")
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.is_file()
    )
    try:
        photographs = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    except OSError as error:
        raise click.UsageError(f"A photograph can't be read: {error}") from error
    large = [photo for photo in photographs if min(photo.shape[:2]) >= SIDE]
    if not large:
        raise click.UsageError(
            f"Expected JPEG or PNG files of at least {SIDE}×{SIDE} pixels in {folder}. "
            f"Received: {len(paths)} files, none as large"
        )
    return large


def blend(digits, photographs, generator):
    """Returns digits over patches, uint8 `[n, 28, 28, 3]`.

    Args:
        digits: uint8 `[n, 28, 28, 1]`, white on black.
        photographs: List of uint8 `[H, W, 3]`.
        generator: `numpy.random.Generator` that patches are drawn by.
    """
    blended = np.empty((len(digits), SIDE, SIDE, 3), np.uint8)
    for place, digit in enumerate(digits.astype(np.int16)):
        photo = photographs[generator.integers(len(photographs))]
        top, left = (generator.integers(n - SIDE + 1) for n in photo.shape[:2])
        patch = photo[top : top + SIDE, left : left + SIDE]
        blended[place] = np.abs(patch - digit)
    return blended


@click.command(help=__doc__.split("\n", 2)[2])
@click.argument("photographs", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option("--digits", default="mnist", show_default=True, help="As --data of zoo.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the patches.",
)
def main(photographs, out, digits, seed):
    """Writes `train.npz` and `test.npz`."""
    photographs = read_photographs(photographs)
    generator = np.random.default_rng(seed)
    try:
        loaded = {
            split: zoo.data.load_arrays(
                digits, split, image_size=SIDE, channels=1, labels=True
            )
            for split in ("train", "test")
        }
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in loaded.items():
        image = blend(images, photographs, generator)
        arrays = io.BytesIO()
        np.savez_compressed(arrays, image=image, label=labels)
        files.write_bytes(out / f"{split}.npz", arrays.getvalue())
        click.echo(f"{out / split}.npz: {len(image):,} images")


if __name__ == "__main__":
    main()
