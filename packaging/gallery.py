"""Draws the README's first picture: what presets make, without choosing.

::

    python packaging/gallery.py
"""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

import zoo

OUT = pathlib.Path(__file__).parents[1] / "docs" / "images" / "gallery.png"
_SIDE, _GAP, _TITLE = 280, 16, 26


def main():
    """Writes the picture."""
    digits = np.tile(np.arange(8), 8)
    panels = {
        "dcgan_afhq_cats_64": zoo.from_preset("dcgan_afhq_cats_64").generate(16),
        "cgan_mnist: on demand": zoo.from_preset("cgan_mnist").generate(
            64, labels=digits
        ),
        "infogan_mnist: a code varied": _codes(),
        "dcgan_fashion_mnist": zoo.from_preset("dcgan_fashion_mnist").generate(64),
        "dtn_mnist_m_mnist: in pairs": _transfers(),
    }
    step = _SIDE + _GAP
    picture = Image.new("RGB", (len(panels) * step - _GAP, _SIDE + _TITLE), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=17)
    for number, (title, images) in enumerate(panels.items()):
        grid = zoo.plots.on_white(zoo.plots.image_grid(images))
        scaled = ImageOps.contain(grid, (_SIDE, _SIDE), Image.Resampling.LANCZOS)
        draw.text((number * step, 2), title, fill="black", font=font)
        picture.paste(scaled, (number * step, _TITLE))
    picture.save(OUT)


def _codes():
    """A category a row, the first continuous code from -2 to 2 along it."""
    model = zoo.from_preset("infogan_mnist")
    codes = np.zeros((64, 2), np.float32)
    codes[:, 0] = np.tile(np.linspace(-2, 2, 8), 8)
    categories = np.repeat(np.arange(8), 8)[:, None]
    return model.generate(seeds=[0] * 64, categories=categories, codes=codes)


def _transfers():
    """Test images of MNIST-M, each with what becomes of it on its right."""
    source, _ = zoo.data.load_arrays("mnist_m", "test", limit=32)
    transferred = zoo.from_preset("dtn_mnist_m_mnist").transfer(source)
    pairs = np.stack([source, zoo.images.to_uint8(transferred)], axis=1)
    return pairs.reshape(-1, *source.shape[1:])


if __name__ == "__main__":
    main()
