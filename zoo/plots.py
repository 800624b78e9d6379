"""Pictures of samples and of training: grids, curves, densities and animations."""

import io
import math
import pathlib
import shutil
import subprocess
import warnings

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont, ImageOps

from zoo.images import MAX_PIXEL, to_uint8, warn_of_unit_range

_PADDING = 2
#: So many frames of an animation, about, its colours are taken from.
_PALETTE_FRAMES = 16
#: About how wide, in pixels, a small picture is drawn.
_WIDTH = 600
#: About how high small images of a table are drawn, in pixels, and how wide a letter
#: of its titles is.
_IMAGE_HEIGHT, _LETTER_WIDTH = 64, 9
#: Up to so many classes have a line each in the legend; more share a bar of colours.
_NAMED_CLASSES = 20
_REAL, _GENERATED, _BOUNDARY = "#1b6ca8", "#d1495b", "#555555"


def image_grid(images, columns=None):
    """Tiles images row by row on a white ground.

    Args:
        images: `[n, height, width, 1 to 4]`, uint8, or float in [-1, 1]. The last of 2
            or 4 channels is how opaque a pixel is.
        columns: Images a row; None for as square a grid as n allows.

    Returns:
        `PIL.Image.Image`, grey or RGB, where there are 2 or 4 channels with alpha.

    Raises:
        ValueError: If the shape is another or there are no images.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 2, 3, 4) or not len(images):
        raise ValueError(
            "A grid takes at least one image, as [n, height, width, 1 to 4]. "
            f"Received: shape {images.shape}"
        )
    images = _levels(images)
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    step_y, step_x = height + _PADDING, width + _PADDING
    grid = np.full(
        (rows * step_y + _PADDING, columns * step_x + _PADDING, channels), 255, np.uint8
    )
    for number, image in enumerate(images):
        top = number // columns * step_y + _PADDING
        left = number % columns * step_x + _PADDING
        grid[top : top + height, left : left + width] = image
    return Image.fromarray(grid.squeeze(-1) if channels == 1 else grid)


def _levels(images):
    """Returns images as uint8; warns of floats that are not from -1 to 1."""
    if images.dtype == np.uint8:
        return images
    # A row of a table may have no image.
    most = np.max(images, initial=0)
    if most > MAX_PIXEL:
        warnings.warn(
            "Pixels are from -1 to 1, or uint8 from 0 to 255. These are up to "
            f"{most:.4g}, and what is above 1 is drawn white. Map levels from 0 to 255 "
            "by zoo.images.from_uint8.",
            stacklevel=3,
        )
    warn_of_unit_range(images, stacklevel=4)
    return to_uint8(images)


def table(rows, titles, columns=()):
    """Draws rows of images, each behind its title; small ones are enlarged.

    Args:
        rows: Sequence of arrays `[n, height, width, 1 or 3]`, uint8, or float in
            [-1, 1]; shorter ones are filled up with white.
        titles: A string for each row.
        columns: Strings to put over the first columns.

    Returns:
        `PIL.Image.Image`.

    Raises:
        ValueError: If there are not as many titles as rows.
    """
    if len(rows) != len(titles):
        raise ValueError(
            f"Expected a title for each of {len(rows)} rows. Received: {titles}"
        )
    rows = [_levels(np.asarray(row)) for row in rows]
    width = max(map(len, rows))
    filled = [
        np.concatenate(
            [row, np.full((width - len(row), *row.shape[1:]), 255, np.uint8)]
        )
        for row in rows
    ]
    picture = image_grid(np.concatenate(filled), width)
    step_y, step_x = (side + _PADDING for side in rows[0].shape[1:3])
    # A column is as wide as what stands over it. By whole numbers, pixels stay squares.
    over = max(map(len, columns), default=0) * _LETTER_WIDTH
    scale = max(1, round(_IMAGE_HEIGHT / step_y), math.ceil(over / step_x))
    figure = Figure((scale * picture.width / 100, scale * picture.height / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_yticks(step_y * (np.arange(len(rows)) + 0.5), titles)
    axes.set_xticks(step_x * (np.arange(len(columns)) + 0.5), columns)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _with_its_titles(figure)


def _with_its_titles(figure):
    """Renders a figure, and what of its text is beside it."""
    png = io.BytesIO()
    canvas = FigureCanvasAgg(figure)
    canvas.print_figure(
        png, format="png", dpi=100, bbox_inches="tight", facecolor="white"
    )
    return Image.open(png).convert("RGB")


def on_white(picture):
    """Returns a picture as RGB, white where it is transparent."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def enlarged(picture):
    """Returns a small picture a whole number of times as large, as RGB."""
    return ImageOps.scale(
        on_white(picture),
        max(1, round(_WIDTH / picture.width)),
        Image.Resampling.NEAREST,
    )


def beside(left, right, titles):
    """Puts two pictures side by side, each under its title.

    Their pixels stay as they are; a small picture's are enlarged by a whole number.

    Args:
        left: `PIL.Image.Image`.
        right: `PIL.Image.Image`.
        titles: Two strings.

    Returns:
        `PIL.Image.Image`, RGB.
    """
    pictures = [enlarged(picture) for picture in (left, right)]
    font = ImageFont.load_default(size=20)
    gap = title_height = 32
    whole = Image.new(
        "RGB",
        (
            sum(picture.width for picture in pictures) + gap,
            max(picture.height for picture in pictures) + title_height,
        ),
        "white",
    )
    draw = ImageDraw.Draw(whole)
    x = 0
    for picture, title in zip(pictures, titles, strict=True):
        middle = (x + picture.width // 2, title_height // 2)
        draw.text(middle, title, fill="black", font=font, anchor="mm")
        whole.paste(picture, (x, title_height))
        x += picture.width + gap
    return whole


def to_image(figure):
    """Renders a matplotlib figure as an RGB `PIL.Image.Image`."""
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def training_curves(history):
    """Draws losses, shares and what else was logged over epochs.

    The sum of the losses, `loss`, and the learning rate are left out.

    Args:
        history: Dict from a log's name to its values, one for each epoch, as
            `keras.callbacks.History.history`; None for an epoch that has none.

    Returns:
        `PIL.Image.Image` with the losses above, shares of 1 below where there are any,
        and a panel for each other number, together with that of the validation.

    Raises:
        ValueError: If some have fewer values than there are epochs.
    """
    epochs = max(map(len, history.values()), default=0)
    if short := [name for name, values in history.items() if len(values) < epochs]:
        raise ValueError(
            f"Expected {epochs} values of each name, None for epochs without one: a "
            "list does not say which epochs validation_freq has left out, and "
            "zoo.callbacks.TrainingCurves knows. "
            f"Received: {len(history[short[0]])} of {short[0]}"
        )
    panels = _panels(history)
    figure = Figure(figsize=(10, 3.2 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (unit, curves) in zip(grid, panels.items(), strict=True):
        for name, values in curves.items():
            known = [i for i, value in enumerate(values) if value is not None]
            axes.plot(
                [1 + i for i in known],
                [values[i] for i in known],
                marker="." if len(known) < 50 else None,
                label=name.replace("_", " "),
            )
        axes.set_ylabel(unit)
        axes.grid(alpha=0.3)
        if curves:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        if unit == "share":
            axes.set_ylim(-0.02, 1.02)
    grid[-1].set_xlabel("epoch")
    grid[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return to_image(figure)


def _panels(history):
    """Returns a dict from each panel's unit to the part of the history it shows."""
    panels = {"loss": {}, "share": {}}
    for name, values in history.items():
        base = name.removeprefix("val_")
        if base in ("loss", "learning_rate"):
            continue
        if base.endswith("_loss"):
            unit = "loss"
        elif base.endswith("accuracy"):
            unit = "share"
        else:
            unit = base.replace("_", " ")
        panels.setdefault(unit, {})[name] = values
    if not panels["share"]:
        del panels["share"]
    return panels


def densities(real, generated, grid, decision, boundary=None, title="", where=""):
    """Draws the picture of the one-dimensional GAN.

    Args:
        real: 1-D array of data.
        generated: 1-D array of samples.
        grid: Points of the axis, ascending. What lies beyond is counted at its ends.
        decision: Probability of being real that the discriminator gives each of them;
            or, with a boundary, its output, which has an axis of its own.
        boundary: Output above which a point counts as taken for real.
        title: Title of the picture.
        where: What stands behind the decision's D(x) in the legend.

    Returns:
        `PIL.Image.Image` with the density of the data, that of the samples, and the
        decision boundary between them.
    """
    figure = Figure(figsize=(7, 4))
    # Not "constrained", which would shift the axes from frame to frame of a film.
    figure.subplots_adjust(0.08, 0.12, 0.98 if boundary is None else 0.9, 0.93)
    axes = figure.subplots()
    legend = []
    top = 1.4  # As high in every frame, as the data are the same in all.
    bins = np.linspace(grid[0], grid[-1], 101)
    for values, colour, label in (
        (real, _REAL, "data"),
        (generated, _GENERATED, "generated"),
    ):
        inside = np.clip(np.ravel(values), grid[0], grid[-1])
        height, _ = np.histogram(inside, bins, density=True)
        if values is real:
            top = max(top, 1.1 * height.max())
        middle = (bins[1:] + bins[:-1]) / 2
        axes.fill_between(middle, height, step="mid", color=colour, alpha=0.35)
        legend += axes.step(middle, height, where="mid", color=colour, label=label)
        if height.max() > top:
            peak = middle[height.argmax()]
            axes.annotate(
                f"↑ {height.max():.1f}",
                (peak, top),
                (16, -16),
                color=colour,
                textcoords="offset points",
            )
    axes.set(xlim=(grid[0], grid[-1]), ylim=(0, top), xlabel="x", title=title)
    if boundary is None:
        scale, name, boundary = axes, "decision boundary D(x)" + where, 0.5
        axes.set_ylabel("density, probability")
    else:
        scale, name = axes.twinx(), "discriminator's output D(x)" + where
        axes.set_ylabel("density")
        scale.set_ylabel("output")
    legend += scale.plot(grid, decision, color=_BOUNDARY, label=name)
    scale.axhline(boundary, color=_BOUNDARY, linestyle=":", linewidth=0.8)
    scale.legend(handles=legend, frameon=False, loc="upper left")
    return to_image(figure)


def latent_space(latents, labels=None, prior=None, manifold=None):
    """Draws where images lie among the latents, and what a walk over the prior shows.

    Args:
        latents: `[n, width]`, the latents of images. Of more than two numbers a row the
            two principal components are drawn.
        labels: Integers `[n]`, the images' classes, -1 for unknown; None for none.
        prior: `[m, width]`, draws from the prior, drawn in grey beneath, or None.
        manifold: `[rows, columns, height, width, channels]`, decoded points of a walk
            over the prior (`zoo.priors.Prior.walk`), or None.

    Returns:
        `PIL.Image.Image` with the scatter, and to its right the manifold.

    Raises:
        ValueError: If latents have fewer than two numbers a row, or are not finite, or
            there is not one label for each.
    """
    latents = np.asarray(latents)
    if latents.ndim != 2 or latents.shape[1] < 2:
        raise ValueError(
            "A picture takes latents of at least two numbers a row. "
            f"Received: shape {latents.shape}"
        )
    if not np.isfinite(latents).all():
        bad = np.count_nonzero(~np.isfinite(latents).all(axis=1))
        raise ValueError(
            f"{bad} of {len(latents)} rows of latents are not finite numbers, as those "
            "of a model whose training has diverged."
        )
    centre, axes_of_plane, coordinate = _plane_of(latents)
    panels = 1 if manifold is None else 2
    figure = Figure(figsize=(6.4 * panels, 6), layout="constrained")
    scatter, *others = np.atleast_1d(figure.subplots(1, panels))
    if prior is not None:
        drawn = (np.asarray(prior) - centre) @ axes_of_plane
        scatter.scatter(*drawn.T, s=4, color="#cccccc", linewidths=0, label="prior")
    # Limits give way and not the box, whose layout then leaves room for all text.
    scatter.set_aspect("equal", adjustable="datalim")
    scatter.set(xlabel=f"{coordinate} 1", ylabel=f"{coordinate} 2")
    points = (latents - centre) @ axes_of_plane
    labels = np.full(len(points), -1) if labels is None else np.asarray(labels)
    if labels.shape != (len(points),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"Expected integer labels [{len(points)}], one for each row of latents. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    most = max(labels, default=0)
    if most < _NAMED_CLASSES:
        colours = colormaps["tab10" if most < 10 else "tab20"]
    else:
        colours = colormaps["turbo"].resampled(most + 1)
        bar = ScalarMappable(Normalize(0, most), colours)
        figure.colorbar(bar, ax=scatter, label="class", shrink=0.8)
    for label in np.unique(labels):
        if label < 0:
            colour, name = "black", "images"
        else:
            colour = colours(label)
            name = str(label) if most < _NAMED_CLASSES else None
        scatter.scatter(
            *points[labels == label].T, s=5, linewidths=0, color=colour, label=name
        )
    if scatter.get_legend_handles_labels()[0]:
        scatter.legend(
            frameon=False, markerscale=3, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    for axes in others:
        rows, columns, *shape = np.shape(manifold)
        grid = image_grid(np.reshape(manifold, (rows * columns, *shape)), columns)
        axes.imshow(grid, cmap="gray", vmin=0, vmax=255)
        axes.set_title("decoded along the prior")
        axes.axis("off")
    return to_image(figure)


def _plane_of(latents):
    """Returns centre, axes `[width, 2]` and name of the coordinates to draw."""
    width = latents.shape[1]
    if width == 2:
        return np.zeros(2), np.eye(2), "latent"
    centre = latents.mean(axis=0)
    # A single row has but one component of its own; any other plane through it will do.
    single = len(latents) < 2
    _, _, components = np.linalg.svd(latents - centre, full_matrices=single)
    return centre, components[:2].T, "principal component"


def save_animation(frames, path, frames_per_second=10):
    """Writes pictures of one size as an animation that loops.

    Args:
        frames: Sequence of `PIL.Image.Image`.
        path: A `.gif`, which needs nothing more, or a `.mp4`, which needs ffmpeg.
        frames_per_second: Speed.

    Raises:
        ValueError: If there are no frames, or of several sizes, or the suffix is
            another.
        RuntimeError: If ffmpeg is missing or fails.
    """
    path = pathlib.Path(path)
    check_animation(path)
    if not frames:
        raise ValueError(f"There are no frames to write to {path}.")
    if len(sizes := {frame.size for frame in frames}) > 1:
        raise ValueError(
            f"The frames of {path} must be of one size. Received: {sorted(sizes)}"
        )
    if _ending(path) == ".gif":
        # One palette for all frames, of colours of all: a palette a frame flickers.
        frames = [on_white(frame) for frame in frames]
        chosen = frames[:: -(-len(frames) // _PALETTE_FRAMES)] + frames[-1:]
        sample = np.concatenate([np.asarray(frame) for frame in chosen])
        palette = Image.fromarray(sample).quantize(256)
        first, *rest = [
            frame.quantize(palette=palette, dither=Image.Dither.NONE)
            for frame in frames
        ]
        first.save(
            path,
            save_all=True,
            append_images=rest,
            duration=round(1000 / frames_per_second),
            loop=0,
        )
    else:
        _save_mp4(frames, path, frames_per_second)


def is_animation(path):
    """Whether a file's name ends as that of an animation."""
    return _ending(path) in (".gif", ".mp4")


def _ending(path):
    return pathlib.Path(path).suffix.lower()


def check_animation(path):
    """Raises what `save_animation` would for this path, before there are frames."""
    if not is_animation(path):
        raise ValueError(f"Expected a path ending in .gif or .mp4. Received: {path}")
    if _ending(path) == ".mp4" and shutil.which("ffmpeg") is None:
        raise RuntimeError(
            f"ffmpeg is not on the PATH, and {path} needs it. Install it, or name a "
            ".gif."
        )


def _save_mp4(frames, path, frames_per_second):
    # H.264 in its usual pixel format takes even sizes only.
    width, height = (2 * (side // 2) for side in frames[0].size)
    arguments = ["-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    arguments += ["-s", f"{width}x{height}", "-r", str(frames_per_second), "-i", "-"]
    # ffmpeg would take what stands before a colon in a bare name for a protocol.
    arguments += ["-pix_fmt", "yuv420p", str(path.absolute())]
    pixels = b"".join(
        on_white(frame).crop((0, 0, width, height)).tobytes() for frame in frames
    )
    done = subprocess.run(
        ["ffmpeg", *arguments], input=pixels, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"ffmpeg could not write {path}: {done.stderr.decode().strip()}"
        )
