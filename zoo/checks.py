"""What arguments have to be, each with one clear error where they are something else.

A check returns the argument as Python's own kind of value, so that numpy's numbers
are taken and what is saved can be JSON.
"""

import difflib
import inspect
import math
import numbers
import sys

import keras
import numpy as np


def did_you_mean(given, known):
    """Returns " Did you mean 'x'?" of the known names nearest to one, "" for none."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), names, n=3)
    return f" Did you mean {' or '.join(repr(names[n]) for n in near)}?" if near else ""


def count(name, value, least=1):
    """Returns an argument as an integer; raises `ValueError` if it is none, or less."""
    integer = _integer(value)
    if integer is None or integer < least:
        raise ValueError(
            f"Expected an integer of {least} or more. Received: {name}={value!r}"
        )
    return integer


def widths(name, value):
    """Returns an argument as a tuple of integers, of 1 or more each.

    Raises:
        ValueError: If it is something else.
    """
    try:
        return tuple(count(name, width) for width in value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a list of integers of 1 or more, such as {name}=(64, 32). "
            f"Received: {name}={value!r}"
        ) from error


def dtype_policy(dtype):
    """Returns a dtype policy of floating-point numbers, which networks compute by.

    Args:
        dtype: The policy, its name or config; None for Keras's global one.

    Raises:
        ValueError: If it is something else.
    """
    try:
        policy = keras.dtype_policies.get(dtype)
        is_float = keras.backend.is_float_dtype(policy.compute_dtype)
        # Weights are quantized by a method of networks, and not by a name.
        known = is_float and policy.quantization_mode is None
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ValueError(
            "Expected the name of a dtype policy, such as 'bfloat16' or "
            f"'mixed_bfloat16'. Received: dtype={dtype!r}"
        )
    return policy


def sample_shape(image_shape):
    """Returns `image_shape` as a tuple of integers, of 1 or more each.

    Raises:
        ValueError: If it is something else, or empty.
    """
    try:
        shape = widths("image_shape", image_shape)
    except ValueError:
        shape = ()
    if not shape:
        raise ValueError(
            "Expected image_shape=(height, width, channels), or (length,) where a "
            f"model takes vectors. Received: image_shape={image_shape!r}"
        )
    return shape


def seed(name, value):
    """Returns an argument as an integer, of so many bits that others can be added.

    Raises:
        ValueError: If it is something else.
    """
    integer = _integer(value)
    if integer is None or abs(integer) >= 2**62:
        raise ValueError(
            f"Expected an integer of at most 62 bits. Received: {name}={value!r}"
        )
    return integer


def number(name, value, least=-math.inf, above=-math.inf, below=math.inf):
    """Returns an argument as a float.

    Args:
        name: The argument's name.
        value: What it is.
        least: The least number that it may be.
        above: What it has to be above.
        below: What it has to be below.

    Raises:
        ValueError: If it is no number, not finite, or out of these bounds.
    """
    plain = _plain(value)
    fits = (
        isinstance(plain, numbers.Real)
        and abs(plain) <= sys.float_info.max
        and plain >= least
        and above < plain < below
    )
    if not fits:
        bounds = {" of {} or more": least, " above {}": above, " below {}": below}
        said = [text.format(n) for text, n in bounds.items() if math.isfinite(n)]
        raise ValueError(
            f"Expected a finite number{' and'.join(said)}. Received: {name}={value!r}"
        )
    return float(plain)


def flag(name, value):
    """Returns an argument, True, False, 1 or 0, as a bool.

    Raises:
        ValueError: If it is something else.
    """
    integer = _integer(value)
    if integer not in (0, 1):
        raise ValueError(f"Expected True or False. Received: {name}={value!r}")
    return bool(integer)


def optional(check, name, value, **bounds):
    """Returns None for None, and of anything else what a check returns."""
    return None if value is None else check(name, value, **bounds)


def whole_config(thing, base, besides=()):
    """Raises `ValueError` where `get_config` lacks an argument of the constructor.

    An object that is rebuilt from it, for a file or an export, would have the default
    in its place. A class with a `from_config` of its own knows what it does.

    Args:
        thing: Object whose class somebody may have derived from one of ours.
        base: The class of ours.
        besides: Names of arguments that a config need not have.
    """
    if lacking := sorted(set(_lacking(thing, base)) - set(besides)):
        raise _incomplete(thing, lacking)


def whole_layer_config(layer, base):
    """Raises `ValueError` where a layer's `get_config` lacks what is not the default.

    Layers leave out arguments that nobody gave, as Keras's own do.

    Args:
        layer: A Keras layer.
        base: Class of Keras whose `from_config` builds it.
    """

    def is_set(name, default):
        value = getattr(layer, name, getattr(layer, f"_{name}", default))
        # Of arrays nothing is simply equal.
        return value is not default and not np.array_equal(value, default)

    lacking = [
        name
        for name, default in _lacking(layer, base).items()
        # Keras sets these where nobody gave them.
        if name not in ("dtype", "name", "trainable") and is_set(name, default)
    ]
    if lacking:
        raise _incomplete(layer, lacking)


def _lacking(thing, base):
    """Returns what `get_config` lacks, from argument to its default."""
    own = getattr(type(thing).from_config, "__func__", None)
    if own is not base.from_config.__func__:
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    config = thing.get_config()
    return {
        name: parameter.default
        for name, parameter in inspect.signature(thing.__init__).parameters.items()
        if parameter.kind in named and name not in config
    }


def _incomplete(thing, lacking):
    return ValueError(
        f"{type(thing).__name__}.get_config() lacks {', '.join(lacking)}, which the "
        "constructor takes: a file or an export would have the default instead. Return "
        f"{{**super().get_config(), {lacking[0]!r}: ...}} there."
    )


def _plain(value):
    """Returns what an array or a tensor without dimensions holds, or else the value."""
    return np.asarray(value).item() if getattr(value, "shape", None) == () else value


def _integer(value):
    """Returns a whole number of any kind as Python's, None for what is none."""
    plain = _plain(value)
    if isinstance(plain, numbers.Real) and plain == plain // 1:
        return int(plain)
    return None
