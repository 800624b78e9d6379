"""The cases over REST.

TensorFlow
Serving's messages over REST differ between versions: an answer is compared by its
HTTP status and the form of its JSON, and by its first words only where its
documentation has them.
"""

import json
import urllib.parse

import numpy as np

from serving import signatures, tensors
from serving.conformance import rest_checks
from serving.conformance.rest_calls import Answer, Case
from serving.conformance.subject import (
    NO_LABEL,
    NO_MODEL,
    NO_SIGNATURE,
    NO_VERSION,
    Subject,
    subject_of,
    usable,
)


def _path(subject, rest="", name=None):
    return f"/v1/models/{urllib.parse.quote(name or subject.name, safe='')}{rest}"


def _one_row(spec):
    """Returns the JSON of a row of zeros, or of short strings."""
    if spec.data_type == tensors.DT_STRING:
        value = {"b64": "eA=="}
    else:
        value = np.zeros((), tensors.numpy_type(spec.data_type)).tolist()
    for size in reversed(spec.row_shape):
        value = [value] * size
    return value


def _body(subject, **content):
    return {"signature_name": subject.signature.key, **content}


def _by_rows(subject):
    """Returns a valid body in row format, its inputs by name."""
    row = {spec.name: _one_row(spec) for spec in subject.specs}
    return _body(subject, instances=[row] * rest_checks.ROWS)


def _by_columns(subject):
    """Returns a valid body in column format, its inputs by name."""
    columns = {spec.name: [_one_row(spec)] * rest_checks.ROWS for spec in subject.specs}
    return _body(subject, inputs=columns)


def _get(title, path, *answer, **more):
    return Case(f"REST: {title}", "GET", path, None, Answer(*answer), **more)


def _post(title, path, body, *answer, **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(f"REST: {title}", "POST", path, content, Answer(*answer), **more)


def _rows_case(title, subject, body, place=""):
    path = _path(subject, f"{place}:predict")
    return _post(title, path, body, 200, rest_checks.holds(subject, "predictions"))


def _columns_case(title, subject, body):
    path = _path(subject, ":predict")
    return _post(title, path, body, 200, rest_checks.holds(subject, "outputs"))


def _predict_cases(subject):
    version = f"/versions/{subject.version}"
    found = [
        _rows_case("rows", subject, _by_rows(subject)),
        _columns_case("columns", subject, _by_columns(subject)),
        _rows_case("a version's rows", subject, _by_rows(subject), version),
    ]
    if len(subject.specs) > 1:
        return found
    values = [_one_row(subject.specs[0])] * rest_checks.ROWS
    rows, columns = _body(subject, instances=values), _body(subject, inputs=values)
    return [
        *found,
        _rows_case("rows of an only input, without its name", subject, rows),
        _columns_case("columns of an only input, without its name", subject, columns),
    ]


def _default_cases(subject):
    """The case that names no signature, for the model's default one."""
    body = _by_rows(subject)
    del body["signature_name"]
    title = "serving_default is asked where no signature is"
    return [_rows_case(title, subject, body)]


def _string_cases(subject):
    """The cases of a signature that has strings."""
    rows = _by_rows(subject)
    title = "strings whose names end in _bytes come as b64, others as text"
    found = [_rows_case(title, subject, rows)]
    for spec in subject.specs:
        if spec.data_type == tensors.DT_STRING:
            row = {**rows["instances"][0], spec.name: {"b64": "!"}}
            body = _body(subject, instances=[row])
            path = _path(subject, ":predict")
            found.append(_post("b64 that is none", path, body, 400, rest_checks.says()))
    return found


def _error_cases(subject):
    path = _path(subject, ":predict")
    rows = _by_rows(subject)
    row = rows["instances"][0]
    more = {**row, "no_such_input": 0}
    wrong = {**row, subject.specs[0].name: {"no_such_type": 0}}
    servable = f"Servable not found for request: Specific({subject.name}, {NO_VERSION})"

    def refused(title, body):
        return _post(title, path, body, 400, rest_checks.says())

    def elsewhere(title, path, *answer):
        return _post(title, path, rows, *answer)

    return [
        elsewhere(
            "unknown model",
            _path(subject, ":predict", NO_MODEL),
            404,
            rest_checks.says(f"Servable not found for request: Latest({NO_MODEL})"),
        ),
        elsewhere(
            "unknown version",
            _path(subject, f"/versions/{NO_VERSION}:predict"),
            404,
            rest_checks.says(servable),
        ),
        elsewhere(
            "unknown version label",
            _path(subject, f"/labels/{NO_LABEL}:predict"),
            400,
            rest_checks.says(f"Unrecognized servable version label: {NO_LABEL}"),
        ),
        refused("unknown signature", {**rows, "signature_name": NO_SIGNATURE}),
        refused("an empty body", b""),
        refused("malformed JSON", b'{"instances": [1,'),
        refused("JSON that is no object", [rows]),
        refused("a signature_name that is no string", {**rows, "signature_name": 1}),
        refused("neither instances nor inputs", _body(subject)),
        refused(
            "both instances and inputs",
            {**rows, "inputs": _by_columns(subject)["inputs"]},
        ),
        refused("instances that are no list", _body(subject, instances=1)),
        refused("an unknown input", _body(subject, instances=[more])),
        refused("a missing input", _body(subject, inputs={"no_such_input": [0]})),
        refused("rows of different inputs", _body(subject, instances=[row, {}])),
        refused("a value of another type", _body(subject, instances=[wrong])),
        elsewhere(
            "an unknown call", _path(subject, ":no_such_call"), 400, rest_checks.says()
        ),
        elsewhere("POST where GET is meant", _path(subject), 400, rest_checks.says()),
        _get("GET where POST is meant", path, 400, rest_checks.says()),
        *(
            _post(
                f"{call} with a predict signature",
                _path(subject, f":{call}"),
                _body(subject, examples=[{"x": 1.0}]),
                400,
                rest_checks.says(),
            )
            for call in ("classify", "regress")
        ),
        _post(
            "no rows",
            path,
            _body(subject, instances=[]),
            400,
            rest_checks.says(),
            deliberate=Answer(200, rest_checks.is_no_rows),
            why="zero rows are no error over gRPC either",
        ),
    ]


def _get_cases(subject):
    version = f"/versions/{subject.version}"
    return [
        _get("status", _path(subject), 200, rest_checks.lists(subject)),
        _get(
            "a version's status",
            _path(subject, version),
            200,
            rest_checks.lists(subject),
        ),
        _get(
            "status of an unknown model",
            _path(subject, name=NO_MODEL),
            404,
            rest_checks.says(f"Could not find any versions of model {NO_MODEL}"),
        ),
        _get(
            "status of an unknown version",
            _path(subject, f"/versions/{NO_VERSION}"),
            404,
            rest_checks.says(
                f"Could not find version {NO_VERSION} of model {subject.name}"
            ),
        ),
        _get(
            "metadata", _path(subject, "/metadata"), 200, rest_checks.describes(subject)
        ),
        _get(
            "a version's metadata",
            _path(subject, f"{version}/metadata"),
            200,
            rest_checks.describes(subject),
        ),
        _get(
            "metadata of an unknown model",
            _path(subject, "/metadata", NO_MODEL),
            404,
            rest_checks.says(f"Servable not found for request: Latest({NO_MODEL})"),
        ),
        _get(
            "a path in capitals",
            _path(subject).replace("/v1/models/", "/V1/MODELS/"),
            200,
            rest_checks.lists(subject),
            deliberate=Answer(400, rest_checks.says("Malformed request: ")),
            why="model names have a case, too",
        ),
        _get(
            "a path outside of /v1",
            "/no/such/path",
            404,
            deliberate=Answer(400, rest_checks.says("Malformed request: ")),
            why="the answer is JSON like any other",
        ),
    ]


def cases(model, version, found, signature=None):
    """Returns the cases for one model of a server.

    Its arguments are those of `serving.conformance.subject.subject_of`.
    """
    subject = subject_of(model, version, found, signature)
    chosen = [*_get_cases(subject), *_predict_cases(subject), *_error_cases(subject)]
    others = usable(found)
    if signatures.DEFAULT in others:
        default = others[signatures.DEFAULT]
        chosen += _default_cases(Subject(model, version, default))
    with_strings = filter(_has_strings, (subject.signature, *others.values()))
    first = next(with_strings, None)
    if first is not None:
        chosen += _string_cases(Subject(model, version, first))
    return chosen


def _has_strings(signature):
    specs = (*signature.inputs.values(), *signature.outputs.values())
    return any(spec.data_type == tensors.DT_STRING for spec in specs)


def label_cases(label, model, version, found, signature=None):
    """Returns the cases for a version label that exists.

    Its arguments are those of `serving.conformance.grpc_cases.label_cases`.
    """
    subject = subject_of(model, version, found, signature)
    place = f"/labels/{urllib.parse.quote(label, safe='')}"
    path = _path(subject, place)
    return [
        _rows_case("rows by label", subject, _by_rows(subject), place),
        _get("status by label", path, 200, rest_checks.lists(subject)),
        _get(
            "metadata by label", f"{path}/metadata", 200, rest_checks.describes(subject)
        ),
    ]
