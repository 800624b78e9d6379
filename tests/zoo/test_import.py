"""What `import zoo` asks of Keras."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("backend", ["jax", "no_such_backend"])
def test_another_backend_is_one_clear_error(backend):
    done = subprocess.run(
        [sys.executable, "-c", "import zoo"],
        env={**os.environ, "KERAS_BACKEND": backend},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: The zoo trains under TensorFlow")
    assert backend in last
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("package", ["zoo", "export"])
def test_of_a_command_it_is_one_line(package):
    done = subprocess.run(
        [sys.executable, "-m", package, "--help"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: The zoo trains under TensorFlow")
    assert "Traceback" not in done.stderr


def test_channels_first_are_one_clear_error(tmp_path):
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first"}')
    done = subprocess.run(
        [sys.executable, "-c", "import zoo"],
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: The zoo trains under TensorFlow")
    assert "'channels_first'" in last
