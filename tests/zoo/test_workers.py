"""Two processes train every variant to the weights that one process comes to."""

import subprocess
import sys

import numpy as np
import pytest
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
    one, two = (np.load(folder / f"{name}.npz") for folder in trained)
    assert set(one.files) == set(two.files)
    for key in one.files:
        atol = 1e-4 if key.startswith("logs/") else 1e-5
        np.testing.assert_allclose(two[key], one[key], rtol=0, atol=atol, err_msg=key)
