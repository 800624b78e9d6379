"""Set-up of the whole test session."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest
import tensorflow as tf
from tensorflow.python.data.ops import iterator_ops

#: Where the data sets are looked for if the environment does not name a folder.
SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"

# Two CPU devices stand for two GPUs; they can only be made before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

# Runs that shall be equal are compared to the last bits, and Adam makes a large step of
# a gradient that is zero but for its last bit.
keras.utils.set_random_seed(0)
tf.config.experimental.enable_op_determinism()


_make_iterator = iterator_ops.OwnedIterator.__init__


def _make_untuned(self, dataset=None, *arguments, **others):
    """Makes an iterator whose threads are not tuned.

    The tuning sleeps twice as long each time, up to a minute, and an iterator that ends
    waits until it wakes: at any time, for garbage may hold it. What `load_data` makes
    is not tuned anyway.
    """
    if dataset is not None:
        options = tf.data.Options()
        options.autotune.enabled = False
        dataset = dataset.with_options(options)
    _make_iterator(self, dataset, *arguments, **others)


iterator_ops.OwnedIterator.__init__ = _make_untuned

# Minutes each, so they start first: no process is left alone with one at the end.
_LONGEST = ("test_replicas.py", "test_models.py", "test_interruption.py")


def pytest_collection_modifyitems(items):
    """Orders the files, which `pytest -n 2 --dist loadfile` hands out in turn."""

    def place(item):
        name = item.path.name
        return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)

    items.sort(key=place)


@pytest.fixture
def shared_data(monkeypatch):
    """The folder of MNIST-M and USPS, as ZOO_DATA_DIR; skips where it is not there."""
    return _data_folder("ZOO_DATA_DIR", SHARED, monkeypatch)


@pytest.fixture
def shared_tfds(monkeypatch):
    """The folder of prepared sets, as TFDS_DATA_DIR; skips where it is not there."""
    return _data_folder("TFDS_DATA_DIR", SHARED / "tfds", monkeypatch)


def _data_folder(variable, otherwise, monkeypatch):
    given = os.environ.get(variable)
    folder = pathlib.Path(given or otherwise)
    if not folder.is_dir():
        if given:
            pytest.fail(f"{variable} names no folder: {given}")
        pytest.skip(f"the data sets are not at {folder}")
    monkeypatch.setenv(variable, str(folder))
    return folder
