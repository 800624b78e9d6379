"""What `make demo` runs, narrow and short."""

import importlib.util
import pathlib
import re

import keras
import pytest

import zoo

DEMO = pathlib.Path(__file__).parents[1] / "examples" / "demo.py"


@pytest.fixture
def demo(monkeypatch):
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "EPOCHS", 1)

    dcgan = zoo.DCGAN

    def narrow(**arguments):
        few = {"generator_filters": 2, "discriminator_filters": 2}
        return dcgan(**(arguments | few))

    monkeypatch.setattr(zoo, "DCGAN", narrow)
    keras.config.set_max_steps_per_epoch(2)
    yield module
    keras.config.set_max_steps_per_epoch(None)


def test_the_demo_trains_serves_and_draws(demo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo.main()
    told = capsys.readouterr().out
    assert "Exported to demo/models/digits/1" in told
    assert int(re.search(r"in process by at most (\d+) of 255", told)[1]) <= 1
    drawn = {path.stem for path in (tmp_path / "demo").glob("*.png")}
    assert drawn == {"before_after", "real_generated", "served", "curves"}
