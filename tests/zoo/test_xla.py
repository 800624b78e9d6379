"""What XLA compiles trains and evaluates as what it does not."""

import json
import subprocess
import sys

import pytest
from workers import REPOSITORY

SCRIPT = "tests/support/train_with_xla.py"
NAMES = ("gan", "vae", "classifier")


@pytest.fixture(scope="module")
def logs():
    """Logs without XLA and with it, by the name of a case."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, *NAMES],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(ended.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_training_with_xla_is_training(logs, name):
    plain, compiled = logs[name]
    assert compiled == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_the_command_line_compiles_by_xla(tmp_path):
    arguments = ["train", "gan", "--image-size", "8", "--generator-units", "4"]
    arguments += ["--epochs", "1", "--jit-compile", "true", "--out", tmp_path / "run"]
    ended = subprocess.run(
        [sys.executable, "-m", "zoo", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "Proceeding with `jit_compile=False`" not in ended.stdout + ended.stderr
