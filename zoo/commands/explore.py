"""`python -m zoo walk | arithmetic | neighbours | invert`: pictures of the latents."""

import itertools

import click
import numpy as np

from zoo import data, images, latent, plots, presets
from zoo.commands import outputs
from zoo.commands.flags import Integers
from zoo.commands.handles import image_model
from zoo.model import Model

_labels = click.option(
    "--labels", "label", type=int, help="Class of all images, for a model of classes."
)


def _conditions(label):
    return {} if label is None else {"labels": label}


def _real(model, name, split, limit=None):
    """Loads images of a data set in the model's shape, in [-1, 1]."""
    shape = data.shape_arguments(model.image_shape)
    pixels, _ = data.load_arrays(name, split, **shape, limit=limit)
    return images.from_uint8(pixels)


def _features_of(model, pictures):
    """Returns what a model knows pictures by, in [-1, 1] and of any shape."""
    if len(model.image_shape) == 3 and pictures.shape[1:] != model.image_shape:
        levels = data.fitting.fit_to(images.to_uint8(pictures), model.image_shape)
        pictures = images.from_uint8(levels)
    return latent.features_of(model, pictures)


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--seeds",
    type=Integers(),
    default="0,1,2,3,4",
    show_default=True,
    help="The walk goes from each to the next, a row each.",
)
@click.option("--steps", type=click.IntRange(2), default=10, show_default=True)
@click.option(
    "--path",
    type=click.Choice(["linear", "spherical"]),
    default="spherical",
    show_default=True,
)
@_labels
@outputs.picture(
    "walk.png",
    outputs.PictureOrFilmFile,
    "The picture to write; or the film, .gif or .mp4, from the first seed to the last.",
)
def walk(preset_or_run, seeds, steps, path, label, out):
    """Write a picture, or a film, of walks from seed to seed."""
    model = image_model(preset_or_run)
    decoded = latent.walk(model, seeds, steps, path, **_conditions(label))
    walks = decoded.reshape(-1, steps, *model.image_shape)
    if plots.is_animation(out):
        outputs.check_finite(decoded, preset_or_run)
        # Each begins where the one before it has ended.
        shown = [walks[0][:1], *(walk[1:] for walk in walks)]
        grids = [plots.image_grid(image[None]) for image in np.concatenate(shown)]
        plots.save_animation([plots.enlarged(grid) for grid in grids], out)
    else:
        titles = [f"{start} → {end}" for start, end in itertools.pairwise(seeds)]
        outputs.save_table(out, preset_or_run, walks, titles)
    click.echo(f"{len(walks)} walks of {steps} steps: {out}")


@click.command()
@click.argument("preset_or_run")
@click.option("-a", type=Integers(), required=True, help="Seeds of the first group.")
@click.option("-b", type=Integers(), required=True, help="Seeds to subtract.")
@click.option("-c", type=Integers(), required=True, help="Seeds to add.")
@_labels
@outputs.picture("arithmetic.png")
def arithmetic(preset_or_run, a, b, c, label, out):
    """Write a picture of a - b + c among the latents.

    Each is the mean of the latents of a group of seeds.
    """
    model = image_model(preset_or_run)
    result = latent.arithmetic(model, a, b, c, **_conditions(label))
    rows = [
        np.concatenate([result.means[i : i + 1], group])
        for i, group in enumerate(result.groups)
    ]
    titles = ["a", "- b", "+ c", "="]
    outputs.save_table(out, preset_or_run, [*rows, result.image], titles, ["mean"])
    click.echo(f"Mean of {a}, less that of {b}, plus that of {c}: {out}")


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--data",
    "name",
    help="The real images to search, as for train. [default: the data the model was "
    "trained on; of two domains, the target]",
)
@click.option("--split", default="train", show_default=True)
@click.option(
    "--query",
    help="Data set to take the queries from, by the model's own features. [default: "
    "samples of the model]",
)
@click.option(
    "--query-split", default="test", show_default=True, help="Split of --query."
)
@click.option(
    "--features",
    help="Preset or run by whose features to compare samples. [default: pixels]",
)
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True)
@click.option("-k", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Seed of the first sample.")
@outputs.picture("neighbours.png")
def neighbours(
    preset_or_run, name, split, query, query_split, features, count, k, seed, out
):
    """Write a picture of the nearest real images.

    Of samples, they show whether the model copies its training data. Of the images of
    another data set, --query, compared by what the model embeds or encodes them to, it
    is a search across domains.
    """
    if query is not None and features is not None:
        raise ValueError(
            "--query compares by the model's own features, and --features is for "
            "samples: leave out one of them."
        )
    if query is not None:
        model = known_by = image_model(preset_or_run, Model)
        queries = _real(model, query, query_split, count)
    else:
        model = image_model(preset_or_run)
        known_by = None if features is None else Model.from_preset(features)
        queries = model.generate(count, seed=seed)
    outputs.check_finite(queries, preset_or_run)
    if name is None:
        name = presets.trained_on(preset_or_run)[-1]
    candidates = _real(model, name, split)
    if known_by is None:
        found = latent.nearest(queries, candidates, k)
    else:
        found = latent.nearest(
            _features_of(known_by, queries), _features_of(known_by, candidates), k
        )
    rows = [
        np.concatenate([queries[i : i + 1], candidates[found.indices[i]]])
        for i in range(len(queries))
    ]
    kind, first = ("seed", seed) if query is None else ("image", 0)
    titles = [f"{kind} {first + i}" for i in range(len(rows))]
    outputs.save_table(out, preset_or_run, rows, titles, ["query", "nearest"])
    click.echo(
        f"The {k} nearest of {len(candidates)} images of {name} to each of "
        f"{len(rows)}; mean "
        f"distance of the first {found.distances[:, 0].mean():.4g}: {out}"
    )


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--data",
    "name",
    help="The images to find latents of, as for train. [default: the data the model "
    "was trained on]",
)
@click.option("--split", default="test", show_default=True)
@click.option("-n", "count", type=click.IntRange(1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
@click.option(
    "--learning-rate", default=0.05, show_default=True, help="Learning rate of Adam."
)
@click.option(
    "--starts",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Draws of the prior to start from; the best end counts.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Seed of the draws.",
)
@_labels
@outputs.picture("inversion.png")
def invert(
    preset_or_run, name, split, count, steps, learning_rate, starts, seed, label, out
):
    """Write a picture of real images and their inversions.

    An inversion is the nearest image that the model can make; its latents are found by
    optimization.
    """
    model = image_model(preset_or_run)
    if name is None:
        name = presets.trained_on(preset_or_run)[0]
    real = _real(model, name, split, count)
    found = latent.invert(
        model, real, steps, learning_rate, starts, seed, **_conditions(label)
    )
    outputs.save_table(out, preset_or_run, [real, found.images], ["real", "inverted"])
    click.echo(
        f"{len(real)} images of {name}, mean squared error "
        f"{found.errors.mean():.4f} in [-1, 1]: {out}"
    )
