"""Makes a preset of the package from a finished run: `python packaging/publish.py RUN`.

Measures the model on all test images, and again on few, for the test that recomputes
the numbers; keeps what it gives for four inputs, for the test that a preset stays the
same; and draws a grid of its samples for the documentation.
"""

import dataclasses
import functools
import json
import pathlib
import shutil
import sys

import click
import numpy as np

import zoo
from zoo import evaluation, plots, presets
from zoo.commands.outputs import progress
from zoo.generative import GenerativeModel
from zoo.images import from_uint8
from zoo.recipes import Recipe
from zoo.runs import MODEL, SETTINGS

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import golden  # noqa: E402  what the tests compare presets by

GOLDEN = ROOT / "tests" / "golden"
PICTURES = ROOT / "docs" / "images" / "presets"
LICENCES = "LICENCES.md"
LICENCES_HEAD = """\
# Licences of the weights

The code is under the Apache License 2.0 (`LICENSE`). Weights are under what the data
they were trained on allow; `metadata.json` beside each says the same.

| preset | data | licence of the data | licence of the weights |
|---|---|---|---|
"""
#: Samples of a model of numbers.
SAMPLES = 10_000
#: Samples of the quick evaluation that a test repeats.
FEW = 500
#: Numbers that `python -m zoo list` shows, of those that `evaluate` gives.
SHOWN = (
    "frechet_distance",
    "precision",
    "recall",
    "smallest_class_share",
    "largest_class_share",
    "label_accuracy",
    "reconstruction_loss",
    "test_error",
    "test_accuracy",
    "source_test_accuracy",
    "target_test_accuracy",
    "transfer_accuracy",
    "information",
    "code_matching_error",
    "clustering_error",
    "mean",
    "deviation",
)


def picture(model, recipe):
    """Returns the picture of the documentation; None of what makes no images."""
    if len(model.image_shape) != 3:
        return None
    name = recipe.data["name"]
    source = name[0] if isinstance(name, list) else name
    shape = zoo.data.shape_arguments(model.image_shape)
    real, _ = zoo.data.load_arrays(source, "test", **shape, limit=60)
    if isinstance(model, GenerativeModel):
        if "labels" in model.conditions:  # One class a column.
            samples, columns = model.sample_grid(60)
        else:
            samples, columns = model.generate(60), 10
        titles = ("real", "generated")
    elif hasattr(model, "transfer"):
        samples, columns, titles = model.transfer(real), 10, ("source", "transferred")
    else:
        return None
    return plots.beside(
        plots.image_grid(from_uint8(real), columns),
        plots.image_grid(samples, columns),
        titles,
    )


def licences():
    """Returns the table of what the weights of all presets are under, in Markdown."""
    rows = [
        f"| `{name}` | {metadata['dataset']} | {metadata['licence']['data']} | "
        f"{metadata['licence']['weights']} |\n"
        for name, metadata in presets.list_presets().items()
    ]
    return LICENCES_HEAD + "".join(rows)


@click.command()
@click.argument("run", type=click.Path(exists=True, path_type=pathlib.Path))
@click.option("--name", help="Name of the preset. [default: that of the run's folder]")
@click.option("--features", help="Classifier to look through. [default: the data's]")
def publish(run, name, features):
    """Make the preset, its golden file and its picture from a finished RUN."""
    name = name or run.name
    recipe = Recipe.load(run / SETTINGS)
    target = presets.BUILT_IN / name
    if different := recipe.differences(Recipe.of_preset(name)):
        raise click.ClickException(
            f"{run} did not follow the recipe of {name}: " + "; ".join(different)
        )
    model = zoo.from_preset(run)
    metadata = json.loads((run / MODEL / presets.METADATA).read_text())
    evaluate = functools.partial(
        evaluation.evaluate, run, recipe.data["name"], features=features
    )
    whole = evaluate(progress=progress)
    metadata["evaluation"] = {
        "data": whole.data,
        "split": whole.split,
        "measurements": [dataclasses.asdict(m) for m in whole.measurements],
        "class_shares": whole.class_shares,
    }
    metadata["measured"] = {
        m.label: round(m.value, 4) for m in whole.measurements if m.name in SHOWN
    }
    # Numbers cost nothing, and images do.
    count = FEW if len(model.image_shape) == 3 else SAMPLES
    few = {m.name: m.value for m in evaluate(count=count).measurements}
    target.mkdir(exist_ok=True)
    for file in (presets.CONFIG, presets.WEIGHTS):
        shutil.copyfile(run / MODEL / file, target / file)
    text = json.dumps(metadata, indent=2, sort_keys=True, ensure_ascii=False)
    (target / presets.METADATA).write_text(text + "\n")

    (presets.BUILT_IN / LICENCES).write_text(licences())

    GOLDEN.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN / f"{name}.npz", **golden.arrays_of(model))
    settings = {"data": recipe.data["name"], "features": features, "count": count}
    (GOLDEN / f"{name}.json").write_text(
        json.dumps({**settings, "measured": few}, indent=2) + "\n"
    )
    drawn = picture(model, recipe)
    if drawn is not None:
        PICTURES.mkdir(exist_ok=True)
        drawn.save(PICTURES / f"{name}.png")
    click.echo(f"{name}: {metadata['measured']}")


if __name__ == "__main__":
    publish()
