"""The papers' numbers and ours: what `python -m zoo reproduce` trains and prints.

A row names the recipe that is trained, what differs from it, how the trained model is
measured, and the number that the paper has for it. What a seed gives is a result, kept
as JSON; the table is drawn from the results alone.
"""

import dataclasses
import json
import os
import pathlib
import platform
import statistics

import tensorflow as tf

from zoo import evaluation, files, presets, runs
from zoo.metrics import Measurement
from zoo.recipes import Recipe

#: Samples that are compared with the data, as in the papers' protocols.
SAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Row:
    """A number of a paper, and how ours is got.

    Attributes:
        what: What is measured of what, for the table.
        recipe: Preset whose recipe is trained.
        measure: Name of the measurement that stands beside the paper's number.
        paper: The paper's number, None where it has none.
        source: Where in which paper.
        changes: Settings that differ from the recipe's, such as
            `{"data.labelled": 1000}`.
        beside: Other measurements to print, by name.
        paper_error: What the paper says of its number's standard error, if anything.
        chosen_by: A measurement that sees no labels and by whose largest value one of
            several trainings can be chosen, if there is one.
    """

    what: str
    recipe: str
    measure: str
    paper: float | None
    source: str
    changes: dict = dataclasses.field(default_factory=dict)
    beside: tuple[str, ...] = ()
    paper_error: float | None = None
    chosen_by: str | None = None

    @property
    def paper_number(self):
        """The paper's number in words."""
        if self.paper is None:
            return "–"
        return formatted(self.measure, self.paper, self.paper_error)

    def recipe_of(self, seed):
        """Returns the recipe to train from a seed."""
        settings = dataclasses.asdict(Recipe.of_preset(self.recipe))
        settings["seed"] = seed
        # Networks that are given have seeds of their own.
        for network in settings["model"].values():
            if isinstance(network, dict) and "seed" in network.get("config", {}):
                network["config"]["seed"] = seed
        for path, value in self.changes.items():
            *groups, name = path.split(".")
            group = settings
            for key in groups:
                group = group[key]
            group[name] = value
        return Recipe(**settings)

    def measured(self, run, progress):
        """Measures the model of a finished run by the row's protocol.

        Args:
            run: Folder of the run.
            progress: As `zoo.evaluation.evaluate` takes it.

        Returns:
            List of `zoo.metrics.Measurement`.
        """
        recipe = Recipe.load(pathlib.Path(run) / runs.SETTINGS)
        evaluated = evaluation.evaluate(
            run,
            recipe.data["name"],
            count=SAMPLES,
            parzen=self.measure == "parzen_log_likelihood",
            progress=progress,
        )
        return evaluated.measurements


def _gaussian(minibatch):
    suffix = "_minibatch" if minibatch else ""
    return Row(
        f"1-D GAN {'with' if minibatch else 'without'} minibatch discrimination: "
        "deviation, the data's being 0.50",
        f"gan_gaussian1d{suffix}",
        "deviation",
        None,
        "Salimans et al. 2016, section 3.2: no number",
        beside=("mean",),
    )


def _parzen(model, recipe, paper, paper_error, source):
    return Row(
        f"{model} on MNIST: Parzen-window log-likelihood",
        recipe,
        "parzen_log_likelihood",
        paper,
        source,
        beside=(
            "parzen_sigma",
            "parzen_log_likelihood_finer",
            "parzen_sigma_finer",
            "frechet_distance",
            "frechet_distance_of_train",
        ),
        paper_error=paper_error,
    )


#: Without which a distance says little: its floor, and what it mixes up.
_BESIDE_DISTANCE = (
    "frechet_distance_of_train",
    "precision",
    "recall",
    "smallest_class_share",
    "largest_class_share",
)


def _dcgan(what, changes):
    return Row(
        f"{what} on MNIST: Fréchet distance",
        "dcgan_mnist",
        "frechet_distance",
        None,
        "no paper's: the yardstick of the recipe dcgan_mnist",
        changes,
        beside=_BESIDE_DISTANCE,
    )


#: What a row adds to the paper's AAE, and to its name.
_CONSISTENT = {"compile.consistency_weight": 30.0}
_CONSISTENTLY = "AAE with consistency (not the paper's)"


def _semisupervised(labels, paper, epochs=40, consistent=False):
    return Row(
        f"{_CONSISTENTLY if consistent else 'AAE'}, semi-supervised, "
        f"{labels or 'all'} labels of MNIST: test error",
        "aae_mnist_semisupervised_mlp",
        "test_error",
        paper,
        "Makhzani et al. 2016, table 2",
        {
            **_labelled(labels, epochs),
            **(_CONSISTENT if consistent else {}),
        },
    )


def _convolutional(labels, paper, consistent=False):
    return Row(
        "Convolutional AAE with a joint discriminator"
        f"{' and consistency' if consistent else ''} (not the paper's), "
        f"semi-supervised, {labels or 'all'} labels of MNIST: test error",
        "aae_mnist_semisupervised_convolutional",
        "test_error",
        paper,
        "Makhzani et al. 2016, table 2",
        {**_labelled(labels, epochs=30), **(_CONSISTENT if consistent else {})},
        beside=("label_accuracy", "frechet_distance", "precision"),
    )


def _labelled(labels, epochs):
    """Changes of a recipe for a number of labels, and for epochs of their length."""
    # Where a share of each batch is drawn from a few labels, an epoch has more steps.
    steps = epochs * (600 if labels is None else 750)
    changes = {"data.labelled": labels, "epochs": epochs}
    for player in ("autoencoder", "discriminator", "encoder", "classifier"):
        rate = f"compile.{player}_optimizer.config.learning_rate"
        changes[f"{rate}.config.decay_steps"] = steps
    return changes


def _clusters(count, paper, consistent=False):
    return Row(
        f"{_CONSISTENTLY if consistent else 'AAE'}, {count} clusters of MNIST without "
        "labels: test error",
        "aae_mnist_clusters",
        "clustering_error",
        paper,
        "Makhzani et al. 2016, table 3",
        {"model.num_classes": count, **(_CONSISTENT if consistent else {})},
    )


def _dtn(what, paper, changes):
    return Row(
        f"DTN, MNIST-M → MNIST (paper: SVHN → MNIST){what}: accuracy",
        "dtn_mnist_m_mnist",
        "transfer_accuracy",
        paper,
        "Taigman et al. 2017, table 1, on SVHN → MNIST",
        changes,
    )


def _dann(what, paper, changes):
    return Row(
        f"{what}, MNIST → MNIST-M: accuracy on the target",
        "dann_mnist_mnist_m",
        "target_test_accuracy",
        paper,
        "Ganin & Lempitsky 2015, table 1",
        changes,
        beside=("source_test_accuracy",),
    )


#: The rows of the table, by the name that `reproduce` takes.
ROWS = {
    "gaussian1d": _gaussian(minibatch=False),
    "gaussian1d_minibatch": _gaussian(minibatch=True),
    "dcgan": _dcgan("DCGAN", {}),
    "dcgan_plain": _dcgan(
        "Plain DCGAN, as tutorials train it,",
        {
            "model": {"generator_filters": 64, "discriminator_filters": 32},
            "compile": {},
            "epochs": 10,
            "batch_size": 128,
        },
    ),
    "cgan": Row(
        "CGAN on MNIST: label accuracy, samples read as the class asked for",
        "cgan_mnist",
        "label_accuracy",
        None,
        "no paper's: what a condition is for",
        beside=("frechet_distance", *_BESIDE_DISTANCE),
    ),
    "gan_parzen": _parzen(
        "GAN", "gan_mnist", 225, 2, "Goodfellow et al. 2014, table 1"
    ),
    "cgan_parzen": _parzen(
        "CGAN", "cgan_mnist_mlp", 132, 1.8, "Mirza & Osindero 2014, table 1"
    ),
    "aae_parzen": _parzen(
        "AAE", "aae_mnist_parzen", 340, 2, "Makhzani et al. 2016, table 1"
    ),
    "aae_semisupervised_100": _semisupervised(100, 0.0190, epochs=120),
    "aae_semisupervised_1000": _semisupervised(1000, 0.0160),
    "aae_semisupervised_all": _semisupervised(None, 0.0085),
    "aae_semisupervised_100_consistent": _semisupervised(100, 0.0190, consistent=True),
    "aae_semisupervised_1000_consistent": _semisupervised(
        1000, 0.0160, consistent=True
    ),
    "aae_semisupervised_all_consistent": _semisupervised(None, 0.0085, consistent=True),
    "aae_semisupervised_100_convolutional": _convolutional(100, 0.0190),
    "aae_semisupervised_1000_convolutional": _convolutional(1000, 0.0160),
    "aae_semisupervised_all_convolutional": _convolutional(None, 0.0085),
    "aae_semisupervised_100_convolutional_consistent": _convolutional(
        100, 0.0190, consistent=True
    ),
    "aae_semisupervised_1000_sharp": Row(
        "Convolutional AAE with a joint discriminator and one of images (not the "
        "paper's), semi-supervised, 1000 labels of MNIST: test error",
        "aae_mnist_semisupervised",
        "test_error",
        0.0160,
        "Makhzani et al. 2016, table 2",
        beside=(
            "label_accuracy",
            "frechet_distance",
            "frechet_distance_of_train",
            "precision",
            "recall",
        ),
    ),
    "semi_supervised_gan_100": Row(
        "Semi-supervised GAN, 100 labels of MNIST: test error",
        "semi_supervised_gan_mnist",
        "test_error",
        0.0093,
        "Salimans et al. 2016, table 1",
        beside=("frechet_distance",),
    ),
    "aae_clusters_16": _clusters(16, 0.0955),
    "aae_clusters_30": _clusters(30, 0.0410),
    "aae_clusters_16_consistent": _clusters(16, 0.0955, consistent=True),
    "aae_clusters_30_consistent": _clusters(30, 0.0410, consistent=True),
    "infogan_codes": Row(
        "InfoGAN on MNIST: error of the categorical code as a classifier",
        "infogan_mnist",
        "code_matching_error",
        0.05,
        "Chen et al. 2016, section 7.2",
        beside=("information", "frechet_distance"),
        chosen_by="information",
    ),
    "dann": _dann("DANN", 0.7666, {}),
    "dann_source_only": _dann("Source only", 0.5225, {"compile.domain_weight": 0.0}),
    "dtn": _dtn("", 0.9066, {}),
    "dtn_without_tid": _dtn(" without L_TID", 0.8840, {"compile.tid_weight": 0.0}),
    "dtn_without_const": _dtn(
        " without L_CONST", 0.7455, {"compile.const_weight": 0.0}
    ),
    "dtn_without_both": _dtn(
        " without L_CONST and L_TID",
        0.0528,
        {"compile.const_weight": 0.0, "compile.tid_weight": 0.0},
    ),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What one seed gave.

    Attributes:
        row: Key of `ROWS`.
        recipe: The recipe that was trained.
        training_seconds: How long it took.
        measurements: Name, value, counts and features of everything measured, as
            `Measurement` has them.
        machine: Processor, cores and version of TensorFlow where it was measured.
    """

    row: str
    recipe: dict
    training_seconds: int
    measurements: list[dict]
    machine: str

    @classmethod
    def of(cls, row, run, progress):
        """Measures the run of a row."""
        run = pathlib.Path(run)
        metadata = json.loads((run / runs.MODEL / presets.METADATA).read_text())
        return cls(
            row=row,
            recipe=dataclasses.asdict(runs.trained_recipe(run)),
            training_seconds=metadata["training_seconds"],
            measurements=[
                dataclasses.asdict(m) for m in ROWS[row].measured(run, progress)
            ],
            machine=f"{platform.machine()}, {os.cpu_count()} cores, "
            f"TensorFlow {tf.__version__}",
        )

    @property
    def seed(self):
        """Seed of the training."""
        return self.recipe["seed"]

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote.

        Raises:
            ValueError: If it is no result, has none of the row's number, is of another
                row or seed than its name says, or the row's recipe is another by now.
        """
        try:
            result = cls(**json.loads(path.read_text()))
            Recipe(**result.recipe)
            for measurement in result.measurements:
                Measurement(**measurement)
            kept_as = result_path(path.parent, result.row, result.seed)
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is no result of a row: {error}. Delete it to measure again."
            ) from error
        if path != kept_as:
            raise ValueError(
                f"{path} has the result of {result.row}, seed {result.seed}. Rename or "
                "delete it."
            )
        result.value(ROWS[result.row].measure)
        check_recipe(
            Recipe(**result.recipe),
            ROWS[result.row].recipe_of(result.seed),
            f"The result {path}",
        )
        return result

    def save(self, path):
        """Writes JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, dataclasses.asdict(self))

    def measurement(self, name):
        """Returns the measurement of a name, a dict.

        Raises:
            ValueError: If there is none.
        """
        for measurement in self.measurements:
            if measurement["name"] == name:
                return measurement
        raise ValueError(
            f"The result of {self.row}, seed {self.seed}, has no {name}. Delete it to "
            "measure again."
        )

    def value(self, name):
        """Returns the value of a measurement."""
        return self.measurement(name)["value"]


def check_recipe(followed, asked, what):
    """Raises `ValueError` if what was trained followed another recipe.

    Args:
        followed: Its `Recipe`.
        asked: The `Recipe` it should have followed.
        what: Beginning of the error's sentence.
    """
    if different := followed.differences(asked):
        raise ValueError(
            f"{what} was trained by other settings: {'; '.join(different)}. Delete it "
            "to train again."
        )


def result_path(folder, row, seed):
    """Returns where the result of a row and seed is kept in a folder."""
    return pathlib.Path(folder) / f"{row}-{seed}.json"


def results_in(folder, rows=()):
    """Returns a dict from row to the list of its results, by seed.

    Args:
        folder: Where they are kept.
        rows: Names of the rows to read, all if there are none.

    Raises:
        ValueError: As `Result.load`.
    """
    seeds = {name: [] for name in rows or ROWS}
    for path in pathlib.Path(folder).glob("*.json"):
        name, _, seed = path.stem.rpartition("-")
        if name in seeds and seed.isdecimal():
            seeds[name].append(int(seed))
    return {
        name: [Result.load(result_path(folder, name, seed)) for seed in sorted(found)]
        for name, found in seeds.items()
        if found
    }


#: Columns of the table, in order.
COLUMNS = (
    "row",
    "what",
    "paper",
    "ours",
    "by seed",
    "also measured",
    "samples",
    "epochs",
    "training",
)
#: Those of the shorter table.
FEW_COLUMNS = ("row", "what", "paper", "ours", "by seed", "samples", "training")


def cells(name, results):
    """Returns the cells of a row's line, a dict from the columns' names to Markdown."""
    row = ROWS[name]
    values = [result.value(row.measure) for result in results]
    first = results[0].measurement(row.measure)
    beside = [
        f"{other.replace('_', ' ')} "
        f"{formatted(other, statistics.median(r.value(other) for r in results))}"
        for other in row.beside
    ]
    if row.chosen_by and len(results) > 1:
        chosen = max(results, key=lambda result: result.value(row.chosen_by))
        value = formatted(row.measure, chosen.value(row.measure))
        beside.append(
            f"{value} for the seed with the most {row.chosen_by} ({chosen.seed})"
        )
    seconds = statistics.median(result.training_seconds for result in results)
    return {
        "row": f"`{name}`",
        "what": row.what,
        "paper": row.paper_number,
        "ours": f"**{formatted(row.measure, statistics.median(values))}**",
        "by seed": ", ".join(
            formatted(row.measure, value, result.measurement(row.measure)["spread"])
            + f" ({result.seed})"
            for value, result in zip(values, results, strict=True)
        ),
        "also measured": ", ".join(beside) or "–",
        "samples": f"{first['generated_count'] or first['real_count']:,}",
        "epochs": str(results[0].recipe["epochs"]),
        "training": f"{seconds / 60:.0f} min",
    }


def table(results, columns=COLUMNS):
    """Returns the table of all results, in Markdown.

    Raises:
        ValueError: If numbers of one name were seen through different networks.
    """
    rows = [cells(name, found) for name, found in results.items()]
    lines = [
        columns,
        ["---"] * len(columns),
        *([row[column] for column in columns] for row in rows),
    ]
    drawn = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*drawn, *_networks(results, "also measured" in columns)])


def _networks(results, all_measured):
    """Returns the lines below the table, of what its numbers were seen through."""
    seen = {}
    for row, found in results.items():
        beside = ROWS[row].beside if all_measured else ()
        for name in (ROWS[row].measure, *beside):
            for measured in (result.measurement(name) for result in found):
                if measured.get("features"):
                    network = f"{measured['features']}@{measured['hash'][:8]}"
                    seen.setdefault(name, set()).add(network)
    for name, networks in seen.items():
        if len(networks) > 1:
            raise ValueError(
                f"{name} was measured through {' and '.join(sorted(networks))}, which "
                "can't stand under one name. Measure the runs again: delete the "
                "results of one of them."
            )
    by_network = {}
    for name, (network,) in seen.items():
        by_network.setdefault(network, []).append(name.replace("_", " "))
    return [
        f"\nThrough `{network}`: {', '.join(names)}."
        for network, names in by_network.items()
    ]


def formatted(name, value, error=None):
    """Returns a measurement's value as the table shows it, in its unit.

    Args:
        name: Name of the measurement.
        value: Its value.
        error: Standard error of a log-likelihood, None where it isn't known.
    """
    if name.endswith(("_accuracy", "_error", "_share")):
        return f"{100 * value:.2f} %"
    if name.startswith("parzen_log_likelihood"):
        return f"{value:.0f}{'' if error is None else f' ± {error:.2g}'} nats"
    return f"{value:.2f}"
