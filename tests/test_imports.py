"""What is said where the packages are imported."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["import export", "import serving; serving.Server"])
def test_what_tensorflow_says_of_missing_gpus_is_silenced(program):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import tensorflow as tf; tf.constant(0)"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    # Other lines come before TensorFlow looks at the variable.
    assert "cpu_feature_guard" not in done.stderr
    assert "cuInit" not in done.stderr
