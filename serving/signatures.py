"""What a model says about its own inputs and outputs."""

import dataclasses
import functools
import math

import numpy as np

from serving import tensors

DEFAULT = "serving_default"

PREDICT_METHODS = (
    "tensorflow/serving/classify",
    "tensorflow/serving/predict",
    "tensorflow/serving/regress",
)


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and shape of one input or output.

    `shape` is None where even the rank is unknown; a None inside is a free
    dimension. `tensor` is its name in the graph, which only the server needs.
    """

    name: str
    data_type: int
    shape: tuple | None
    tensor: str = ""

    def fits(self, shape):
        """Whether an array of `shape` may stand here."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            free is None or free == size
            for free, size in zip(self.shape, shape, strict=True)
        )

    @property
    def has_free_rows(self):
        """Whether dimension 0 is free, that is, counts the rows of a batch."""
        return bool(self.shape) and self.shape[0] is None

    @functools.cached_property
    def row_shape(self):
        """The shape of one row, or None where it is not fixed."""
        if not self.shape or None in self.shape[1:]:
            return None
        return self.shape[1:]

    @property
    def one_number_a_row(self):
        """Whether a row is a single number, alone or in a list."""
        return self.row_shape is not None and math.prod(self.row_shape) == 1

    @functools.cached_property
    def row_bytes(self):
        """The size of one row in bytes, or 0 where it is not fixed."""
        if self.row_shape is None:
            return 0
        return math.prod(self.row_shape) * tensors.numpy_type(self.data_type).itemsize

    def no_rows(self):
        """Returns an array of this dtype and row shape, of no rows."""
        return np.empty((0, *self.row_shape), tensors.numpy_type(self.data_type))

    def __str__(self):
        sizes = ["?" if size is None else str(size) for size in self.shape or ()]
        if self.has_free_rows:
            sizes[0] = "batch"
        shape = "?" if self.shape is None else ", ".join(sizes)
        return f"{self.name}: {tensors.type_name(self.data_type)}[{shape}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way to call a model: named inputs to named outputs."""

    key: str
    method: str
    inputs: dict
    outputs: dict
    #: {input: TensorProto} of those that a request may leave out.
    defaults: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def batchable(self):
        """Whether rows of different requests may share one run."""
        inputs, outputs = self.inputs.values(), self.outputs.values()
        return (
            bool(inputs)
            and all(spec.has_free_rows for spec in (*inputs, *outputs))
            # Inputs with another free dimension would have to match request by
            # request; they are computed one by one.
            and all(spec.row_shape is not None for spec in inputs)
        )

    def __str__(self):
        inputs = ", ".join(str(spec) for spec in self.inputs.values())
        outputs = ", ".join(str(spec) for spec in self.outputs.values())
        return f"{self.key}({inputs}) -> {outputs}"


def _spec(name, info):
    shape = info.tensor_shape
    if shape.unknown_rank:
        sizes = None
    else:
        sizes = tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorSpec(name, info.dtype, sizes, info.name)


def parse(signature_defs):
    """Returns {key: Signature} of a map of SignatureDef messages."""
    return {
        key: Signature(
            key,
            definition.method_name,
            {n: _spec(n, definition.inputs[n]) for n in sorted(definition.inputs)},
            {n: _spec(n, definition.outputs[n]) for n in sorted(definition.outputs)},
            dict(definition.defaults),
        )
        for key, definition in signature_defs.items()
    }
