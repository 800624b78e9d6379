"""The cases of Predict over gRPC."""

import grpc

from serving import messages, signatures, tensors
from serving.conformance import changes, grpc_checks
from serving.conformance.grpc_calls import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    MESSAGE_LIMIT,
    NOT_FOUND,
    OK,
    Answer,
    Beside,
    Case,
)
from serving.conformance.judging import OneOf
from serving.conformance.subject import (
    NO_LABEL,
    NO_MODEL,
    NO_OUTPUT,
    NO_SIGNATURE,
    NO_VERSION,
)

_NO_SIGNATURE_MESSAGE = f'Serving signature key "{NO_SIGNATURE}" not found.'

# More than a usual batch takes, in an order that no order of a server's own looks like.
_MANY_VALUES = tuple(map(int, f"{0x9A3C5B71D2:040b}"))


def cases(subject, others):
    """Returns the cases about a Subject, and those that need another signature.

    Args:
        subject: The Subject.
        others: {key: Signature} of those that cases can be about.
    """
    found = _predict_cases(subject)
    if signatures.DEFAULT in others:
        found += _default_cases(subject.with_signature(others[signatures.DEFAULT]))
    for signature in (subject.signature, *others.values()):
        if len(signature.outputs) > 1:
            found += _filter_cases(subject.with_signature(signature))
            break
    found += _number_cases(subject)
    for spec in subject.specs:
        found += _input_cases(subject, spec)
    return found + _order_cases(subject) + _batch_cases(subject)


def _predict_cases(subject):
    """Requests of one mistake each, and valid ones."""
    name = subject.name
    first = subject.specs[0]
    output = next(iter(subject.signature.outputs))

    def case(title, request, *answer, **more):
        return Case(title, "Predict", request, Answer(*answer), **more)

    def answered(title, request, check, **more):
        return Case(title, "Predict", request, Answer(OK, check=check), **more)

    def rows_answered(title, request, count, beside):
        """The case of several rows, which may be more than a batch takes."""
        answers = OneOf(
            Answer(OK, check=grpc_checks.answers(subject, count)),
            Answer(INVALID_ARGUMENT, f"Task size {count} is larger "),
        )
        return Case(title, "Predict", request, answers, beside=beside)

    def as_if(title, values, change, before=None):
        """The case of rows that are written differently, but mean the same."""
        full = subject.request(values)
        if before is not None:
            full = changes.everywhere(full, before)
        return rows_answered(
            title,
            changes.everywhere(full, change),
            len(values),
            Beside("Predict", full, grpc_checks.same_outputs),
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
            _NO_SIGNATURE_MESSAGE,
        ),
        case(
            "right number, wrong key",
            changes.renamed(subject.request(), first.name),
            INVALID_ARGUMENT,
            _lacks(subject, first),
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
        rows_answered(
            "every row is answered in its own place",
            subject.request((0, 1, 1)),
            3,
            # Another order than the first backwards: it would hide a server's own.
            Beside(
                "Predict",
                subject.request((1, 0, 0)),
                grpc_checks.same_rows((0, 1, 1), (1, 0, 0)),
            ),
        ),
        rows_answered(
            "many rows are answered in their own places",
            subject.request(_MANY_VALUES),
            len(_MANY_VALUES),
            Beside(
                "Predict",
                subject.request((0, 1)),
                grpc_checks.same_rows(_MANY_VALUES, (0, 1)),
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
            OneOf(*_wrong_dtype(subject, first)),
        ),
    ]


def _lacks(subject, spec):
    """How the message begins where a request has another name than an input's."""
    if spec.name in subject.signature.defaults:
        return "Inputs contains invalid name. "
    return f"Signature input alias: {spec.name}(feed name: "


def _number_cases(subject):
    """The case of a request without inputs, unless all of them have default values."""
    required = [s for s in subject.specs if s.name not in subject.signature.defaults]
    if not required:
        return []
    inputs = "{" + ",".join(spec.name for spec in subject.specs) + "}"
    expected = [
        f"input size does not match signature: 0!={len(subject.specs)} len({{}}) != "
        f"len({inputs}). Sent extra: {{}}. Missing but required: {inputs}."
    ]
    if subject.signature.defaults:  # Which one is looked for first is open.
        expected = [_lacks(subject, spec) for spec in required]
    return [
        Case(
            "other number of inputs",
            "Predict",
            changes.without_inputs(subject.request()),
            OneOf(*(Answer(INVALID_ARGUMENT, message) for message in expected)),
        )
    ]


def _input_cases(subject, spec):
    """Requests with a mistake in one of the inputs, each of which has these cases."""
    name = spec.name
    which = f", {name}" if len(subject.specs) > 1 else ""
    return [
        Case(
            f"a TensorProto that does not parse{which}",
            "Predict",
            subject.changed(changes.break_content, name=name),
            Answer(INVALID_ARGUMENT, f"tensor parsing error: {name}"),
        ),
        Case(
            f"wrong dtype{which}",
            "Predict",
            subject.changed(changes.change_dtype, name=name),
            OneOf(*_wrong_dtype(subject, spec)),
        ),
        Case(
            f"another rank than the signature's{which}",
            "Predict",
            subject.changed(changes.add_dimensions, name=name),
            OneOf(Answer(OK), Answer(INVALID_ARGUMENT)),  # As the ops will have it.
            deliberate=Answer(INVALID_ARGUMENT, f"input {name}: "),
            why="TensorFlow Serving leaves it to the ops, and the requests batched "
            "with it fail too",
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
            _NO_SIGNATURE_MESSAGE,
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
            _lacks(subject, subject.specs[0]),
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
        # The specification has the dtype first. TensorFlow Serving's sources read
        # otherwise: in predict_util.cc it is the session that finds it, after
        # output_filter. So either answer is right.
        Case(
            "two mistakes: a wrong dtype and output_filter",
            "Predict",
            changes.filtered(subject.changed(changes.change_dtype), NO_OUTPUT),
            OneOf(
                *_wrong_dtype(subject, subject.specs[0]),
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


def _wrong_dtype(subject, spec):
    """The Answers to an input of another dtype; which `arg` it is, is open."""
    wanted = tensors.type_name(spec.data_type)
    return [
        Answer(INVALID_ARGUMENT, f"Expects arg[{position}] to be {wanted} but ")
        for position in range(len(subject.specs))
    ]


def _batch_cases(subject):
    """What a batch may be."""
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
    ]
