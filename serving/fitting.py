"""Fits what a user gives to what a model's signature takes, before anything is sent."""

import collections.abc

import numpy as np

from serving import errors, tensors

# Inputs that may be left out: the model then draws them from the row's seed.
_DRAWN = {"labels": -1, "categories": -1, "codes": np.nan}


def fitted(target, metadata, key, inputs, output_names):
    """Fits a request to a model, or says why it cannot be.

    Args:
        target: What errors call the model.
        metadata: Its `serving.client.Metadata`.
        key: The signature's name.
        inputs: {name: array}, as a user gave them.
        output_names: The names of the outputs to send back; all if None.

    Returns:
        The signature, {input: array}, the names of the outputs, and how many rows
        there are (None if they cannot be told apart).

    Raises:
        RequestError: If the model's metadata says that this cannot work.
    """
    if key not in metadata.signatures:
        raise errors.RequestError(
            f"{target} has no signature {key!r}; it has "
            f"{', '.join(sorted(metadata.signatures))}"
        )
    signature = metadata.signatures[key]
    _check_types(target, signature, signature.inputs.values())
    arrays = _checked_inputs(target, signature, inputs)
    names = _checked_outputs(target, signature, output_names)
    _check_types(target, signature, [signature.outputs[name] for name in names])
    return signature, arrays, names, _rows(target, signature, arrays)


def _check_types(target, signature, specs):
    for spec in specs:
        try:
            tensors.numpy_type(spec.data_type)
        except ValueError as error:
            raise errors.RequestError(
                f"{target} has {spec} in {signature.key!r}, which no array here holds: "
                f"{error}"
            ) from None


def _checked_inputs(target, signature, inputs):
    """Returns the inputs as arrays that fit the signature, or says why they cannot."""
    if not isinstance(inputs, collections.abc.Mapping):
        raise errors.RequestError(
            f"inputs are a dict from name to array, not a {type(inputs).__name__}; "
            f"{target} takes {', '.join(map(str, signature.inputs.values()))}"
        )
    inputs = dict(inputs)
    unknown = sorted(map(str, inputs.keys() - signature.inputs.keys()))
    if unknown:
        raise errors.RequestError(
            f"{target} takes no {', '.join(map(repr, unknown))} in {signature.key!r}; "
            f"it takes {', '.join(str(spec) for spec in signature.inputs.values())}"
        )
    arrays = {
        name: _array(target, spec, inputs[name])
        for name, spec in signature.inputs.items()
        if name in inputs
    }
    for_all = {
        name
        for name, array in arrays.items()
        if "seeds" in arrays and _is_a_row(signature.inputs[name], array)
    }
    lengths = [
        len(array)
        for name, array in arrays.items()
        if array.ndim and name not in for_all
    ]
    if not lengths and any(signature.inputs[name].shape for name in arrays):
        raise errors.RequestError(
            f"{target} answers a row for each that it is given in {signature.key!r}; "
            f"give {' or '.join(arrays)} as a list, a value a row"
        )
    rows = max(lengths, default=0)
    for name, spec in signature.inputs.items():
        if name not in arrays:
            if name in signature.defaults:
                continue
            if name not in _DRAWN or "seeds" not in arrays:
                raise errors.RequestError(
                    f"{target} needs {spec} for {signature.key!r}; it was not given"
                )
            wanted = tensors.numpy_type(spec.data_type)
            array = np.full((rows, *spec.row_shape), _DRAWN[name], wanted)
        elif name in for_all or (arrays[name].ndim == 0 and spec.one_number_a_row):
            # One label, condition, category or code for all rows.
            array = np.full((rows, *spec.row_shape), arrays[name])
        else:
            array = arrays[name]
        if not spec.fits(array.shape):
            raise errors.RequestError(
                f"{target} takes {spec} in {signature.key!r}; "
                f"the array given has the shape {list(array.shape)}"
            )
        arrays[name] = array
    return {name: arrays[name] for name in signature.inputs if name in arrays}


def _is_a_row(spec, array):
    """Says whether an array is what one row of an input takes, and not rows of it."""
    return bool(spec.row_shape) and array.shape == tuple(spec.row_shape)


def _array(target, spec, value):
    """Returns `value` as an array of the dtype of `spec`, without losing anything."""
    wanted = tensors.numpy_type(spec.data_type)
    is_text = spec.data_type == tensors.DT_STRING
    if isinstance(value, list | tuple) and not value and spec.row_shape is not None:
        return spec.no_rows()
    too_large = errors.RequestError(
        f"{target} takes {spec}; some numbers given are out of its range"
    )
    try:
        if not is_text and not isinstance(value, np.ndarray):
            # Numbers of Python, whose own types say little.
            return tensors.from_numbers(value, wanted)
        # An array of bytes that numpy makes by itself loses zeros at their ends.
        array = np.asarray(value, object if is_text else None)
        if is_text:
            fits = all(isinstance(item, bytes | str) for item in array.flat)
        else:
            # To numpy, truth values are numbers; those of Python are not taken either.
            fits = (array.dtype.kind == "b") == (wanted.kind == "b") and (
                np.can_cast(array.dtype, wanted, "safe")
                or array.dtype.kind == wanted.kind == "f"
            )
    except TypeError:
        array, fits = np.asarray(value), False
    except ValueError as error:  # Such as lists of unequal lengths.
        raise errors.RequestError(
            f"{target} takes {spec}; what was given makes no array: {error}"
        ) from None
    except OverflowError:
        raise too_large from None
    if not fits:
        hint = ""
        if wanted == np.uint8 and array.dtype.kind == "f":
            hint = "; pictures travel as whole numbers 0 to 255, x = u8 / 127.5 - 1"
        raise errors.RequestError(
            f"{target} takes {spec}; the array given is {array.dtype}{hint}"
        )
    if is_text:
        return array
    try:
        return tensors.rounded(array, wanted)
    except OverflowError:
        raise too_large from None


def _checked_outputs(target, signature, names):
    if isinstance(names, str):
        raise errors.RequestError(f"outputs are a list of names, such as [{names!r}]")
    names = list(signature.outputs if names is None else names)
    if not names:
        raise errors.RequestError(
            f"outputs name one or more of {', '.join(signature.outputs)}; without them "
            "all are sent"
        )
    for name in names:
        if name not in signature.outputs:
            raise errors.RequestError(
                f"{target} has no output {name!r} in {signature.key!r}; "
                f"it has {', '.join(signature.outputs)}"
            )
        if names.count(name) > 1:
            raise errors.RequestError(f"the output {name!r} is asked for twice")
    return names


def _rows(target, signature, arrays):
    """Returns how many rows a request has, None if its rows cannot be told apart."""
    if not signature.batchable or not arrays:
        return None
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise errors.RequestError(
            f"{target} needs as many rows in each input; there are {listed}"
        )
    return next(iter(counts.values()))
