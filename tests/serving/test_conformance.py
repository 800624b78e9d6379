"""The conformance cases: what a wrong server fails, and a right one does not.

Those servers are the embedded one behind a proxy that spoils requests or answers.
"""

import concurrent.futures

import google.protobuf.message
import grpc
import numpy as np
import pytest

from serving import conformance, messages, tensors

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


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
            for name, request, response in messages.methods(messages.PREDICTION_SERVICE)
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


@pytest.fixture
def outcomes(client):
    """Runs the cases of a model against a proxy: {outcome: names of the cases}."""

    def outcomes(spoil, model="good"):
        metadata = client.metadata(model)
        cases = conformance.cases(model, metadata.version, metadata.signatures)
        proxy = grpc.server(
            concurrent.futures.ThreadPoolExecutor(2), [Proxy(client.channel, spoil)]
        )
        port = proxy.add_insecure_port("127.0.0.1:0")
        proxy.start()
        found = {"agrees": [], "deliberate": [], "fails": []}
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for result in conformance.run(channel, cases):
                found[result.outcome].append(result.case.name)
        proxy.stop(None).wait()
        return found

    return outcomes


def values_of(proto):
    return getattr(proto, tensors.typed_field(proto.dtype))


def fills_with_zeros(request, ask):
    for proto in request.inputs.values():
        wanted = np.prod([dim.size for dim in proto.tensor_shape.dim], dtype=int)
        if missing := values_of(proto) and wanted - len(values_of(proto)):
            values_of(proto).extend([0] * missing)
    return ask(request)


def takes_nothing_for_ones(request, ask):
    for proto in request.inputs.values():
        if not proto.tensor_content and not values_of(proto):
            values_of(proto).append(1)
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
    if any(len(proto.tensor_shape.dim) == 4 for proto in request.inputs.values()):
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
        ("Predict", fills_with_zeros, "too few typed values repeat the last"),
        ("Predict", takes_nothing_for_ones, "a shape with no content is zeros"),
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


def right_name(request):
    request.model_spec.name = "good"


def right_version(request):
    request.model_spec.ClearField("version_choice")


def right_signature(request):
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
    for proto in request.inputs.values():
        if [dim.size for dim in proto.tensor_shape.dim][:1] == [0]:
            raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "")
    try:
        response = ask(request)
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
    for proto in response.outputs.values():
        proto.int_val.extend(tensors.decode(proto).ravel().tolist())
        proto.ClearField("tensor_content")
    return response


@pytest.mark.parametrize("model", ["good", "conditional"])
def test_tensorflow_serving_fails_none(outcomes, model):
    found = outcomes({"Predict": as_tensorflow_serving}, model)
    assert found["fails"] == []
    assert found["deliberate"] == ["bytes that are no request"]
