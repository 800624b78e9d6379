"""What an optimizer has to be to train a network of ours."""

from keras.optimizers.schedules import LearningRateSchedule

#: Arguments of Keras's optimizers that are numbers.
_NUMBERS = (
    "beta_1",
    "beta_2",
    "clipnorm",
    "clipvalue",
    "ema_momentum",
    "epsilon",
    "global_clipnorm",
    "loss_scale_factor",
    "momentum",
    "rho",
    "weight_decay",
)


def is_built_for(optimizer, variables):
    """Says whether an optimizer has the state of these variables and no others."""
    return {id(v) for v in optimizer._trainable_variables} == set(map(id, variables))


def check(name, optimizer, variables, strategy):
    """Raises `ValueError` where an optimizer would not do what it is asked to.

    Args:
        name: Argument of `compile` that gave it, for the message.
        optimizer: A Keras optimizer.
        variables: What it is to train.
        strategy: The `tf.distribute` strategy that it works under.
    """
    inner = unscaled(optimizer)
    if inner.built and not is_built_for(inner, variables):
        raise ValueError(
            f"{name} has the state of other weights: of another model's, or of those "
            "before layers were frozen or released. Pass a new optimizer."
        )
    for argument in _NUMBERS:
        value = getattr(inner, argument, None)
        if isinstance(value, str):  # Keras meets it in the first step.
            raise ValueError(f"{name} takes a number. Received: {argument}={value!r}")
    if inner.use_ema:
        raise ValueError(
            f"{name} has use_ema=True, whose averages nothing here uses. Leave it out; "
            "models that make samples have compile(averaging=)."
        )
    clipping = [
        f"{argument}={getattr(inner, argument)}"
        for argument in ("clipnorm", "global_clipnorm", "clipvalue")
        if getattr(inner, argument) is not None
    ]
    replicas = strategy.num_replicas_in_sync
    if clipping and replicas > 1:
        raise ValueError(
            f"{name} has {', '.join(clipping)}, and Keras clips before it adds up the "
            f"gradients of the {replicas} replicas: another training than on one. "
            "Leave it out, or train on one replica."
        )
    if inner.gradient_accumulation_steps and replicas > 1:
        raise ValueError(
            f"{name} has gradient_accumulation_steps="
            f"{inner.gradient_accumulation_steps}, and Keras decides in a graph's "
            f"branch whether to update, where {replicas} replicas cannot meet. Leave "
            "it out, or train on one replica."
        )


def has_ended(optimizer):
    """Whether the schedule of an optimizer's learning rate has come down to 0."""
    optimizer = unscaled(optimizer)
    follows = isinstance(optimizer._learning_rate, LearningRateSchedule)
    # A rate that is to warm up begins at 0.
    begun = int(optimizer.iterations.numpy()) > 0
    return follows and begun and float(optimizer.learning_rate) == 0


def unscaled(optimizer):
    """Returns the optimizer itself, out of its loss scaling."""
    return getattr(optimizer, "inner_optimizer", optimizer)
