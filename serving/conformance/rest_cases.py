"""The cases over REST.

TensorFlow Serving's messages over REST differ between versions: an answer is compared
by its HTTP status and the form of its JSON, and by its first words only where its
documentation has them.
"""

import base64
import json
import urllib.parse

from serving import signatures, tensors
from serving.conformance import changes, rest_checks
from serving.conformance.grpc_calls import Beside
from serving.conformance.judging import OneOf
from serving.conformance.rest_calls import Answer, Case
from serving.conformance.subject import (
    NO_LABEL,
    NO_MODEL,
    NO_SIGNATURE,
    NO_VERSION,
    rows_of,
    subject_of,
    usable,
)


def _path(subject, rest="", name=None):
    return f"/v1/models/{urllib.parse.quote(name or subject.name, safe='')}{rest}"


# Those of which TensorFlow Serving reads and writes JSON (json_tensor.cc).
_IN_JSON = (
    *("bool", "double", "float", "string"),
    *("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"),
)


def _has_json(signature):
    specs = (*signature.inputs.values(), *signature.outputs.values())
    return all(tensors.type_name(spec.data_type) in _IN_JSON for spec in specs)


def _rows(spec, as_text=False):
    """Returns the JSON of the rows of an input."""

    def spelled(value):
        if isinstance(value, list):
            return [spelled(item) for item in value]
        if not isinstance(value, bytes):
            return value
        if as_text:
            return value.decode()
        return {"b64": base64.b64encode(value).decode()}

    return spelled(rows_of(spec, rest_checks.VALUES).tolist())


def _body(subject, **content):
    return {"signature_name": subject.signature.key, **content}


def _by_rows(subject, as_text=False):
    """Returns a valid body in row format, its inputs by name."""
    columns = _by_columns(subject, as_text)["inputs"]
    count = range(len(rest_checks.VALUES))
    rows = [{name: column[k] for name, column in columns.items()} for k in count]
    return _body(subject, instances=rows)


def _by_columns(subject, as_text=False):
    """Returns a valid body in column format, its inputs by name."""
    columns = {spec.name: _rows(spec, as_text) for spec in subject.specs}
    return _body(subject, inputs=columns)


def _get(title, path, *answer, **more):
    return Case(f"REST: {title}", "GET", path, None, Answer(*answer), **more)


def _post(title, path, body, *answer, **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(f"REST: {title}", "POST", path, content, Answer(*answer), **more)


def _predicts(title, subject, body, **place):
    """The case of a valid body, at the version or the label that `place` names."""
    key = "predictions" if "instances" in body else "outputs"
    request = changes.addressed(subject.request(rest_checks.VALUES), **place)
    more_than_a_batch = f"Task size {len(rest_checks.VALUES)} is larger "
    return Case(
        f"REST: {title}",
        "POST",
        _path(subject, f"{_at(**place)}:predict"),
        json.dumps(body).encode(),
        OneOf(
            Answer(200, rest_checks.holds(subject, key)),
            Answer(400, rest_checks.says(more_than_a_batch)),
        ),
        beside=Beside("Predict", request, rest_checks.equals(subject, key)),
    )


def _at(version=None, label=None):
    """Returns what a path says behind the model's name."""
    if version is not None:
        return f"/versions/{version}"
    return "" if label is None else f"/labels/{urllib.parse.quote(label, safe='')}"


def _predict_cases(subject):
    rows, columns = _by_rows(subject), _by_columns(subject)
    found = [
        _predicts("rows", subject, rows),
        _predicts("columns", subject, columns),
        _predicts("a version's rows", subject, rows, version=subject.version),
    ]
    if len(subject.specs) > 1:
        return found
    values = _rows(subject.specs[0])
    rows, columns = _body(subject, instances=values), _body(subject, inputs=values)
    return [
        *found,
        _predicts("rows of an only input, without its name", subject, rows),
        _predicts("columns of an only input, without its name", subject, columns),
    ]


def _default_cases(subject):
    """The case that names no signature, for the model's default one."""
    body = _by_rows(subject)
    del body["signature_name"]
    title = "serving_default is asked where no signature is"
    return [_predicts(title, subject, body)]


def _string_cases(subject):
    """The cases of a signature that has strings."""
    rows = _by_rows(subject)
    title = "strings whose names end in _bytes come as b64, others as text"
    found = [_predicts(title, subject, rows)]
    texts = [spec.name for spec in subject.specs if spec.data_type == tensors.DT_STRING]
    if texts:
        as_text = _by_rows(subject, as_text=True)
        found.append(_predicts("strings sent as text, not as b64", subject, as_text))
    for name in texts:
        body = _body(subject, instances=[{**rows["instances"][0], name: {"b64": "!"}}])
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


def _get_cases(subject, found):
    metadata = rest_checks.describes(subject, found)
    version = f"/versions/{subject.version}"
    return [
        _get("status", _path(subject), 200, rest_checks.lists(subject)),
        _get(
            "a version's status",
            _path(subject, version),
            200,
            rest_checks.lists_only(subject),
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
        _get("metadata", _path(subject, "/metadata"), 200, metadata),
        _get(
            "a version's metadata", _path(subject, f"{version}/metadata"), 200, metadata
        ),
        _get(
            "metadata of an unknown model",
            _path(subject, "/metadata", NO_MODEL),
            404,
            rest_checks.says(f"Servable not found for request: Latest({NO_MODEL})"),
        ),
        _get(
            "metadata of an unknown version",
            _path(subject, f"/versions/{NO_VERSION}/metadata"),
            404,
            rest_checks.says(
                f"Servable not found for request: Specific({subject.name}, "
                f"{NO_VERSION})"
            ),
        ),
        _get(
            "metadata by an unknown label",
            _path(subject, f"/labels/{NO_LABEL}/metadata"),
            400,
            rest_checks.says(f"Unrecognized servable version label: {NO_LABEL}"),
        ),
        _get(
            "a path with a query",
            _path(subject, "/metadata?x=1"),
            400,
            rest_checks.says("Malformed request: "),
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
    chosen = [*_get_cases(subject, found), *_error_cases(subject)]
    others = {key: other for key, other in usable(found).items() if _has_json(other)}
    if subject.signature.key in others:
        chosen += _predict_cases(subject)
    if signatures.DEFAULT in others:
        default = others[signatures.DEFAULT]
        chosen += _default_cases(subject.with_signature(default))
    # The subject's own first.
    for key in sorted(others, key=lambda key: key != subject.signature.key):
        if _has_strings(others[key]):
            chosen += _string_cases(subject.with_signature(others[key]))
            break
    return chosen


def _has_strings(signature):
    specs = (*signature.inputs.values(), *signature.outputs.values())
    return any(spec.data_type == tensors.DT_STRING for spec in specs)


def label_cases(label, model, version, found, signature=None):
    """Returns the cases for a version label that exists.

    Its arguments are those of `serving.conformance.grpc_cases.label_cases`.
    """
    subject = subject_of(model, version, found, signature)
    place = {"label": label}
    return [
        *_rows_cases("rows by label", subject, place),
        # Lists all versions, but on the embedded server.
        _get(
            "status by label",
            _path(subject, _at(**place)),
            200,
            rest_checks.lists(subject),
        ),
        _metadata_case("metadata by label", subject, found, place),
    ]


def older_cases(model, version, found, signature=None):
    """Returns the cases for a version that is served beside a newer one.

    Its arguments are those of `serving.conformance.grpc_cases.older_cases`.
    """
    subject = subject_of(model, version, found, signature)
    place = {"version": version}
    return [
        *_rows_cases("an older version's rows", subject, place),
        _get(
            "an older version's status",
            _path(subject, _at(**place)),
            200,
            rest_checks.lists_only(subject),
        ),
        _metadata_case("an older version's metadata", subject, found, place),
        _get(
            "status lists an older version, too",
            _path(subject),
            200,
            rest_checks.lists(subject),
        ),
    ]


def _rows_cases(title, subject, place):
    if not _has_json(subject.signature):
        return []
    return [_predicts(title, subject, _by_rows(subject), **place)]


def _metadata_case(title, subject, found, place):
    path = _path(subject, f"{_at(**place)}/metadata")
    return _get(title, path, 200, rest_checks.describes(subject, found))
