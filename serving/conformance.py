"""`TF_SERVING.md` as cases that run against any server.

Each case sends one request, built from what the server itself says about a model,
and compares the code and the first words of the answer. Where the embedded server
differs on purpose, the case lists both answers, and the report says which one came.
"""

import dataclasses

import google.protobuf.message
import grpc
import numpy as np

from serving import errors, messages, signatures, tensors

OK = grpc.StatusCode.OK
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

NO_MODEL = "no_such_model"
NO_VERSION = 987654321
NO_LABEL = "no_such_label"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: a code, how its message starts, what an OK holds.

    `check` takes the response and returns what is wrong with it, or nothing.
    """

    code: grpc.StatusCode
    message: str = ""
    check: object = None

    def mismatch(self, code, message, response):
        """Returns how an answer differs from this one, or nothing."""
        if code != self.code:
            return f"{code.name} {message!r} instead of {self.code.name}"
        if not message.startswith(self.message):
            return f"the message {message!r} instead of {self.message!r} …"
        if self.code == OK and self.check is not None:
            return self.check(response)
        return None


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the specification.

    Attributes:
        name: What is asked.
        method: The RPC.
        request: The message, or bytes that are none.
        expected: TensorFlow Serving's Answer.
        deliberate: The embedded server's Answer where it differs on purpose.
        why: The harm that the difference avoids.
        timeout: Seconds to wait.
    """

    name: str
    method: str
    request: object
    expected: Answer
    deliberate: Answer | None = None
    why: str = ""
    timeout: float = 60.0


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a case: `agrees`, `deliberate` or `fails`, and how."""

    case: Case
    outcome: str
    detail: str = ""


class _Subject:
    """The model the cases are about, and valid requests for it."""

    def __init__(self, name, version, found, key):
        self.name = name
        self.version = version
        self.signature = found[key]
        self.specs = list(self.signature.inputs.values())

    def request(self, rows=1, **changes):
        """Returns a valid PredictRequest, all zeros."""
        request = messages.PredictRequest()
        request.model_spec.name = changes.get("name", self.name)
        request.model_spec.signature_name = changes.get("signature", self.signature.key)
        for spec in self.specs:
            shape = (rows, *spec.row_shape)
            tensors.encode(
                np.zeros(shape, tensors.numpy_type(spec.data_type)),
                request.inputs[spec.name],
            )
        return request

    def with_inputs(self, change):
        """Returns a request whose first input was changed by a function."""
        request = self.request()
        change(request.inputs[self.specs[0].name])
        return request


def _spec(request, **fields):
    """Fills in the version of a request's model_spec, and returns the request."""
    if "version" in fields:
        request.model_spec.version.value = fields["version"]
    if "label" in fields:
        request.model_spec.version_label = fields["label"]
    return request


def _predict_cases(subject):
    name, key = subject.name, subject.signature.key
    first = subject.specs[0]
    inputs = "{" + ",".join(spec.name for spec in subject.specs) + "}"
    count = len(subject.specs)

    def case(title, request, *answer, **more):
        return Case(title, "Predict", request, Answer(*answer), **more)

    no_name = subject.request()
    no_name.model_spec.ClearField("name")
    no_inputs = subject.request()
    no_inputs.inputs.clear()
    wrong_key = subject.request()
    wrong_key.inputs["no_such_input"].CopyFrom(wrong_key.inputs[first.name])
    del wrong_key.inputs[first.name]
    unknown_output = subject.request()
    unknown_output.output_filter.append("no_such_output")
    twice = subject.request()
    twice.output_filter.extend([next(iter(subject.signature.outputs))] * 2)

    return [
        case(
            "no model_spec",
            messages.PredictRequest(),
            INVALID_ARGUMENT,
            "Missing ModelSpec",
        ),
        case(
            "empty name",
            no_name,
            INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        case(
            "unknown model",
            subject.request(name=NO_MODEL),
            NOT_FOUND,
            f"Servable not found for request: Latest({NO_MODEL})",
        ),
        case(
            "unknown version",
            _spec(subject.request(), version=NO_VERSION),
            NOT_FOUND,
            f"Servable not found for request: Specific({name}, {NO_VERSION})",
        ),
        case(
            "unknown version label",
            _spec(subject.request(), label=NO_LABEL),
            INVALID_ARGUMENT,
            f"Unrecognized servable version label: {NO_LABEL}",
        ),
        case(
            "unknown signature",
            subject.request(signature="no_such_signature"),
            FAILED_PRECONDITION,
            'Serving signature key "no_such_signature" not found.',
        ),
        case(
            "other number of inputs",
            no_inputs,
            INVALID_ARGUMENT,
            f"input size does not match signature: 0!={count} len({{}}) != "
            f"len({inputs}). Sent extra: {{}}. Missing but required: {inputs}.",
        ),
        case(
            "right number, wrong key",
            wrong_key,
            INVALID_ARGUMENT,
            f"Signature input alias: {first.name}(feed name: ",
        ),
        case(
            "a TensorProto that does not parse",
            subject.with_inputs(_break),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first.name}",
        ),
        case(
            "wrong dtype",
            subject.with_inputs(_change_dtype),
            INVALID_ARGUMENT,
            f"Expects arg[0] to be {tensors.type_name(first.data_type)} but ",
        ),
        case(
            "unknown output in output_filter",
            unknown_output,
            INVALID_ARGUMENT,
            "output tensor alias not found in signature: no_such_output Outputs "
            "expected to be in the set {",
        ),
        case(
            "repeated output in output_filter",
            twice,
            INVALID_ARGUMENT,
            "duplicate output tensor alias: ",
        ),
        case(
            "two mistakes: the signature is looked at before the inputs",
            _without_inputs(subject.request(signature="no_such_signature")),
            FAILED_PRECONDITION,
            'Serving signature key "no_such_signature" not found.',
        ),
        case(
            "a message is cut at 1024 characters",
            subject.request(name="x" * 3000),
            NOT_FOUND,
            f"Servable not found for request: Latest({'x' * 900}",
        ),
        Case(
            "the answer names model, version and signature",
            "Predict",
            subject.request(),
            Answer(OK, check=_answers(subject, key)),
        ),
        Case(
            "a version asked for by number is named",
            "Predict",
            _spec(subject.request(), version=subject.version),
            Answer(OK, check=_answers(subject, key)),
        ),
        Case(
            "output_filter leaves one output",
            "Predict",
            _filtered(subject),
            Answer(OK, check=_has_outputs([next(iter(subject.signature.outputs))])),
        ),
        Case(
            "a shape with no content is zeros",
            "Predict",
            subject.with_inputs(lambda proto: proto.ClearField("tensor_content")),
            Answer(OK, check=_answers(subject, key)),
        ),
        Case(
            "typed fields serve as well as tensor_content",
            "Predict",
            subject.with_inputs(_use_typed_field),
            Answer(OK, check=_answers(subject, key)),
        ),
        Case(
            "bytes that are no request",
            "Predict",
            b"\xff" * 64,
            Answer(grpc.StatusCode.INTERNAL),
            deliberate=Answer(INVALID_ARGUMENT, "The request is not a "),
            why="it is the caller's mistake, and the message says so",
        ),
        Case(
            "outputs in typed fields",
            "Predict",
            subject.request(),
            Answer(OK, check=_content_is(False)),
            deliberate=Answer(OK, check=_content_is(True)),
            why="tensor_content is 10 to 100 times cheaper to read; TensorFlow "
            "Serving does it with --enable_serialization_as_tensor_content",
        ),
    ]


def _batch_cases(subject):
    """The differences in what a batch may be; each names the harm it avoids."""
    wrong_shape = subject.request()
    proto = wrong_shape.inputs[subject.specs[0].name]
    proto.tensor_shape.dim.add(size=1)
    proto.tensor_shape.dim.add(size=1)
    return [
        Case(
            "zero rows",
            "Predict",
            subject.request(rows=0),
            Answer(grpc.StatusCode.DEADLINE_EXCEEDED),
            deliberate=Answer(OK),
            why="a batching TensorFlow Serving hangs to the caller's deadline",
            timeout=5.0,
        ),
        Case(
            "another rank than the signature's",
            "Predict",
            wrong_shape,
            Answer(OK),
            deliberate=Answer(INVALID_ARGUMENT, f"input {subject.specs[0].name}: "),
            why="TensorFlow Serving leaves it to the ops, and the requests batched "
            "with it fail too",
        ),
    ]


def _metadata_cases(subject):
    def request(field="signature_def", **names):
        message = messages.GetModelMetadataRequest()
        message.model_spec.name = names.get("name", subject.name)
        if field is not None:
            message.metadata_field.append(field)
        return message

    method = "GetModelMetadata"
    return [
        Case(
            "no metadata_field",
            method,
            request(field=None),
            Answer(
                INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            ),
        ),
        Case(
            "another metadata_field",
            method,
            request(field="weather"),
            Answer(INVALID_ARGUMENT, "Metadata field weather is not supported"),
        ),
        Case(
            "metadata of an unknown model",
            method,
            request(name=NO_MODEL),
            Answer(NOT_FOUND, f"Servable not found for request: Latest({NO_MODEL})"),
        ),
        Case(
            "metadata",
            method,
            request(),
            Answer(OK, check=_describes(subject)),
        ),
    ]


def _status_cases(subject):
    def request(name, version=None):
        message = messages.GetModelStatusRequest()
        message.model_spec.name = name
        return message if version is None else _spec(message, version=version)

    method = "GetModelStatus"
    return [
        Case(
            "status of an unknown model",
            method,
            request(NO_MODEL),
            Answer(NOT_FOUND, f"Could not find any versions of model {NO_MODEL}"),
        ),
        Case(
            "status of an unknown version",
            method,
            request(subject.name, NO_VERSION),
            Answer(
                NOT_FOUND,
                f"Could not find version {NO_VERSION} of model {subject.name}",
            ),
        ),
        Case(
            "status lists versions, newest first",
            method,
            request(subject.name),
            Answer(OK, check=_lists_versions(subject)),
        ),
    ]


def _other_cases(subject):
    classify = messages.ClassificationRequest()
    regress = messages.RegressionRequest()
    for request in (classify, regress):
        request.model_spec.name = subject.name
        request.model_spec.signature_name = subject.signature.key
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(1.0)
    return [
        Case(
            "Classify with a predict signature",
            "Classify",
            classify,
            Answer(INVALID_ARGUMENT),
        ),
        Case(
            "Regress with a predict signature",
            "Regress",
            regress,
            Answer(INVALID_ARGUMENT),
        ),
        Case(
            "a reload without a configuration",
            "HandleReloadConfigRequest",
            messages.ReloadConfigRequest(),
            Answer(INVALID_ARGUMENT),
        ),
    ]


def cases(model, version, found, signature=None):
    """Returns the cases for one model of a server.

    Args:
        model: Its name.
        version: The version it answers with.
        found: {key: Signature}, as its metadata says.
        signature: The signature to ask; by default one that is cheap to ask.
    """
    usable = [
        key
        for key, candidate in found.items()
        if candidate.batchable and candidate.method in signatures.PREDICT_METHODS
    ]
    if signature is not None and signature not in usable:
        raise errors.RequestError(
            f"model {model!r} has no signature {signature!r} with the batch as its "
            f"only free dimension; it has {', '.join(usable) or 'none'}"
        )
    if not usable:
        raise errors.RequestError(
            f"model {model!r} has no signature whose only free dimension is the batch"
        )
    preferred = [key for key in (signature, signatures.DEFAULT) if key in usable]
    subject = _Subject(model, version, found, (preferred or usable)[0])
    return [
        *_predict_cases(subject),
        *_batch_cases(subject),
        *_metadata_cases(subject),
        *_status_cases(subject),
        *_other_cases(subject),
    ]


_PATHS = {
    name: (f"/{service}/{name}", response)
    for service in (messages.PREDICTION_SERVICE, messages.MODEL_SERVICE)
    for name, _, response in messages.methods(service)
}


def run(channel, chosen):
    """Sends each of the `chosen` cases over a gRPC channel; yields the Results."""
    for case in chosen:
        path, response_class = _PATHS[case.method]
        content = case.request
        if isinstance(content, google.protobuf.message.Message):
            content = content.SerializeToString()
        code, message, response = OK, "", None
        try:
            answered = channel.unary_unary(path)(content, timeout=case.timeout)
            response = response_class.FromString(answered)
        except grpc.RpcError as error:
            code, message = error.code(), error.details() or ""
        detail = case.expected.mismatch(code, message, response)
        if detail is None:
            yield Result(case, "agrees")
        elif case.deliberate is not None and not case.deliberate.mismatch(
            code, message, response
        ):
            yield Result(case, "deliberate", case.why)
        else:
            yield Result(case, "fails", detail)


# Changes to requests ---------------------------------------------------------------


def _without_inputs(request):
    request.inputs.clear()
    return request


def _filtered(subject):
    request = subject.request()
    request.output_filter.append(next(iter(subject.signature.outputs)))
    return request


def _break(proto):
    proto.tensor_content = b"123"
    proto.tensor_shape.dim[0].size = 1000


def _change_dtype(proto):
    wanted = np.int32 if tensors.numpy_type(proto.dtype) != np.int32 else np.int64
    shape = tensors.declared_shape(proto)
    proto.Clear()
    tensors.encode(np.zeros(shape, wanted), proto)


def _use_typed_field(proto):
    field = tensors.typed_field(proto.dtype)
    proto.ClearField("tensor_content")
    empty = b"" if proto.dtype == tensors.DT_STRING else 0
    getattr(proto, field)[:] = [empty]  # The last value given is repeated.


# Checks of answers: each returns what is wrong, or None ------------------------------


def _answers(subject, key):
    def check(response):
        spec = response.model_spec
        if spec.name != subject.name or spec.signature_name != key:
            return f"model_spec says {spec.name} {spec.signature_name}"
        if spec.version.value != subject.version:
            return f"model_spec says version {spec.version.value}"
        return _has_outputs(list(subject.signature.outputs))(response)

    return check


def _has_outputs(names):
    def check(response):
        if sorted(response.outputs) != sorted(names):
            return f"the outputs are {sorted(response.outputs)}, not {sorted(names)}"
        return None

    return check


def _content_is(expected):
    def check(response):
        numbers = [
            proto
            for proto in response.outputs.values()
            if proto.dtype != tensors.DT_STRING
        ]
        if any(bool(proto.tensor_content) != expected for proto in numbers):
            return "tensor_content is " + ("empty" if expected else "used")
        return None

    return check


def _describes(subject):
    def check(response):
        spec = response.model_spec
        if spec.name != subject.name or not spec.HasField("version"):
            return f"model_spec is {spec}"
        if spec.signature_name:
            return "model_spec names a signature"
        found = messages.SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(found):
            return "signature_def is no SignatureDefMap"
        if subject.signature.key not in found.signature_def:
            return f"the signature {subject.signature.key} is missing"
        return None

    return check


def _lists_versions(subject):
    def check(response):
        versions = [status.version for status in response.model_version_status]
        if versions != sorted(versions, reverse=True):
            return f"the versions are listed as {versions}"
        if subject.version not in versions:
            return f"version {subject.version} is missing"
        return None

    return check
