"""`python -m zoo train`: from a variant or a recipe to a run folder."""

import contextlib
import copy
import inspect
import itertools
import pathlib
import sys

import click
import keras
import tensorflow as tf

from zoo import checks, distribution, presets, recipes, runs
from zoo.adversarial import AdversarialModel
from zoo.checkpoints import BackupAndResume, DivergenceError
from zoo.commands import flags, launcher
from zoo.dtn import DTN
from zoo.generative import GenerativeModel
from zoo.recipes import Recipe
from zoo.runs import Run
from zoo.variants import VARIANTS


class TrainGroup(click.Group):
    """A subcommand for each variant, and for each recipe by its preset's name."""

    def list_commands(self, ctx):
        """Lists the variants, then the recipes."""
        return [*VARIANTS, *recipes.names()]

    def resolve_command(self, ctx, args):
        """Finds the command, or says which names are like the one given."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            hint = checks.did_you_mean(name, self.list_commands(ctx))
            ctx.fail(
                f"There is no variant or recipe {name!r}.{hint} "
                "`python -m zoo list` names them all."
            )
        return super().resolve_command(ctx, args)

    def get_command(self, ctx, name):
        """Builds the command with a flag for each argument of its variant."""
        if name in VARIANTS:
            recipe = Recipe(name, {"name": "digits", "split": "train"})
            class_name = VARIANTS[name].__name__
            article = "an" if class_name[0] in "AI" else "a"
            return _command(name, recipe, f"Train {article} {class_name}.")
        if name in recipes.names():
            recipe = Recipe.of_preset(name)
            return _command(name, recipe, recipe.description)
        return None


@click.group(cls=TrainGroup)
def train():
    """Train a variant on any data, or a recipe as it is.

    Arguments of the constructor and of `compile` have a flag each, under the same
    name. Optimizers are given as adam:learning_rate=2e-4,beta_1=0.5, and so are priors
    with arguments, as gaussian_mixture:num_classes=5,radius=4.
    """


def _command(name, recipe, description):
    variant = VARIANTS[recipe.variant]
    groups = {
        "model": flags.flags_of(variant.__init__, variant.__doc__, recipe.model),
        "compile": flags.flags_of(
            variant.compile, inspect.getdoc(variant.compile), recipe.compile
        ),
        "data": _data_flags(recipe.data, variant.domains),
    }

    def callback(out, resume, finish, strategy, replicas, workers, **given):
        if out == "":
            raise ValueError("--out is empty. Name the folder of the run.")
        out = out or f"runs/{name}"
        resume = resume or finish
        recorded = _recorded(out, recipe.variant) if resume else None
        # A variant's name stands for any settings, a recipe's for its own.
        named = recorded if recorded and name in VARIANTS else recipe
        followed = copy.deepcopy(named)
        if recorded:
            # Neither says how it is trained, and the data may lack a recipe's split.
            followed.epochs, followed.test_split = recorded.epochs, recorded.test_split
        given = {key: value for key, value in given.items() if _is_given(key)}
        for group, options in groups.items():
            arguments = {o.name: given.pop(o.name) for o in options if o.name in given}
            getattr(followed, group).update(arguments)
        vars(followed).update(given)
        if finish:
            followed.epochs = _epochs_begun(out)
        if workers > 1:
            if strategy not in ("none", "multi_worker_mirrored"):
                raise ValueError(
                    "Workers train under multi_worker_mirrored. "
                    f"Received: --workers {workers} --strategy {strategy}"
                )
            launcher.launch(workers)
        else:
            other_data = followed.data["name"] != named.data["name"]
            run_training(followed, out, resume, strategy, replicas, other_data)

    return click.Command(
        name,
        callback=callback,
        params=[*_run_flags(recipe), *itertools.chain.from_iterable(groups.values())],
        help=description,
        short_help=description,
    )


def _recorded(out, variant):
    """Returns the recipe of the run in a folder, or None where there is no run."""
    path = pathlib.Path(out) / runs.SETTINGS
    if not path.exists():
        return None
    recipe = Recipe.load(path)
    if recipe.variant != variant:
        raise ValueError(f"The run in {out} trains {recipe.variant}, not {variant}.")
    return recipe


def _epochs_begun(out):
    """Returns in which epoch the run in a folder is, from 1."""
    position = BackupAndResume(pathlib.Path(out) / runs.CHECKPOINTS).position()
    if position is None:
        raise ValueError(f"There is no run in {out} that has begun to train.")
    epoch, batch = position
    return max(1, epoch + (batch > 0))


def _is_given(key):
    source = click.get_current_context().get_parameter_source(key)
    return source is click.core.ParameterSource.COMMANDLINE


def _fit_to_other_data(recipe):
    """Drops what a recipe says of its own data, and its test split where it lacks."""
    recipe.description = ""
    for name in ("dataset", "licence"):
        recipe.metadata.pop(name, None)
    try:
        recipe.check_measurable()
    except ValueError as error:
        recipe.test_split = None
        click.echo(f"The trained model will not be measured: {error}", err=True)


def _data_flags(data, domains):
    what = "digits, gaussian, a tensorflow-datasets name, a folder or an .npz file"
    if domains == 2:
        what = f"Source and target, such as mnist_m,mnist, of these: {what}."
    named = data["name"]
    # A variant by itself has one data set, which does not do for two domains.
    one_for_two = domains == 2 and isinstance(named, str)
    # `none` leaves out what a recipe has.
    count = flags.OrNone(click.INT)

    def option(name, kind, text, default=None):
        return click.Option(
            [f"--{name.replace('_', '-')}"],
            type=kind,
            help=flags.with_default(text, data.get(name, default)),
        )

    return [
        click.Option(
            ["--data", "name"],
            type=flags.DataName(),
            help=flags.with_default(
                what, inspect.Parameter.empty if one_for_two else named
            ),
        ),
        option("split", str, "Split, such as train[:50000].", "train"),
        option("image_size", count, "Side to resize images to; none for their own."),
        option("channels", count, "1 for grey, 3 for colour; none for their own."),
        option("labelled", count, "Keep only so many labels; none for all."),
        option("labelled_share", float, "Share of a batch with those labels.", 0.5),
        option("mean", float, "Mean of gaussian.", 4),
        option("std", float, "Deviation of gaussian.", 0.5),
        option("size", int, "Rows of gaussian.", 10_000),
    ]


def _run_flags(recipe):
    return [
        click.Option(["--out"], help="Folder of the run. [default: runs/<name>]"),
        click.Option(
            ["--resume"], is_flag=True, help="Continue the run there, if there is one."
        ),
        click.Option(
            ["--finish"],
            is_flag=True,
            help="Continue the run there, and end it with the epoch that it is in, "
            "whatever --epochs says.",
        ),
        click.Option(
            ["--epochs"],
            type=click.IntRange(1),
            help=f"Passes over the data. [default: {recipe.epochs}]",
        ),
        click.Option(
            ["--batch-size"],
            type=click.IntRange(1),
            help=f"Rows of a batch of all replicas. [default: {recipe.batch_size}]",
        ),
        click.Option(
            ["--seed"],
            # As Keras and numpy take it.
            type=click.IntRange(0, 2**32 - 1),
            help=f"Seed of weights, noise and data order. [default: {recipe.seed}]",
        ),
        click.Option(
            ["--strategy"],
            type=click.Choice(distribution.NAMES),
            default="none",
            help="How to use several devices. [default: none]",
        ),
        click.Option(
            ["--replicas"], type=click.IntRange(1), help="Devices of mirrored."
        ),
        click.Option(
            ["--workers"],
            type=click.IntRange(1),
            default=1,
            help="Start so many worker processes on this machine. [default: 1]",
        ),
    ]


def run_training(
    recipe, out, resume=False, strategy="none", replicas=None, other_data=False
):
    """Trains as a recipe says and writes the run folder.

    Args:
        recipe: The `Recipe`.
        out: Folder of the run.
        resume: As `Run` takes it.
        strategy: As `zoo.distribution.strategy` takes it.
        replicas: The same.
        other_data: Whether the data are not those that the recipe was made for: what
            it says of them is then not said of the model, and where they lack its test
            split, the model is not measured.

    Raises:
        SystemExit: With 128 plus its number, if a signal ended the training early.
    """
    strategy = distribution.strategy(strategy, replicas)
    keras.utils.set_random_seed(recipe.seed)
    # The same bits on every run; docs/training.md says what it costs. Keras would leave
    # XLA out.
    if not recipe.compile.get("jit_compile"):
        tf.config.experimental.enable_op_determinism()
    run = Run(out, recipe, resume)
    train_data = recipe.load_data()
    if other_data:
        _fit_to_other_data(recipe)
    recipe.check_measurable()
    with strategy.scope():
        model = recipe.build()
        recipe.compile_model(model)
    if recipe.data["name"] == "gaussian" and "generator" not in recipe.model:
        click.echo(
            "The default networks make numbers from -1 to 1, which gaussian is not "
            "within: the recipes gan_gaussian1d and gan_gaussian1d_minibatch have "
            "networks for it.",
            err=True,
        )
    chief = distribution.is_chief(strategy)
    if chief:
        _warn_of_another_length(recipe, train_data)
    with run.started() if chief else contextlib.nullcontext():
        _train(run, model, train_data, chief)
    click.echo(f"The model is in {run.folder / runs.MODEL}.")
    # The name of a built-in preset alone is that preset's.
    handle = f"./{out}" if out in presets.list_presets() else out
    if isinstance(model, AdversarialModel) and model.image_shape == (1,):
        click.echo(f"Look at it: {run.folder / runs.DENSITIES}")
    elif isinstance(model, GenerativeModel) and len(model.image_shape) == 3:
        click.echo(f"Look at it: python -m zoo sample {handle} --out samples.png")
    elif isinstance(model, DTN):
        source, _ = recipe.data["name"]
        click.echo(f"Look at it: python -m zoo transfer {handle} --data {source}")
    elif not other_data or recipe.test_split is not None:
        click.echo(f"Measure it: python -m zoo evaluate {handle}")


def _warn_of_another_length(recipe, train_data):
    """Says so where learning rates fall by steps that this training does not have."""
    steps = recipe.epochs * int(train_data.cardinality())
    until = recipe.falls_until()
    # A recipe may well stop somewhat before or after.
    if until is not None and steps > 0 and not 0.8 < until / steps < 1.25:
        click.echo(
            f"The recipe's learning rates fall until step {until:,}, whatever the "
            f"epochs, and this training has {steps:,} "
            f"step{'' if steps == 1 else 's'}: they will "
            + ("not have fallen by its end." if steps < until else "be lowest before."),
            err=True,
        )


def _train(run, model, train_data, chief):
    """Trains the model of a run to its end, and writes it there."""
    with run.writing():
        epochs = run.recipe.epochs
        if run.finished:
            click.echo(
                f"Nothing to train: {epochs} epoch{'' if epochs == 1 else 's'} of "
                f"{epochs} are done. To train on, give a larger --epochs."
            )
        try:
            model.fit(
                train_data,
                epochs=epochs,
                # A terminal sees a bar move; a file gets each epoch's numbers.
                verbose=1 if sys.stdout.isatty() else 2,
                callbacks=run.callbacks(model),
            )
        except (
            ValueError,
            DivergenceError,
            MemoryError,
            tf.errors.InvalidArgumentError,
            tf.errors.ResourceExhaustedError,
        ):
            if chief:
                # Settings that nothing can be trained with are not a run.
                run.discard()
            raise
    if run.backup.interrupted and not chief:
        click.echo(f"Stopped by {run.backup.interrupted.name}.", err=True)
        raise SystemExit(128 + run.backup.interrupted)
    if run.backup.interrupted:
        click.echo(
            f"Stopped by {run.backup.interrupted.name} after "
            f"{_in_words(*run.backup.position())}. Everything is saved: "
            f"{run.how_to_go_on}.",
            err=True,
        )
        raise SystemExit(128 + run.backup.interrupted)
    with run.writing():
        run.finish(model)


def _in_words(epochs, batches):
    """Returns how far a training is, such as "2 epochs and 1 batch"."""
    parts = []
    if epochs or not batches:
        parts.append(f"{epochs} epoch{'' if epochs == 1 else 's'}")
    if batches:
        parts.append(f"{batches} batch{'' if batches == 1 else 'es'}")
    return " and ".join(parts)
