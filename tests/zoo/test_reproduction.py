"""`python -m zoo reproduce`: rows, results and the table in the documentation."""

import dataclasses
import importlib.util
import inspect
import json
import pathlib
import shutil

import pytest
from click.testing import CliRunner

import zoo
from zoo import recipes, reproduction
from zoo.__main__ import main
from zoo.commands.train import run_training
from zoo.model import silent
from zoo.recipes import Recipe
from zoo.reproduction import ROWS, Result
from zoo.variants import VARIANTS

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_changes_only_settings_that_there_are(name):
    row = ROWS[name]
    recipe = row.recipe_of(seed=3)
    assert recipe.seed == 3
    variant = VARIANTS[recipe.variant]
    known = {
        "model": inspect.signature(variant.__init__).parameters,
        "compile": inspect.signature(variant.compile).parameters,
        "data": inspect.signature(zoo.load_data).parameters,
    }
    for path, value in row.changes.items():
        group, *settings = path.split(".")
        if group in known:
            changed = set(settings[:1]) or value.keys()
            assert changed <= known[group].keys(), path
        else:
            assert hasattr(recipe, group), path


#: What stands beside a log-likelihood.
WIDTHS = {
    "parzen_sigma": 0.17,
    "parzen_log_likelihood_finer": 209.2,
    "parzen_sigma_finer": 0.18,
}
#: Recipes that stop at this share of their schedule, since they are best there.
STOPPED = {"gan_mnist": 9 / 10, "gan_parzen": 9 / 10}


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *((name, row.recipe_of(0)) for name, row in ROWS.items()),
        *((name, Recipe.of_preset(name)) for name in recipes.names()),
    ],
    ids=[*ROWS, *recipes.names()],
)
@pytest.mark.usefixtures("shared_tfds")
def test_rates_that_fall_have_fallen_when_the_training_ends(name, recipe):
    rates = [
        optimizer["config"].get("learning_rate")
        for optimizer in recipe.compile.values()
        if isinstance(optimizer, dict)
    ]
    steps = {
        (rate["config"]["decay_steps"] + rate["config"].get("warmup_steps", 0))
        * STOPPED.get(name, 1)
        for rate in rates
        if isinstance(rate, dict) and rate["class_name"] == "CosineDecay"
    }
    if steps:
        (described,) = recipe.describe_data() or [{"images": recipe.data.get("size")}]
        # An epoch goes once through the set, but for the labelled rows of each batch.
        labelled = recipe.data["labelled_share"] if recipe.data.get("labelled") else 0
        rows = round(recipe.batch_size * (1 - labelled))
        assert steps == {described["images"] // rows * recipe.epochs}


def test_seeds_reach_networks_that_are_given():
    networks = ROWS["gaussian1d"].recipe_of(seed=7).model
    assert networks["generator"]["config"]["seed"] == 7
    assert networks["discriminator"]["config"]["seed"] == 7


def result(row, seed, value, **beside):
    measurements = [
        {"name": name, "value": v, "spread": None, "generated_count": 10_000}
        | {"real_count": 0}
        for name, v in {ROWS[row].measure: value, **beside}.items()
    ]
    recipe = dataclasses.asdict(ROWS[row].recipe_of(seed))
    return Result(row, recipe, 120 + seed, measurements, "two cores")


def test_a_line_has_the_median_and_every_seed():
    results = [
        result("gaussian1d", seed, value, mean=4.0)
        for seed, value in enumerate((0.2, 0.5, 0.3))
    ]
    cells = reproduction.cells("gaussian1d", results)
    assert (cells["paper"], cells["ours"]) == ("–", "**0.30**")
    assert cells["by seed"] == "0.20 (0), 0.50 (1), 0.30 (2)"
    assert (cells["also measured"], cells["samples"]) == ("mean 4.00", "10,000")


def test_a_table_has_the_columns_asked_for():
    results = {"gaussian1d": [result("gaussian1d", 0, 0.2, mean=4.0)]}
    head, rule, line = reproduction.table(results, ("row", "ours")).splitlines()
    assert head == "| row | ours |"
    assert rule == "| --- | --- |"
    assert line == "| `gaussian1d` | **0.20** |"


def test_a_line_has_what_is_chosen_without_labels():
    name = "infogan_codes"
    results = [
        result(name, seed, error, information=information, frechet_distance=0.1)
        for seed, (error, information) in enumerate([(0.2, 2.1), (0.04, 2.3)])
    ]
    chosen = "4.00 % for the seed with the most information (1)"
    assert chosen in reproduction.cells(name, results)["also measured"]
    alone = reproduction.cells(name, results[:1])
    assert "the most" not in alone["also measured"]


def test_shares_are_printed_in_percent_beside_the_papers():
    results = [result("dann", 0, 0.7, source_test_accuracy=0.9)]
    cells = reproduction.cells("dann", results)
    assert (cells["paper"], cells["ours"]) == ("76.66 %", "**70.00 %**")
    assert cells["also measured"] == "source test accuracy 90.00 %"


def test_results_come_back_from_their_files(tmp_path):
    for seed in (1, 0):
        saved = result("gaussian1d", seed, 0.25, mean=4.0)
        saved.save(reproduction.result_path(tmp_path, "gaussian1d", seed))
    found = reproduction.results_in(tmp_path)
    assert list(found) == ["gaussian1d"]
    assert [r.seed for r in found["gaussian1d"]] == [0, 1]


def test_a_row_is_trained_measured_and_not_trained_again(tmp_path, monkeypatch):
    changes = {"epochs": 1, "data.size": 120}
    small = dataclasses.replace(ROWS["gaussian1d"], changes=changes)
    monkeypatch.setitem(ROWS, "gaussian1d", small)
    arguments = ["reproduce", "gaussian1d", "--seeds", "0,1"]
    arguments += ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "kept")]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0, first.output
    assert "| row | what | paper | ours |" in first.output
    kept = json.loads((tmp_path / "kept" / "gaussian1d-1.json").read_text())
    assert kept["recipe"]["seed"] == 1
    assert {m["name"] for m in kept["measurements"]} == {"deviation", "mean"}
    (tmp_path / "runs").rename(tmp_path / "gone")
    again = CliRunner().invoke(main, arguments)
    assert again.output.splitlines()[-3:] == first.output.splitlines()[-3:]
    assert not (tmp_path / "runs").exists()


def test_an_interrupted_row_goes_on_to_the_same_result(tmp_path, monkeypatch):
    row = dataclasses.replace(ROWS["gaussian1d"], changes={"epochs": 2})
    row.changes["data.size"] = 120
    monkeypatch.setitem(ROWS, "gaussian1d", row)

    def reproduce(where):
        arguments = ["reproduce", "gaussian1d", "--out", str(where / "runs")]
        done = CliRunner().invoke(main, [*arguments, "--results", str(where / "kept")])
        assert done.exit_code == 0, done.output
        return json.loads((where / "kept" / "gaussian1d-0.json").read_text())

    row.changes["epochs"] = 1
    reproduce(tmp_path / "interrupted")
    shutil.rmtree(tmp_path / "interrupted" / "kept")
    shutil.copytree(tmp_path / "interrupted", tmp_path / "ended")
    row.changes["epochs"] = 2
    interrupted, ended = (
        tmp_path / name / "runs" / "gaussian1d-0" for name in ("interrupted", "ended")
    )
    # A run that has not ended has checkpoints and no model.
    shutil.rmtree(interrupted / "model")
    # One that goes on says how far, and has the model of the epochs before.
    row.recipe_of(0).save(ended / "run.json")
    whole = reproduce(tmp_path / "whole")
    for run in (interrupted, ended):
        resumed = reproduce(run.parents[1])
        assert resumed["measurements"] == whole["measurements"]
        assert resumed["recipe"]["epochs"] == 2
        log = (run / "log.csv").read_text()
        assert len(log.splitlines()) == 3  # A heading, and two epochs.


def test_a_result_has_the_recipe_of_the_model_and_not_of_the_run(tmp_path, monkeypatch):
    row = dataclasses.replace(ROWS["gaussian1d"], changes={"epochs": 1})
    row.changes["data.size"] = 120
    monkeypatch.setitem(ROWS, "gaussian1d", row)
    run_training(row.recipe_of(0), tmp_path / "run")
    longer = dataclasses.replace(row.recipe_of(0), epochs=2)
    longer.save(tmp_path / "run" / "run.json")
    measured = Result.of("gaussian1d", tmp_path / "run", silent)
    assert measured.recipe["epochs"] == 1
    metadata = tmp_path / "run" / "model" / "metadata.json"
    metadata.write_text("{}")
    with pytest.raises(ValueError, match=f"{metadata} holds no recipe"):
        Result.of("gaussian1d", tmp_path / "run", silent)


def test_a_run_of_other_settings_is_refused_by_its_folder(tmp_path, monkeypatch):
    row = dataclasses.replace(ROWS["gaussian1d"], changes={"epochs": 1})
    row.changes["data.size"] = 120
    monkeypatch.setitem(ROWS, "gaussian1d", row)
    arguments = ["reproduce", "gaussian1d", "--out", str(tmp_path / "runs")]
    arguments += ["--results", str(tmp_path / "kept")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    shutil.rmtree(tmp_path / "kept")
    row.changes["batch_size"] = 24
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert f"The run {tmp_path / 'runs' / 'gaussian1d-0'} was trained" in done.output


def test_numbers_of_different_networks_do_not_stand_under_one_name():
    kept = [
        result("gan_parzen", seed, 200.0, **WIDTHS, frechet_distance_of_train=0)
        for seed in (0, 1)
    ]
    for each, letter in zip(kept, "ab", strict=True):
        each.measurements.append(
            {"name": "frechet_distance", "value": 1.0, "features": "c"}
            | {"hash": 64 * letter}
        )
    lines = reproduction.table({"gan_parzen": kept[:1]}).splitlines()
    assert lines[-1] == "Through `c@aaaaaaaa`: frechet distance."
    with pytest.raises(ValueError, match="c@aaaaaaaa and c@bbbbbbbb"):
        reproduction.table({"gan_parzen": kept})


def test_a_result_of_other_settings_is_refused(tmp_path, monkeypatch):
    saved = result("gaussian1d", 0, 0.25, mean=4.0)
    saved.save(reproduction.result_path(tmp_path, "gaussian1d", 0))
    longer = dataclasses.replace(ROWS["gaussian1d"], changes={"epochs": 99})
    monkeypatch.setitem(ROWS, "gaussian1d", longer)
    # Also where it is another seed's training that is asked for, or none.
    for asked in (["gaussian1d"], ["gaussian1d", "--seeds", "1"], []):
        arguments = ["reproduce", *asked, "--out", str(tmp_path / "runs")]
        done = CliRunner().invoke(main, [*arguments, "--results", str(tmp_path)])
        assert done.exit_code == 1
        assert "epochs: 20 there, 99 asked for" in done.output
        assert not (tmp_path / "runs").exists()


def test_a_row_does_not_wait_for_the_results_of_others(tmp_path):
    result("gaussian1d", 0, 0.25, mean=4.0).save(tmp_path / "gaussian1d-0.json")
    (tmp_path / "dcgan-0.json").write_text("damaged")
    arguments = ["reproduce", "gaussian1d", "--results", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "**0.25**" in done.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "Expecting value"),
        ("[]", "must be a mapping"),
        ('{"row": "gaussian1d"}', "missing"),
        ('{"row": "x", "recipe": {}, "training_seconds": 1, "measurements": []', "no"),
    ],
)
def test_a_damaged_result_is_named(tmp_path, content, words):
    path = reproduction.result_path(tmp_path, "gaussian1d", 0)
    path.write_text(content)
    done = CliRunner().invoke(main, ["reproduce", "--results", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{path} is no result of a row" in done.output
    assert words in done.output


@pytest.mark.parametrize(
    ("value", "words"),
    [(float("nan"), "must be finite"), (None, "real number"), ("0.25", "real number")],
)
def test_a_result_that_is_no_number_is_named(tmp_path, value, words):
    path = reproduction.result_path(tmp_path, "gaussian1d", 0)
    kept = dataclasses.asdict(result("gaussian1d", 0, value, mean=4.0))
    path.write_text(json.dumps(kept))
    done = CliRunner().invoke(main, ["reproduce", "--results", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{path} is no result of a row" in done.output
    assert words in done.output


@pytest.mark.parametrize("name", ["dtn_without_tid-0.json", "dtn-7.json"])
def test_a_result_under_another_name_is_named(tmp_path, name):
    result("dtn", 0, 0.9).save(tmp_path / name)
    done = CliRunner().invoke(main, ["reproduce", "--results", str(tmp_path)])
    assert done.exit_code == 1
    assert f"{tmp_path / name} has the result of dtn, seed 0" in done.output


def test_a_result_without_a_number_beside_it_is_named():
    with pytest.raises(ValueError, match="gaussian1d, seed 0, has no mean"):
        reproduction.cells("gaussian1d", [result("gaussian1d", 0, 0.25)])


def test_other_files_are_no_results(tmp_path):
    saved = result("gaussian1d", 3, 0.25, mean=4.0)
    for name in ("gaussian1d-3.json", "gaussian1d-3old.json", "notes.json"):
        saved.save(tmp_path / name)
    assert reproduction.results_in(tmp_path) == {"gaussian1d": [saved]}
    asked = ["reproduce", "dcgan", "--seeds", ",", "--results", str(tmp_path)]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 2
    assert "not a list of integers" in done.output


def test_a_log_likelihood_has_its_standard_error():
    kept = result("cgan_parzen", 0, 206.4, **WIDTHS, frechet_distance=1)
    kept.measurements[0]["spread"] = 2.13
    kept.measurements.append(
        {"name": "frechet_distance_of_train", "value": 0.05, "spread": None}
    )
    cells = reproduction.cells("cgan_parzen", [kept])
    assert (cells["paper"], cells["ours"]) == ("132 ± 1.8 nats", "**206 nats**")
    assert cells["by seed"] == "206 ± 2.1 nats (0)"
    assert "parzen log likelihood finer 209 nats" in cells["also measured"]


def test_no_results_and_no_rows_is_an_error_in_words(tmp_path):
    done = CliRunner().invoke(main, ["reproduce", "--results", str(tmp_path)])
    assert done.exit_code == 1
    assert "Name rows to reproduce" in done.output


def test_a_misspelt_row_is_told_like_which_it_is(tmp_path):
    asked = ["dcgan", "gan_parzn", "--results", str(tmp_path), "--out", str(tmp_path)]
    done = CliRunner().invoke(main, ["reproduce", *asked])
    assert done.exit_code == 2
    assert "no row 'gan_parzn'. Did you mean 'gan_parzen'" in done.output
    assert not list(tmp_path.iterdir())


def test_the_documentation_has_the_table_of_the_kept_results():
    results = reproduction.results_in(DOCS / "reproduction")
    table = reproduction.table(results)
    assert table in (DOCS / "reproduction.md").read_text()
    shorter = reproduction.table(results, reproduction.FEW_COLUMNS)
    assert shorter in (DOCS.parent / "README.md").read_text()


def test_tables_are_written_in_the_place_of_those_there(tmp_path):
    spec = importlib.util.spec_from_file_location(
        "tables", DOCS.parent / "packaging" / "tables.py"
    )
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table -->\nold\n<!-- end of table -->\nb\n")
    tables.write(page, "new")
    assert page.read_text() == "a\n<!-- table -->\nnew\n<!-- end of table -->\nb\n"
    page.write_text("<!-- table -->\nold")
    with pytest.raises(ValueError, match=r"page\.md has no <!-- table -->"):
        tables.write(page, "new")
