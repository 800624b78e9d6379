"""What `make demo` runs, narrow and short, and how MNIST-M is made."""

import importlib.util
import pathlib
import re

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import zoo
from zoo.recipes import Recipe

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


FEW = {"generator_filters": 2, "discriminator_filters": 2}


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def demo(monkeypatch):
    module = load("demo")
    assert Recipe.of_preset("dcgan_digits").epochs == module.EPOCHS
    monkeypatch.setattr(module, "EPOCHS", 1)

    dcgan = zoo.DCGAN

    def narrow(**arguments):
        module.trained = dcgan(**(arguments | FEW))
        return module.trained

    monkeypatch.setattr(zoo, "DCGAN", narrow)
    keras.config.set_max_steps_per_epoch(2)
    yield module
    keras.config.set_max_steps_per_epoch(None)


@pytest.mark.filterwarnings("ignore:Limiting steps_per_epoch")
def test_the_demo_trains_serves_and_draws(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo.main()
    told = capsys.readouterr().out
    assert "exported to demo/models/digits/1" in told
    assert int(re.search(r"in process by at most (\d+) of 255", told)[1]) <= 1
    recipe = Recipe.of_preset("dcgan_digits")
    recipe.model |= FEW
    again = recipe.build()
    recipe.compile_model(again)
    assert demo.trained.settings() == again.settings()
    assert demo.trained.get_config() == {
        **again.get_config(),
        "name": demo.trained.name,
    }
    saved = zoo.from_preset("demo/preset")
    np.testing.assert_array_equal(saved.generate(2), demo.trained.generate(2))
    drawn = {path.stem for path in (tmp_path / "demo").glob("*.png")}
    assert drawn == {"before_after", "real_generated", "served", "curves"}


def test_mnist_m_is_made_of_digits_and_patches(tmp_path):
    photos = tmp_path / "photos" / "train"
    photos.mkdir(parents=True)
    asked = [str(photos.parent), str(tmp_path / "mnist_m"), "--digits", "digits"]
    main = load("make_mnist_m").main
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2
    assert "JPEG or PNG files of at least 28×28" in done.output
    # In every patch of this one a pixel's colour is 20, 100 and 255.
    Image.new("RGB", (40, 30), (20, 100, 255)).save(photos / "plain.png")
    done = CliRunner().invoke(main, [*asked, "--digits", "no_such_digits"])
    assert done.exit_code == 2
    assert "no_such_digits" in done.output
    assert not (tmp_path / "mnist_m").exists()
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    for split in ("train", "test"):
        digits, labels = zoo.data.load_arrays("digits", split)
        blended, kept = zoo.data.load_arrays(tmp_path / "mnist_m", split)
        np.testing.assert_array_equal(kept, labels)
        expected = np.abs(np.array([20, 100, 255]) - digits.astype(int))
        np.testing.assert_array_equal(blended, expected)
