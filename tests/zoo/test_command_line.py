"""The command line: flags as in Python, one-line errors, exit statuses."""

import dataclasses
import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
import warnings

import click
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

import zoo
from zoo import locks, plots, recipes
from zoo.__main__ import main
from zoo.checkpoints import BackupAndResume
from zoo.commands import flags
from zoo.commands.errors import one_line_errors
from zoo.commands.train import (
    _epochs_begun,
    _in_words,
    _warn_of_another_length,
    run_training,
)
from zoo.data import load_arrays
from zoo.recipes import Recipe
from zoo.runs import Run, _logs_before, _Stopwatch
from zoo.variants import VARIANTS


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    zoo.GAN((8, 8, 1), 3, generator_units=(4,), seed=0).save_to_preset(folder)
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_argument_has_a_flag_with_help(name):
    shown = run("train", name, "--help").output
    variant = VARIANTS[name]
    for function in (variant.__init__, variant.compile):
        for argument in inspect.signature(function).parameters:
            if argument not in ("self", "name", "keras_arguments"):
                flag = argument.replace("_", "-")
                assert re.search(rf"--{flag}(?![\w-])", shown), argument
    for flag in ("--jit-compile", "--run-eagerly", "--steps-per-execution"):
        assert flag in shown
    described = flags.described_arguments(inspect.getdoc(variant))
    for option in flags.flags_of(variant.__init__, variant.__doc__, {}):
        assert described[option.name]


def help_of(name):
    """The help of a training, without breaks of lines."""
    return " ".join(run("train", name, "--help").output.split())


def test_the_help_of_a_recipe_has_its_own_settings():
    shown = help_of("dcgan_mnist")
    for text in (
        "discriminator's first layer. [default: 32]",
        "Side of the kernels. [default: 4]",
        "[default: the recipe's Adam]",
        "[default: mnist]",
        "[default: train[:50000]]",
    ):
        assert text in shown
    assert "[default: mnist_m,mnist]" in help_of("dtn_mnist_m_mnist")


@pytest.mark.parametrize("name", ["dtn", "dann"])
def test_the_help_says_that_two_domains_must_be_named(name):
    shown = help_of(name)
    assert re.search(r"Source and target, such as [^[]*\[required\]", shown)


def test_articles():
    assert "Train an AAE." in run("train", "--help").output
    assert "Train a DCGAN." in run("train", "--help").output


def test_an_empty_folder_name_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("train", "gan", "--out", "")
    assert done.exit_code == 1
    assert "--out is empty" in done.output
    assert not list(tmp_path.iterdir())


def test_a_run_by_a_shipped_name_is_shown_as_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.commands.train._train", lambda *training: None)
    for out, handle in (("gan_mnist", "./gan_mnist"), ("mine", "mine")):
        done = run("train", "gan", "--image-size", 8, "--out", out)
        assert done.exit_code == 0, done.output
        assert f"python -m zoo sample {handle} --out samples.png" in done.output


def test_labels_for_a_model_without_use_for_them_are_refused(tmp_path):
    done = run("train", "dcgan", "--labelled", 100, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "learns from no labels" in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            ["transfer", "PRESET", "--data", "digits"],
            "is of the class GAN. This command is for models of DTN.",
        ),
        (["latents", "PRESET", "--data", "digits"], "is for models of AAE, VAE."),
        (
            ["sample", "classifier_mnist"],
            "the class Classifier. This command is for models of GAN, DCGAN,",
        ),
    ],
)
def test_a_command_says_for_which_models_it_is(preset, command, words):
    done = run(*(str(preset) if part == "PRESET" else part for part in command))
    assert done.exit_code == 1
    assert words in done.output


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("none", None),
        ("None", None),
        ("hinge", "hinge"),
        ('{"class_name": "L2"}', {"class_name": "L2"}),
        (
            "adam:learning_rate=1e-4,beta_1=0.5",
            {
                "class_name": "adam",
                "config": {"learning_rate": 1e-4, "beta_1": 0.5},
            },
        ),
    ],
)
def test_values_on_the_command_line(text, value):
    assert flags.Spec("VALUE").convert(text, None, None) == value


@pytest.mark.parametrize(
    ("argument", "text", "value"),
    [
        ("latent_dim", "12", 12),
        ("latent_dim", "none", None),
        ("averaging", "0.9", 0.9),
        ("metrics", "mse,mae", ["mse", "mae"]),
        ("prior", "normal", "normal"),
    ],
)
def test_values_of_arguments_that_default_to_none(argument, text, value):
    assert flag(zoo.AAE, argument).type.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("aae_mnist_semisupervised", "labelled"),
        ("dann_mnist_mnist_m", "image_size"),
        ("dann_mnist_mnist_m", "channels"),
    ],
)
def test_what_a_recipe_asks_of_its_data_is_left_out_by_none(
    name, argument, monkeypatch
):
    followed = []
    monkeypatch.setattr(
        "zoo.commands.train.run_training",
        lambda recipe, *how: followed.append(recipe),
    )
    flag_of_it = f"--{argument.replace('_', '-')}"
    for value in (12, "none"):
        done = run("train", name, flag_of_it, value)
        assert done.exit_code == 0, done.output
    assert [recipe.data[argument] for recipe in followed] == [12, None]


@pytest.mark.parametrize(
    ("text", "integers"), [("28,28,1", [28, 28, 1]), ("3", [3]), ("3,", [3])]
)
def test_integers_on_the_command_line(text, integers):
    assert flags.Integers().convert(text, None, None) == integers


def test_objects_by_their_short_names():
    text = "gaussian_mixture:num_classes=5,radius=4"
    config = flag(zoo.AAE, "prior").type.convert(text, None, None)
    prior = keras.saving.deserialize_keras_object(config)
    assert isinstance(prior, zoo.priors.GaussianMixture)
    assert (prior.num_classes, prior.radius) == (5, 4)


def flag(variant, argument):
    options = itertools.chain(
        flags.flags_of(variant.__init__, variant.__doc__, {}),
        flags.flags_of(variant.compile, inspect.getdoc(variant.compile), {}),
    )
    return next(option for option in options if option.name == argument)


def test_list_says_what_there_is_and_what_was_measured_of_it():
    done = run("list")
    assert done.exit_code == 0
    variants, trained, untrained = (
        {entry.split()[0]: entry for entry in re.split(r"\n  (?=\S)", part)[1:]}
        for part in done.output.split("\n\n")
    )
    assert [*variants] == [*VARIANTS]
    presets = zoo.list_presets()
    assert [*trained] == [*presets]
    assert {*untrained} == {*recipes.names()} - {*presets}
    for name, entry in trained.items():
        for label, value in presets[name]["measured"].items():
            metric, _, network = label.partition("[")
            assert f"{metric} {value}" in entry
            assert network.rstrip("]") in entry
        assert ("500 real" in entry) == ("afhq" in name)
        weights, data = (presets[name]["licence"][of] for of in ("weights", "data"))
        assert f"licence: {weights}" in entry
        assert (f"(the data: {data})" in entry) == (weights != data)


def test_sample_writes_a_grid(preset, tmp_path):
    done = run("sample", preset, "-n", 6, "--columns", 3, "--out", tmp_path / "x.png")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "x.png").size == (3 * 10 + 2, 2 * 10 + 2)


def test_sample_shows_real_images_on_the_left(preset, tmp_path):
    asked = ["-n", 4, "--columns", 2, "--beside", "digits", "--out", tmp_path / "x.png"]
    done = run("sample", preset, *asked)
    assert done.exit_code == 0, done.output
    real, _ = load_arrays("digits", image_size=8, limit=4)
    samples = zoo.from_preset(preset).generate(4)
    left, right = (plots.image_grid(images, 2) for images in (real, samples))
    with Image.open(tmp_path / "x.png") as shown:
        np.testing.assert_array_equal(
            shown, plots.beside(left, right, ("real", "generated"))
        )


def test_as_many_real_images_are_shown_as_samples(tmp_path):
    # A class a column makes a whole row, more than was asked for.
    asked = ["-n", 3, "--beside", "digits", "--out", tmp_path / "x.png"]
    done = run("sample", "cgan_mnist", *asked)
    assert done.exit_code == 0, done.output
    real, _ = load_arrays("digits", limit=10)
    samples = zoo.from_preset("cgan_mnist").generate(seeds=[0] * 10, labels=range(10))
    left, right = (plots.image_grid(images, 10) for images in (real, samples))
    with Image.open(tmp_path / "x.png") as shown:
        np.testing.assert_array_equal(
            shown, plots.beside(left, right, ("real", "generated"))
        )


def tiny_dtn():
    features = zoo.Classifier((16, 16, 1), 10, filters=(4,), seed=0).features
    return zoo.DTN(features, generator_filters=2, discriminator_filters=2, seed=0)


def test_transfer_shows_what_becomes_of_images_on_their_right(tmp_path):
    dtn = tiny_dtn()
    dtn.save_to_preset(tmp_path / "dtn")
    asked = ["--data", "digits", "-n", 4, "--columns", 2, "--out", tmp_path / "x.png"]
    done = run("transfer", tmp_path / "dtn", *asked)
    assert done.exit_code == 0, done.output
    source, _ = load_arrays("digits", "test", image_size=16, limit=4)
    result = zoo.images.to_uint8(dtn.transfer(source))
    pairs = np.stack([source, result], axis=1).reshape(2, 4, 16, 16, 1)
    expected = plots.table(list(pairs), ["", ""], ["source", "result"] * 2)
    with Image.open(tmp_path / "x.png") as shown:
        np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "dcgna"], 2, "no variant or recipe 'dcgna'. Did you mean 'dcgan'"),
        (["train", "gan", "--epochs", "0"], 2, "Invalid value"),
        (["train", "gan", "--image-shape", "a,b"], 2, "not a list of integers"),
        (["train", "gan", "--generator-optimizer", "adam:x"], 2, "word:key=value"),
        (["sample", "no_such_preset"], 1, "Unknown preset"),
        (["sample", "runs/no_such_run"], 1, "There is no folder runs/no_such_run"),
        (["train", "gan", "--averaging", "abc"], 2, "not a valid float"),
        (["train", "gan", "--latent-dim", "2.5"], 2, "not a valid integer"),
        (
            ["train", "gan", "--prior", "normal:stddev=2"],
            2,
            "missing a required argument: 'width'",
        ),
        (["train", "gan", "--seed", "-1"], 2, "-1 is not in the range"),
        (["train", "gan", "--prior", "uniform:width=2,low=a"], 2, "low='a'"),
        (["train", "gan", "--loss", "hinge:foo=1"], 2, "can't be built"),
        (
            ["train", "gan", "--generator-optimizer", "adam:beta_1=o.5"],
            1,
            "generator_optimizer takes a number. Received: beta_1='o.5'",
        ),
        (
            ["train", "gan", "--generator-optimizer", "adam:learning_rate=NaN"],
            1,
            "generator_optimizer can't be built",
        ),
        (
            ["train", "gan", "--generator-optimizer", "adam:lr=1"],
            1,
            "generator_optimizer can't be built: Argument(s) not recognized: {'lr': 1}",
        ),
        (
            ["train", "gan", "--workers", 2, "--strategy", "mirrored"],
            1,
            "Received: --workers 2 --strategy mirrored",
        ),
        (["sample", "gan_gaussian1d"], 1, "no images"),
        (["walk", "gan_gaussian1d"], 1, "no images"),
        (["neighbours", "gan_gaussian1d", "--query", "digits"], 1, "no images"),
        (["train", "gan", "--prior", '{"name": "normal"}'], 2, "no object as Keras"),
        (["train", "gan", "--prior", '{"class_name": ["a"]}'], 2, "no object as Keras"),
        (["train", "gan", "--loss", "[1]"], 2, "no object as Keras"),
        (
            ["train", "gan", "--generator-optimizer", '{"learning_rate": 1}'],
            2,
            "no object as Keras",
        ),
        (
            [
                "train",
                "gan",
                "--generator-optimizer",
                '{"class_name": "adam", "config": [1]}',
            ],
            2,
            "no object as Keras",
        ),
        (["train", "gan", "--data", ""], 1, "A data set is a name"),
        (["train", "gan", "--metrics", "mse,foo"], 2, "'foo' is no metric of Keras"),
        (["train", "dtn", "--data", "digits,"], 1, "A data set is a name"),
        (["sample", "dcgan_mnist", "-n", 10**15], 1, "does not fit into memory"),
        (
            ["sample", "cgan_mnist", "-n", 10**30, "--columns", 2, "--labels", "1"],
            1,
            "cannot fit",
        ),
        (["invert", "gan_gaussian1d"], 1, "no images"),
        (["invert", "dcgan_mnist", "--seed", 2**70], 2, "not in the range"),
        (["sample", "."], 1, "neither a preset nor a finished run"),
        (["sample", "dcgan_svhn_32"], 1, "has not been trained yet"),
        (["sample", "cgan_mnist", "--labels", ","], 2, "not a list of integers"),
        (["sample", "dcgan_mnist", "--seed", 2**70], 1, "Seeds have 64 bits"),
        (["sample", "cgan_mnist", "--seed", 2**70], 1, "Seeds have 64 bits"),
        (["walk", "gan_mnist", "--seeds", f"0,{2**70}"], 1, "integers of 64 bits"),
        (["sample", ""], 1, "Unknown preset"),
        (["evaluate", "dcgan_mnist", "--data", "digits", "--seed", -3], 2, "-3 is not"),
        (
            ["evaluate", "dcgan_mnist", "--data", "digits", "--json", "no/x.json"],
            2,
            "There is no folder no",
        ),
        (
            ["evaluate", "dcgan_mnist", "--data", "no_such_data", "--json", "/proc/x"],
            2,
            "Nothing can be written to /proc",
        ),
        (["sample", "gan_mnist", "--out", "no/x.png"], 2, "There is no folder no"),
        (["walk", "gan_mnist", "--out", "x.txt"], 2, "x.txt names no picture"),
        (
            [
                "neighbours",
                "gan_mnist",
                "--data",
                "digits",
                "--features",
                "gan_gaussian1d",
            ],
            1,
            "a model with `embed` or `encode`",
        ),
        (["train", "gan", "--seed", "9" * 400], 2, "not in the range"),
        (
            ["train", "gan", "--generator-optimizer", f"adam:x={'9' * 400}"],
            1,
            "generator_optimizer can't be built",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, status, message):
    done = run(*arguments)
    assert done.exit_code == status
    assert message in done.output
    assert "Traceback" not in done.output


def test_a_network_with_layers_that_nobody_knows_is_one_line(tmp_path):
    class Twice(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    keras.Sequential([keras.Input((3,)), Twice()]).save(tmp_path / "net.keras")
    done = run("train", "gan", "--generator", tmp_path / "net.keras")
    assert done.exit_code == 2
    assert "net.keras' can't be loaded: Could not locate class 'Twice'" in done.output
    assert "registered_name" not in done.output


def test_errors_of_tensorflow_are_one_line():
    asked = {"discriminator_units": (4, 4, 4), "generator_units": (4, 4, 4), "seed": 0}
    model = zoo.CGAN((2, 2, 1), num_classes=3, latent_dim=3, **asked)
    model.compile()
    images, labels = np.zeros((8, 2, 2, 1), np.float32), np.arange(8)
    with pytest.raises(click.ClickException) as caught, one_line_errors():
        model.fit(images, labels, batch_size=8, verbose=0)
    message = caught.value.message
    assert "labels must be in 0 ... 2, or -1: unlabelled" in message
    assert not re.search(r"\n|node|\[Op", message)


def test_warnings_are_one_line(tmp_path):
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    asked = ["sample", "dcgan_mnist", "-n", "1", "--beside", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *asked, "--out", tmp_path / "grid.png"],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == (
        f"Warning: {tmp_path} holds other files than images, which are left out: "
        "notes.txt"
    )


def test_a_network_too_large_for_memory_is_one_line_and_no_run(tmp_path):
    small = ["--image-size", 8, "--out", tmp_path / "run"]
    done = run("train", "gan", *small, "--latent-dim", 10**13)
    assert done.exit_code == 1
    assert "Error: This does not fit into memory" in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_settings_that_do_not_train_leave_what_was_there(tmp_path, kind):
    out = tmp_path / "run"
    (tmp_path / "real").mkdir()
    out.symlink_to("real") if kind == "link" else out.mkdir()
    diverging = ["--generator-optimizer", "sgd:learning_rate=1e30"]
    done = run("train", "gan", "--image-size", 8, "--out", out, *diverging)
    assert "Lower a learning rate" in done.output
    assert out.exists()
    assert not list(out.iterdir())


def test_two_trainings_do_not_write_to_one_folder(tmp_path):
    settings = ["gan", "--image-size", 8, "--epochs", 1, "--out", tmp_path / "run"]
    (tmp_path / "run").mkdir()
    with locks.alone_in(tmp_path / "run"):
        done = run("train", *settings)
    assert done.exit_code == 1
    assert "Another training writes to" in done.output
    assert not list((tmp_path / "run").iterdir())
    assert run("train", *settings).exit_code == 0


def test_a_run_that_began_meanwhile_is_not_taken_over(tmp_path):
    one, other = (
        Run(tmp_path / "run", Recipe("gan", {"name": "digits"}, seed=seed))
        for seed in (1, 2)
    )
    with one.started():
        pass
    with pytest.raises(FileExistsError, match="holds a run already"), other.started():
        pass
    assert Recipe.load(tmp_path / "run" / "run.json").seed == 1


def test_warnings_after_a_command_have_their_own_form_again():
    form = warnings.formatwarning
    with one_line_errors():
        assert warnings.formatwarning is not form
    with pytest.raises(click.ClickException), one_line_errors():
        raise ValueError("wrong")
    assert warnings.formatwarning is form


@pytest.mark.parametrize("reason", ["No space left on device", "Disk quota exceeded"])
def test_a_full_disk_is_not_called_memory(reason):
    full = tf.errors.ResourceExhaustedError(None, None, f"x; {reason}")
    with pytest.raises(click.ClickException) as caught, one_line_errors():
        raise full
    assert "The disk is full" in caught.value.message


def test_a_pipe_that_nobody_reads_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    _, errors = process.communicate()
    assert process.returncode == 1  # As Click ends, without a word.
    assert "pipe" not in errors
    assert "Error" not in errors


def test_a_path_may_have_a_comma(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = flags.DataName()
    assert name.convert("wide, comma", None, None) == ["wide", " comma"]
    (tmp_path / "wide, comma").mkdir()
    assert name.convert("wide, comma", None, None) == "wide, comma"
    assert name.convert("mnist,mnist_m", None, None) == ["mnist", "mnist_m"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert name.convert("~/wide, comma", None, None) == "~/wide, comma"


def test_pixels_that_are_no_numbers_are_not_drawn(tmp_path):
    model = zoo.GAN((8, 8, 1), 3, generator_units=(4,), seed=0)
    model.generator.set_weights([w * np.nan for w in model.generator.get_weights()])
    model.save_to_preset(tmp_path / "nan")
    dtn = tiny_dtn()
    dtn.generator.set_weights([w * np.nan for w in dtn.generator.get_weights()])
    dtn.save_to_preset(tmp_path / "dtn")
    for command, name, *asked in (
        ("walk", "nan"),
        ("arithmetic", "nan", "-a", 0, "-b", 1, "-c", 2),
        ("neighbours", "nan", "--data", "digits"),
        ("invert", "nan", "--data", "digits", "--steps", 1),
        ("transfer", "dtn", "--data", "digits", "-n", 4),
    ):
        out = tmp_path / f"{command}.png"
        done = run(command, tmp_path / name, *asked, "--out", out)
        assert done.exit_code == 1, done.output
        assert f"The images by {tmp_path / name} are no images: " in done.output
        assert not out.exists()


def test_latents_of_numbers_are_refused(tmp_path):
    zoo.VAE((1,), latent_dim=2, units=(4,), seed=0).save_to_preset(tmp_path / "vae")
    done = run("latents", tmp_path / "vae")
    assert done.exit_code == 1
    assert "makes rows of shape (1,), no images" in done.output


def test_labels_run_in_turn_over_columns(tmp_path):
    asked = ["-n", 5, "--labels", "0,1,2", "--columns", 2, "--out", tmp_path / "x.png"]
    assert run("sample", "cgan_mnist", *asked).exit_code == 0
    samples = zoo.from_preset("cgan_mnist").generate(5, labels=[0, 1, 2, 0, 1])
    expected = np.asarray(zoo.plots.image_grid(samples, 2))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), expected)
    shown = " ".join(run("sample", "--help").output.split())
    assert "one a column; with --columns, a sample each in turn" in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "x"}, "Expected epochs of type int. Received: epochs='x'"),
        ({"data": {"split": "train"}}, "Expected data with the name of a data set"),
        ({"data": ["digits"]}, "Expected data of type dict"),
        ({"variant": 3}, "Expected variant of type str"),
        ({"epoch": 3}, "unexpected keyword argument 'epoch'"),
    ],
)
def test_settings_edited_by_hand_are_checked(changes, message, tmp_path):
    recipe = Recipe("gan", {"name": "digits", "split": "train"})
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**dataclasses.asdict(recipe), **changes}))
    done = run("train", "gan", "--out", tmp_path, "--resume")
    assert done.exit_code == 1
    assert f"{path} is no recipe: " in done.output
    assert message in done.output


def test_an_unknown_setting_of_the_data_is_one_error():
    recipe = Recipe("gan", {"name": "digits", "splits": "train"})
    with pytest.raises(ValueError, match=r"can't be followed.*'splits'"):
        recipe.load_data()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "no_such_data"], "no_such_data"),
        (["--data", "digits,digits"], "GAN trains on one data set. Received"),
        (["--loss", "no_such_loss"], "Expected one of"),
        (["--prior", '{"class_name": "NoSuch"}'], "can't be followed"),
        (["--discriminator-steps", "3"], "discriminator_steps"),
        (["--latent-dim", "3", "--prior", '{"class_name": "Normal"}'], "latent"),
    ],
)
def test_bad_settings_leave_no_folder(arguments, message, tmp_path):
    done = run("train", "gan", "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


def test_images_that_are_no_squares_are_loaded_as_they_are(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 12, 1), np.uint8)
    np.savez(tmp_path / "wide.npz", image=images)
    model = zoo.VAE((8, 12, 1), latent_dim=2, units=(8,), seed=0)
    model.save_to_preset(tmp_path / "model")
    beside = ["--beside", tmp_path / "wide.npz", "-n", 4, "--out", tmp_path / "x.png"]
    found = ["--data", tmp_path / "wide.npz", "--split", "train", "--out"]
    for asked in (
        ["sample", tmp_path / "model", *beside],
        ["latents", tmp_path / "model", *found, tmp_path / "y.png"],
        ["invert", tmp_path / "model", *found, tmp_path / "z.png", "--steps", 1],
    ):
        done = run(*asked)
        assert done.exit_code == 0, done.output
    done = run("latents", tmp_path / "model", "--data", "digits")
    assert done.exit_code == 1
    assert "built for samples of shape (8, 12, 1), in batches" in done.output


def test_networks_of_images_on_numbers_are_warned_of(tmp_path):
    asked = ["--data", "gaussian", "--size", 24, "--epochs", 1, "--batch-size", 12]
    done = run("train", "gan", *asked, "--out", tmp_path / "gan")
    assert done.exit_code == 0, done.output
    assert "the recipes gan_gaussian1d and" in done.stderr
    assert (tmp_path / "gan" / "densities.gif").exists()
    # Whose likelihood is one of pixels.
    done = run("train", "vae", *asked, "--out", tmp_path / "vae")
    assert done.exit_code == 1
    assert "VAE takes pixels from -1 to 1" in done.stderr


def test_fewer_classes_than_the_labels_have_are_refused(tmp_path):
    done = run("train", "cgan", "--num-classes", 5, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "digits are 10 classes. Received: num_classes=5" in done.output
    assert not (tmp_path / "run").exists()


def test_a_recipe_on_data_without_a_test_split_gives_a_model(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "own.npz", image=images, label=np.arange(40) % 10)
    asked = ["--data", tmp_path / "own.npz", "--epochs", 1, "--batch-size", 20]
    done = run("train", "classifier_mnist", *asked, "--out", tmp_path / "run")
    assert "Measure it" not in done.output
    assert done.exit_code == 0, done.output
    assert "The trained model will not be measured" in done.output
    assert "has the splits train" in done.output
    assert zoo.from_preset(tmp_path / "run").classify(images[:1]).shape == (1, 10)
    asked += ["--out", tmp_path / "run", "--resume"]
    assert run("train", "classifier_mnist", *asked).exit_code == 0


def test_what_draws_nothing_is_to_be_measured_once_it_is_trained(tmp_path):
    narrow = ["--image-size", 8, "--filters", 2, "--epochs", 1]
    done = run("train", "classifier", *narrow, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    command = done.output.partition("Measure it: python -m zoo ")[2].split()
    assert command == ["evaluate", str(tmp_path / "run")]
    assert "test_accuracy" in run(*command).output


def test_other_data_are_not_described_as_the_recipe_s(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "own.npz", image=images)
    asked = ["--data", tmp_path / "own.npz", "--split", "train", "--batch-size", 20]
    asked += ["--epochs", 1, "--generator-units", 4, "--discriminator-units", 4]
    done = run("train", "gan_mnist", *asked, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert (
        "rates fall until step 25,000, whatever the epochs, and this training has "
        "2 steps" in done.stderr
    )
    metadata = json.loads((tmp_path / "run" / "model" / "metadata.json").read_text())
    assert not metadata.keys() & {"dataset", "licence"}
    assert metadata["recipe"]["description"] == ""
    assert metadata["paper"] == Recipe.of_preset("gan_mnist").metadata["paper"]


@pytest.mark.parametrize(
    ("name", "settings", "steps", "until"),
    [
        ("CosineDecay", {"decay_steps": 30}, 1, 30),
        ("CosineDecay", {"decay_steps": 30}, 5, 6),
        ("CosineDecay", {"decay_steps": 30, "warmup_steps": 9}, 1, 30),
        (
            "CosineDecay",
            {"decay_steps": 30, "warmup_steps": 9, "warmup_target": 0.1},
            1,
            39,
        ),
        ("PolynomialDecay", {"decay_steps": 30}, 1, 30),
        ("PolynomialDecay", {"decay_steps": 30, "cycle": True}, 1, None),
        ("ExponentialDecay", {"decay_steps": 30, "decay_rate": 0.5}, 1, None),
    ],
)
def test_where_learning_rates_end_to_fall(name, settings, steps, until):
    schedule = {"class_name": name, "config": settings}
    adam = {"class_name": "Adam", "config": {"learning_rate": schedule}}
    scaled = {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": adam}}
    for optimizer in (adam, scaled):
        asked = {"discriminator_optimizer": optimizer, "discriminator_steps": steps}
        recipe = Recipe("gan", {"name": "digits"}, compile=asked)
        assert recipe.falls_until() == until
    assert Recipe("gan", {"name": "digits"}).falls_until() is None


@pytest.mark.parametrize(
    ("decay_steps", "told"), [(79, True), (81, False), (124, False), (126, True)]
)
def test_rates_that_fall_with_the_training_are_no_news(decay_steps, told, capsys):
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, decay_steps)
    optimizer = keras.optimizers.serialize(keras.optimizers.Adam(schedule))
    compiled = {"generator_optimizer": optimizer}
    recipe = Recipe("gan", {"name": "digits"}, compile=compiled, epochs=10)
    _warn_of_another_length(recipe, tf.data.Dataset.range(10))
    assert ("The recipe's learning rates fall" in capsys.readouterr().err) == told


def test_a_run_of_another_recipe_is_not_resumed(tmp_path):
    small = ["--size", 24, "--out", tmp_path / "run"]
    done = run("train", "gan_gaussian1d", *small, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert done.output.count("/step") == 1, "no terminal, so a line an epoch"
    done = run("train", "gan_gaussian1d_minibatch", *small, "--resume")
    assert done.exit_code == 1
    different = "model.discriminator.config.minibatch: False there, True asked for"
    assert different in done.output
    done = run("train", "gan_mnist", "--out", tmp_path / "run", "--resume")
    assert done.exit_code == 1
    assert "data.name: 'gaussian' there, 'mnist' asked for" in done.output
    assert "more." in done.output

    # The number of epochs may differ, and stays where none is given.
    for arguments, epochs in ((["--epochs", 2], 2), ([], 2)):
        done = run("train", "gan_gaussian1d", *small, "--resume", *arguments)
        assert done.exit_code == 0, done.output
        assert Recipe.load(tmp_path / "run" / "run.json").epochs == epochs


def write_images(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.full((8, 8), 10 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_a_run_whose_data_have_changed_is_not_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, 4)
    settings = ["cgan", "--batch-size", 4, "--architecture", "mlp", "--out", "run"]
    done = run("train", *settings, "--data", "pets/", "--epochs", 1)
    assert done.exit_code == 0, done.output
    # A slash behind the folder is what shells complete it by.
    again = ["train", *settings, "--data", "pets", "--epochs", 2, "--resume"]
    (tmp_path / "pets" / "cat").rename(tmp_path / "pets" / "ewe")
    done = run(*again)
    assert done.exit_code == 1
    there, now = "classes ['cat', 'dog'] there", "classes ['dog', 'ewe'] now"
    assert f"8 images of {there}, 8 images of {now}" in done.output
    (tmp_path / "pets" / "ewe").rename(tmp_path / "pets" / "cat")
    (tmp_path / "pets" / "cat" / "0.png").unlink()
    done = run(*again)
    assert "8 images of classes ['cat', 'dog'] there, 7 images of" in done.output
    write_images(tmp_path / "pets" / "cat", 1)
    described = (tmp_path / "run" / "data.json").read_text()
    for damaged in ("", '[{"images": 8}]', "[1]"):
        (tmp_path / "run" / "data.json").write_text(damaged)
        assert "data.json is damaged" in run(*again).output
    (tmp_path / "run" / "data.json").write_text(described)
    assert run(*again).exit_code == 0


def test_logs_that_a_spreadsheet_has_changed_are_named(tmp_path):
    log = tmp_path / "run" / "log.csv"
    settings = ["gan", "--image-size", 8, "--generator-units", 4, "--out", log.parent]
    assert run("train", *settings, "--epochs", 1).exit_code == 0
    recipe = Recipe.load(log.parent / "run.json")
    model = recipe.build()
    header, row = log.read_text().splitlines()
    for damaged in (
        f"{header};\n{row};\n".replace(",", ";"),
        f"{header}\n1.0{row[1:]}\n",
        f"{header}\n{row},0\n",
        f"{header}\n{row[:-1]}?\n",
    ):
        log.write_text(damaged)
        with pytest.raises(ValueError, match=f"{log} is damaged: .* Delete it to go"):
            Run(log.parent, recipe, resume=True).callbacks(model)
        assert log.read_text() == damaged
    again = ["train", *settings, "--epochs", 2, "--resume"]
    assert f"Error: {log} is damaged: " in run(*again).output
    log.unlink()
    Run(log.parent, recipe, resume=True).callbacks(model)


def test_a_row_of_the_log_that_is_cut_short_counts_for_nothing(tmp_path):
    rows = [f"{epoch},0.5" for epoch in range(12)]
    log = tmp_path / "log.csv"
    # Epoch 12, it would have been.
    log.write_text("\n".join(["epoch,loss", *rows, "1"]))
    history, text = _logs_before(log, 12)
    assert history == {"loss": [0.5] * 12}
    assert text.splitlines() == ["epoch,loss", *rows]


def test_a_run_that_diverges_at_once_leaves_no_folder(tmp_path):
    settings = ["gan", "--image-size", 8, "--epochs", 1, "--out", tmp_path / "run"]
    done = run("train", *settings, "--generator-optimizer", "sgd:learning_rate=1e30")
    assert done.exit_code == 1
    assert "Lower a learning rate" in done.output
    assert "checkpoint is" not in done.output
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_got_somewhere_is_not_discarded(tmp_path):
    data = {"name": "digits", "image_size": 8}
    recipe = Recipe("gan", data, {"generator_units": [4], "discriminator_units": [4]})
    run = Run(tmp_path / "run", recipe)
    model = recipe.build()
    recipe.compile_model(model)
    with run.started():
        batches = recipe.load_data()
        model.fit(batches, verbose=0, callbacks=run.callbacks(model)[-1:])
        run.discard()
    assert run.backup.position() == (1, 0)
    assert (run.folder / "run.json").exists()


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ((0, 0), "0 epochs"),
        ((0, 1), "1 batch"),
        ((1, 0), "1 epoch"),
        ((2, 7), "2 epochs and 7 batches"),
    ],
)
def test_how_far_a_training_is_is_said_in_words(position, words):
    assert _in_words(*position) == words


def test_the_seconds_of_all_sittings_add_up(tmp_path):
    stopwatch = _Stopwatch(tmp_path / "seconds.json")
    stopwatch.path.write_text("100")
    stopwatch.on_train_begin()
    stopwatch._start -= 20
    for epoch in range(2):
        stopwatch.on_epoch_end(epoch)
        assert 120 <= int(stopwatch.path.read_text()) < 150


@pytest.mark.parametrize(("mean", "low", "high"), [(4.0, -8, 8), (20.0, -8, 24)])
def test_the_film_of_a_run_has_room_for_its_data(tmp_path, mean, low, high):
    recipe = Recipe.of_preset("gan_gaussian1d")
    recipe.data |= {"mean": mean, "std": 0.0}
    recipe.compile |= {"discriminator_steps": 4}
    model = recipe.build()
    recipe.compile_model(model)
    callbacks = Run(tmp_path / "run", recipe).callbacks(model)
    (film,) = [c for c in callbacks if isinstance(c, zoo.callbacks.DensityAnimation)]
    assert (film.grid[0], film.grid[-1]) == (low, high)
    # So many rows does the discriminator see at a time.
    assert film.batch_size == recipe.batch_size / 4


def test_a_run_can_be_ended_with_the_epoch_that_it_is_in(tmp_path):
    out = tmp_path / "run"
    settings = ["gan", "--image-size", 8, "--generator-units", 4, "--out", out]
    done = run("train", *settings, "--finish")
    assert done.exit_code == 1
    assert "no run in" in done.output
    assert not out.exists()
    assert run("train", *settings, "--epochs", 2).exit_code == 0
    # As if it had been interrupted.
    shutil.rmtree(out / "model")
    recipe = Recipe.load(out / "run.json")
    recipe.epochs = 9
    recipe.save(out / "run.json")
    assert "--finish" in run("sample", out).output
    done = run("train", *settings, "--epochs", 9, "--finish")
    assert done.exit_code == 0, done.output
    assert (out / "model").exists()
    assert Recipe.load(out / "run.json").epochs == 2
    assert len((out / "log.csv").read_text().splitlines()) == 3


def test_a_model_that_cannot_be_measured_any_more_is_kept(tmp_path):
    data = {"name": "digits", "image_size": 8}
    model = {"image_shape": (8, 8, 1), "latent_dim": 2, "units": (4,), "seed": 0}
    recipe = Recipe("vae", data, model=model, test_split="gone")
    trained = recipe.build()
    with pytest.raises(ValueError, match="no split 'gone'"):
        Run(tmp_path / "run", recipe).finish(trained)
    kept = zoo.from_preset(tmp_path / "run")
    np.testing.assert_array_equal(kept.generate(2), trained.generate(2))
    assert "measured" not in zoo.presets.metadata_of(tmp_path / "run")


@pytest.mark.parametrize(
    ("position", "epoch"), [((0, 0), 1), ((0, 3), 1), ((2, 0), 2), ((2, 1), 3)]
)
def test_an_epoch_that_has_begun_is_finished(position, epoch, monkeypatch, tmp_path):
    monkeypatch.setattr(BackupAndResume, "position", lambda backup: position)
    assert _epochs_begun(tmp_path) == epoch


def test_unknown_data_are_one_error():
    done = run("train", "classifier_mnist", "--data", "no_such_data")
    assert done.exit_code == 1
    assert "will not be measured" not in done.output


def test_a_recipe_says_before_training_that_its_model_could_not_be_measured(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "own.npz", image=images, label=np.arange(40) % 10)
    recipe = Recipe.of_preset("classifier_mnist")
    recipe.data = {"name": str(tmp_path / "own.npz"), "split": "train"}
    recipe.batch_size = 20
    with pytest.raises(ValueError, match=r"has the splits train.*Received: 'test'"):
        run_training(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_optimizer_on_the_command_line_reaches_compile():
    spec = flags.Spec("OPTIMIZER").convert("adam:learning_rate=1e-3", None, None)
    recipe = Recipe(
        "gan",
        {"name": "digits", "image_size": 8},
        model={"generator_units": (4,), "discriminator_units": (4,)},
        compile={"generator_optimizer": spec, "loss": "hinge"},
    )
    model = recipe.build()
    recipe.compile_model(model)
    assert isinstance(model.generator_optimizer, keras.optimizers.Adam)
    assert float(model.generator_optimizer.learning_rate) == pytest.approx(1e-3)
    assert recipe.compile["generator_optimizer"]["class_name"] == "adam"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [
                *("gan", "--generator-optimizer"),
                '{"class_name": "Adam", "config": {"learning_rate": '
                '{"class_name": "CosineDecay", "config": {}}}}',
            ],
            "can't be followed.*CosineDecay",
        ),
        (["infogan", "--num-categories", "0"], "Received: num_categories=0"),
        (["cgan", "--generator-units", "8"], r"Received: generator_units=\(8,\)"),
    ],
)
def test_settings_that_cannot_be_are_one_line(tmp_path, arguments, message):
    done = run("train", *arguments, "--data", "digits", "--out", str(tmp_path / "run"))
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert re.search(message, done.output)
    assert not (tmp_path / "run").exists()


def test_names_of_classes_are_those_of_a_folder_wherever_the_model_goes(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "photos" / kind / "a.png")
    units = {"generator_units": (4, 4, 4)}
    recipe = Recipe("cgan", {"name": str(tmp_path / "photos")}, model=units)
    Run(tmp_path / "run", recipe).finish(recipe.build())
    (tmp_path / "run" / "model").rename(tmp_path / "mine")
    done = run("sample", tmp_path / "mine", "-n", 2, "--out", tmp_path / "x.png")
    assert done.output.endswith("The classes are 0 cat, 1 dog.\n")
