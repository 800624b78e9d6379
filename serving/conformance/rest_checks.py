"""Checks of bodies over REST: each returns what is wrong, or None."""

import numpy as np

from serving import tensors

# The rows of each valid request.
ROWS = 2


def says(words=""):
    """An error in JSON, whose message starts with `words`."""

    def check(body):
        if not isinstance(body, dict) or not isinstance(body.get("error"), str):
            return f"the body {body!r:.200} has no error"
        if not body["error"].startswith(words):
            return f"the error {body['error']!r} instead of {words!r} …"
        return None

    return check


def is_no_rows(body):
    """Predictions, but none."""
    return None if body == {"predictions": []} else f"the body is {body!r:.200}"


def holds(subject, key):
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
    if shape[:1] != (ROWS,) or not spec.fits(shape):
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


def lists(subject):
    """The subject's version among others, newest first."""

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


def describes(subject):
    """The metadata of the subject's version, with its signature."""

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
