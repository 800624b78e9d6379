"""The cases over gRPC."""

import grpc

from serving import messages
from serving.conformance import changes, grpc_checks, grpc_predict_cases
from serving.conformance.grpc_calls import (
    INVALID_ARGUMENT,
    NOT_FOUND,
    OK,
    Answer,
    Beside,
    Case,
)
from serving.conformance.subject import (
    NO_LABEL,
    NO_MODEL,
    NO_VERSION,
    subject_of,
    usable,
)


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
            "metadata of an unknown version",
            method,
            changes.addressed(request(), version=NO_VERSION),
            Answer(
                NOT_FOUND,
                f"Servable not found for request: Specific({subject.name}, "
                f"{NO_VERSION})",
            ),
        ),
        Case(
            "metadata by an unknown label",
            method,
            changes.addressed(request(), label=NO_LABEL),
            Answer(
                INVALID_ARGUMENT, f"Unrecognized servable version label: {NO_LABEL}"
            ),
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
    def request(name, **place):
        message = messages.GetModelStatusRequest()
        message.model_spec.name = name
        return changes.addressed(message, **place)

    method = "GetModelStatus"
    one_older = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    one_older.model_spec.name = subject.name
    one_older.model_spec.version.value = subject.version - 1
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
            request(subject.name, version=NO_VERSION),
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
            beside=Beside(
                "GetModelMetadata",
                one_older,
                grpc_checks.lists_too(subject.version - 1),
            ),
        ),
        Case(
            "status of a version lists that one",
            method,
            request(subject.name, version=subject.version),
            Answer(OK, check=grpc_checks.lists_only(subject)),
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
            request(subject.name, label=NO_LABEL),
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
    return [
        *grpc_predict_cases.cases(subject, usable(found)),
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
    predict, metadata, status = _requests_for_all(subject, label=label)
    return [
        Case(
            "a version asked for by its label is named by its number",
            "Predict",
            predict,
            Answer(OK, check=grpc_checks.answers(subject)),
        ),
        Case(
            "metadata by label",
            "GetModelMetadata",
            metadata,
            Answer(OK, check=grpc_checks.describes(subject)),
        ),
        # The label is ignored, but by the embedded server.
        Case(
            "status by label",
            "GetModelStatus",
            status,
            Answer(OK, check=grpc_checks.lists_versions(subject)),
        ),
    ]


def older_cases(model, version, found, signature=None):
    """Returns the cases for a version that is served beside a newer one.

    Args:
        model: The model's name.
        version: The version.
        found: {key: Signature} of that version.
        signature: The signature to ask; by default `serving_default`, or another.
    """
    subject = subject_of(model, version, found, signature)
    predict, metadata, status = _requests_for_all(subject, version=version)
    all_versions = messages.GetModelStatusRequest()
    all_versions.model_spec.name = model
    return [
        Case(
            "an older version asked for by number is named",
            "Predict",
            predict,
            Answer(OK, check=grpc_checks.answers(subject)),
        ),
        Case(
            "metadata of an older version",
            "GetModelMetadata",
            metadata,
            Answer(OK, check=grpc_checks.describes(subject)),
        ),
        Case(
            "status of an older version lists that one",
            "GetModelStatus",
            status,
            Answer(OK, check=grpc_checks.lists_only(subject)),
        ),
        Case(
            "status lists an older version, too",
            "GetModelStatus",
            all_versions,
            Answer(OK, check=grpc_checks.lists_versions(subject)),
        ),
    ]


def _requests_for_all(subject, **place):
    """Returns requests for Predict, the metadata and the status of a version."""
    metadata = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = messages.GetModelStatusRequest()
    for request in (metadata, status):
        request.model_spec.name = subject.name
    requests = subject.request(), metadata, status
    return [changes.addressed(request, **place) for request in requests]
