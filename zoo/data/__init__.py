"""Real data as ``tf.data`` batches whose order is a function of seed and epoch."""

from zoo.data.loading import (
    DataInfo,
    describe,
    drop_unlabelled,
    load_arrays,
    load_data,
    native_shape,
    shape_arguments,
)
from zoo.data.schedule import epochs

__all__ = [
    "DataInfo",
    "describe",
    "drop_unlabelled",
    "epochs",
    "load_arrays",
    "load_data",
    "native_shape",
    "shape_arguments",
]
