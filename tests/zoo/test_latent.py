"""Tools for the latents, on generators whose latents are known."""

import re
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from keras import layers
from PIL import Image

import zoo
from zoo import latent, plots
from zoo.__main__ import main
from zoo.data import load_arrays
from zoo.metrics import arrays


def linear_gan(**kwargs):
    """A generator that is a known linear map: x = 0.5 z."""
    latents = keras.Input((2,))
    maps = layers.Dense(2, use_bias=False)
    generator = keras.Model(latents, maps(latents))
    maps.set_weights([0.5 * np.eye(2)])
    return zoo.GAN(generator=generator, discriminator_units=(4,), seed=0, **kwargs)


def test_walks_between_two_points():
    start, end = np.array([2.0, 0.0]), np.array([0.0, 2.0])
    linear = latent.interpolate(start, end, 5, "linear")
    np.testing.assert_allclose(linear, [[2 - 0.5 * i, 0.5 * i] for i in range(5)])
    arc = latent.interpolate(start, end, 5, "spherical")
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), 2, rtol=1e-6)
    angles = np.arctan2(arc[:, 1], arc[:, 0])
    np.testing.assert_allclose(angles, np.linspace(0, np.pi / 2, 5), atol=1e-6)
    # Between almost opposite ones it goes around the origin all the same.
    arc = latent.interpolate([2.0, 0.0], [-2.0, 0.01], 3)
    np.testing.assert_allclose(arc[1], [0.0, 2.0], atol=0.01)
    # There is no arc between parallel vectors, nor from the origin.
    for end in ([4.0, 0.0], [0.0, 0.0], [-2.0, 0.0]):
        points = latent.interpolate(start, end, 3)
        np.testing.assert_allclose(points[1], (start + end) / 2, atol=1e-6)


def test_a_walk_to_where_it_starts_stays_there():
    # The cosine of the angle between equal latents may be rounded to more than 1.
    for latents in np.random.default_rng(0).normal(size=(100, 7)):
        points = latent.interpolate(latents, latents, 3)
        np.testing.assert_allclose(points, np.tile(latents, (3, 1)), rtol=1e-6)


def test_a_walk_starts_and_ends_at_the_samples_of_its_seeds():
    model = linear_gan()
    points = latent.walk(model, [3, 7, 1], steps=4, path="linear").reshape(2, 4, 2)
    ends = model.generate(seeds=[3, 7, 1])
    np.testing.assert_allclose(points[:, 0], ends[:2], atol=1e-6)
    np.testing.assert_allclose(points[:, -1], ends[1:], atol=1e-6)
    np.testing.assert_allclose(points[:, 1], (2 * ends[:2] + ends[1:]) / 3, atol=1e-6)


def test_a_walk_keeps_its_class():
    model = zoo.CGAN((2,), num_classes=3, generator_units=(8, 8, 8), seed=1)
    points = latent.walk(model, [3, 7], steps=3, labels=2)
    np.testing.assert_allclose(
        points[[0, -1]], model.generate(seeds=[3, 7], labels=2), atol=1e-6
    )
    # A class left open is that of the first seed, all the way.
    points = latent.walk(model, [3, 7], steps=3)
    np.testing.assert_allclose(points[0], model.generate(seeds=[3])[0], atol=1e-6)
    classes = [
        label
        for label in range(3)
        if np.allclose(points[-1], model.generate(seeds=[7], labels=label), atol=1e-6)
    ]
    assert len(classes) == 1
    same = latent.walk(model, [3, 7], steps=3, labels=classes[0])
    np.testing.assert_allclose(points, same, atol=1e-6)


def test_arithmetic_adds_the_means_of_groups():
    model = linear_gan()
    a, b, c = [0, 1, 2], [3, 4], [5]
    result = latent.arithmetic(model, a, b, c)
    means = [model.generate(seeds=seeds).mean(axis=0) for seeds in (a, b, c)]
    np.testing.assert_allclose(result.means, means, atol=1e-6)
    expected = means[0] - means[1] + means[2]
    np.testing.assert_allclose(result.image[0], expected, atol=1e-6)
    np.testing.assert_allclose(result.latent, 2 * expected, atol=1e-6)
    assert [len(group) for group in result.groups] == [3, 2, 1]


def test_what_was_inverted_decodes_again():
    model = zoo.CGAN((2,), num_classes=3, generator_units=(8, 8, 8), seed=1)
    images = model.generate(4)
    found = latent.invert(model, images, steps=2)
    assert found.conditions["labels"].shape == (4,)
    again = model.decode(found.latents, **found.conditions)
    np.testing.assert_allclose(again, found.images, atol=1e-6)
    told = latent.invert(model, images, steps=1, labels=[2, 1, 0, 2])
    assert told.conditions["labels"].tolist() == [2, 1, 0, 2]


def test_arithmetic_keeps_the_class_of_its_first_seed():
    model = zoo.CGAN((2,), num_classes=3, generator_units=(8, 8, 8), seed=1)
    drawn = model.complete({}, tf.range(50, dtype=tf.int64))["labels"]
    groups = [np.flatnonzero(drawn == label)[:2] for label in (2, 0, 1)]
    result = latent.arithmetic(model, *groups)
    told = latent.arithmetic(model, *groups, labels=2)
    np.testing.assert_allclose(result.image, told.image, atol=1e-6)
    for samples, seeds in zip(result.groups, groups, strict=True):
        expected = model.generate(seeds=seeds, labels=2)
        np.testing.assert_allclose(samples, expected, atol=1e-6)


def test_nearest_is_exact_far_from_the_origin():
    random = np.random.default_rng(0)
    queries = random.normal(100, 0.1, (20, 128)).astype(np.float32)
    candidates = random.normal(100, 0.1, (300, 128)).astype(np.float32)
    pairs = queries[:, None].astype(np.float64) - candidates
    distances = np.linalg.norm(pairs, axis=-1)
    found = latent.nearest(queries, candidates, k=5)
    np.testing.assert_array_equal(found.indices, distances.argsort(axis=1)[:, :5])
    assert (np.diff(found.distances) >= 0).all()


@pytest.mark.parametrize("name", ["queries", "candidates"])
def test_nearest_refuses_what_is_no_number(name):
    rows = {"queries": np.zeros((2, 3)), "candidates": np.ones((4, 3))}
    rows[name][1, 1] = np.nan
    with pytest.raises(ValueError, match=f"`{name}` must be finite"):
        latent.nearest(**rows)


def test_nearest_equals_a_plain_search(monkeypatch):
    random = np.random.default_rng(0)
    queries, candidates = random.normal(size=(7, 2, 3)), random.normal(size=(50, 2, 3))
    distances = np.linalg.norm(
        queries.reshape(7, 1, 6) - candidates.reshape(1, 50, 6), axis=-1
    )
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1000)
    found = latent.nearest(queries, candidates, k=4)
    np.testing.assert_array_equal(found.indices, distances.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(
        found.distances, np.sort(distances, axis=1)[:, :4], rtol=1e-5
    )
    itself = latent.nearest(candidates, candidates, k=1)
    np.testing.assert_array_equal(itself.indices[:, 0], np.arange(50))
    assert (itself.distances == 0).all()


def test_nearest_among_few_takes_bounded_memory(monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2**20)
    random = np.random.default_rng(0)
    queries, candidates = random.normal(size=(4000, 256)), random.normal(size=(5, 256))
    tracemalloc.start()
    try:
        found = latent.nearest(queries, candidates, k=3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A float64 copy of the queries, some blocks, and the results.
    assert peak < queries.nbytes + 8 * 2**20
    distances = np.linalg.norm(queries[:, None] - candidates, axis=-1)
    np.testing.assert_array_equal(found.indices, distances.argsort(axis=1)[:, :3])


def test_neighbours_tells_the_mean_distance_of_the_first(tmp_path):
    model = zoo.Classifier((28, 28, 1), 10, filters=(4,), seed=0)
    model.save_to_preset(tmp_path / "model")
    asked = ["neighbours", str(tmp_path / "model"), "-n", "3"]
    asked += ["--data", "digits", "--query", "digits", "--out", str(tmp_path / "x.png")]

    def told(*more):
        done = CliRunner().invoke(main, [*asked, *more])
        assert done.exit_code == 0, done.output
        return float(re.search(r"distance of the first (\S+):", done.output)[1])

    assert told("--split", "test") == 0  # Each query is among the candidates.
    queries = model.embed(load_arrays("digits", "test", limit=3)[0])
    candidates = model.embed(load_arrays("digits")[0])
    distances = np.linalg.norm(queries[:, None] - candidates, axis=-1)
    assert told() == pytest.approx(distances.min(1).mean(), rel=1e-3)


def test_neighbours_are_of_the_target_and_images_are_numbered_from_0(
    tmp_path, monkeypatch
):
    images = np.zeros((4, 8, 8, 1), np.uint8)
    names = [str(tmp_path / f"{name}.npz") for name in ("source", "target")]
    for name in names:
        np.savez(name, image=images)
    model = zoo.Classifier((8, 8, 1), 10, filters=(4,), seed=0)
    metadata = {"recipe": {"data": {"name": names}}}
    model.save_to_preset(tmp_path / "model", metadata)
    drawn = []
    monkeypatch.setattr(
        plots,
        "table",
        lambda rows, titles, columns: drawn.extend(titles) or Image.new("L", (9, 9)),
    )
    asked = ["neighbours", str(tmp_path / "model"), "--query", names[0], "-n", "2"]
    asked += ["--query-split", "train", "--seed", "5", "--out", tmp_path / "x.png"]
    done = CliRunner().invoke(main, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    assert f"nearest of 4 images of {names[1]} to" in done.output
    assert drawn == ["image 0", "image 1"]


def test_inversion_finds_the_latents_of_a_sample():
    model = linear_gan()
    images = np.array([[0.3, -0.2], [0.1, 0.45]], np.float32)
    found = latent.invert(model, images, steps=200, starts=2)
    np.testing.assert_allclose(found.latents, 2 * images, atol=0.02)
    np.testing.assert_allclose(found.images, images, atol=0.01)
    assert (found.errors < 1e-4).all()


def test_an_inversion_starts_at_its_seed_and_steps_at_its_rate():
    model = linear_gan()

    def after_a_step(**arguments):
        images = np.zeros((1, 2), np.float32)
        return latent.invert(model, images, steps=1, starts=1, **arguments).latents

    start = after_a_step(learning_rate=1e-6, seed=3)
    np.testing.assert_allclose(start, model.prior.sample([3]), atol=1e-5)
    assert np.abs(after_a_step(learning_rate=1e-6, seed=4) - start).min() > 1e-3
    # The first step of Adam is as long as its rate.
    moved = after_a_step(learning_rate=0.02, seed=3)
    np.testing.assert_allclose(np.abs(moved - start), 0.02, rtol=1e-3)


def test_levels_of_pixels_are_images_too():
    gan = zoo.GAN((8, 8, 1), generator_units=(8,), discriminator_units=(8,), seed=0)
    levels = zoo.images.to_uint8(gan.generate(2))
    found = latent.invert(gan, levels, steps=3)
    same = latent.invert(gan, zoo.images.from_uint8(levels), steps=3)
    np.testing.assert_array_equal(found.latents, same.latents)
    assert latent.nearest(levels, levels, k=1).distances.max() == 0
    with pytest.raises(ValueError, match="both uint8 images, or neither"):
        latent.nearest(gan.generate(2), levels)


def test_inversion_keeps_each_images_class():
    model = zoo.CGAN((2,), num_classes=3, generator_units=(8, 8, 8), seed=1)
    images = model.generate(seeds=[100, 101, 102], labels=[0, 1, 2])
    found = latent.invert(model, images, steps=300, labels=[0, 1, 2])
    assert found.errors.max() < 1e-3
    again = model.decode(found.latents, labels=[0, 1, 2])
    np.testing.assert_allclose(found.images, again, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: latent.walk(m, [1]), "two seeds"),
        (lambda m: latent.walk(m, [1, 2], steps=1), "2 or more.*steps=1"),
        (lambda m: latent.walk(m.generator, [1, 2]), "that decodes latents"),
        (lambda m: latent.arithmetic(None, [1], [2], [3]), "latents.*model=None"),
        (lambda m: latent.invert("gan_mnist", []), "latents.*model='gan_mnist'"),
        (lambda m: latent.invert(m, np.zeros([1, 2]), starts=0), "starts=0"),
        (lambda m: latent.interpolate([1, 2], [3], 2), r"width.*\(2,\) and \(1,\)"),
        (lambda m: latent.walk(m, [1, 2], path="round"), "'linear' or 'spherical'"),
        (lambda m: latent.walk(m, [1, 2], labels=1), "takes no conditions here"),
        (lambda m: latent.arithmetic(m, [1], [], [2]), "no seeds"),
        (lambda m: latent.arithmetic(m, 1, 2, 3), "seeds is a list of integers"),
        (lambda m: latent.walk(m, 3), "seeds is a list of integers"),
        (lambda m: latent.invert(m, np.zeros([1, 3])), r"\(2,\).*shape \(1, 3\)"),
        (lambda m: latent.invert(m, np.zeros([0, 2])), "one image or more"),
        (lambda m: latent.invert(m, np.zeros([1, 2]), learning_rate=-1), "above 0.*-1"),
        (lambda m: latent.nearest(np.zeros([1, 3]), np.zeros([9, 2])), "one shape"),
        (lambda m: latent.nearest(np.zeros([1, 2]), np.zeros([9, 2]), 10), "1 to 9"),
        (lambda m: latent.nearest(np.zeros([1, 2]), np.zeros([9, 2]), 1.5), "k=1.5"),
        (lambda m: latent.nearest(np.zeros([0, 2]), np.zeros([9, 2])), "a non-empty"),
        (lambda m: latent.features_of(m, np.zeros([1, 2])), "Received: GAN"),
    ],
)
def test_clear_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(linear_gan())


@pytest.mark.parametrize("count", [1, 2])
def test_few_images_lie_among_many_latents(count):
    model = zoo.VAE((3,), 5, units=(4,), seed=0)
    picture = model.latent_space(np.zeros((count, 3), np.float32))
    assert min(picture.size) > 20


def test_pictures_show_what_is_found(tmp_path, monkeypatch):
    model = zoo.GAN((8, 8, 1), 3, generator_units=(8,), discriminator_units=(8,))
    model.save_to_preset(tmp_path / "gan")
    known_by = zoo.Classifier((8, 8, 1), 10, filters=(4,), seed=0)
    known_by.save_to_preset(tmp_path / "classifier")
    drawn = {}

    def table(rows, titles, columns=()):
        drawn.update(zip(titles, rows, strict=True))
        return Image.new("L", (9, 9))

    def assert_drawn(expected, command, *arguments):
        drawn.clear()
        asked = [command, tmp_path / "gan", *arguments, "--out", tmp_path / "x.png"]
        done = CliRunner().invoke(main, list(map(str, asked)))
        assert done.exit_code == 0, done.output
        assert list(drawn) == list(expected)
        for title, row in drawn.items():
            np.testing.assert_allclose(row, expected[title], atol=1e-6)

    monkeypatch.setattr(plots, "table", table)
    points = latent.walk(model, [3, 1, 4], steps=2)
    walks = {"3 → 1": points[:2], "1 → 4": points[2:]}
    assert_drawn(walks, "walk", "--seeds", "3,1,4", "--steps", 2)

    groups = {"a": [1, 2], "- b": [3], "+ c": [4]}
    result = latent.arithmetic(model, *groups.values())
    sums = {
        title: [result.means[i], *model.generate(seeds=seeds)]
        for i, (title, seeds) in enumerate(groups.items())
    }
    seeds = ("-a", "1,2", "-b", 3, "-c", 4)
    assert_drawn({**sums, "=": result.image}, "arithmetic", *seeds)

    queries = model.generate(2, seed=5)
    levels, _ = load_arrays("digits", image_size=8)
    candidates = zoo.images.from_uint8(levels)
    embed = known_by.embed
    for found, more in (
        (latent.nearest(queries, candidates, 2), ()),
        (
            latent.nearest(embed(queries), embed(candidates), 2),
            ("--features", tmp_path / "classifier"),
        ),
    ):
        rows = {
            f"seed {5 + i}": [queries[i], *candidates[found.indices[i]]]
            for i in range(2)
        }
        asked = ["--data", "digits", "-n", 2, "-k", 2, "--seed", 5, *more]
        assert_drawn(rows, "neighbours", *asked)

    levels, _ = load_arrays("digits", "test", image_size=8, limit=2)
    real = zoo.images.from_uint8(levels)
    inverted = latent.invert(model, real, 3, 0.1, starts=2, seed=7).images
    asked = ["--data", "digits", "-n", 2, "--steps", 3, "--learning-rate", 0.1]
    asked += ["--starts", 2, "--seed", 7]
    assert_drawn({"real": real, "inverted": inverted}, "invert", *asked)


def test_every_verb_writes_its_picture(tmp_path, monkeypatch):
    model = zoo.CGAN((28, 28, 1), num_classes=10, generator_units=(8, 8, 8), seed=0)
    metadata = {"recipe": {"data": {"name": ["mnist", "digits"]}}}
    model.save_to_preset(tmp_path / "cgan", metadata)
    classifier = zoo.Classifier((28, 28, 1), 10, filters=(4,), seed=0)
    classifier.save_to_preset(tmp_path / "classifier")
    cgan, known = str(tmp_path / "cgan"), str(tmp_path / "classifier")
    for arguments in (
        ["walk", cgan, "--seeds", "1,2,3", "--steps", "4", "--labels", "5"],
        ["arithmetic", cgan, "-a", "1,2,3", "-b", "4,5", "-c", "6"],
        ["neighbours", cgan, "-n", "3"],
        ["neighbours", cgan, "-n", "3", "--features", known],
        # Which takes images of another size.
        ["neighbours", cgan, "-n", "3", "--features", "classifier_cifar10_jpeg"],
        ["neighbours", known, "-n", "3", "--data", "digits", "--query", "digits"],
        ["invert", cgan, "--data", "digits", "-n", "2", "--steps", "2"],
        ["sample", cgan, "-n", "4", "--labels", "3,7"],
    ):
        out = tmp_path / "picture.png"
        done = CliRunner().invoke(main, [*arguments, "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert min(Image.open(out).size) > 20
        out.unlink()
    film = ["walk", cgan, "--seeds", "1,2,3", "--steps", "4", "--out"]
    done = CliRunner().invoke(main, [*film, str(tmp_path / "walk.GIF")])
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "walk.GIF") as shown:
        # The end of a walk is the start of the next, and one frame.
        assert (shown.n_frames, shown.size) == (7, (608, 608))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(main, [*film, str(tmp_path / "walk.mp4")])
    assert done.exit_code == 2
    assert "ffmpeg is not on the PATH" in done.output
    done = CliRunner().invoke(main, ["walk", cgan, "--labels", "12"])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    done = CliRunner().invoke(main, ["neighbours", known, "--query", "digits"])
    assert done.exit_code == 1
    assert "does not say which data it was trained on" in done.output
    # As of a variable that is not set.
    for arguments in (
        ["neighbours", cgan, "--data", ""],
        ["neighbours", known, "--data", "digits", "--query", ""],
        ["sample", cgan, "--beside", ""],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 1
        assert "A data set is a name" in done.output
    by_nobody = ["neighbours", cgan, "--data", "digits", "--features", ""]
    done = CliRunner().invoke(main, by_nobody)
    assert done.exit_code == 1
    assert "Unknown preset" in done.output
    done = CliRunner().invoke(main, ["neighbours", cgan, "--query", "digits"])
    assert done.exit_code == 1
    assert "embed" in done.output
    by_others = ["--query", "digits", "--features", "classifier_mnist"]
    done = CliRunner().invoke(main, ["neighbours", known, *by_others])
    assert done.exit_code == 1
    assert "by the model's own features" in done.output
