"""`python -m zoo evaluate`: numbers for how good a model is."""

import dataclasses

import click

from zoo import evaluation, files, metrics
from zoo.commands.flags import DataName
from zoo.commands.outputs import OutputFile, progress


@click.command()
@click.argument("preset_or_run")
@click.option(
    "--data",
    "name",
    type=DataName(),
    help="The real images, as for train; with a comma between them, two for a domain "
    "model. [default: the data it was trained on]",
)
@click.option("--split", default="test", show_default=True)
@click.option(
    "--count",
    type=click.IntRange(evaluation.LEAST),
    default=10_000,
    show_default=True,
    help="Samples, and real images, at most as many as there are.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the first sample.",
)
@click.option(
    "--features",
    metavar="PRESET_OR_RUN",
    help="The classifier to look through, or inception_v3[:FILE.h5]. [default: "
    "classifier_<data>; for other data in colour classifier_cifar10_jpeg]",
)
@click.option(
    "--parzen",
    is_flag=True,
    help="Add the log-likelihood under Parzen windows; the papers take 10000 samples.",
)
@click.option(
    "--json",
    "out",
    type=OutputFile(),
    help="Write the numbers into this file, too.",
)
def evaluate(preset_or_run, name, split, count, seed, features, parzen, out):
    """Measure a preset, by name, folder or URL, or a run.

    Samples of a generator are compared with real images through a classifier's
    features. The same distance between these and the train split is printed as a floor,
    where that is another split and has as many.
    """
    measured = evaluation.evaluate(
        preset_or_run,
        name,
        split,
        count,
        seed,
        features,
        parzen,
        progress,
    )
    click.echo(measured.heading)
    click.echo(metrics.table(measured.measurements))
    if measured.class_shares is not None:
        shares = " ".join(f"{100 * share:.1f}" for share in measured.class_shares)
        click.echo(f"classes of the samples in %: {shares}")
    names = {each.name for each in measured.measurements}
    if "frechet_distance" in names:
        has_floor = "frechet_distance_of_train" in names
        floor = ", down to that of the train split" if has_floor else ""
        click.echo(
            f"Distances are better the lower{floor}; precision, recall, density and "
            "coverage the higher."
        )
    if out:
        files.write_json(out, dataclasses.asdict(measured))
        click.echo(f"The numbers are in {out}.")
