"""The cases over gRPC."""

import itertools

import grpc

from serving import messages, signatures, tensors
from serving.conformance import changes, grpc_checks
from serving.conformance.grpc_calls import MESSAGE_LIMIT, Answer, Beside, Case
from serving.conformance.judging import OneOf
from serving.conformance.subject import (
    NO_LABEL,
    NO_MODEL,
    NO_OUTPUT,
    NO_SIGNATURE,
    NO_VERSION,
    Subject,
    subject_of,
    usable,
)

OK = grpc.StatusCode.OK
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

NO_SIGNATURE_MESSAGE = f'Serving signature key "{NO_SIGNATURE}" not found.'


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

    def as_if(title, values, change, before=None):
        """The case of rows that are written differently, but mean the same."""
        full = subject.request(values)
        if before is not None:
            full = changes.everywhere(full, before)
        return answered(
            title,
            changes.everywhere(full, change),
            grpc_checks.answers(subject, len(values)),
            beside=Beside("Predict", full, grpc_checks.same_outputs),
        )

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
            changes.addressed(subject.request(), version=NO_VERSION),
            NOT_FOUND,
            f"Servable not found for request: Specific({name}, {NO_VERSION})",
        ),
        case(
            "unknown version label",
            changes.addressed(subject.request(), label=NO_LABEL),
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
            changes.without_inputs(subject.request()),
            INVALID_ARGUMENT,
            f"input size does not match signature: 0!={count} len({{}}) != "
            f"len({inputs}). Sent extra: {{}}. Missing but required: {inputs}.",
        ),
        case(
            "right number, wrong key",
            changes.renamed(subject.request(), first.name),
            INVALID_ARGUMENT,
            f"Signature input alias: {first.name}(feed name: ",
        ),
        case(
            "a TensorProto that does not parse",
            subject.changed(changes.break_content),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first.name}",
        ),
        Case(
            "wrong dtype",
            "Predict",
            subject.changed(changes.change_dtype),
            OneOf(*_wrong_dtype(subject)),
        ),
        case(
            "unknown output in output_filter",
            changes.filtered(subject.request(), NO_OUTPUT),
            INVALID_ARGUMENT,
            f"output tensor alias not found in signature: {NO_OUTPUT} Outputs "
            "expected to be in the set {",
        ),
        case(
            "repeated output in output_filter",
            changes.filtered(subject.request(), output, output),
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
            grpc_checks.answers(subject),
        ),
        answered(
            "a version asked for by number is named",
            changes.addressed(subject.request(), version=subject.version),
            grpc_checks.answers(subject),
        ),
        answered(
            "every row is answered in its own place",
            subject.request((0, 1, 1)),
            grpc_checks.answers(subject, rows=3),
            # Another order than the first backwards: it would hide a server's own.
            beside=Beside(
                "Predict",
                subject.request((1, 0, 0)),
                grpc_checks.same_rows((0, 1, 1), (1, 0, 0)),
            ),
        ),
        as_if("a shape with no content is zeros", (0, 0), changes.empty),
        as_if(
            "typed fields serve as well as tensor_content",
            (1, 1),
            changes.use_typed_field,
        ),
        as_if("too few typed values repeat the last", (1, 1), changes.use_typed(1)),
        # Three rows, to lack values even where a row is a single one.
        as_if(
            "too few typed values repeat the last, not the first",
            (1, 1, 1),
            changes.use_typed(2),
            before=changes.begin_with_zero,
        ),
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
            grpc_checks.holds_every_value,
        ),
        Case(
            "complex numbers",
            "Predict",
            subject.changed(changes.make_complex),
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
            Answer(OK, check=grpc_checks.answers(subject)),
        )
    ]


def _filter_cases(subject):
    """The cases of a signature with several outputs, which are asked for in turn."""
    return [
        Case(
            f"output_filter leaves one output, {spec.name}",
            "Predict",
            changes.filtered(subject.request(), spec.name),
            Answer(OK, check=grpc_checks.has_outputs([spec])),
        )
        for spec in subject.signature.outputs.values()
    ]


def _order_cases(subject):
    """Requests with two mistakes; the one that is looked at first is answered."""
    name = subject.name
    first = subject.specs[0].name
    count = len(subject.specs)
    no_signature = {"signature": NO_SIGNATURE}
    one_more = subject.changed(changes.break_content)
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
            changes.addressed(subject.request(**no_signature), version=NO_VERSION),
            NOT_FOUND,
            f"Servable not found for request: Specific({name}, {NO_VERSION})",
        ),
        case(
            "the label, before the signature",
            changes.addressed(subject.request(**no_signature), label=NO_LABEL),
            INVALID_ARGUMENT,
            f"Unrecognized servable version label: {NO_LABEL}",
        ),
        case(
            "the signature, before the number of inputs",
            changes.without_inputs(subject.request(**no_signature)),
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
            changes.renamed(subject.changed(changes.break_content), first),
            INVALID_ARGUMENT,
            f"Signature input alias: {first}(feed name: ",
        ),
        case(
            "a tensor that does not parse, before its dtype",
            subject.changed(changes.change_dtype, changes.break_content),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first}",
        ),
        case(
            "the tensors, before output_filter",
            changes.filtered(subject.changed(changes.break_content), NO_OUTPUT),
            INVALID_ARGUMENT,
            f"tensor parsing error: {first}",
        ),
        # The specification has the dtype first. In TensorFlow Serving's sources
        # (predict_util.cc) it is the session that finds it, after output_filter.
        Case(
            "two mistakes: a wrong dtype and output_filter",
            "Predict",
            changes.filtered(subject.changed(changes.change_dtype), NO_OUTPUT),
            OneOf(
                *_wrong_dtype(subject),
                Answer(INVALID_ARGUMENT, "output tensor alias not found in signature"),
            ),
        ),
        case(
            "an unknown output, before its repetition",
            changes.filtered(subject.request(), NO_OUTPUT, NO_OUTPUT),
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
            subject.request(()),
            # A batching TensorFlow Serving hangs to the caller's deadline.
            OneOf(
                Answer(grpc.StatusCode.DEADLINE_EXCEEDED),
                Answer(OK, check=grpc_checks.answers(subject, rows=0)),
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
            Answer(OK, check=grpc_checks.describes(subject)),
            beside=Beside(
                "Predict",
                subject.request(signature=grpc_checks.INIT_OP),
                grpc_checks.lists_init_op,
            ),
        ),
    ]


def _status_cases(subject):
    def request(name, version=None):
        message = messages.GetModelStatusRequest()
        message.model_spec.name = name
        return (
            message if version is None else changes.addressed(message, version=version)
        )

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
            Answer(OK, check=grpc_checks.lists_versions(subject)),
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
            changes.addressed(request(subject.name), label=NO_LABEL),
            Answer(OK, check=grpc_checks.lists_versions(subject)),
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


def cases(model, version, found, signature=None):
    """Returns the cases for one model of a server; its arguments are `subject_of`'s."""
    subject = subject_of(model, version, found, signature)
    others = usable(found)
    default = []
    if signatures.DEFAULT in others:
        default = _default_cases(Subject(model, version, others[signatures.DEFAULT]))
    several = (s for s in (subject.signature, *others.values()) if len(s.outputs) > 1)
    filtered = [_filter_cases(Subject(model, version, s)) for s in several][:1]
    return [
        *_predict_cases(subject),
        *default,
        *itertools.chain(*filtered),
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
            changes.addressed(subject.request(), label=label),
            Answer(OK, check=grpc_checks.answers(subject)),
        ),
        Case(
            "metadata by label",
            "GetModelMetadata",
            changes.addressed(metadata, label=label),
            Answer(OK, check=grpc_checks.describes(subject)),
        ),
        Case(
            "status by label",
            "GetModelStatus",
            changes.addressed(status, label=label),
            Answer(OK, check=grpc_checks.lists_versions(subject)),
        ),
    ]
