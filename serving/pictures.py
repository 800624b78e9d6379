"""The picture that `python -m serving generate` saves.

As `zoo.plots.image_grid` draws it, which would load TensorFlow and Keras: for that a
user would wait longer than for the server.
"""

import math

import numpy as np

#: White pixels around each image.
_PADDING = 2


def image_grid(images):
    """Tiles images row by row on a white ground, as square as their number allows.

    Args:
        images: uint8 `[n, height, width, 1 or 3]`, at least one.

    Returns:
        `PIL.Image.Image`, grey or RGB.
    """
    from PIL import Image  # Whoever only asks for arrays needs none.

    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tile = (height + _PADDING, width + _PADDING, channels)
    tiles = np.full((rows * columns, *tile), 255, np.uint8)
    tiles[:count, _PADDING:, _PADDING:] = images
    tiles = tiles.reshape(rows, columns, *tile).swapaxes(1, 2)
    grid = tiles.reshape(rows * tile[0], columns * tile[1], channels)
    white = [(0, _PADDING), (0, _PADDING), (0, 0)]  # Below, and on the right.
    grid = np.pad(grid, white, constant_values=255)
    return Image.fromarray(grid.squeeze(-1) if channels == 1 else grid)
