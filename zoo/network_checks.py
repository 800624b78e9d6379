"""What networks that somebody gives to a model have to be."""

import inspect
import warnings

import keras
from keras import layers

#: Layers and operations behind which logits are still logits, and probabilities such.
_CHANGING_NO_NUMBER = {
    "Cast",
    "Dropout",
    "ExpandDims",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
}


def check_architecture(model, constructor, architectures):
    """Refuses an architecture that a model hasn't, and arguments of another one.

    Args:
        model: The model, whose attributes are the constructor's arguments.
        constructor: The function that has their defaults.
        architectures: The arguments that are read by one architecture alone, by its
            name.

    Raises:
        ValueError: As said.
    """
    if model.architecture not in architectures:
        raise ValueError(
            f"Expected architecture {' or '.join(map(repr, architectures))}. "
            f"Received: architecture={model.architecture!r}"
        )
    defaults = inspect.signature(constructor).parameters
    for architecture, names in architectures.items():
        for name in names:
            value, default = getattr(model, name), defaults[name].default
            if architecture != model.architecture and value != default:
                raise ValueError(
                    f"{name} is for the networks of architecture={architecture!r}; "
                    f"leave it at {default} for others. Received: {name}={value}, "
                    f"architecture={model.architecture!r}"
                )


def check_built(**networks):
    """Raises `ValueError` for a network that a model can't train, save or rebuild.

    That is one without weights yet, or without known shapes; one that takes a dict; one
    that regularizes activities, for each player's loss is its paper's (weights may be
    regularized); and two that share a layer.

    Args:
        **networks: The networks, or None, by the arguments that took them.
    """
    given = {name: network for name, network in networks.items() if network is not None}
    for name, network in given.items():
        if not isinstance(network, keras.Model):
            raise ValueError(f"{name} must be a Keras model. Received: {network!r}")
        if not network.built:
            raise ValueError(
                f"The {name} has no weights yet. Give it an Input, or call `build` on "
                "it, before you pass it."
            )
        if not getattr(network, "inputs", None):
            raise ValueError(
                f"{name} must be a functional or sequential Keras model, whose inputs "
                f"and outputs have known shapes. Received: {network!r}"
            )
        # Sequential models have no `input`, and no dicts.
        if isinstance(getattr(network, "input", None), dict):
            raise ValueError(
                f"{name} must take tensors, or a list of them, and no dict. "
                f"Received: {network!r}"
            )
        for shape in row_shapes(network):
            if None in shape:
                raise ValueError(
                    f"{name} must take rows of known shapes. It takes rows of shape "
                    f"{shape}: give its Input the sizes."
                )
        for layer in all_layers(network):
            if layer.activity_regularizer is not None:
                raise ValueError(
                    f"The {name}'s layer {layer.name!r} regularizes its activity, "
                    "which would have no effect here. Regularize its weights, or "
                    "override train_step."
                )
    _check_apart(given)


def _check_apart(networks):
    """Raises `ValueError` where two networks share a layer.

    Keras saves the weights of such a layer with the first of them alone.

    Args:
        networks: Dict of them, by the arguments that took them.
    """
    owners = {}
    for name, network in networks.items():
        for layer in all_layers(network):
            owner = owners.setdefault(id(layer), name)
            if owner != name:
                raise ValueError(
                    f"{owner} and {name} share the layer {layer.name!r}, and no file "
                    "could hold that. Give each its own."
                )


def warn_of_unsynchronized(networks):
    """Warns of batch normalization that each replica does by itself.

    Args:
        networks: Iterable of the networks that are trained.
    """
    # Several players may train one network.
    apart = {
        layer.name
        for network in networks
        for layer in all_layers(network)
        if isinstance(layer, layers.BatchNormalization)
        and layer.trainable
        and not layer.synchronized
    }
    if apart:
        warnings.warn(
            f"Each replica normalizes by itself in {', '.join(sorted(apart))}: another "
            "training than on one. BatchNormalization(synchronized=True) has the "
            "statistics of the whole batch.",
            stacklevel=4,
        )


def computes_in_float16(networks):
    """Says whether any layer of some networks computes in float16."""
    # A model given to the zoo may say something else than its layers.
    return any(
        layer.compute_dtype == "float16" and not isinstance(layer, layers.InputLayer)
        for network in networks
        for layer in all_layers(network)
    )


def check_shapes(name, network, taken, given):
    """Raises `ValueError` if a network maps rows of other shapes.

    Args:
        name: The argument by which the network was given.
        network: Built Keras model of one input and one output.
        taken: Shape of a row of its input.
        given: Shape of a row of its output; a `None` in it stands for any number.
    """
    ends = [getattr(network, end, None) or () for end in ("inputs", "outputs")]
    if [len(tensors) for tensors in ends] != [1, 1]:
        raise ValueError(
            f"{name} must be a functional or sequential Keras model with one input and "
            f"one output. Received: {network!r}"
        )
    shapes = network.input_shape[1:], network.output_shape[1:]
    fits = shapes[0] == taken and len(shapes[1]) == len(given)
    if not fits or any(
        size not in (None, found) for size, found in zip(given, shapes[1], strict=True)
    ):
        raise ValueError(
            f"{name} must map rows of shape {taken} to rows of shape {given}. "
            f"It maps {shapes[0]} to {shapes[1]}."
        )


def made_shape(name, network):
    """Returns the shape of a row of what a network makes.

    Args:
        name: The argument by which the network was given.
        network: Built Keras model.

    Raises:
        ValueError: If it has several outputs, or gives them in a dict.
    """
    if isinstance(getattr(network, "output", None), dict):
        raise ValueError(
            f"{name} must return a tensor and no dict. Received: {network!r}"
        )
    if len(network.outputs) != 1:
        raise ValueError(
            f"{name} must have one output. "
            f"Received: a Keras model with {len(network.outputs)}"
        )
    return network.outputs[0].shape[1:]


def check_rows(network, expected):
    """Raises `ValueError` unless a network takes rows of these shapes."""
    taken = row_shapes(network)
    if taken != expected:
        raise ValueError(
            f"The {network.name} must take rows of shapes {expected}. It takes rows of "
            f"shapes {taken}."
        )


def check_judge(name, network):
    """Raises `ValueError` unless a network returns a logit for each row.

    Args:
        name: What the error calls the network.
        network: Built Keras model.
    """
    shape = network.output_shape
    if shape[:1] not in ((), (None,)):
        raise ValueError(
            f"The {name} must take any number of rows. It returns shape {shape}: leave "
            "the batch size of its Input open."
        )
    if shape not in ((None,), (None, 1)):
        raise ValueError(
            f"The {name} must return a logit for each row, of shape [n] or [n, 1]. It "
            f"returns shape {shape}."
        )
    check_logits(name, network.outputs[0])


def check_logits(name, output):
    """Raises `ValueError` where a network ends in probabilities, not in logits.

    Args:
        name: What the error calls the network.
        output: The network's symbolic output.
    """
    end, last = _end_of(output)
    if end in ("sigmoid", "hardsigmoid", "softmax"):
        raise ValueError(
            f"The {name} must return logits: the losses here take the {end} "
            f"themselves. Leave it out of the last layer, {last.name}."
        )


def warn_of_range(name, network):
    """Warns of a network that makes images of a sigmoid's range."""
    end, last = _end_of(network.outputs[0])
    is_image = len(network.outputs[0].shape) == 4
    if is_image and end in ("sigmoid", "hardsigmoid"):
        warnings.warn(
            f"The {name} ends in a {end}, layer {last.name!r}: its images are from 0 "
            "to 1, and those here are from -1 to 1. End it in a tanh.",
            stacklevel=4,
        )


def _end_of(output):
    """Returns what a network's output is the result of, by name, and what does it."""
    last = _last_operation(output)
    # A layer that has it as its activation, a Lambda, or one of keras.ops.
    function = getattr(last, "activation", None) or getattr(last, "function", None)
    name = getattr(function, "__name__", type(last).__name__)
    return name.lower().replace("_", ""), last


def _last_operation(output):
    """Returns what makes a network's output, behind what changes no number of it."""
    history = output._keras_history
    operation = history.operation
    if getattr(operation, "outputs", None):  # A functional or sequential model.
        return _last_operation(operation.outputs[history.tensor_index])
    linear = getattr(operation, "activation", None) is keras.activations.linear
    if type(operation).__name__ in _CHANGING_NO_NUMBER or (
        linear and isinstance(operation, layers.Activation)
    ):
        (given,) = operation._inbound_nodes[history.node_index].input_tensors
        return _last_operation(given)
    return operation


def row_shapes(network):
    """Returns a list of the shape of a row of each of the network's inputs."""
    shape = network.input_shape
    return [tuple(s[1:]) for s in (shape if isinstance(shape, list) else [shape])]


def all_layers(network):
    """Returns the layers of a network, also those within layers and models among them.

    Models themselves are left out.
    """
    nested = network._flatten_layers(include_self=False)
    return [layer for layer in nested if not isinstance(layer, keras.Model)]


def mixing_rows(network):
    """Returns the names of layers that relate the rows of a training batch."""
    return [
        layer.name
        for layer in all_layers(network)
        # A frozen one normalizes each row by its averages.
        if (isinstance(layer, layers.BatchNormalization) and layer.trainable)
        or getattr(layer, "across_batch", False)
    ]


def has(network, kind):
    """Says whether a layer of some class is anywhere within a network."""
    return any(isinstance(layer, kind) for layer in all_layers(network))


def looks_across_batch(network):
    """Says whether the answer for a row depends on the rest of its batch."""
    return any(getattr(layer, "across_batch", False) for layer in all_layers(network))
