"""Finds sums whose rounding depends on which memory happens to be free.

TensorFlow's AddN adds into the first input whose buffer nobody else holds, and takes it
first. Of two inputs that changes nothing, and of more only if two of them are held by
other operations, which end sooner or later: (a + b) + c or (c + b) + a.
"""

import collections

_SAME_BUFFER = {"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient"}
_SUMS = {"Add", "AddV2", "AddN"}


def _source(tensor):
    while tensor.op.type in _SAME_BUFFER:
        tensor = tensor.op.inputs[0]
    return tensor


def unordered_sums(graph):
    """Returns the sums of a graph, but of scalars, whose order may differ by the run.

    Scalars are losses, whose sum only logs show.

    Args:
        graph: `tf.Graph`, as it was traced. The graph's optimizer joins sums that only
            other sums use, so they are looked at as one.

    Returns:
        List of the operations.
    """
    users = collections.defaultdict(list)
    for operation in graph.get_operations():
        if operation.type not in _SAME_BUFFER:
            for tensor in operation.inputs:
                users[_source(tensor).ref()].append(operation)

    def joined(tensor, operation):
        return (
            tensor.op.type in _SUMS
            and tensor.shape == operation.outputs[0].shape
            and len(users[tensor.ref()]) == 1
        )

    def terms(operation):
        for tensor in map(_source, operation.inputs):
            if joined(tensor, operation):
                yield from terms(tensor.op)
            else:
                yield tensor

    found = []
    for operation in graph.get_operations():
        if operation.type in _SUMS and operation.outputs[0].shape.rank:
            added = list(terms(operation))
            held = [tensor for tensor in added if len(users[tensor.ref()]) > 1]
            if len(added) > 2 and len(held) > 1:
                found.append(operation)
    return found
