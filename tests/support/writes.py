"""Finds updates of variables that may come before a read they should come after.

A traced function orders reads and writes of a variable by control edges. TensorFlow's
graph optimizer may lose one (its dependency pass did, under gradient penalties): then
the order depends on which thread is quicker.
"""

import collections

from tensorflow.python.eager import context


def optimized_graph(function, *arguments):
    """Runs a `tf.function` once; returns the `GraphDef` that ran, after optimization.

    The function has not been run before: graphs are optimized then.
    """
    context.context().enable_graph_collection()
    try:
        function(*arguments)
        metadata = context.context().export_run_metadata()
    finally:
        context.context().disable_graph_collection()
    graphs = [g for each in metadata.function_graphs for g in each.partition_graphs]
    return max(graphs, key=lambda graph: len(graph.node))


def unordered_writes(graph_def):
    """Returns (read or write, write) of one variable that neither waits for the other.

    Args:
        graph_def: `GraphDef` whose variables are its arguments.

    Returns:
        List of pairs of operations' names.
    """
    nodes = {node.name: node for node in graph_def.node}
    inputs = {
        name: [i.lstrip("^").partition(":")[0] for i in node.input]
        for name, node in nodes.items()
    }
    reads, writes = collections.defaultdict(list), collections.defaultdict(list)
    for name, node in nodes.items():
        if node.op == "ReadVariableOp":
            reads[node.input[0]].append(name)
        elif node.op.startswith("Assign") and node.op.endswith("VariableOp"):
            writes[node.input[0]].append(name)

    def waits_for(name):
        found, waiting = set(), [name]
        while waiting:
            new = set(inputs[waiting.pop()]) - found
            found |= new
            waiting.extend(new)
        return found

    awaited = {name: waits_for(name) for group in writes.values() for name in group}
    return [
        (other, write)
        for variable, group in writes.items()
        for number, write in enumerate(group)
        for other in reads[variable] + group[:number]
        if other not in awaited[write]
        and write not in (awaited.get(other) or waits_for(other))
    ]
