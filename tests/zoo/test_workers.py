"""Two processes train every variant to the weights that one process comes to."""

import subprocess
import sys

import numpy as np
import pytest
from train_every_variant import assert_trained_alike
from variants import CASES
from workers import REPOSITORY, run_workers

SCRIPT = "tests/support/train_every_variant.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders with what one process and what two came to."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    run_workers(SCRIPT, str(together))
    subprocess.run([sys.executable, SCRIPT, str(alone)], cwd=REPOSITORY, check=True)
    return alone, together


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_two_workers_train_as_one_process(trained, name):
    assert_trained_alike(*(np.load(folder / f"{name}.npz") for folder in trained))
