"""The command line: flags as in Python, one-line errors, exit statuses."""

import inspect
import itertools
import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import zoo
from zoo.__main__ import main
from zoo.commands import flags
from zoo.commands.train import run_training
from zoo.recipes import Recipe
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
                assert "--" + argument.replace("_", "-") in shown
    described = flags.described_arguments(inspect.getdoc(variant))
    for option in flags.flags_of(variant.__init__, variant.__doc__):
        assert described[option.name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("none", None),
        ("hinge", "hinge"),
        ('{"a": [1]}', {"a": [1]}),
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


def test_objects_by_their_short_names():
    text = "gaussian_mixture:num_classes=5,radius=4"
    config = flag(zoo.AAE, "prior").type.convert(text, None, None)
    prior = keras.saving.deserialize_keras_object(config)
    assert isinstance(prior, zoo.priors.GaussianMixture)
    assert (prior.num_classes, prior.radius) == (5, 4)


def flag(variant, argument):
    options = itertools.chain(
        flags.flags_of(variant.__init__, variant.__doc__),
        flags.flags_of(variant.compile, inspect.getdoc(variant.compile)),
    )
    return next(option for option in options if option.name == argument)


def test_list_names_variants_and_recipes():
    shown = run("list")
    assert shown.exit_code == 0
    for name in (*VARIANTS, "gan_gaussian1d"):
        assert name in shown.output


def test_sample_writes_a_grid(preset, tmp_path):
    done = run("sample", preset, "-n", 6, "--columns", 3, "--out", tmp_path / "x.png")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "x.png").size == (3 * 10 + 2, 2 * 10 + 2)


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
        (["train", "gan", "--prior", "normal:stddev=2"], 2, "can't be built"),
        (["train", "gan", "--loss", "hinge:foo=1"], 2, "can't be built"),
        (["sample", "gan_gaussian1d"], 1, "no images"),
        (["walk", "gan_gaussian1d"], 1, "no images"),
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
    ],
)
def test_mistakes_are_one_line(arguments, status, message):
    done = run(*arguments)
    assert done.exit_code == status
    assert message in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "no_such_data"], "no_such_data"),
        (["--data", "digits,digits"], "A GAN trains on one data set. Received"),
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
    assert "built for samples of shape (8, 12, 1). Received" in done.output


def test_networks_of_images_on_numbers_are_warned_of(tmp_path):
    asked = ["--data", "gaussian", "--size", 24, "--epochs", 1, "--batch-size", 12]
    for name in ("gan", "vae"):
        done = run("train", name, *asked, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert "the recipes gan_gaussian1d and" in done.stderr
    assert (tmp_path / "gan" / "densities.gif").exists()
    assert not (tmp_path / "vae" / "densities.gif").exists()


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
    assert done.exit_code == 0, done.output
    assert "The trained model will not be measured" in done.output
    assert "has the splits train" in done.output
    assert zoo.from_preset(tmp_path / "run").classify(images[:1]).shape == (1, 10)
    asked += ["--out", tmp_path / "run", "--resume"]
    assert run("train", "classifier_mnist", *asked).exit_code == 0


def test_other_data_are_not_described_as_the_recipe_s(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "own.npz", image=images)
    asked = ["--data", tmp_path / "own.npz", "--split", "train", "--batch-size", 20]
    asked += ["--epochs", 1, "--generator-units", 4, "--discriminator-units", 4]
    done = run("train", "gan_mnist", *asked, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    metadata = json.loads((tmp_path / "run" / "model" / "metadata.json").read_text())
    assert not metadata.keys() & {"dataset", "licence"}
    assert metadata["recipe"]["description"] == ""
    assert metadata["paper"] == Recipe.of_preset("gan_mnist").metadata["paper"]


def test_a_run_of_another_recipe_is_not_resumed(tmp_path):
    small = ["--size", 24, "--out", tmp_path / "run"]
    done = run("train", "gan_gaussian1d", *small, "--epochs", 1)
    assert done.exit_code == 0, done.output
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


def test_a_weight_may_be_a_number_or_a_schedule():
    flag = flags.Spec("NUMBER")
    assert flag.convert("0.5", None, None) == 0.5
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 781, 1.62)
    given = json.dumps(keras.saving.serialize_keras_object(schedule))
    recipe = Recipe(
        "infogan",
        {"name": "digits", "image_size": 16},
        compile={"categorical_weight": flag.convert(given, None, None)},
    )
    weight = recipe.compile_arguments()["categorical_weight"]
    assert float(weight(781)) == pytest.approx(0.0162)
    done = run("train", "infogan", "--categorical-weight", "fast")
    assert done.exit_code == 1
    assert "or schedules of keras" in done.output
    assert "Traceback" not in done.output


def test_an_optimizer_on_the_command_line_reaches_compile():
    spec = flags.Spec("OPTIMIZER").convert("adam:learning_rate=1e-3", None, None)
    recipe = Recipe(
        "gan",
        {"name": "digits", "image_size": 8},
        model={"generator_units": (4,), "discriminator_units": (4,)},
        compile={"generator_optimizer": spec, "loss": "hinge"},
    )
    model = recipe.build()
    model.compile(**recipe.compile_arguments())
    assert isinstance(model.generator_optimizer, keras.optimizers.Adam)
    assert float(model.generator_optimizer.learning_rate) == pytest.approx(1e-3)
    assert recipe.compile["generator_optimizer"]["class_name"] == "adam"
