"""How TensorFlow Serving answers over REST, as cases that run against any server.

As in `serving.conformance`, whose Subjects and Results these are. TensorFlow
Serving's messages over REST differ between versions: an answer is compared by its
HTTP status and the form of its JSON, and by its first words only where its
documentation has them.
"""

import dataclasses
import http.client
import json
import typing
import urllib.parse

import numpy as np

from serving import conformance, errors, signatures, tensors
from serving.conformance import NO_LABEL, NO_MODEL, NO_SIGNATURE, NO_VERSION

# The rows of each valid request.
_ROWS = 2


class Reply(typing.NamedTuple):
    """What came back: the HTTP status, and the body's JSON where it is some.

    Where nothing came back, the status is None and the body says why.
    """

    status: int | None
    body: object


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: an HTTP status, and a body.

    `check` takes the body and returns what is wrong with it, or nothing.
    """

    status: int
    check: object = None

    def mismatch(self, reply):
        """Returns how a reply differs from this answer, or nothing."""
        if reply.status != self.status:
            return f"{reply.status} {reply.body!r:.200} instead of {self.status}"
        return None if self.check is None else self.check(reply.body)


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the specification.

    Attributes:
        name: What is asked.
        method: The HTTP method.
        path: The path.
        body: The bytes that are sent, if any.
        expected: TensorFlow Serving's Answer.
        deliberate: The embedded server's Answer where it differs on purpose.
        why: The harm that the difference avoids.
    """

    name: str
    method: str
    path: str
    body: bytes | None
    expected: Answer
    deliberate: Answer | None = None
    why: str = ""


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
    return _body(subject, instances=[row] * _ROWS)


def _by_columns(subject):
    """Returns a valid body in column format, its inputs by name."""
    columns = {spec.name: [_one_row(spec)] * _ROWS for spec in subject.specs}
    return _body(subject, inputs=columns)


def _get(title, path, *answer, **more):
    return Case(f"REST: {title}", "GET", path, None, Answer(*answer), **more)


def _post(title, path, body, *answer, **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(f"REST: {title}", "POST", path, content, Answer(*answer), **more)


def _rows_case(title, subject, body, place=""):
    path = _path(subject, f"{place}:predict")
    return _post(title, path, body, 200, _holds(subject, "predictions"))


def _columns_case(title, subject, body):
    path = _path(subject, ":predict")
    return _post(title, path, body, 200, _holds(subject, "outputs"))


def _predict_cases(subject):
    version = f"/versions/{subject.version}"
    found = [
        _rows_case("rows", subject, _by_rows(subject)),
        _columns_case("columns", subject, _by_columns(subject)),
        _rows_case("a version's rows", subject, _by_rows(subject), version),
    ]
    if len(subject.specs) > 1:
        return found
    values = [_one_row(subject.specs[0])] * _ROWS
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
            found.append(_post("b64 that is none", path, body, 400, _says()))
    return found


def _error_cases(subject):
    path = _path(subject, ":predict")
    rows = _by_rows(subject)
    row = rows["instances"][0]
    more = {**row, "no_such_input": 0}
    wrong = {**row, subject.specs[0].name: {"no_such_type": 0}}
    servable = f"Servable not found for request: Specific({subject.name}, {NO_VERSION})"

    def refused(title, body):
        return _post(title, path, body, 400, _says())

    def elsewhere(title, path, *answer):
        return _post(title, path, rows, *answer)

    return [
        elsewhere(
            "unknown model",
            _path(subject, ":predict", NO_MODEL),
            404,
            _says(f"Servable not found for request: Latest({NO_MODEL})"),
        ),
        elsewhere(
            "unknown version",
            _path(subject, f"/versions/{NO_VERSION}:predict"),
            404,
            _says(servable),
        ),
        elsewhere(
            "unknown version label",
            _path(subject, f"/labels/{NO_LABEL}:predict"),
            400,
            _says(f"Unrecognized servable version label: {NO_LABEL}"),
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
        elsewhere("an unknown call", _path(subject, ":no_such_call"), 400, _says()),
        elsewhere("POST where GET is meant", _path(subject), 400, _says()),
        _get("GET where POST is meant", path, 400, _says()),
        *(
            _post(
                f"{call} with a predict signature",
                _path(subject, f":{call}"),
                _body(subject, examples=[{"x": 1.0}]),
                400,
                _says(),
            )
            for call in ("classify", "regress")
        ),
        _post(
            "no rows",
            path,
            _body(subject, instances=[]),
            400,
            _says(),
            deliberate=Answer(200, _is_no_rows),
            why="zero rows are no error over gRPC either",
        ),
    ]


def _get_cases(subject):
    version = f"/versions/{subject.version}"
    return [
        _get("status", _path(subject), 200, _lists(subject)),
        _get("a version's status", _path(subject, version), 200, _lists(subject)),
        _get(
            "status of an unknown model",
            _path(subject, name=NO_MODEL),
            404,
            _says(f"Could not find any versions of model {NO_MODEL}"),
        ),
        _get(
            "status of an unknown version",
            _path(subject, f"/versions/{NO_VERSION}"),
            404,
            _says(f"Could not find version {NO_VERSION} of model {subject.name}"),
        ),
        _get("metadata", _path(subject, "/metadata"), 200, _describes(subject)),
        _get(
            "a version's metadata",
            _path(subject, f"{version}/metadata"),
            200,
            _describes(subject),
        ),
        _get(
            "metadata of an unknown model",
            _path(subject, "/metadata", NO_MODEL),
            404,
            _says(f"Servable not found for request: Latest({NO_MODEL})"),
        ),
        _get(
            "a path in capitals",
            _path(subject).replace("/v1/models/", "/V1/MODELS/"),
            200,
            _lists(subject),
            deliberate=Answer(400, _says("Malformed request: ")),
            why="model names have a case, too",
        ),
        _get(
            "a path outside of /v1",
            "/no/such/path",
            404,
            deliberate=Answer(400, _says("Malformed request: ")),
            why="the answer is JSON like any other",
        ),
    ]


def cases(model, version, found, signature=None):
    """Returns the cases for one model of a server.

    Its arguments are those of `serving.conformance.subject_of`.
    """
    subject = conformance.subject_of(model, version, found, signature)
    chosen = [*_get_cases(subject), *_predict_cases(subject), *_error_cases(subject)]
    others = conformance.usable(found)
    if signatures.DEFAULT in others:
        default = others[signatures.DEFAULT]
        chosen += _default_cases(conformance.Subject(model, version, default))
    with_strings = filter(_has_strings, (subject.signature, *others.values()))
    first = next(with_strings, None)
    if first is not None:
        chosen += _string_cases(conformance.Subject(model, version, first))
    return chosen


def _has_strings(signature):
    specs = (*signature.inputs.values(), *signature.outputs.values())
    return any(spec.data_type == tensors.DT_STRING for spec in specs)


def label_cases(label, model, version, found, signature=None):
    """Returns the cases for a version label that exists.

    Its arguments are those of `serving.conformance.label_cases`.
    """
    subject = conformance.subject_of(model, version, found, signature)
    place = f"/labels/{urllib.parse.quote(label, safe='')}"
    path = _path(subject, place)
    return [
        _rows_case("rows by label", subject, _by_rows(subject), place),
        _get("status by label", path, 200, _lists(subject)),
        _get("metadata by label", f"{path}/metadata", 200, _describes(subject)),
    ]


def check_address(address, timeout=60.0):
    """Raises `RequestError` where nothing answers in HTTP."""
    found = _ask(address, _get("an answer", "/v1/models/any", 404), timeout)
    if found.status is None:
        raise errors.RequestError(f"{address} is no REST API: {found.body}")


def run(address, chosen, timeout=60.0):
    """Sends each of the `chosen` cases over plain HTTP; yields the Results.

    Args:
        address: `host:port` of the REST API.
        chosen: The Cases.
        timeout: Seconds to wait for each.
    """
    for case in chosen:
        yield conformance.judge(case, _ask(address, case, timeout))


def _ask(address, case, timeout):
    try:
        connection = http.client.HTTPConnection(address, timeout=timeout)
        try:
            connection.request(case.method, case.path, case.body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return Reply(None, str(error))
    try:
        return Reply(answer.status, json.loads(content))
    except ValueError:
        return Reply(answer.status, None)


# Checks of bodies: each returns what is wrong, or None -------------------------------


def _says(words=""):
    """An error in JSON, whose message starts with `words`."""

    def check(body):
        if not isinstance(body, dict) or not isinstance(body.get("error"), str):
            return f"the body {body!r:.200} has no error"
        if not body["error"].startswith(words):
            return f"the error {body['error']!r} instead of {words!r} …"
        return None

    return check


def _is_no_rows(body):
    return None if body == {"predictions": []} else f"the body is {body!r:.200}"


def _holds(subject, key):
    """All outputs under `key`, by rows or by columns."""
    outputs = subject.signature.outputs

    def check(body):
        try:
            values = body[key]
            if len(outputs) == 1:
                columns = dict.fromkeys(outputs, values)
            elif key == "outputs":
                columns = {name: values[name] for name in outputs}
            else:
                columns = {name: [row[name] for row in values] for name in outputs}
        except (KeyError, TypeError) as error:
            return f"the body {body!r:.200} lacks {error}"
        found = [_misfit(spec, columns[name]) for name, spec in outputs.items()]
        return next(filter(None, found), None)

    return check


def _misfit(spec, values):
    """Returns how JSON values differ from rows of an output, or nothing."""
    try:
        shape = np.shape(values)
    except ValueError:  # Lists of different lengths.
        shape = ()
    if shape[:1] != (_ROWS,) or not spec.fits(shape):
        return f"output {spec} came in the shape {list(shape)}"
    if spec.data_type == tensors.DT_STRING:
        fits = _is_b64 if spec.name.endswith("_bytes") else _is_text
        for value in np.array(values, object).flat:
            if not fits(value):
                return f"output {spec} came as {value!r:.200}"
    return None


def _is_b64(value):
    return isinstance(value, dict) and list(value) == ["b64"]


def _is_text(value):
    return isinstance(value, str)


def _lists(subject):
    def check(body):
        try:
            statuses = {
                int(found["version"]): (found["state"], found["status"]["error_code"])
                for found in body["model_version_status"]
            }
        except (KeyError, TypeError, ValueError) as error:
            return f"the body {body!r:.200} is no status: {error!r}"
        if list(statuses) != sorted(statuses, reverse=True):
            return f"the versions are listed as {list(statuses)}"
        if statuses.get(subject.version) != ("AVAILABLE", "OK"):
            return f"version {subject.version} is {statuses.get(subject.version)}"
        return None

    return check


def _describes(subject):
    def check(body):
        try:
            spec = body["model_spec"]
            keys = body["metadata"]["signature_def"]["signature_def"]
            named = spec["name"], int(spec["version"]), spec["signature_name"]
        except (KeyError, TypeError, ValueError) as error:
            return f"the body {body!r:.200} is no metadata: {error!r}"
        if named != (subject.name, subject.version, ""):
            return f"model_spec is {spec}"
        if subject.signature.key not in keys:
            return f"the signature {subject.signature.key} is missing"
        return None

    return check
