"""How TensorFlow Serving answers, as cases that run against any server.

The answers are those that its documentation, its sources or a running one gave. Each
case sends one request, built from what the server itself says about a model, and
compares the code and the first words of the answer. Where the embedded server differs
on purpose, the case lists both answers, and the report says which one came.
"""

import dataclasses
import math
import typing

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
NO_SIGNATURE = "no_such_signature"
NO_SIGNATURE_MESSAGE = f'Serving signature key "{NO_SIGNATURE}" not found.'
NO_OUTPUT = "no_such_output"

# TensorFlow Serving cuts a message at 1024 characters; some versions say so after it.
MESSAGE_LIMIT = 1024
LONGEST_MESSAGE = MESSAGE_LIMIT + len("...TRUNCATED")

# What TensorFlow writes into SavedModels that have something to initialize.
INIT_OP = "__saved_model_init_op"

_COMPLEX = messages.DataType.values_by_name["DT_COMPLEX64"].number


class Reply(typing.NamedTuple):
    """What came back: a code, a message, and the response of an OK."""

    code: grpc.StatusCode
    message: str
    response: object


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: a code, how its message starts, what an OK holds.

    `check` takes the response and returns what is wrong with it, or nothing.
    """

    code: grpc.StatusCode
    message: str = ""
    check: object = None

    def mismatch(self, reply):
        """Returns how a reply differs from this answer, or nothing."""
        if reply.code != self.code:
            return f"{reply.code.name} {reply.message!r} instead of {self.code.name}"
        if not reply.message.startswith(self.message):
            return f"the message {reply.message!r} instead of {self.message!r} …"
        if len(reply.message) > LONGEST_MESSAGE:
            return f"a message of {len(reply.message)} characters"
        if self.code == OK and self.check is not None:
            return self.check(reply.response)
        return None


class OneOf:
    """Several Answers, each of them right."""

    def __init__(self, *answers):
        self._answers = answers

    def mismatch(self, reply):
        """Returns how a reply differs from each of the answers, or nothing."""
        found = [answer.mismatch(reply) for answer in self._answers]
        return None if None in found else "; ".join(dict.fromkeys(found))


@dataclasses.dataclass(frozen=True)
class Beside:
    """A second request of a case, and what its answer says about the first one's.

    `compare` takes the first response and the second Reply, and returns what is wrong,
    or nothing.
    """

    method: str
    request: object
    compare: object


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the specification.

    Attributes:
        name: What is asked.
        method: The RPC.
        request: The message, or bytes that are none.
        expected: TensorFlow Serving's Answer, or OneOf several.
        deliberate: The embedded server's Answer where it differs on purpose.
        why: The harm that the difference avoids.
        beside: A second request, where one answer alone does not tell.
        timeout: Seconds to wait.
    """

    name: str
    method: str
    request: object
    expected: Answer | OneOf
    deliberate: Answer | None = None
    why: str = ""
    beside: Beside | None = None
    timeout: float = 60.0


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a case: `agrees`, `deliberate` or `fails`, and how."""

    case: Case
    outcome: str
    detail: str = ""


class Subject:
    """The signature the cases are about, and valid requests for it.

    Args:
        name: The model's name.
        version: The version that has the signature.
        signature: The Signature, with the batch as its only free dimension.
    """

    def __init__(self, name, version, signature):
        self.name = name
        self.version = version
        self.signature = signature
        self.specs = list(self.signature.inputs.values())

    def request(self, rows=1, value=0, **changes):
        """Returns a valid PredictRequest, with `value` everywhere."""
        request = messages.PredictRequest()
        request.model_spec.name = changes.get("name", self.name)
        request.model_spec.signature_name = changes.get("signature", self.signature.key)
        for spec in self.specs:
            fill = b"x" * value if spec.data_type == tensors.DT_STRING else value
            shape = (rows, *spec.row_shape)
            array = np.full(shape, fill, tensors.numpy_type(spec.data_type))
            tensors.encode(array, request.inputs[spec.name])
        return request

    def changed(self, *changes):
        """Returns a request whose first input was changed by functions."""
        request = self.request()
        for change in changes:
            change(request.inputs[self.specs[0].name])
        return request

    def written(self, change, value):
        """Returns two rows of `value` whose inputs were changed by a function."""
        request = self.request(rows=2, value=value)
        for proto in request.inputs.values():
            change(proto)
        return request


def _spec(request, **fields):
    """Fills in the version of a request's model_spec, and returns the request."""
    if "version" in fields:
        request.model_spec.version.value = fields["version"]
    if "label" in fields:
        request.model_spec.version_label = fields["label"]
    return request


def _predict_cases(subject):
    name = subject.name
    first = subject.specs[0]
    inputs = "{" + ",".join(spec.name for spec in subject.specs) + "}"
    count = len(subject.specs)
    output = next(iter(subject.signature.outputs))

    def case(title, request, *answer, **more):
        return Case(title, "Predict", request, Answer(*answer), **more)

    def answered(title, request, check, **more):
        return Case(title, "Predict", request, Answer(OK, check=check), **more)

    def as_if(title, value, change):
        """The case of two rows that are written differently, but mean `value`."""
        full = subject.request(rows=2, value=value)
        beside = Beside("Predict", full, _same_outputs)
        request = subject.written(change, value)
        return answered(title, request, _answers(subject), beside=beside)

    return [
        case(
            "no model_spec",
            messages.PredictRequest(),
            INVALID_ARGUMENT,
            "Missing ModelSpec",
        ),
        case(
            "empty name",
            subject.request(name=""),
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
            subject.request(signature=NO_SIGNATURE),
            FAILED_PRECONDITION,
            NO_SIGNATURE_MESSAGE,
        ),
        case(
            "other number of inputs",
            _without_inputs(subject.request()),
            INVALID_ARGUMENT,
            f"input size does not match signature: 0!={count} len({{}}) != "
            f"len({inputs}). Sent extra: {{}}. Missing but required: {inputs}.",
        ),
        case(
            "right number, wrong key",
            _renamed(subject.request(), first.name),
            INVALID_ARGUMENT,
            f"Signature input alias: {first.name}(feed name: ",
        ),
        case(
            "a TensorProto that does not parse",
            subject.changed(_break),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first.name}",
        ),
        Case(
            "wrong dtype",
            "Predict",
            subject.changed(_change_dtype),
            OneOf(*_wrong_dtype(subject)),
        ),
        case(
            "unknown output in output_filter",
            _filtered(subject.request(), NO_OUTPUT),
            INVALID_ARGUMENT,
            f"output tensor alias not found in signature: {NO_OUTPUT} Outputs "
            "expected to be in the set {",
        ),
        case(
            "repeated output in output_filter",
            _filtered(subject.request(), output, output),
            INVALID_ARGUMENT,
            f"duplicate output tensor alias: {output}",
        ),
        case(
            "a message is cut at 1024 characters",
            subject.request(name="x" * 3000),
            NOT_FOUND,
            f"Servable not found for request: Latest({'x' * 3000}"[:MESSAGE_LIMIT],
        ),
        answered(
            "the answer names model, version and signature",
            subject.request(),
            _answers(subject),
        ),
        answered(
            "a version asked for by number is named",
            _spec(subject.request(), version=subject.version),
            _answers(subject),
        ),
        answered(
            "output_filter leaves one output",
            _filtered(subject.request(), output),
            _has_outputs([output]),
        ),
        as_if("a shape with no content is zeros", 0, _empty),
        as_if("typed fields serve as well as tensor_content", 1, _use_typed_field),
        as_if("too few typed values repeat the last", 1, _use_one_value),
        Case(
            "bytes that are no request",
            "Predict",
            b"\xff" * 64,
            Answer(grpc.StatusCode.INTERNAL),
            deliberate=Answer(INVALID_ARGUMENT, "The request is not a "),
            why="it is the caller's mistake, and the message says so",
        ),
        # The latter with --enable_serialization_as_tensor_content.
        answered(
            "outputs are whole, in typed fields or in tensor_content",
            subject.request(),
            _holds_every_value,
        ),
        Case(
            "complex numbers",
            "Predict",
            subject.changed(_make_complex),
            OneOf(*_wrong_dtype(subject)),
            deliberate=Answer(INVALID_ARGUMENT, f"tensor parsing error: {first.name}"),
            why="no signature here takes any",
        ),
    ]


def _default_cases(subject):
    """The case that names no signature, for the model's default one."""
    return [
        Case(
            "serving_default is asked, and named, where no signature is",
            "Predict",
            subject.request(signature=""),
            Answer(OK, check=_answers(subject)),
        )
    ]


def _order_cases(subject):
    """Requests with two mistakes; the one that is looked at first is answered."""
    name = subject.name
    first = subject.specs[0].name
    count = len(subject.specs)
    no_signature = {"signature": NO_SIGNATURE}
    one_more = subject.changed(_break)
    one_more.inputs["no_such_input"].CopyFrom(one_more.inputs[first])

    def case(title, request, code, message):
        return Case(f"two mistakes: {title}", "Predict", request, Answer(code, message))

    return [
        case(
            "no name, before the signature",
            subject.request(name="", **no_signature),
            INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        case(
            "the model, before the signature",
            subject.request(name=NO_MODEL, **no_signature),
            NOT_FOUND,
            f"Servable not found for request: Latest({NO_MODEL})",
        ),
        case(
            "the version, before the signature",
            _spec(subject.request(**no_signature), version=NO_VERSION),
            NOT_FOUND,
            f"Servable not found for request: Specific({name}, {NO_VERSION})",
        ),
        case(
            "the label, before the signature",
            _spec(subject.request(**no_signature), label=NO_LABEL),
            INVALID_ARGUMENT,
            f"Unrecognized servable version label: {NO_LABEL}",
        ),
        case(
            "the signature, before the number of inputs",
            _without_inputs(subject.request(**no_signature)),
            FAILED_PRECONDITION,
            NO_SIGNATURE_MESSAGE,
        ),
        case(
            "the number of inputs, before the tensors",
            one_more,
            INVALID_ARGUMENT,
            f"input size does not match signature: {count + 1}!={count} ",
        ),
        case(
            "the keys of the inputs, before the tensors",
            _renamed(subject.changed(_break), first),
            INVALID_ARGUMENT,
            f"Signature input alias: {first}(feed name: ",
        ),
        case(
            "a tensor that does not parse, before its dtype",
            subject.changed(_change_dtype, _break),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first}",
        ),
        case(
            "the tensors, before output_filter",
            _filtered(subject.changed(_break), NO_OUTPUT),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first}",
        ),
        # The specification has the dtype first. In TensorFlow Serving's sources
        # (predict_util.cc) it is the session that finds it, after output_filter.
        Case(
            "two mistakes: a wrong dtype and output_filter",
            "Predict",
            _filtered(subject.changed(_change_dtype), NO_OUTPUT),
            OneOf(
                *_wrong_dtype(subject),
                Answer(INVALID_ARGUMENT, "output tensor alias not found in signature"),
            ),
        ),
        case(
            "an unknown output, before its repetition",
            _filtered(subject.request(), NO_OUTPUT, NO_OUTPUT),
            INVALID_ARGUMENT,
            "output tensor alias not found in signature: ",
        ),
    ]


def _wrong_dtype(subject):
    """The Answers to a first input of another dtype; which `arg` it is, is open."""
    wanted = tensors.type_name(subject.specs[0].data_type)
    return [
        Answer(INVALID_ARGUMENT, f"Expects arg[{position}] to be {wanted} but ")
        for position in range(len(subject.specs))
    ]


def _batch_cases(subject):
    """What a batch may be."""
    wrong_shape = subject.request()
    proto = wrong_shape.inputs[subject.specs[0].name]
    proto.tensor_shape.dim.add(size=1)
    proto.tensor_shape.dim.add(size=1)
    return [
        Case(
            "zero rows",
            "Predict",
            subject.request(rows=0),
            # A batching TensorFlow Serving hangs to the caller's deadline.
            OneOf(
                Answer(grpc.StatusCode.DEADLINE_EXCEEDED),
                Answer(OK, check=_has_no_rows),
            ),
            timeout=5.0,
        ),
        Case(
            "another rank than the signature's",
            "Predict",
            wrong_shape,
            OneOf(Answer(OK), Answer(INVALID_ARGUMENT)),  # As the ops will have it.
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
            beside=Beside(
                "Predict", subject.request(signature=INIT_OP), _lists_init_op
            ),
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
        Case(
            "status without a name",
            method,
            request(""),
            Answer(NOT_FOUND, "Could not find any versions of model "),
            deliberate=Answer(INVALID_ARGUMENT, "ModelSpec has no name specified."),
            why="it says what is missing",
        ),
        Case(
            "status by an unknown label",
            method,
            _spec(request(subject.name), label=NO_LABEL),
            Answer(OK, check=_lists_versions(subject)),
            deliberate=Answer(
                INVALID_ARGUMENT, f"Unrecognized servable version label: {NO_LABEL}"
            ),
            why="TensorFlow Serving ignores the label that was asked for",
        ),
    ]


def _other_cases(subject):
    classify = messages.ClassificationRequest()
    regress = messages.RegressionRequest()
    several = messages.MultiInferenceRequest()
    task = several.tasks.add(method_name="tensorflow/serving/classify")
    for spec in (classify.model_spec, regress.model_spec, task.model_spec):
        spec.name = subject.name
        spec.signature_name = subject.signature.key
    for request in (classify, regress, several):
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
            "MultiInference with a predict signature",
            "MultiInference",
            several,
            Answer(INVALID_ARGUMENT),
            deliberate=Answer(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
            why="no model here has a signature for it",
        ),
        Case(
            "a reload without a configuration",
            "HandleReloadConfigRequest",
            messages.ReloadConfigRequest(),
            Answer(INVALID_ARGUMENT),
        ),
    ]


def usable(found):
    """Returns those of {key: Signature} that cases can be about."""
    return {
        key: candidate
        for key, candidate in found.items()
        if candidate.batchable and candidate.method in signatures.PREDICT_METHODS
    }


def subject_of(model, version, found, signature=None):
    """Returns the Subject of one model of a server.

    Args:
        model: Its name.
        version: The version it answers with.
        found: {key: Signature}, as its metadata says.
        signature: The signature to ask; by default `serving_default`, or another.

    Raises:
        serving.RequestError: If no such signature has the batch as its only free
            dimension.
    """
    keys = list(usable(found))
    if signature is not None and signature not in keys:
        raise errors.RequestError(
            f"model {model!r} has no signature {signature!r} with the batch as its "
            f"only free dimension; it has {', '.join(keys) or 'none'}"
        )
    if not keys:
        raise errors.RequestError(
            f"model {model!r} has no signature whose only free dimension is the batch"
        )
    preferred = [key for key in (signature, signatures.DEFAULT) if key in keys]
    return Subject(model, version, found[(preferred or keys)[0]])


def cases(model, version, found, signature=None):
    """Returns the cases for one model of a server; its arguments are `subject_of`'s."""
    subject = subject_of(model, version, found, signature)
    default = []
    if signatures.DEFAULT in usable(found):
        default = _default_cases(Subject(model, version, found[signatures.DEFAULT]))
    return [
        *_predict_cases(subject),
        *default,
        *_order_cases(subject),
        *_batch_cases(subject),
        *_metadata_cases(subject),
        *_status_cases(subject),
        *_other_cases(subject),
    ]


def label_cases(label, model, version, found, signature=None):
    """Returns the cases for a version label; the others ask by none that exists.

    Args:
        label: The label.
        model: The model's name.
        version: The version that the label names.
        found: {key: Signature} of that version.
        signature: The signature to ask; by default `serving_default`, or another.
    """
    subject = subject_of(model, version, found, signature)
    metadata = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = messages.GetModelStatusRequest()
    for request in (metadata, status):
        request.model_spec.name = model
    return [
        Case(
            "a version asked for by its label is named by its number",
            "Predict",
            _spec(subject.request(), label=label),
            Answer(OK, check=_answers(subject)),
        ),
        Case(
            "metadata by label",
            "GetModelMetadata",
            _spec(metadata, label=label),
            Answer(OK, check=_describes(subject)),
        ),
        Case(
            "status by label",
            "GetModelStatus",
            _spec(status, label=label),
            Answer(OK, check=_lists_versions(subject)),
        ),
    ]


_PATHS = {
    name: (f"/{service}/{name}", response)
    for service in (messages.PREDICTION_SERVICE, messages.MODEL_SERVICE)
    for name, _, response in messages.methods(service)
}


def judge(case, reply):
    """Returns the Result of a case whose request was answered with a Reply."""
    # First, as it is narrower where both fit.
    if case.deliberate is not None and case.deliberate.mismatch(reply) is None:
        return Result(case, "deliberate", case.why)
    detail = case.expected.mismatch(reply)
    return Result(case, "fails" if detail else "agrees", detail or "")


def run(channel, chosen):
    """Sends each of the `chosen` cases over a gRPC channel; yields the Results."""
    for case in chosen:
        reply = _ask(channel, case.method, case.request, case.timeout)
        result = judge(case, reply)
        if result.outcome == "agrees" and case.beside is not None:
            beside = case.beside
            other = _ask(channel, beside.method, beside.request, case.timeout)
            detail = beside.compare(reply.response, other)
            if detail:
                result = Result(case, "fails", detail)
        yield result


def _ask(channel, method, request, timeout):
    path, response_class = _PATHS[method]
    if isinstance(request, google.protobuf.message.Message):
        request = request.SerializeToString()
    try:
        answered = channel.unary_unary(path)(request, timeout=timeout)
    except grpc.RpcError as error:
        return Reply(error.code(), error.details() or "", None)
    return Reply(OK, "", response_class.FromString(answered))


# Changes to requests ---------------------------------------------------------------


def _without_inputs(request):
    request.inputs.clear()
    return request


def _renamed(request, name):
    request.inputs["no_such_input"].CopyFrom(request.inputs[name])
    del request.inputs[name]
    return request


def _filtered(request, *outputs):
    request.output_filter.extend(outputs)
    return request


def _break(proto):
    proto.tensor_content = b"123"
    proto.tensor_shape.dim[0].size = 1000


def _change_dtype(proto):
    wanted = np.int32 if tensors.numpy_type(proto.dtype) != np.int32 else np.int64
    shape = tensors.declared_shape(proto)
    proto.Clear()
    tensors.encode(np.zeros(shape, wanted), proto)


def _make_complex(proto):
    _empty(proto)
    proto.dtype = _COMPLEX


def _empty(proto):
    proto.ClearField("tensor_content")
    proto.ClearField("string_val")


def _use_typed_field(proto):
    values = tensors.decode(proto).ravel()
    if proto.dtype in (tensors.DT_HALF, tensors.DT_BFLOAT16):
        values = values.view(np.uint16)
    _empty(proto)
    getattr(proto, tensors.typed_field(proto.dtype)).extend(values.tolist())


def _use_one_value(proto):
    _use_typed_field(proto)
    del getattr(proto, tensors.typed_field(proto.dtype))[1:]


# Checks of answers: each returns what is wrong, or None ------------------------------


def _answers(subject):
    def check(response):
        spec = response.model_spec
        if spec.name != subject.name or spec.signature_name != subject.signature.key:
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


def _holds_every_value(response):
    for name, proto in response.outputs.items():
        try:
            size = math.prod(tensors.checked_shape(proto))
        except ValueError as error:
            return f"output {name}: {error}"
        held = len(getattr(proto, tensors.typed_field(proto.dtype)))
        if held != (0 if proto.tensor_content else size):
            return f"output {name} has {held} values in its typed field"
    return None


def _has_no_rows(response):
    shapes = [tensors.declared_shape(proto) for proto in response.outputs.values()]
    if any(shape[:1] != (0,) for shape in shapes):
        return f"the outputs have the shapes {shapes}"
    return None


def _same_outputs(response, other):
    if other.code != OK:
        return f"written in full it is answered {other.code.name} {other.message!r}"
    for name, proto in other.response.outputs.items():
        found, expected = tensors.decode(response.outputs[name]), tensors.decode(proto)
        if found.shape != expected.shape or not _close(found, expected):
            return f"written in full it is answered with other {name}"
    return None


def _close(found, expected):
    """Whether arrays are equal but for what a batch of another size may change."""
    if found.dtype == object:
        return found.tolist() == expected.tolist()
    level = 1 if found.dtype.kind in "iu" else 1e-5
    pair = found.astype(float), expected.astype(float)
    return np.allclose(*pair, rtol=1e-3, atol=level, equal_nan=True)


def _describes(subject):
    def check(response):
        spec = response.model_spec
        if spec.name != subject.name or spec.version.value != subject.version:
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


def _lists_init_op(response, other):
    """Looks for the init op, where Predict knows it (and refuses it)."""
    absent = Answer(FAILED_PRECONDITION, f'Serving signature key "{INIT_OP}" not found')
    found = messages.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    if absent.mismatch(other) is not None and INIT_OP not in found.signature_def:
        return f"the signature {INIT_OP} is missing"
    return None


def _lists_versions(subject):
    def check(response):
        versions = [status.version for status in response.model_version_status]
        if versions != sorted(versions, reverse=True):
            return f"the versions are listed as {versions}"
        if subject.version not in versions:
            return f"version {subject.version} is missing"
        return None

    return check
