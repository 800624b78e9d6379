"""The conformance cases: what a wrong server fails, and a right one does not.

Those servers are the embedded one behind a proxy that spoils requests or answers.
"""

import base64
import concurrent.futures
import contextlib
import http.client
import http.server
import json
import re
import shutil
import threading
import time

import google.protobuf.message
import grpc
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import serving
from serving import conformance, messages, signatures, tensors
from serving.__main__ import main
from serving.conformance import grpc_calls, grpc_cases, rest_calls, rest_cases

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


class Refused(Exception):
    """An answer other than OK, of the proxy's own: its code and message."""


class Proxy(grpc.GenericRpcHandler):
    """Passes calls on to a server.

    `spoil` has functions for some methods; each takes the request and a function that
    asks the server, and returns the response.
    """

    def __init__(self, channel, spoil):
        self._channel = channel
        self._spoil = spoil
        self._classes = {
            name: (request, response)
            for service in (messages.PREDICTION_SERVICE, messages.MODEL_SERVICE)
            for name, request, response in messages.methods(service)
        }

    def service(self, details):
        method = details.method.rpartition("/")[2]
        call = self._channel.unary_unary(details.method)

        def answer(content, context):
            try:
                if method in self._spoil:
                    return self._spoiled(method, content, call)
                return call(content)
            except Refused as error:
                context.abort(*error.args)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

        return grpc.unary_unary_rpc_method_handler(answer)

    def _spoiled(self, method, content, call):
        request_class, response_class = self._classes[method]
        try:
            request = request_class.FromString(content)
        except google.protobuf.message.DecodeError:
            return call(content)

        def ask(request):
            return response_class.FromString(call(request.SerializeToString()))

        return self._spoil[method](request, ask).SerializeToString()


def sorted_out(results):
    """Returns {outcome: names of the cases}."""
    found = {"agrees": [], "deliberate": [], "fails": []}
    for result in results:
        found[result.outcome].append(result.case.name)
    return found


@contextlib.contextmanager
def grpc_proxy(client, spoil):
    """Gives the address of a proxy of a client's server."""
    proxy = grpc.server(
        concurrent.futures.ThreadPoolExecutor(2), [Proxy(client.channel, spoil)]
    )
    port = proxy.add_insecure_port("127.0.0.1:0")
    proxy.start()
    yield f"127.0.0.1:{port}"
    proxy.stop(None).wait()


def through_proxy(client, spoil, cases):
    """Runs cases against a proxy of a client's server, and sorts the Results."""
    with (
        grpc_proxy(client, spoil) as address,
        grpc.insecure_channel(address) as channel,
    ):
        return sorted_out(grpc_calls.run(channel, cases))


@pytest.fixture
def outcomes(client):
    """Runs the cases of a model against a proxy: {outcome: names of the cases}."""

    def outcomes(spoil, model="good"):
        metadata = client.metadata(model)
        cases = grpc_cases.cases(model, metadata.version, metadata.signatures)
        return through_proxy(client, spoil, cases)

    return outcomes


COMPLEX = messages.DataType.values_by_name["DT_COMPLEX64"].number


def values_of(proto):
    if proto.dtype == COMPLEX:
        return proto.scomplex_val
    return getattr(proto, tensors.typed_field(proto.dtype))


def fills_with_zeros(request, ask):
    for proto in request.inputs.values():
        wanted = np.prod([dim.size for dim in proto.tensor_shape.dim], dtype=int)
        if missing := values_of(proto) and wanted - len(values_of(proto)):
            values_of(proto).extend([0] * missing)
    return ask(request)


def fills_with_the_first(request, ask):
    for proto in request.inputs.values():
        wanted = np.prod([dim.size for dim in proto.tensor_shape.dim], dtype=int)
        if values := values_of(proto):
            values.extend(values[:1] * (wanted - len(values)))
    return ask(request)


def takes_nothing_for_ones(request, ask):
    for proto in request.inputs.values():
        if not proto.tensor_content and not values_of(proto):
            values_of(proto).append(1)
    return ask(request)


def keeps_values_back(request, ask):
    response = ask(request)
    for proto in response.outputs.values():
        values_of(proto).extend(tensors.decode(proto).ravel()[:-1].tolist())
        proto.ClearField("tensor_content")
    return response


def answers_no_rows_with_one(request, ask):
    for proto in request.inputs.values():
        for dim in proto.tensor_shape.dim[:1]:
            dim.size = max(dim.size, 1)
    return ask(request)


def ignores_output_filter(request, ask):
    if (
        len(request.output_filter) == 1
        and "no_such_output" not in request.output_filter
    ):
        request.ClearField("output_filter")
    return ask(request)


def answers_another_output(request, ask):
    if list(request.output_filter) == ["level"]:
        request.output_filter[:] = ["images"]
    return ask(request)


def names_no_default(request, ask):
    response = ask(request)
    response.model_spec.signature_name = request.model_spec.signature_name
    return response


def cuts_no_message(request, ask):
    if len(request.model_spec.name) > 1000:
        message = f"Servable not found for request: Latest({request.model_spec.name})"
        raise Refused(grpc.StatusCode.NOT_FOUND, message)
    return ask(request)


def cuts_messages_short(request, ask):
    try:
        return ask(request)
    except grpc.RpcError as error:
        raise Refused(error.code(), error.details()[:1000]) from error


def breaks_on_another_rank(request, ask):
    if any(
        name == "latents" and len(proto.tensor_shape.dim) == 4
        for name, proto in request.inputs.items()
    ):
        raise Refused(grpc.StatusCode.INTERNAL, "oops")
    return ask(request)


def forgets_the_init_op(request, ask):
    response = ask(request)
    found = messages.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    del found.signature_def["__saved_model_init_op"]
    response.metadata["signature_def"].Pack(found)
    return response


@pytest.mark.parametrize(
    ("method", "spoil", "name"),
    [
        ("Predict", takes_nothing_for_ones, "a shape with no content is zeros"),
        (
            "Predict",
            keeps_values_back,
            "outputs are whole, in typed fields or in tensor_content",
        ),
        (
            "Predict",
            fills_with_the_first,
            "too few typed values repeat the last, not the first",
        ),
        ("Predict", answers_no_rows_with_one, "zero rows"),
        (
            "Predict",
            answers_another_output,
            "output_filter leaves one output, level",
        ),
        (
            "Predict",
            names_no_default,
            "serving_default is asked, and named, where no signature is",
        ),
        ("Predict", cuts_no_message, "a message is cut at 1024 characters"),
        ("Predict", cuts_messages_short, "a message is cut at 1024 characters"),
        ("Predict", breaks_on_another_rank, "another rank than the signature's"),
        ("GetModelMetadata", forgets_the_init_op, "metadata"),
    ],
)
def test_a_server_that_is_wrong_in_one_point_fails_one_case(
    outcomes, method, spoil, name
):
    assert outcomes({method: spoil})["fails"] == [name]


def test_a_server_that_fills_with_zeros(outcomes):
    last = "too few typed values repeat the last"
    found = outcomes({"Predict": fills_with_zeros})
    assert found["fails"] == [last, f"{last}, not the first"]


def test_a_server_that_ignores_output_filter(outcomes):
    assert outcomes({"Predict": ignores_output_filter})["fails"] == [
        "output_filter leaves one output, images",
        "output_filter leaves one output, level",
    ]


@pytest.fixture(scope="module")
def with_defaults(tmp_path_factory):
    """A client of a server of `one`, whose input `b` has a default, and `all`."""
    one = tf.constant([1.0])
    spec = tf.TensorSpec([None], tf.float32)

    @tf.function(input_signature=[spec, spec])
    def one_default(a, b=one):
        return {"sum": a + b}

    @tf.function(input_signature=[spec])
    def all_defaults(b=one):
        return {"double": b + b}

    folder = tmp_path_factory.mktemp("defaults")
    for name, function in (("one", one_default), ("all", all_defaults)):
        module = tf.Module()
        module.function = function
        signatures = {"serving_default": function}
        tf.saved_model.save(module, str(folder / name / "1"), signatures=signatures)
    with (
        serving.Server(folder, port=0) as server,
        serving.Client(server.address) as client,
    ):
        yield client


def results_with_defaults(client, model, spoil):
    metadata = client.metadata(model)
    cases = grpc_cases.cases(model, metadata.version, metadata.signatures)
    return through_proxy(client, {"Predict": spoil}, cases)


@pytest.mark.parametrize("model", ["one", "all"])
def test_default_values(with_defaults, model):
    found = results_with_defaults(with_defaults, model, as_tensorflow_serving)
    assert found["fails"] == []
    assert ("other number of inputs" in found["agrees"]) == (model == "one")


def drops_what_it_does_not_know(request, ask):
    if len(request.inputs) == 1:
        request.inputs.pop("no_such_input", None)
    return ask(request)


def has_a_default_for_all(request, ask):
    if not request.inputs:
        tensors.encode(np.zeros(1, np.float32), request.inputs["a"])
    return ask(request)


@pytest.mark.parametrize(
    ("model", "spoil", "failed"),
    [
        (
            "all",
            drops_what_it_does_not_know,
            [
                "right number, wrong key",
                "two mistakes: the keys of the inputs, before the tensors",
            ],
        ),
        ("one", has_a_default_for_all, ["other number of inputs"]),
    ],
)
def test_a_server_that_is_wrong_about_defaults(with_defaults, model, spoil, failed):
    assert results_with_defaults(with_defaults, model, spoil)["fails"] == failed


def test_output_filter_where_no_signature_has_two_outputs(outcomes):
    found = outcomes({"Predict": ignores_output_filter}, "conditional")
    assert not any("leaves one" in name for names in found.values() for name in names)


def spoils_arrays(change):
    """Changes the array of each output."""

    def spoil(request, ask):
        response = ask(request)
        for proto in response.outputs.values():
            changed = change(tensors.decode(proto))
            proto.Clear()
            tensors.encode(changed, proto)
        return response

    return spoil


ANSWERED = [
    "the answer names model, version and signature",
    "a version asked for by number is named",
    "every row is answered in its own place",
    "many rows are answered in their own places",
    "a shape with no content is zeros",
    "typed fields serve as well as tensor_content",
    "too few typed values repeat the last",
    "too few typed values repeat the last, not the first",
    "serving_default is asked, and named, where no signature is",
    "output_filter leaves one output, images",
    "output_filter leaves one output, level",
    "zero rows",
]


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda array: array.astype(np.float64), ANSWERED),
        (lambda array: np.concatenate([array, array[-1:]]), ANSWERED[:-1]),
        (np.ravel, [name for name in ANSWERED if not name.endswith("level")]),
        (lambda array: array[..., None], ANSWERED),
        (lambda array: array[::-1], ANSWERED[2:4]),
        (lambda array: np.roll(array, 1, axis=0), ANSWERED[2:4]),
        (lambda array: np.repeat(array[:1], len(array), axis=0), ANSWERED[2:4]),
    ],
)
def test_a_server_whose_outputs_are_wrong(outcomes, change, failed):
    assert outcomes({"Predict": spoils_arrays(change)})["fails"] == failed


def test_a_server_that_mixes_up_the_rows_of_large_requests(outcomes):
    spoil = spoils_arrays(lambda array: array[::-1] if len(array) > 32 else array)
    assert outcomes({"Predict": spoil})["fails"] == [ANSWERED[3]]


def mends_latents(is_wrong):
    """Has zeros in the place of latents that are wrong."""

    def spoil(request, ask):
        if "latents" in request.inputs and is_wrong(request.inputs["latents"]):
            request.inputs["latents"].Clear()
            tensors.encode(np.zeros((1, 3), np.float32), request.inputs["latents"])
        return ask(request)

    return spoil


def is_of_another_dtype(proto):
    return proto.dtype != messages.DataType.values_by_name["DT_FLOAT"].number


def does_not_parse(proto):
    return proto.tensor_content == b"123"


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (mends_latents(is_of_another_dtype), "wrong dtype, latents"),
        (
            mends_latents(does_not_parse),
            "a TensorProto that does not parse, latents",
        ),
        (breaks_on_another_rank, "another rank than the signature's, latents"),
    ],
)
def test_a_server_that_is_wrong_about_the_second_input(outcomes, spoil, name):
    assert outcomes({"Predict": spoil}, "conditional")["fails"] == [name]


def right_name(request):
    request.model_spec.name = "good"


def right_version(request):
    request.model_spec.ClearField("version_choice")


def right_signature(request):
    if request.model_spec.signature_name == "no_such_signature":
        request.model_spec.signature_name = "serving_default"


def right_number(request):
    if len(request.inputs) > 1:
        del request.inputs["no_such_input"]


def right_key(request):
    if list(request.inputs) == ["no_such_input"]:
        request.inputs["latents"].CopyFrom(request.inputs["no_such_input"])
        del request.inputs["no_such_input"]


def right_content(request):
    for proto in request.inputs.values():
        if len(proto.tensor_content) == 3:
            proto.ClearField("tensor_content")
            proto.tensor_shape.dim[0].size = 1


def right_outputs(request):
    names = list(request.output_filter)
    if len(set(names)) < len(names):
        raise Refused(INVALID_ARGUMENT, f"duplicate output tensor alias: {names[0]}")


@pytest.mark.parametrize(
    ("mend", "names"),
    [
        (
            right_name,
            ["no name, before the signature", "the model, before the signature"],
        ),
        (
            right_version,
            ["the version, before the signature", "the label, before the signature"],
        ),
        (right_signature, ["the signature, before the number of inputs"]),
        (right_number, ["the number of inputs, before the tensors"]),
        (right_key, ["the keys of the inputs, before the tensors"]),
        (
            right_content,
            [
                "a tensor that does not parse, before its dtype",
                "the tensors, before output_filter",
            ],
        ),
        (right_outputs, ["an unknown output, before its repetition"]),
    ],
)
def test_a_server_that_looks_at_something_last(outcomes, mend, names):
    """It answers a request's other mistakes first, as if this one were not there."""

    def look(request, ask):
        if request.HasField("model_spec"):
            mended = messages.PredictRequest.FromString(request.SerializeToString())
            mend(mended)
            ask(mended)
        return ask(request)

    failed = outcomes({"Predict": look})["fails"]
    assert failed == [f"two mistakes: {name}" for name in names]


def as_tensorflow_serving(request, ask):
    """Answers as TensorFlow Serving does where it and the embedded server differ."""
    try:
        return ask(request)
    except grpc.RpcError as error:
        message = error.details()
        if "cannot take the shape" in message:
            message = "Matrix size-incompatible: In[0]: [1,3,1,1], In[1]: [3,1]"
        if "Expects arg" in message and "no_such_output" in request.output_filter:
            message = "output tensor alias not found in signature: no_such_output"
        if len(message) == 1024:
            message += "...TRUNCATED"
        # It numbers the inputs in an order of its own.
        message = message.replace("arg[0]", f"arg[{len(request.inputs) - 1}]")
        raise Refused(error.code(), message) from error


def as_a_batching_one(request, ask):
    """The same, with batching, and outputs in typed fields."""
    for proto in request.inputs.values():
        rows = [dim.size for dim in proto.tensor_shape.dim][:1]
        if rows == [0]:
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "")
        if rows == [40]:
            message = "Task size 40 is larger than maximum input batch size 32"
            raise Refused(INVALID_ARGUMENT, message)
    response = as_tensorflow_serving(request, ask)
    for proto in response.outputs.values():
        values = tensors.decode(proto).ravel().tolist()
        proto.ClearField("tensor_content")
        proto.ClearField("string_val")
        values_of(proto).extend(values)
    return response


def status_as_tensorflow_serving(request, ask):
    if not request.model_spec.name:
        raise Refused(NOT_FOUND, "Could not find any versions of model ")
    request.model_spec.ClearField("version_label")
    return ask(request)


def multi_inference_as_tensorflow_serving(request, ask):
    raise Refused(
        INVALID_ARGUMENT,
        "Expected classification signature method_name to be "
        "tensorflow/serving/classify. Was: tensorflow/serving/predict",
    )


@pytest.mark.parametrize("predict", [as_tensorflow_serving, as_a_batching_one])
@pytest.mark.parametrize("model", ["good", "conditional"])
def test_tensorflow_serving_fails_none(outcomes, predict, model):
    spoil = {
        "Predict": predict,
        "GetModelStatus": status_as_tensorflow_serving,
        "MultiInference": multi_inference_as_tensorflow_serving,
    }
    found = outcomes(spoil, model)
    assert found["fails"] == []
    assert found["deliberate"] == ["bytes that are no request"]


@pytest.mark.parametrize("most_rows", [1, 2])
def test_a_server_of_small_batches_fails_none(models_dir, tmp_path, most_rows):
    (file := tmp_path / "batching.config").write_text(
        f"max_batch_size {{ value: {most_rows} }} allowed_batch_sizes: {most_rows}"
    )
    with (
        serving.Server(
            models_dir, port=0, rest_port=0, batching_parameters_file=file
        ) as server,
        serving.Client(server.address) as client,
    ):
        results = conformance.results(client, "good", rest=server.rest_address)
        found = [result.detail for result in results if result.outcome == "fails"]
    assert found == []


class Garbage:
    """Stands for a response of bytes that are none."""

    def SerializeToString(self):
        return b"\xff" * 20


def answers_with_garbage(request, ask):
    ask(request)
    return Garbage()


def spoils_outputs(change):
    """Changes the TensorProto of each output."""

    def spoil(request, ask):
        response = ask(request)
        for proto in response.outputs.values():
            change(proto)
        return response

    return spoil


def loses_a_byte(proto):
    proto.tensor_content = proto.tensor_content[:-1]


def claims_negative_rows(proto):
    proto.tensor_shape.dim[0].size = -1


def claims_complex_numbers(proto):
    proto.dtype = COMPLEX


@pytest.mark.parametrize(
    "spoil",
    [
        answers_with_garbage,
        spoils_outputs(loses_a_byte),
        spoils_outputs(claims_negative_rows),
        spoils_outputs(claims_complex_numbers),
    ],
)
def test_a_malformed_answer_fails_its_cases_alone(outcomes, spoil):
    found = outcomes({"Predict": spoil})
    assert "a shape with no content is zeros" in found["fails"]
    assert {"metadata", "unknown model", "bytes that are no request"} <= {
        *found["agrees"],
        *found["deliberate"],
    }


def does_not_answer(request, ask):
    raise Refused(grpc.StatusCode.UNAVAILABLE, "away")


def test_a_server_that_answers_no_more_is_asked_no_more(client):
    metadata = client.metadata("good")
    cases = grpc_cases.cases("good", metadata.version, metadata.signatures)
    with (
        grpc_proxy(client, {"Predict": does_not_answer}) as address,
        grpc.insecure_channel(address) as channel,
    ):
        results = list(grpc_calls.run(channel, cases))
    assert [result.case for result in results] == cases
    assert {result.outcome for result in results} == {"fails"}
    asked = [r for r in results if not r.detail.startswith("not asked, as the 3 ")]
    assert asked == results[:3]


class Echo(tf.Module):
    """A model of strings."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text):
        return {"text": text, "text_bytes": text}


@pytest.fixture(scope="module")
def labelled(saved_models, tmp_path_factory):
    """A server of `good`, whose version 1 is `stable`, and of `echo`; with REST."""
    folder = tmp_path_factory.mktemp("labelled")
    for version, source in (("1", "tiny"), ("2", "other")):
        shutil.copytree(saved_models / source, folder / "good" / version)
    echo = Echo()
    signatures = {"serving_default": echo.__call__}
    tf.saved_model.save(echo, str(folder / "echo" / "1"), signatures=signatures)
    configs = "".join(
        f'config {{ name: "{name}" base_path: "{folder}/{name}" model_platform: '
        '"tensorflow" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } } '
        for name in ("good", "echo")
    )
    (folder / "models.config").write_text(f"model_config_list {{ {configs} }}")
    with serving.Server(
        port=0, rest_port=0, model_config_file=folder / "models.config"
    ) as server:
        yield server


def label_cases(module, client):
    named = client.metadata("good", version_label="stable")
    return module.label_cases("stable", "good", named.version, named.signatures)


def older_cases(module, client):
    older = client.metadata("good", version=1)
    return module.older_cases("good", older.version, older.signatures)


def ignores_the_label(request, ask):
    request.model_spec.ClearField("version_label")
    return ask(request)


def echoes_the_label(request, ask):
    response = ask(request)
    response.model_spec.version_label = request.model_spec.version_label
    return response


def lists_the_newest(request, ask):
    del (response := ignores_the_label(request, ask)).model_version_status[1:]
    return response


def test_strings(labelled):
    with serving.Client(labelled.address) as client:
        metadata = client.metadata("echo")
        cases = grpc_cases.cases("echo", metadata.version, metadata.signatures)
        found = sorted_out(grpc_calls.run(client.channel, cases))
    assert found["fails"] == []
    assert set(found["deliberate"]) == {case.name for case in cases if case.deliberate}


PREDICT_BY_LABEL = "a version asked for by its label is named by its number"


@pytest.mark.parametrize(
    ("method", "spoil", "failed"),
    [
        ("Predict", lambda request, ask: ask(request), []),
        ("Predict", ignores_the_label, [PREDICT_BY_LABEL]),
        ("Predict", echoes_the_label, [PREDICT_BY_LABEL]),
        ("GetModelMetadata", ignores_the_label, ["metadata by label"]),
        ("GetModelMetadata", echoes_the_label, ["metadata by label"]),
        ("GetModelStatus", ignores_the_label, []),  # As TensorFlow Serving does.
        ("GetModelStatus", lists_the_newest, ["status by label"]),
    ],
)
def test_labels(labelled, method, spoil, failed):
    with serving.Client(labelled.address) as client:
        cases = label_cases(grpc_cases, client)
        assert {case.method for case in cases} == {
            "Predict",
            "GetModelMetadata",
            "GetModelStatus",
        }
        found = through_proxy(client, {method: spoil}, cases)
    assert found["fails"] == failed
    assert found["deliberate"] == []


OLDER = [
    "an older version asked for by number is named",
    "metadata of an older version",
    "status of an older version lists that one",
    "status lists an older version, too",
]


def ignores_the_version(request, ask):
    if request.model_spec.version.value in (1, 2):
        request.model_spec.ClearField("version")
    return ask(request)


def spoils_statuses(change):
    def spoil(request, ask):
        response = ask(request)
        for status in response.model_version_status:
            change(status)
        return response

    return spoil


def says_end(status):
    status.state = messages.ModelVersionStatus.State.Value("END")


def says_that_it_failed(status):
    status.status.error_code = 3


def says_why_it_is_ok(status):
    status.status.error_message = "OK"


def lists_twice(request, ask):
    response = ask(request)
    for status in list(response.model_version_status):
        response.model_version_status.add().CopyFrom(status)
    response.model_version_status.sort(key=lambda status: -status.version)
    return response


@pytest.mark.parametrize(
    ("method", "spoil", "failed"),
    [
        ("Predict", lambda request, ask: ask(request), []),
        ("Predict", ignores_the_version, OLDER[:1]),
        ("GetModelMetadata", ignores_the_version, OLDER[1:2]),
        ("GetModelStatus", ignores_the_version, OLDER[2:3]),
        ("GetModelStatus", lists_the_newest, OLDER[3:]),
        ("GetModelStatus", spoils_statuses(says_end), OLDER[2:]),
        ("GetModelStatus", spoils_statuses(says_that_it_failed), OLDER[2:]),
        ("GetModelStatus", spoils_statuses(says_why_it_is_ok), OLDER[2:]),
        ("GetModelStatus", lists_twice, OLDER[2:]),
    ],
)
def test_older_versions(labelled, method, spoil, failed):
    with serving.Client(labelled.address) as client:
        cases = older_cases(grpc_cases, client)
        assert [case.name for case in cases] == OLDER
        assert through_proxy(client, {method: spoil}, cases)["fails"] == failed


def knows_any_version_and_label(request, ask):
    spec = request.model_spec
    spec.ClearField(spec.WhichOneof("version_choice") or "version")
    return ask(request)


def names_no_tensors(request, ask):
    response = ask(request)
    found = messages.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    for info in found.signature_def["serving_default"].outputs.values():
        info.name = ""
    response.metadata["signature_def"].Pack(found)
    return response


@pytest.mark.parametrize(
    ("method", "spoil", "failed"),
    [
        (
            "GetModelStatus",
            lists_the_newest,
            ["status lists versions, newest first"],
        ),
        (
            "GetModelStatus",
            ignores_the_version,
            ["status of a version lists that one"],
        ),
        (
            "GetModelMetadata",
            knows_any_version_and_label,
            ["metadata of an unknown version", "metadata by an unknown label"],
        ),
        ("GetModelMetadata", names_no_tensors, ["metadata"]),
    ],
)
def test_a_server_of_two_versions(labelled, method, spoil, failed):
    with serving.Client(labelled.address) as client:
        metadata = client.metadata("good")
        cases = grpc_cases.cases("good", metadata.version, metadata.signatures)
        assert through_proxy(client, {method: spoil}, cases)["fails"] == failed


# REST ------------------------------------------------------------------------------


@contextlib.contextmanager
def rest_proxy(address, spoil, content_type="application/json"):
    """Gives the address of a proxy of a REST API.

    `spoil` takes a method, a path, a body and a function that asks the server by
    them, and returns what that does: the status and the body, in bytes.
    """

    def ask(method, path, body):
        connection = http.client.HTTPConnection(address, timeout=60)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, content = spoil(self.command, self.path, body, ask)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *unused):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{proxy.server_port}"
        proxy.shutdown()
        thread.join()


@pytest.fixture
def rest_outcomes(labelled):
    """Runs the REST cases of a model against a proxy: {outcome: names of the cases}."""

    def outcomes(spoil, model="good", **proxy):
        with (
            serving.Client(labelled.address) as client,
            rest_proxy(labelled.rest_address, spoil, **proxy) as address,
        ):
            metadata = client.metadata(model)
            cases = rest_cases.cases(model, metadata.version, metadata.signatures)
            if model == "good":
                cases += label_cases(rest_cases, client)
                cases += older_cases(rest_cases, client)
            found = sorted_out(rest_calls.run(address, client.channel, cases))
        return {
            outcome: [name.removeprefix("REST: ") for name in names]
            for outcome, names in found.items()
        }

    return outcomes


REST_DELIBERATE = ["a path in capitals", "a path outside of /v1", "no rows"]


def passes_on(method, path, body, ask):
    return ask(method, path, body)


def rest_as_tensorflow_serving(method, path, body, ask):
    """Answers as TensorFlow Serving does where it and the embedded server differ."""
    if not path.lower().startswith("/v1/"):
        return 404, b"<html>Not Found</html>"
    if b'"instances": []' in body:
        return 400, b'{"error": "No values in array"}'
    return ask(method, path.replace("/V1/MODELS/", "/v1/models/"), body)


@pytest.mark.parametrize("model", ["good", "echo"])
@pytest.mark.parametrize(
    ("spoil", "deliberate"),
    [(passes_on, REST_DELIBERATE), (rest_as_tensorflow_serving, [])],
)
def test_rest(rest_outcomes, model, spoil, deliberate):
    found = rest_outcomes(spoil, model)
    assert found["fails"] == []
    assert found["deliberate"] == deliberate
    assert len(found["agrees"]) >= 35


def spoils_json(change, where=""):
    """Changes the JSON of the answers to what is asked at paths that end so."""

    def spoil(method, path, body, ask):
        status, content = ask(method, path, body)
        if status == 200 and path.endswith(where):
            content = json.dumps(change(json.loads(content))).encode()
        return status, content

    return spoil


def drops_a_row(found):
    return {
        key: rows[1:] if key == "predictions" else rows for key, rows in found.items()
    }


def repeats_a_row(found):
    return {
        key: rows[:1] * len(rows) if key == "predictions" else rows
        for key, rows in found.items()
    }


def rows_backwards(found):
    return {
        key: rows[::-1] if key == "predictions" else rows for key, rows in found.items()
    }


def spoils_values(change):
    """Changes each number, but those in errors."""

    def spoiled(value):
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return change(value) if type(value) is int else value

    def spoil(found):
        return {key: spoiled(values) for key, values in found.items()}

    return spoils_json(spoil, ":predict")


def respells(change):
    """Changes each text that stands for bytes."""

    def respell(value):
        if isinstance(value, list):
            return [respell(item) for item in value]
        if isinstance(value, dict):
            return {
                k: change(v) if k == "b64" else respell(v) for k, v in value.items()
            }
        return value

    return respell


encodes_twice = respells(lambda text: base64.b64encode(text.encode()).decode())
encodes_badly = respells(lambda text: "!" + text)


def lists_the_first(found):
    return {key: statuses[:1] for key, statuses in found.items()}


def asks_for_the_newest(method, path, body, ask):
    """Answers what it is asked of any version, or by a label, by the newest."""
    served = re.sub("/versions/[12](?![0-9])|/labels/stable(?=:)", "", path)
    return ask(method, served, body)


def changes_signatures(change):
    def spoil(found):
        definitions = found["metadata"]["signature_def"]["signature_def"]
        changed = {"signature_def": {"signature_def": change(definitions)}}
        return {**found, "metadata": changed}

    return spoil


@changes_signatures
def empties_signatures(definitions):
    empty = {"inputs": {}, "outputs": {}}
    return {key: {**found, **empty} for key, found in definitions.items()}


@changes_signatures
def forgets_signatures(definitions):
    return {"serving_default": definitions["serving_default"]}


def numbers_dtypes(found):
    return json.loads(json.dumps(found).replace('"DT_FLOAT"', "1"))


def writes_versions_as_numbers(method, path, body, ask):
    status, content = ask(method, path, body)
    return status, re.sub(rb'"version": *"([0-9]+)"', rb'"version": \1', content)


def flattens_columns(found):
    return {
        key: np.ravel(rows).tolist() if key == "outputs" else rows
        for key, rows in found.items()
    }


def lists_backwards(found):
    return {key: statuses[::-1] for key, statuses in found.items()}


def lists_each_twice(found):
    return {
        key: [status for status in statuses for _ in range(2)]
        for key, statuses in found.items()
    }


def says_why_all_is_ok(found):
    return json.loads(
        json.dumps(found).replace('"error_message": ""', '"error_message": "OK"')
    )


def forgets_the_version(found):
    return {**found, "model_spec": {**found["model_spec"], "version": None}}


def takes_both(method, path, body, ask):
    if b'"instances"' in body and b'"inputs"' in body:
        content = json.loads(body)
        del content["inputs"]
        body = json.dumps(content).encode()
    return ask(method, path, body)


def errs_in_text(method, path, body, ask):
    status, content = ask(method, path, body)
    wrong = path == "/v1/models/no_such_model"
    return status, b"no such model" if wrong else content


def errs_in_other_words(method, path, body, ask):
    status, content = ask(method, path, body)
    wrong = path == "/v1/models/no_such_model"
    return status, b'{"error": "oops"}' if wrong else content


def refuses_with_500(method, path, body, ask):
    status, content = ask(method, path, body)
    return (500, content) if body == b"" and method == "POST" else (status, content)


def nests_deeply(method, path, body, ask):
    status, content = ask(method, path, body)
    wrong = path == "/v1/models/no_such_model"
    return status, b"[" * 100_000 if wrong else content


def has_no_signatures(found):
    return {**found, "metadata": {"signature_def": {"signature_def": None}}}


def has_a_list_of_signatures(found):
    return {**found, "metadata": {"signature_def": {"signature_def": [1]}}}


def has_no_versions(found):
    return {"model_version_status": None}


ROWS = [
    "a version's rows",
    "rows",
    "rows of an only input, without its name",
    "serving_default is asked where no signature is",
    "strings whose names end in _bytes come as b64, others as text",
]
COLUMNS = ["columns", "columns of an only input, without its name"]
PNG = ROWS[-1:]
BY_LABEL = "status by label"
STATUS_OF_NO_MODEL = ["status of an unknown model"]
STATUS = ["status", "status lists an older version, too"]
STATUS_OF_ONE = ["a version's status", "an older version's status"]
METADATA_OF_ONE = ["a version's metadata", "an older version's metadata"]
METADATA = ["metadata", "metadata by label", *METADATA_OF_ONE]
PLACED_ROWS = ["rows by label", "an older version's rows"]


VALUES = [*ROWS[:-1], *COLUMNS, *PLACED_ROWS]


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (spoils_json(drops_a_row), [*ROWS, *PLACED_ROWS]),
        (spoils_json(repeats_a_row), [*ROWS, *PLACED_ROWS]),
        (spoils_json(rows_backwards), [*ROWS, *PLACED_ROWS]),
        (spoils_json(flattens_columns), COLUMNS),
        (spoils_values(str), VALUES),
        (spoils_values(lambda value: None), VALUES),
        (spoils_values(bool), VALUES),
        (spoils_values(float), VALUES),
        (spoils_json(encodes_twice), PNG),
        (spoils_json(encodes_badly), PNG),
        (spoils_json(lists_backwards, "/v1/models/good"), STATUS),
        (spoils_json(lists_each_twice, "/v1/models/good"), STATUS),
        (spoils_json(says_why_all_is_ok, "/v1/models/good"), STATUS),
        (spoils_json(lists_the_first, "/v1/models/good"), STATUS[1:]),
        (asks_for_the_newest, [*PLACED_ROWS, *STATUS_OF_ONE, *METADATA_OF_ONE[1:]]),
        (spoils_json(empties_signatures, "/metadata"), METADATA),
        (spoils_json(forgets_signatures, "/metadata"), METADATA),
        (spoils_json(numbers_dtypes, "/metadata"), METADATA),
        (writes_versions_as_numbers, [*STATUS, *STATUS_OF_ONE, *METADATA, BY_LABEL]),
        (spoils_json(forgets_the_version, "/metadata"), METADATA),
        (takes_both, ["both instances and inputs"]),
        (errs_in_text, STATUS_OF_NO_MODEL),
        (errs_in_other_words, STATUS_OF_NO_MODEL),
        (refuses_with_500, ["an empty body"]),
        (nests_deeply, STATUS_OF_NO_MODEL),
        (spoils_json(has_no_signatures, "/metadata"), METADATA),
        (spoils_json(has_a_list_of_signatures, "/metadata"), METADATA),
        (spoils_json(has_no_versions, "/v1/models/good"), STATUS),
    ],
)
def test_a_rest_server_that_is_wrong_in_one_point(rest_outcomes, spoil, failed):
    found = rest_outcomes(spoil)
    assert sorted(found["fails"]) == sorted(failed)
    assert found["deliberate"] == REST_DELIBERATE


def test_a_rest_server_that_calls_its_json_html(rest_outcomes):
    found = rest_outcomes(passes_on, content_type="text/html")
    assert found["agrees"] == found["deliberate"] == []
    assert "a path outside of /v1" in found["fails"]


def test_a_rest_server_whose_content_type_has_a_charset(rest_outcomes):
    found = rest_outcomes(passes_on, content_type="application/json; charset=utf-8")
    assert found["fails"] == []


def takes_base64_for_text(method, path, body, ask):
    body = re.sub(rb'{"b64": ("[A-Za-z0-9=]*")}', rb"\1", body or b"")
    return ask(method, path, body)


def test_a_rest_server_that_does_not_decode(rest_outcomes):
    assert sorted(rest_outcomes(takes_base64_for_text, "echo")["fails"]) == sorted(
        [*ROWS, *COLUMNS]
    )


def takes_text_for_base64(method, path, body, ask):
    body = re.sub(rb'"text": ("[A-Za-z0-9=]*")', rb'"text": {"b64": \1}', body or b"")
    return ask(method, path, body)


def test_a_rest_server_that_decodes_text(rest_outcomes):
    failed = rest_outcomes(takes_text_for_base64, "echo")["fails"]
    assert failed == ["strings sent as text, not as b64"]


def writes_bytes_as_text(row):
    return {**row, "text_bytes": row["text"]}


def writes_text_as_bytes(row):
    return {**row, "text": row["text_bytes"]}


@pytest.mark.parametrize("change", [writes_bytes_as_text, writes_text_as_bytes])
def test_a_rest_server_that_writes_strings_wrong(rest_outcomes, change):
    def respell(found):
        return {"predictions": [change(row) for row in found["predictions"]]}

    def spoil(method, path, body, ask):
        if b'"instances"' not in body:
            return ask(method, path, body)
        return spoils_json(respell)(method, path, body, ask)

    failed = rest_outcomes(spoil, "echo")["fails"]
    assert sorted(failed) == sorted([*ROWS, "strings sent as text, not as b64"])


def takes_any_base64(method, path, body, ask):
    return ask(method, path, body.replace(b'"b64": "!"', b'"b64": ""'))


def test_a_rest_server_that_takes_any_base64(rest_outcomes):
    assert rest_outcomes(takes_any_base64, "echo")["fails"] == ["b64 that is none"]


def signature_of(data_type):
    """Returns {key: Signature} of one signature, of one dtype."""
    name = messages.DataType.values_by_name[data_type].number
    spec = signatures.TensorSpec("x", name, (None, 2), "x:0")
    method = signatures.PREDICT_METHODS[1]
    found = signatures.Signature("serving_default", method, {"x": spec}, {"x": spec})
    return {"serving_default": found}


@pytest.mark.parametrize(
    ("data_type", "has_rows"), [("DT_FLOAT", True), ("DT_HALF", False)]
)
def test_rest_rows_are_of_dtypes_that_tensorflow_serving_writes(data_type, has_rows):
    cases = rest_cases.cases("m", 1, signature_of(data_type))
    cases += rest_cases.older_cases("m", 1, signature_of(data_type))
    names = {case.name for case in cases}
    assert "REST: metadata" in names
    for name in ("REST: rows", "REST: columns", "REST: an older version's rows"):
        assert (name in names) == has_rows


def test_a_signature_without_arrays_is_none_to_ask():
    with pytest.raises(serving.RequestError, match="in dtypes of numpy"):
        grpc_cases.cases("m", 1, signature_of("DT_COMPLEX64"))


# The command -----------------------------------------------------------------------


@pytest.fixture
def run(labelled):
    def run(*arguments):
        command = ["conformance", labelled.address, "good", *arguments]
        return CliRunner().invoke(main, command)

    return run


def test_command_with_a_label_and_rest(run, labelled):
    plain = run()
    assert plain.exit_code == 0, plain.output
    assert "5 differ deliberately, 0 fail" in plain.output
    assert "REST" not in plain.output
    rest = ["--rest", labelled.rest_address]
    result = run("echo", "--label", "stable", *rest, "--verbose")
    assert result.exit_code == 0, result.output
    assert result.output.count("8 differ deliberately, 0 fail") == 2
    assert result.output.count(f"agrees     {PREDICT_BY_LABEL}") == 2
    assert result.output.count("agrees     REST: rows by label") == 2
    assert result.output.count("agrees     REST: b64 that is none") == 1


def test_command_with_a_label_that_is_none(run):
    result = run("--label", "nope")
    assert result.exit_code == 1
    assert "Unrecognized servable version label: nope" in result.stderr


def test_command_asks_for_an_older_version_that_is_served(run, labelled):
    result = run("--rest", labelled.rest_address, "--verbose")
    assert result.exit_code == 0, result.output
    for name in OLDER:
        assert f"agrees     {name}" in result.output
    assert "agrees     REST: an older version's rows" in result.output


def claims_another_dtype(request, ask):
    response = ask(request)
    found = messages.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    for definition in found.signature_def.values():
        for info in definition.outputs.values():
            info.dtype = tensors.data_type(np.zeros(0))
    response.metadata["signature_def"].Pack(found)
    return response


def test_command_where_the_metadata_has_another_dtype(labelled):
    with (
        serving.Client(labelled.address) as client,
        grpc_proxy(client, {"GetModelMetadata": claims_another_dtype}) as address,
    ):
        result = CliRunner().invoke(main, ["conformance", address, "good"])
    assert result.exit_code == 1
    name = "the answer names model, version and signature"
    assert f"fails      {name}: output images: double[" in result.output


def answers_late(request, ask):
    time.sleep(2)
    return ask(request)


def test_command_waits_for_each_case_as_long_as_it_is_told(labelled):
    with (
        serving.Client(labelled.address) as client,
        grpc_proxy(client, {"Predict": answers_late}) as address,
    ):
        command = ["conformance", address, "good", "--timeout", "1"]
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "fails      no model_spec: DEADLINE_EXCEEDED " in result.output
    assert "0 agree, 0 differ deliberately" in result.output


def test_command_where_no_rest_answers(run, labelled):
    for address in ("127.0.0.1:1", labelled.address):
        result = run("--rest", address, "--timeout", "20")
        assert result.exit_code == 1
        assert f"{address} is no REST API: '" in result.output
        assert result.output.strip().isprintable()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:x", "", "http://127.0.0.1:8501", "127.0.0.1:8501/"]
)
def test_command_with_a_rest_address_that_is_none(run, address):
    result = run("--rest", address)
    assert result.exit_code == 1
    assert result.output.startswith("Error: address must be host:port ")
