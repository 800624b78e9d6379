"""Pictures show the numbers that they are given."""

import os
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from zoo import plots


@pytest.fixture
def panels(monkeypatch):
    """Draws training curves; returns them by the panels' units, as points by name."""
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)

    def drawn(history):
        return {
            axes.get_ylabel(): {
                line.get_label(): list(zip(*line.get_data(), strict=True))
                for line in axes.get_lines()
            }
            for axes in plots.training_curves(history).axes
        }

    return drawn


def test_values_are_drawn_at_their_epochs(panels):
    history = {"a_loss": [5.0, 4.0, 3.0, 2.0], "val_a_loss": [None, 7.0, None, 6.0]}
    assert panels(history)["loss"] == {
        "a loss": [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)],
        "val a loss": [(2, 7.0), (4, 6.0)],
    }


def test_every_number_has_a_panel(panels):
    names = (
        "loss",
        "generator_loss",
        "information",
        "discriminator_accuracy",
        "l_tv",
        "val_loss",
        "val_l_tv",
        "learning_rate",
    )
    drawn = panels({name: [0.5] for name in names})
    assert [(unit, list(curves)) for unit, curves in drawn.items()] == [
        ("loss", ["generator loss"]),
        ("share", ["discriminator accuracy"]),
        ("information", ["information"]),
        ("l tv", ["l tv", "val l tv"]),
    ]


def test_no_curve_is_behind_a_legend(monkeypatch):
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    names = [f"{of}{player}_accuracy" for of in ("", "val_") for player in "abcdef"]
    figure = plots.training_curves({name: [0.0, 1.0] for name in names})
    figure.draw_without_rendering()
    for axes in figure.axes[1:]:
        legend = axes.get_legend().get_window_extent()
        assert legend.x0 > axes.get_window_extent().x1
        assert legend.x1 < figure.bbox.x1
        assert figure.bbox.y0 < legend.y0 < legend.y1 < figure.bbox.y1


@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_epochs_are_whole_numbers(epochs, monkeypatch):
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    (axes,) = plots.training_curves({"a_loss": [1.0] * epochs}).axes
    low, high = axes.get_xlim()
    shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert shown
    assert all(tick == round(tick) for tick in shown)


def test_a_grid_goes_row_by_row_on_white():
    levels = np.array([10, 20, 30], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (3, 3, 4, 1))
    # Two pixels around each.
    expected = np.full((2 + 3 + 2 + 3 + 2, 2 + 4 + 2 + 4 + 2), 255)
    expected[2:5, 2:6] = 10
    expected[2:5, 8:12] = 20
    expected[7:10, 2:6] = 30
    np.testing.assert_array_equal(plots.image_grid(images), expected)
    np.testing.assert_array_equal(plots.image_grid(images / 127.5 - 1), expected)
    one_row = np.asarray(plots.image_grid(images, columns=9))
    assert one_row[2, [2, 8, 14]].tolist() == [10, 20, 30]


@pytest.mark.parametrize("shape", [(0, 4, 4, 1), (4, 4, 1), (1, 4, 4, 5), (4, 4)])
def test_a_grid_is_of_images(shape):
    with pytest.raises(ValueError, match=r"at least one image.*Received: shape \("):
        plots.image_grid(np.zeros(shape))


def test_pixels_of_another_range_are_warned_of():
    levels = np.array([0.0, 60.0, 255.0]).reshape(3, 1, 1, 1)
    for pixels, what in ((levels, "are up to 255"), (levels / 255, "are from 0 to 1")):
        with pytest.warns(UserWarning, match=what):
            plots.image_grid(pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pixels in (levels / 127.5 - 1, np.zeros((1, 1, 1, 1)), levels.astype("u1")):
            plots.image_grid(pixels)


def test_a_table_has_titles_at_its_rows_and_columns(monkeypatch):
    monkeypatch.setattr(plots, "_with_its_titles", lambda figure: figure)
    levels = np.array([10, 20, 30], np.uint8).reshape(3, 1, 1, 1)
    images = np.broadcast_to(levels, (3, 3, 5, 1))
    rows = [images[:2], images[2:] / 127.5 - 1]
    (axes,) = plots.table(rows, ["above", "below"], ["left"]).axes
    (shown,) = axes.images
    # White where the second row has no image.
    filled = np.concatenate([images, np.full((1, 3, 5, 1), 255, np.uint8)])
    np.testing.assert_array_equal(shown.get_array(), plots.image_grid(filled, 2))
    titles = [
        (tick.label1.get_text() or tick.label2.get_text(), tick.get_loc())
        for axis in (axes.yaxis, axes.xaxis)
        for tick in axis.get_major_ticks()
    ]
    # In the middle of two pixels of white and the image behind them.
    assert titles == [("above", 2.5), ("below", 7.5), ("left", 3.5)]
    # Pixels stay squares, and columns are as wide as their titles.
    for over in ("x", "as wide as this"):
        figure = plots.table(rows, ["above", "below"], [over])
        size = np.array(figure.get_size_inches()) * 100
        scale = size[0] / shown.get_array().shape[1]
        assert scale == int(scale)
        (axes,) = figure.axes
        figure.dpi = 100
        FigureCanvasAgg(figure).draw()
        (title,) = axes.get_xticklabels()
        assert title.get_window_extent().width < scale * 7
    with pytest.raises(ValueError, match=r"for each of 2 rows. Received: \['above"):
        plots.table(rows, ["above"])


@pytest.mark.parametrize("side", [28, 128])
def test_no_image_of_a_table_is_drawn_smaller(side):
    pixels = np.asarray(plots.table([np.zeros((3, side, side, 1), np.uint8)], ["a"]))
    black = (pixels == 0).all(axis=-1).sum(axis=1).max()
    assert black > 2.5 * max(64, side)


def test_pictures_beside_each_other_keep_their_pixels():
    pixels = np.random.default_rng(0)
    small = pixels.integers(0, 256, (20, 201), np.uint8)
    large = pixels.integers(0, 256, (90, 640, 3), np.uint8)
    picture = plots.beside(*map(Image.fromarray, (small, large)), ("one", "two"))
    whole = np.asarray(picture)
    assert whole.shape[-1] == 3
    # Below the titles: the first three times as large, in grey, and the other as it is.
    left = whole[-90:, : 3 * 201]
    enlarged = small.repeat(3, axis=0).repeat(3, axis=1)
    np.testing.assert_array_equal(left[:60], enlarged[..., None].repeat(3, axis=2))
    assert (left[60:] == 255).all()
    np.testing.assert_array_equal(whole[-90:, -640:], large)
    titles = whole[:-90]
    for half in (titles[:, : 3 * 201], titles[:, -640:]):
        assert half.min() == 0


def test_an_animation_has_frames(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        plots.save_animation([], tmp_path / "none.gif")
    assert not list(tmp_path.iterdir())


def frames_of(path):
    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            yield np.asarray(film.convert("RGB"))


def test_an_animation_has_the_colours_of_all_its_frames(tmp_path):
    """Though the last is of one colour, as of a generator that collapsed."""
    ramp = np.tile(np.arange(0, 256, 8, np.uint8), (32, 1))
    frames = [Image.fromarray(ramp), Image.fromarray(np.zeros_like(ramp))]
    plots.save_animation(frames, tmp_path / "film.gif")
    first, last = frames_of(tmp_path / "film.gif")
    assert abs(first[..., 0].astype(int) - ramp).max() <= 8
    assert (last == 0).all()
    with pytest.raises(ValueError, match=r"one size. Received: \[\(9, 9\), \(32, 32"):
        plots.save_animation([*frames, Image.new("L", (9, 9))], tmp_path / "x.gif")


def test_an_animation_loops_at_its_speed(tmp_path):
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    plots.save_animation(frames, tmp_path / "film.gif", 4)
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.info["loop"], film.info["duration"]) == (0, 250)


def test_an_mp4_is_what_ffmpeg_makes_of_the_frames(tmp_path, monkeypatch):
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text('#!/bin/sh\necho "$@" > "$0.asked"\ncat > "$0.pixels"\n')
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    frames = [Image.new("L", (5, 3), level) for level in (10, 20)]
    plots.save_animation(frames, "at 20:30.mp4", 4)
    asked = (tmp_path / "ffmpeg.asked").read_text()
    # Else what stands before a colon is a protocol to ffmpeg.
    assert asked.endswith(f" {tmp_path}/at 20:30.mp4\n")
    assert " -s 4x2 -r 4 " in asked
    pixels = (tmp_path / "ffmpeg.pixels").read_bytes()
    assert pixels == bytes([10] * 4 * 2 * 3 + [20] * 4 * 2 * 3)
    ffmpeg.write_text("#!/bin/sh\ncat > /dev/null\necho no codec >&2\nexit 1\n")
    with pytest.raises(RuntimeError, match=r"could not write .*20:30\.mp4: no codec$"):
        plots.save_animation(frames, "at 20:30.mp4", 4)


def test_what_is_transparent_is_white_in_every_picture(tmp_path):
    red = np.zeros((1, 4, 4, 4), np.uint8)
    red[..., 0] = 255
    grid = plots.image_grid(red)
    assert (np.asarray(plots.on_white(grid)) == 255).all()
    sides = np.asarray(plots.beside(grid, grid, ("a", "b")))
    assert not ((sides[..., 0] == 255) & (sides[..., 1] == 0)).any()
    plots.save_animation([grid, grid], tmp_path / "film.gif")
    assert all((frame == 255).all() for frame in frames_of(tmp_path / "film.gif"))


def test_samples_beyond_the_axis_are_counted_at_its_ends(monkeypatch):
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    real, generated = np.linspace(-1, 1, 50), np.repeat([0.0, 99.0], [30, 10])
    grid = np.linspace(-8, 8, 401)
    axes = plots.densities(real, generated, grid, np.full(401, 0.5)).axes[0]
    (drawn,) = (x for x in axes.get_lines() if x.get_label() == "generated")
    height = drawn.get_ydata()
    assert height[-1] * 3 == pytest.approx(height.max())
    assert height.sum() * 16 / 100 == pytest.approx(1)


def test_a_latent_is_drawn_as_long_in_either_direction(monkeypatch):
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    axes = plots.latent_space(np.array([[0.0, 0.0], [1.0, 9.0]])).axes[0]
    assert axes.get_aspect() == 1


def test_values_of_unknown_epochs_are_refused():
    history = {"a_loss": [1.0] * 10, "val_a_loss": [1.0] * 2}
    with pytest.raises(ValueError, match=r"Expected 10 values .* 2 of val_a_loss"):
        plots.training_curves(history)


@pytest.mark.parametrize("classes", [10, 15, 100])
def test_no_two_classes_share_a_colour(classes, monkeypatch):
    monkeypatch.setattr(plots, "to_image", lambda figure: figure)
    labels = np.arange(-1, classes)
    latents = np.random.default_rng(0).normal(size=(classes + 1, 2))
    scatter = plots.latent_space(latents, labels).axes[0]
    unknown, *known = (points.get_facecolor()[0] for points in scatter.collections)
    assert len(set(map(tuple, known))) == classes
    # Those of unknown classes can be told from all others by eye.
    assert np.abs(known - unknown).sum(axis=1).min() > 0.3


def test_large_images_are_averaged_in_the_picture_of_the_latents():
    """Fine stripes become grey, and not the coarse ones of every other pixel."""
    stripes = np.zeros((1, 1, 2000, 2000, 1), np.uint8)
    stripes[:, :, :, ::2] = 255
    picture = np.asarray(plots.latent_space(np.zeros((2, 2)), manifold=stripes))
    middle = picture[250:350, 900:1000].astype(int)
    assert abs(middle - 128).max() < 10


def test_nothing_is_cut_off_where_latents_nearly_fill_a_square():
    latents = np.array([[0, 0], [1, 1.07]])
    picture = np.asarray(plots.latent_space(latents, np.arange(2), latents))
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (edge == 255).all()


def test_what_has_no_place_among_the_latents_is_refused():
    latents = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"integer labels \[3\], one for each"):
        plots.latent_space(latents, np.zeros(2, int))
    latents[1, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 3 rows of latents are not finite"):
        plots.latent_space(latents)
