"""The JSON of TensorFlow Serving's REST API, to and from the messages it stands for."""

import base64
import binascii
import json
import math
import re

import grpc
import numpy as np
from google.protobuf import json_format

from serving import errors, messages, signatures, tensors

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TOO_DEEP = "JSON Parse error: nested too deeply"


def parse_predict(body, find_signatures):
    """Returns the PredictRequest of a JSON body, and whether it is in row format.

    Args:
        body: The bytes sent.
        find_signatures: Returns the model's {key: Signature}, whose names and dtypes
            say what the JSON values stand for.
    """
    content = parse_json(body)
    if not isinstance(content, dict):
        raise errors.invalid_argument("The JSON body must be an object")
    named = content.get("signature_name", "")
    if not isinstance(named, str):
        raise errors.invalid_argument("'signature_name' key must be a string value")
    key = named or signatures.DEFAULT
    found = find_signatures()
    if key not in found:
        raise errors.invalid_argument(
            f'Serving signature name: "{key}" not found in signature def'
        )
    specs = found[key].inputs
    if not specs:
        raise errors.invalid_argument(
            f"Failed to get input map for signature: {named or 'DEFAULT'}"
        )
    by_rows = "instances" in content
    if by_rows == ("inputs" in content):
        raise errors.invalid_argument(
            "The JSON body must have one of 'instances' (rows) and 'inputs' (columns)"
        )
    columns = (
        _columns_of_rows(content["instances"], specs)
        if by_rows
        else _columns(content["inputs"], specs)
    )
    request = messages.PredictRequest()
    request.model_spec.signature_name = key
    try:
        for name, values in columns.items():
            array = _to_array(values, specs[name])
            if array.dtype != object and np.isinf(array).any():
                # Infinity is a word, but 1e400 is a number that no float can hold.
                parse_json(body, _finite)
            tensors.encode(array, request.inputs[name])
    except RecursionError:
        raise errors.invalid_argument(_TOO_DEEP) from None
    return request, by_rows


def parse_json(body, parse_float=None):
    """Returns what a JSON body says.

    Args:
        body: The bytes sent.
        parse_float: Makes numbers of their texts, as for `json.loads`.

    Raises:
        ServingError: If it is not JSON.
    """
    try:
        text = body.decode("utf-8-sig")
        content = json.loads(
            text, parse_float=parse_float, object_pairs_hook=_first_of_each
        )
        if _SURROGATE.search(text):  # One without its other half is no character.
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise errors.invalid_argument(_TOO_DEEP) from None
    except ValueError as error:  # No JSON, no UTF-8, or a number of too many digits.
        raise errors.invalid_argument(f"JSON Parse error: {error}") from error
    return content


def _first_of_each(pairs):
    """Returns a dict; of equal keys the first counts, as in TensorFlow Serving."""
    content = {}
    for key, value in pairs:
        content.setdefault(key, value)
    return content


def _finite(text):
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"Number too big to be stored in double: {text}")
    return number


def _is_bytes(value):
    return (
        isinstance(value, dict)
        and set(value) == {"b64"}
        and isinstance(value["b64"], str)
    )


def _columns(inputs, specs):
    """Returns {name: values} of the column format."""
    if not isinstance(inputs, dict) or _is_bytes(inputs):
        if len(specs) != 1:
            raise errors.invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple "
                f"input tensors required: {', '.join(specs)}"
            )
        return {next(iter(specs)): inputs}
    for name in specs:
        if name not in inputs:
            raise errors.invalid_argument(
                f"Missing named input: {name} in 'inputs' object"
            )
    return {name: inputs[name] for name in specs}


def _columns_of_rows(rows, specs):
    """Returns {name: values} of the row format."""
    if not isinstance(rows, list):
        raise errors.invalid_argument("Expecting 'instances' value to be a list/array")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in rows]
    if not any(named) and len(specs) == 1:
        return {next(iter(specs)): rows}
    if not all(named):
        raise errors.invalid_argument(
            "Every one of 'instances' must be an object with the inputs "
            f"{', '.join(specs)}"
        )
    for row in rows:
        for name in row:
            if name not in specs:
                raise errors.invalid_argument(
                    f"JSON object: does not have named input: {name}; the inputs are "
                    f"{', '.join(specs)}"
                )
        if set(row) != set(rows[0]):
            raise errors.invalid_argument(
                "'instances' must all have the same inputs; found "
                f"{sorted(row)} and {sorted(rows[0])}"
            )
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else specs)}


def _to_array(values, spec):
    """Returns nested lists as an array of the dtype of `spec`."""
    try:
        wanted = tensors.numpy_type(spec.data_type)
    except ValueError as error:
        raise errors.invalid_argument(f"input {spec}: {error}") from error
    if values == [] and spec.row_shape is not None:
        return spec.no_rows()
    is_text = spec.data_type == tensors.DT_STRING
    wrong_type = errors.invalid_argument(
        f"JSON Value is not of expected type: {tensors.type_name(spec.data_type)} "
        f"(input {spec})"
    )
    if is_text:
        values = _to_bytes(values, spec)
    # numpy takes true for 1, and one string among numbers for a reason to give each of
    # them the room of that string.
    elif not _all_of(values, (bool,) if wanted.kind == "b" else (int, float)):
        raise wrong_type
    try:
        if not is_text:
            return tensors.from_numbers(values, wanted)
        array = np.array(values, object)
    except TypeError:
        raise wrong_type from None
    except ValueError as error:
        raise errors.invalid_argument(
            f"JSON Value for {spec} is not a regular list: {error}"
        ) from error
    except OverflowError:
        raise errors.invalid_argument(
            f"JSON Value out of range for input {spec}"
        ) from None
    if any(not isinstance(value, bytes) for value in array.flat):
        raise wrong_type
    return array


def _all_of(values, types):
    """Whether all that nested lists hold is of one of the types."""
    if type(values) is list:
        return all(_all_of(value, types) for value in values)
    return type(values) in types


def _to_bytes(values, spec):
    if isinstance(values, list):
        return [_to_bytes(value, spec) for value in values]
    if isinstance(values, str):
        return values.encode()
    if _is_bytes(values):
        text = re.sub(r"\s", "", values["b64"])
        try:  # Without its padding, too, as TensorFlow Serving takes it.
            return base64.b64decode(text + -len(text) % 4 * "=", validate=True)
        except (binascii.Error, ValueError) as error:
            raise errors.invalid_argument("Unable to base64 decode") from error
    raise errors.invalid_argument(
        f"JSON Value is not of expected type: string (input {spec})"
    )


def render_predict(response, by_rows, max_bytes):
    """Returns the JSON text of a PredictResponse.

    Args:
        response: The message.
        by_rows: Whether it is to be in row format.
        max_bytes: The longest text, about.

    Raises:
        ServingError: If it would be longer, or its outputs make no rows.
    """
    arrays = {
        name: tensors.decode(proto) for name, proto in sorted(response.outputs.items())
    }
    counts = {array.shape[:1] for array in arrays.values()}
    if by_rows and (len(counts) > 1 or () in counts):
        raise errors.invalid_argument(
            "The outputs have no common 0th dimension; ask with 'inputs' instead of "
            "'instances'"
        )
    # Row by row: as a whole, lists take a hundred bytes a number.
    room = _AnswerRoom(max_bytes)
    columns = {
        name: [
            room.take(json.dumps(_to_json(name, array[k : k + 1])[0]))
            for k in range(len(array))
        ]
        if array.ndim
        else room.take(json.dumps(_to_json(name, array)))
        for name, array in arrays.items()
    }
    if len(columns) == 1:
        (only,) = columns.values()
        return object_of({"predictions" if by_rows else "outputs": _list(only)})
    if not by_rows:
        named = {name: _list(column) for name, column in columns.items()}
        return object_of({"outputs": object_of(named)})
    rows = [
        object_of(dict(zip(columns, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]
    return object_of({"predictions": _list(rows)})


class _AnswerRoom:
    """How many bytes an answer may still have."""

    def __init__(self, size):
        self._size = self._left = size

    def take(self, text):
        self._left -= len(text)
        if self._left < 0:
            raise errors.ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The answer is longer than {self._size} bytes as JSON; ask for fewer "
                "rows at a time, or over gRPC",
            )
        return text


def object_of(values):
    """Returns the JSON object of names and JSON texts."""
    return f"{{{', '.join(f'{json.dumps(k)}: {v}' for k, v in values.items())}}}"


def _list(texts):
    """Returns the JSON list of texts; a text alone stands for itself."""
    return texts if isinstance(texts, str) else f"[{', '.join(texts)}]"


def _to_json(name, array):
    if array.dtype == object:
        return _strings_to_json(array.tolist(), name.endswith("_bytes"))
    if array.dtype.kind not in "iufb":  # bfloat16
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        # Through text: 0.1 of 32 bits is to read 0.1, not 0.10000000149011612. Large
        # ones are whole numbers, which read as they are.
        is_whole = np.abs(array) > 2.0 ** np.finfo(array.dtype).nmant
        through_text = array.astype(str).astype(np.float64)
        array = np.where(is_whole, array.astype(np.float64), through_text)
    return array.tolist()


def _strings_to_json(value, binary):
    if isinstance(value, list):
        return [_strings_to_json(item, binary) for item in value]
    if binary:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def text_of(message):
    """Returns a message as JSON text."""
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
