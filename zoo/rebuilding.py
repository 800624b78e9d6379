"""Building networks again from what their layers say of themselves.

Averages, presets and exports are built so. A layer that can't be is named here; Keras
shows the config of the whole model instead.
"""

import textwrap

import keras

from zoo import checks, network_checks

#: What Keras and `get_config` raise where a config doesn't do.
_REFUSALS = (NotImplementedError, TypeError, ValueError)


def clone(name, network):
    """Returns a network with layers like another's, and the same weights.

    Args:
        name: What the error calls the network.
        network: Functional or sequential Keras model.

    Raises:
        ValueError: If a layer can't be built from its config.
    """
    _check_configs(name, network)

    def copy_of(layer):
        try:
            return layer.__class__.from_config(layer.get_config())
        except _REFUSALS as error:
            raise _unfit(name, layer, error) from error

    copy = keras.models.clone_model(network, clone_function=copy_of)
    copy_weights(network, copy)
    return copy


def copy_weights(source, target):
    """Gives a network the weights of another with the same layers."""
    target.set_weights(source.get_weights())
    for layer in network_checks.all_layers(target):
        if isinstance(layer, keras.layers.Normalization):
            # It computes by constants that it made of its weights when it was built.
            layer.finalize_state()


def rebuild(model, networks):
    """Returns what a model's `get_config` describes.

    Args:
        model: A Keras model.
        networks: Dict of its networks.

    Raises:
        ValueError: If a layer can't be built from its config.
    """
    for name, network in networks.items():
        _check_configs(name, network)
    try:
        return type(model).from_config(model.get_config())
    except _REFUSALS:
        for name, network in networks.items():
            for layer in _outer_layers(network):
                _check_serialized(name, layer)
        raise


def _check_configs(name, network):
    """Raises `ValueError` where a layer would be built with other arguments."""
    for layer in _outer_layers(network):
        if not type(layer).__module__.startswith("keras."):
            try:
                checks.whole_layer_config(layer, keras.Layer)
            except _REFUSALS as error:
                raise _unfit(name, layer, error) from error


def _outer_layers(network):
    """Yields the layers whose configs a network is built again from."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _outer_layers(layer)
        else:
            yield layer


def _check_serialized(name, layer):
    try:
        keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(layer)
        )
    except _REFUSALS as error:
        raise _unfit(name, layer, error) from error


def _unfit(name, layer, error):
    # Behind the configs that Keras shows, and without its advice to leave safe mode.
    said = str(error).rpartition("Exception encountered: ")[2].split(". ")[0]
    said = textwrap.shorten(said.rstrip("."), 200, placeholder=" …")
    return ValueError(
        f"The {name}'s layer {layer.name!r} can't be built again from its config, "
        "which averages, presets and exports need. Use keras.ops in its place, or a "
        "class registered by keras.saving.register_keras_serializable with a "
        f"get_config of all its arguments. {type(layer).__name__}: {said}."
    )
