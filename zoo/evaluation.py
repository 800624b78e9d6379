"""Measures a model on real images: what `python -m zoo evaluate` prints.

Samples of a generator are compared with as many real images through the features of a
network, by everything in `zoo.metrics`. Both are uint8, brought to the shape of the
generator and then of the network. A model that recognizes images is measured by its
own `measure`; so is a generator that has one, beside its samples. Of a generator of
single numbers it is told how they are distributed.
"""

import dataclasses
import warnings

import numpy as np

from zoo import checks, data, feature_networks, metrics, presets
from zoo.data.selection import select
from zoo.dtn import DTN
from zoo.generative import GenerativeModel, consecutive_seeds
from zoo.images import check_finite, to_uint8
from zoo.metrics import Measurement
from zoo.model import Model, silent

#: Where the width of Parzen windows is chosen: of MNIST, the last 10,000 images to
#: train on, of which the authors' code takes 1,000.
VALIDATION, _VALIDATION_COUNT = "train[-10000:]", 1000
#: Fewer images can't be compared: the classifier score splits them into tens.
LEAST = 20
#: Images between two moves of the progress bar.
_CHUNK = 256
#: Images in a subset of the kernel distance, as in its paper.
_KERNEL_SUBSET = 1000


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured of a model.

    Attributes:
        preset: The preset or run.
        sha256: Of its `metadata.json`, which `from_preset(sha256=)` takes.
        model: Name of its class.
        data: Name of the real images, or the pair of source and target.
        split: Their split; None of numbers, which have none.
        seed: Seed of the first sample.
        measurements: List of `zoo.metrics.Measurement`.
        class_shares: Share of each class among the samples; None without samples, or
            where the feature network does not know the classes of the data.
    """

    preset: str
    sha256: str
    model: str
    data: str | list[str]
    split: str | None
    seed: int
    measurements: list[Measurement]
    class_shares: list[float] | None = None

    @property
    def heading(self):
        """What was measured, and on which data, in words."""
        names = [self.data] if isinstance(self.data, str) else self.data
        split = [] if self.split is None else [repr(self.split)]
        return f"{self.preset} ({self.model}) on {', '.join([*names, *split])}"


def evaluate(
    handle,
    name=None,
    split="test",
    count=10_000,
    seed=0,
    features=None,
    parzen=False,
    progress=silent,
):
    """Measures a model.

    Args:
        handle: Preset by name, folder or URL, or a run.
        name: Name of the real images, as for `zoo.load_data`, no arrays; of a domain
            model two names; of a model of single numbers `"gaussian"`. None for the
            data it was trained on.
        split: Their split; numbers have none.
        count: Samples to draw, and real images to load, the first ones. Where there are
            fewer, as many samples are drawn.
        seed: Seed of the first sample, and of random subsets.
        features: What to look through, as `zoo.feature_networks.find` takes it; None
            for the built-in `classifier_<name>`, or where there is none and the images
            are in colour, `classifier_cifar10_jpeg`.
        parzen: Whether to compute the log-likelihood under Parzen windows too.
        progress: As `Model.progress`; asked for once for all samples, and for each
            pass of what a model measures by itself.

    Returns:
        `Evaluation`.

    Raises:
        ValueError: If the model makes longer rows of numbers, has weights or pixels
            that are not finite numbers, needs two domains or takes only one, or does
            without what is asked for; there is no feature network for the data; or the
            data can't be loaded or are too few.
    """
    # Once: what is at a URL may change while its model is measured.
    folder = presets.resolve(handle)
    model = Model.from_preset(folder)
    _check_weights(model, handle)
    _check_asked(model, features, parzen)
    if name is None:
        names = presets.trained_on(handle, folder)
        name = names if len(names) > 1 else names[0]
    pair = isinstance(name, (list, tuple))
    if not all(isinstance(one, str) for one in (name if pair else (name,))):
        raise ValueError(
            "Data to measure on are given by name: a folder, an .npz file, or one of "
            "tensorflow-datasets."
        )
    if pair != (model.domains == 2):
        raise ValueError(
            f"{type(model).__name__} is measured on "
            f"{'one data set' if pair else 'a source and a target data set'}. "
            f"Received: {name!r}"
        )
    about = {
        "preset": str(handle),
        "sha256": presets.fingerprint(folder),
        "model": type(model).__name__,
        "data": name,
        "seed": seed,
    }
    if len(model.image_shape) != 3:
        numbers = _of_numbers(model, handle, name, count, seed)
        return Evaluation(split=None, measurements=numbers, **about)
    shape = data.shape_arguments(model.image_shape)
    chosen = {"name": name, "split": split, **shape}
    measurements, shares = [], None
    if isinstance(model, GenerativeModel):
        measurements, shares = _samples(
            model, features, chosen, count, seed, parzen, progress
        )
        if parzen:
            _warn_of_seen(presets.check(folder), chosen)
    if type(model).measure is not Model.measure:
        model.progress = progress
        seen_through = {"features": features} if isinstance(model, DTN) else {}
        measurements += model.measure(**chosen, limit=count, **seen_through)
    return Evaluation(
        split=split, measurements=measurements, class_shares=shares, **about
    )


def _check_weights(model, handle):
    """Raises `ValueError` if what the model computes could be no numbers."""
    for name, network in model.networks().items():
        if not all(np.isfinite(array).all() for array in network.get_weights()):
            raise ValueError(
                f"{handle} can't be measured: the weights of its {name} are not all "
                "finite numbers."
            )


def _check_asked(model, features, parzen):
    """Raises `ValueError` for what would change nothing of the model's numbers."""
    generates = isinstance(model, GenerativeModel)
    kind = type(model).__name__
    if len(model.image_shape) != 3 and (parzen or features is not None):
        raise ValueError(
            "Feature networks and Parzen windows are for images, and this model makes "
            f"rows of shape {model.image_shape}."
        )
    if parzen and not generates:
        raise ValueError(
            f"A {kind} draws no samples, so there is nothing for Parzen windows."
        )
    if features is not None and not (generates or isinstance(model, DTN)):
        raise ValueError(
            f"A {kind} is measured on its own classes, through no feature network. "
            f"Received: features={str(features)!r}"
        )


def _of_numbers(model, handle, name, count, seed):
    """Measures the samples of a generator of single numbers."""
    if model.image_shape != (1,) or not isinstance(model, GenerativeModel):
        raise ValueError(
            f"Images and single numbers can be evaluated. {handle} is a "
            f"{type(model).__name__} of rows of shape {model.image_shape}."
        )
    if name != "gaussian":
        raise ValueError(
            f"{handle} makes single numbers: --data gaussian. Received: {name}"
        )
    samples = model.generate(checks.count("count", count), seed=seed)
    check_finite(samples, f"The samples of {handle}")
    return [
        Measurement(name, float(value), generated_count=count, seed=seed)
        for name, value in (("mean", samples.mean()), ("deviation", samples.std()))
    ]


def _samples(model, features, chosen, count, seed, parzen, progress):
    """Compares samples with real images; returns numbers and shares of the classes."""
    compared = select(**chosen).first(count)
    validation = _validation(compared, chosen["split"]) if parzen else None
    real = _real_images(compared, chosen["split"], model)
    in_colour = model.image_shape[-1] == 3
    network = feature_networks.find(features, chosen["name"], in_colour)
    count = len(real)
    # The distance between real images is the floor; of the same images it would be 0.
    others = _apart(compared, "train", count)
    # The fewer images, the larger a distance: fewer would be no floor.
    is_floor = others is not None and others.size == count
    train = others.arrays()[0] if is_floor else None
    labels = _labels(model, count)
    with progress(length=3 * count + (0 if train is None else len(train))) as bar:
        generated = _draw(model, consecutive_seeds(count, seed), labels, bar)
        real_features, generated_features = (
            _embed(network, images, bar) for images in (real, generated)
        )
        train_features = None if train is None else _embed(network, train, bar)
    numbers = _distances(real_features, generated_features, seed)
    probabilities = network.classify(generated_features)
    numbers.append(("classifier_score", *metrics.classifier_score(probabilities)))
    shares = None
    if network.knows_classes:
        balance = metrics.class_balance(probabilities)
        shares = balance.shares.tolist()
        numbers += _of_classes(balance, probabilities, labels)
    native = data.native_shape(**chosen)
    provenance = network.provenance([native, model.image_shape])
    common = {"real_count": count, "generated_count": count, "seed": seed}
    measurements = [
        Measurement(name, value, spread, **provenance, **common)
        for name, value, spread in numbers
    ]
    if train is not None:
        floor = Measurement(
            "frechet_distance_of_train",
            _frechet(real_features, train_features),
            real_count=count,
            train_count=len(train),
            **provenance,
        )
        measurements.insert(1, floor)
    if parzen:
        measurements += _parzen(generated, real, validation.arrays()[0], common)
    return measurements, shares


def _validation(compared, split):
    """Selects the images on which the width of Parzen windows is chosen."""
    validation = _apart(compared, VALIDATION, _VALIDATION_COUNT)
    if validation is None:
        raise ValueError(
            f"The width of Parzen windows is chosen on {VALIDATION}, which "
            f"{compared.name} lacks, or which is among the images to compare with. "
            f"Choose another split. Received: split={split!r}"
        )
    return validation


def _warn_of_seen(metadata, chosen):
    """Warns where the width of Parzen windows is chosen on what was trained on."""
    if presets.data_names(metadata) != [chosen["name"]]:
        return
    split = str(metadata["recipe"]["data"].get("split", "train"))
    validation = select(**{**chosen, "split": VALIDATION})
    names = {part.partition("[")[0].strip() for part in split.split("+")}
    are_there = names <= set(validation.source.splits)
    if are_there and validation.overlaps(validation.of(split)):
        warnings.warn(
            f"The width of Parzen windows is chosen on {VALIDATION}, and the model was "
            f"trained on {split}, which has the same images: the papers hold them out.",
            stacklevel=3,
        )


def _real_images(compared, split, model):
    """Loads the real images; raises `ValueError` where they can't be compared with."""
    if compared.size < LEAST:
        raise ValueError(
            f"Distances need at least {LEAST} images, and {compared.name} has "
            f"{compared.size} in {split!r}."
        )
    real, _ = compared.arrays()
    if real.shape[1:] != model.image_shape:
        raise ValueError(
            f"The model makes images of shape {model.image_shape}, and those of "
            f"{compared.name} are {real.shape[1:]}."
        )
    return real


def _apart(selection, split, count):
    """Selects the first images of another split.

    Returns:
        A `Selection`; None where there is no such split, or an image of it is among
        those of the first selection.
    """
    if split.partition("[")[0] not in selection.source.splits:
        return None
    other = selection.of(split).first(count)
    return None if other.overlaps(selection) else other


def _labels(model, count):
    """Returns the classes to ask for, in turn; None where the model knows none."""
    classes = model.conditions.get("labels")
    # Clusters have no numbers that a classifier could know.
    if classes is None or getattr(model, "form", None) == "clustering":
        return None
    return np.arange(count) % classes.num_classes


def _draw(model, seeds, labels, bar):
    """Returns uint8 samples, one of each seed, and of each label if there are any."""

    def draw(rows):
        given = {} if labels is None else {"labels": labels[rows]}
        samples = model.generate(seeds=seeds[rows], **given)
        check_finite(samples, f"The samples from seed {seeds[rows][0]} on")
        return to_uint8(samples)

    return _in_chunks(draw, len(seeds), bar)


def _embed(network, images, bar):
    return _in_chunks(lambda rows: network.embed(images[rows]), len(images), bar)


def _in_chunks(function, count, bar):
    parts = []
    for start in range(0, count, _CHUNK):
        rows = slice(start, min(start + _CHUNK, count))
        parts.append(function(rows))
        bar.update(rows.stop - rows.start)
    return np.concatenate(parts)


def _distances(real, generated, seed):
    """Returns tuples of name, value and spread of all that compares features."""
    subset = min(_KERNEL_SUBSET, len(real) // 2)
    kernel = metrics.kernel_distance(real, generated, subset_size=subset, seed=seed)
    precision, recall = metrics.precision_recall(real, generated)
    density, coverage = metrics.density_coverage(real, generated)
    return [
        ("frechet_distance", _frechet(real, generated), None),
        ("kernel_distance", *kernel),
        ("precision", precision, None),
        ("recall", recall, None),
        ("density", density, None),
        ("coverage", coverage, None),
    ]


def _of_classes(balance, probabilities, labels):
    """Returns tuples as `_distances` does, of what the classes of the samples tell."""
    numbers = [
        ("smallest_class_share", balance.smallest, None),
        ("largest_class_share", balance.largest, None),
    ]
    if labels is not None and labels.max() < probabilities.shape[1]:
        accuracy = metrics.label_accuracy(probabilities, labels)
        numbers.append(("label_accuracy", accuracy, None))
    return numbers


def _frechet(one, other):
    return metrics.frechet_distance(
        *metrics.feature_gaussian(one), *metrics.feature_gaussian(other)
    )


def _parzen(generated, real, validation, common):
    images = [x / 255 for x in (generated, validation, real)]
    score = metrics.parzen_score(*images)
    finer = metrics.parzen_score(*images, sigmas=metrics.FINE_SIGMAS)
    return [
        Measurement(
            "parzen_log_likelihood", score.value, score.standard_error, **common
        ),
        Measurement("parzen_sigma", score.sigma, **common),
        Measurement(
            "parzen_log_likelihood_finer", finer.value, finer.standard_error, **common
        ),
        Measurement("parzen_sigma_finer", finer.sigma, **common),
    ]
