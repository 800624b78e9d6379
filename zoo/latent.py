"""Tools for a trained generator's latents: walks, arithmetic, neighbours, inversion.

They work on every `zoo.generative.GenerativeModel`, so on all models that decode
latents; the nearest neighbours on features of any model that has `embed` or `encode`.
Each function returns arrays, and `zoo.plots.table` makes a picture of them.
"""

import itertools
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from zoo import checks
from zoo.generative import GenerativeModel, checked_seeds, consecutive_seeds
from zoo.metrics import arrays


def interpolate(start, end, steps, path="spherical"):
    """Lays points evenly on the way from one latent to another.

    Args:
        start: Array `[width]`, or `[1, width]` as of one seed.
        end: The same.
        steps: Number of points, both ends included.
        path: `"linear"`, or `"spherical"`: along the arc, which keeps to the lengths
            that a prior of many dimensions draws (White 2016, arXiv:1609.04468).

    Returns:
        float32 array `[steps, width]`.

    Raises:
        ValueError: If the path is another, there are fewer than two points, or the ends
            are no latents of one width.
    """
    if path not in ("linear", "spherical"):
        raise ValueError(
            f"Expected path 'linear' or 'spherical'. Received: path={path!r}"
        )
    steps = checks.count("steps", steps, least=2)
    start, end = (np.asarray(row, np.float64) for row in (start, end))
    start, end = (row[0] if row.shape[:-1] == (1,) else row for row in (start, end))
    if start.ndim != 1 or start.shape != end.shape:
        raise ValueError(
            "Expected a start and an end of one width. "
            f"Received: shapes {start.shape} and {end.shape}"
        )
    share = np.linspace(0, 1, steps)[:, None]
    lengths = np.linalg.norm(start) * np.linalg.norm(end)
    angle = np.arccos(np.clip(start @ end / lengths, -1, 1)) if lengths else 0.0
    # There is no one arc between parallel vectors, nor from the origin.
    if path == "linear" or np.sin(angle) < 1e-6:
        points = (1 - share) * start + share * end
    else:
        points = np.sin((1 - share) * angle) * start + np.sin(share * angle) * end
        points /= np.sin(angle)
    return points.astype(np.float32)


def walk(model, seeds, steps=10, path="spherical", **conditions):
    """Decodes points on the way from the latents of each seed to those of the next.

    Args:
        model: A `zoo.generative.GenerativeModel`.
        seeds: Two integers or more.
        steps: Points from one seed to the next, both included.
        path: As for `interpolate`.
        **conditions: As `generate` takes them, one value for the whole walk; what is
            left open is drawn from the first seed.

    Returns:
        float32 array `[(len(seeds) - 1) * steps, *image_shape]`.

    Raises:
        ValueError: If there are fewer than two seeds, or an argument is wrong.
    """
    _check_decodes(model)
    seeds = checked_seeds(seeds)
    if len(seeds) < 2:
        raise ValueError(f"A walk needs two seeds or more. Received: seeds={seeds}")
    given = _fixed(model, seeds[:1], conditions)
    latents = _latents(model, seeds, given)
    points = np.concatenate(
        [
            interpolate(start, end, steps, path)
            for start, end in itertools.pairwise(latents)
        ]
    )
    return _decode(model, points, given)


class Arithmetic(NamedTuple):
    """Result of `arithmetic`, images as from `generate`.

    Attributes:
        groups: List of the samples of each of the three groups.
        means: `[3, ...]`, the image of each group's mean latent.
        image: `[1, ...]`, the image of `mean(a) - mean(b) + mean(c)`.
        latent: `[latent_dim]`, that latent.
    """

    groups: list
    means: np.ndarray
    image: np.ndarray
    latent: np.ndarray


def arithmetic(model, a, b, c, **conditions):
    """Computes `a - b + c` on the mean latents of groups of seeds.

    "Smiling woman - neutral woman + neutral man" of the DCGAN paper (Radford et al.
    2016, section 6.3.2); means of about three samples are stable, single ones are not.

    Args:
        model: A `zoo.generative.GenerativeModel`.
        a: Seeds of samples that show what is wanted, on the wrong ground.
        b: Seeds of samples of that ground alone.
        c: Seeds of samples of the right ground.
        **conditions: As for `walk`.

    Returns:
        `Arithmetic`.

    Raises:
        ValueError: If a group is empty, or a condition is wrong.
    """
    _check_decodes(model)
    a, b, c = map(checked_seeds, (a, b, c))
    if not (len(a) and len(b) and len(c)):
        raise ValueError(f"A group has no seeds. Received: a={a}, b={b}, c={c}")
    given = _fixed(model, a[:1], conditions)
    latents = [_latents(model, seeds, given) for seeds in (a, b, c)]
    means = np.stack([group.mean(axis=0) for group in latents])
    latent = means[0] - means[1] + means[2]
    return Arithmetic(
        [_decode(model, group, given) for group in latents],
        _decode(model, means, given),
        _decode(model, latent[None], given),
        latent,
    )


class Neighbours(NamedTuple):
    """Result of `nearest`.

    Attributes:
        indices: int64 `[queries, k]`, which candidates, the nearest first.
        distances: float32 `[queries, k]`, their Euclidean distances.
    """

    indices: np.ndarray
    distances: np.ndarray


def nearest(queries, candidates, k=3):
    """Finds the k candidates nearest to each query, by Euclidean distance.

    On pixels of samples and training images it shows whether a generator copies; on
    features of images of two domains it is a search across them.

    Args:
        queries: Array `[n, ...]`; images, or features.
        candidates: Array `[m, ...]` with rows of the same shape.
        k: How many, at most m.

    Returns:
        `Neighbours`.

    Raises:
        ValueError: If shapes or kinds of pixels differ, numbers are not finite, or
            there are no queries or fewer than k candidates.
    """
    queries, candidates = np.asarray(queries), np.asarray(candidates)
    if queries.shape[1:] != candidates.shape[1:]:
        raise ValueError(
            "Queries and candidates have rows of one shape. Received: "
            f"{queries.shape[1:]} and {candidates.shape[1:]}"
        )
    if (queries.dtype == np.uint8) != (candidates.dtype == np.uint8):
        raise ValueError(
            "Queries and candidates are both uint8 images, or neither: map levels from "
            "0 to 255 by zoo.images.from_uint8. Received: "
            f"{queries.dtype} and {candidates.dtype}"
        )
    k = checks.count("k", k)
    if k > len(candidates):
        raise ValueError(
            f"Expected k of 1 to {len(candidates)}, the candidates. Received: k={k}"
        )
    width = math.prod(queries.shape[1:])
    queries = arrays.as_finite("queries", queries.reshape(-1, width), 2)
    candidates = arrays.as_finite("candidates", candidates.reshape(-1, width), 2)
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    for part, squares in arrays.squared_distances(queries, candidates):
        best = np.argpartition(squares, k - 1, axis=1)[:, :k]
        # By differences, for the sums in `squares` cancel for close pairs.
        exact = _distances(queries[part], candidates, best)
        order = exact.argsort(axis=1)
        indices[part] = np.take_along_axis(best, order, axis=1)
        distances[part] = np.take_along_axis(exact, order, axis=1)
    return Neighbours(indices, distances)


def _distances(queries, candidates, chosen):
    """Returns distances `[n, k]` of queries to the candidates chosen for each.

    The differences, k rows for each query, are formed in blocks: they can be far larger
    than the distances to all candidates, if these are few.
    """
    distances = np.empty(chosen.shape)
    differences_bytes = chosen.shape[1] * candidates[0].nbytes
    height = max(1, arrays.BLOCK_BYTES // differences_bytes)
    for start in range(0, len(queries), height):
        part = slice(start, start + height)
        differences = queries[part, None] - candidates[chosen[part]]
        distances[part] = np.linalg.norm(differences, axis=-1)
    return distances


def features_of(model, images):
    """Computes what a model knows images by: `embed`, or `encode`.

    Args:
        model: A model that has one of them.
        images: In [-1, 1], of the model's shape.

    Returns:
        float32 array `[n, features]`.

    Raises:
        ValueError: If the model has neither.
    """
    for name in ("embed", "encode"):
        if hasattr(model, name):
            return getattr(model, name)(images)
    raise ValueError(
        "Features are those of a model with `embed` or `encode`, such as a Classifier, "
        f"DANN, DTN or AAE. Received: {type(model).__name__}"
    )


class Inversion(NamedTuple):
    """Result of `invert`.

    Attributes:
        latents: float32 `[n, latent_dim]`.
        images: float32 `[n, ...]`, what they decode to.
        errors: float32 `[n]`, mean squared errors of the pixels in [-1, 1].
        conditions: Dict of the conditions that they were decoded under, given or drawn:
            `decode(latents, **conditions)` gives the images.
    """

    latents: np.ndarray
    images: np.ndarray
    errors: np.ndarray
    conditions: dict[str, np.ndarray]


def invert(
    model, images, steps=300, learning_rate=0.05, starts=4, seed=0, **conditions
):
    """Searches the latents that decode to given images.

    Adam on the latents from draws of the prior, the generator fixed, minimizes the mean
    squared error (Creswell & Bharath 2016, arXiv:1611.05644). Nothing keeps latents
    inside the range of a bounded prior. All starts of all images are computed at once:
    pass a few hundred images at a time.

    Args:
        model: A `zoo.generative.GenerativeModel`.
        images: Array `[n, *image_shape]`, uint8 or float in [-1, 1].
        steps: Steps of Adam.
        learning_rate: Its learning rate.
        starts: Draws that an image is tried from; the best end counts.
        seed: First of the n * starts seeds of the draws.
        **conditions: As `generate` takes them, for each image; what is left open is
            drawn for each start.

    Returns:
        `Inversion`.

    Raises:
        ValueError: If the images have another shape, or an argument is wrong.
    """
    _check_decodes(model)
    steps, starts = checks.count("steps", steps), checks.count("starts", starts)
    learning_rate = checks.number("learning_rate", learning_rate, above=0)
    images = model.pixels(images)
    if not len(images):
        raise ValueError("Expected one image or more. Received: none")
    count = len(images)
    seeds = consecutive_seeds(count * starts, seed)
    checked = model.checked_conditions(conditions, count)
    tiled = {name: np.concatenate([v] * starts) for name, v in checked.items()}
    given = _completed(model, seeds, tiled)
    told = {name: given[name] for name in model.decoder_conditions}
    targets = tf.constant(np.concatenate([images] * starts))
    latents = keras.Variable(_latents(model, seeds, given))
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build([latents])

    def errors_of(latents):
        decoded = model.decode_rows(tf.convert_to_tensor(latents), **told)
        squares = tf.square(tf.cast(decoded, tf.float32) - targets)
        return tf.reduce_mean(squares, axis=range(1, len(targets.shape)))

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            # The gradient of a sum is each row's own, and so are Adam's averages.
            total = tf.reduce_sum(errors_of(latents))
        optimizer.apply_gradients([(tape.gradient(total, [latents])[0], latents)])

    for _ in range(steps):
        step()
    errors = errors_of(latents).numpy().reshape(starts, count)
    best = errors.argmin(axis=0) * count + np.arange(count)
    found = keras.ops.convert_to_numpy(latents)[best]
    chosen = {name: values.numpy()[best] for name, values in told.items()}
    decoded = model.decode(found, **chosen)
    return Inversion(found, decoded, errors.ravel()[best], chosen)


def _check_decodes(model):
    if not isinstance(model, GenerativeModel):
        raise ValueError(
            "Expected a model that decodes latents, such as a GAN or an AAE. "
            f"Received: model={model!r}"
        )


def _completed(model, seeds, checked):
    """Returns dict of the decoder's conditions as tensors, drawn where left open."""
    return model.complete(checked, tf.constant(seeds))


def _fixed(model, seed, conditions):
    """Returns the completed conditions of one row that hold for a whole picture."""
    return _completed(model, seed, model.checked_conditions(conditions, 1))


def _latents(model, seeds, given):
    """Returns the latents of seeds, of the prior under one row's conditions or each."""
    repeated = {n: np.resize(v, (len(seeds), *v.shape[1:])) for n, v in given.items()}
    return model.sample_prior(tf.constant(seeds), **repeated).numpy()


def _decode(model, latents, given):
    row = {name: given[name][0].numpy() for name in model.decoder_conditions}
    return model.decode(latents, **row)
