"""The presets of the package: the same pictures, and the numbers they are said to have.

`packaging/publish.py` wrote what these tests expect, in `tests/golden`.
"""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from golden import outputs_of

import zoo
from zoo import evaluation, presets
from zoo.recipes import Recipe

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
TRAINED = [name for name, m in zoo.list_presets().items() if m["trained"]]


@pytest.mark.parametrize("name", TRAINED)
def test_a_preset_gives_the_same_as_ever(name):
    expected = np.load(GOLDEN / f"{name}.npz")["outputs"]
    given = outputs_of(zoo.from_preset(name))
    assert given.dtype == expected.dtype
    # Another processor may round the last bit the other way: one level of 255.
    tolerance = 1 if expected.dtype == np.uint8 else 1e-3
    np.testing.assert_allclose(
        given.astype(np.float64), expected.astype(np.float64), atol=tolerance
    )


@pytest.mark.parametrize("name", TRAINED)
def test_a_preset_has_the_numbers_it_is_said_to_have(name, shared_data, monkeypatch):
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    monkeypatch.setenv("TFDS_DATA_DIR", str(shared_data / "tfds"))
    monkeypatch.setenv("ZOO_DATA_DIR", str(shared_data))
    if golden["data"] == "gaussian":
        samples = zoo.from_preset(name).generate(golden["count"])
        measured = {"mean": samples.mean(), "deviation": samples.std()}
    else:
        evaluated = evaluation.evaluate(
            name, golden["data"], count=golden["count"], features=golden["features"]
        )
        measured = {m.name: m.value for m in evaluated.measurements}
    assert measured == pytest.approx(golden["measured"], rel=0.02, abs=0.01)


@pytest.mark.parametrize("name", TRAINED)
def test_a_preset_says_where_it_comes_from(name):
    metadata = presets.list_presets()[name]
    assert {"data", "weights"} == metadata["licence"].keys()
    assert metadata["dataset"]
    assert metadata["paper"].startswith("https://")
    assert metadata["training_seconds"] > 0
    assert metadata["measured"]
    settings = dataclasses.asdict(Recipe.of_preset(name))
    settings.pop("metadata")
    assert metadata["recipe"] == settings


def test_presets_stay_small():
    sizes = {
        name: sum(f.stat().st_size for f in (presets.BUILT_IN / name).iterdir())
        for name in TRAINED
    }
    assert max(sizes.values()) <= 30e6
    assert sum(sizes.values()) <= 100e6
