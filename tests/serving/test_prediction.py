"""One loaded version, without the server around it."""

import itertools
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
import tiny_models

import serving
from serving import batching, messages, prediction, saved_model, tensors


@pytest.fixture
def loaded(saved_models):
    loaded = saved_model.SavedModel(saved_models / "tiny")
    yield loaded
    loaded.close()


def seeds(rows):
    return tiny_models.predict_request("m", seeds=np.arange(rows))


def test_what_is_computed_alone_has_its_deadline(loaded):
    model = prediction.Model(loaded, "m", 1)
    with pytest.raises(serving.ServingError) as caught:
        model.predict(seeds(2), deadline=time.monotonic() - 1)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("data_type", "outputs", "words"),
    [
        ("DT_FLOAT", [], "Expects arg[0] to be int64 but float "),
        ("DT_FLOAT", ["nope"], "Expects arg[0] to be int64 but float "),
        ("DT_QINT8", ["nope"], "Expects arg[0] to be int64 but qint8 "),
        ("DT_INT4", [], "Expects arg[0] to be int64 but int4 "),
        ("DT_FLOAT8_E5M2", [], "Expects arg[0] to be int64 but float8_e5m2 "),
        ("DT_COMPLEX64", [], "Expects arg[0] to be int64 but complex64 "),
        ("DT_RESOURCE", [], "Expects arg[0] to be int64 but resource "),
        ("DT_VARIANT", [], "Expects arg[0] to be int64 but variant "),
        ("DT_INT64", ["nope"], "output tensor alias not found in signature: nope "),
        ("DT_INT64", ["images"] * 2, "duplicate output tensor alias: images"),
        ("DT_INT64_REF", ["nope"], "tensor parsing error: seeds "),
        ("DT_INVALID", ["nope"], "tensor parsing error: seeds "),
    ],
)
def test_the_dtype_is_checked_after_the_tensor_and_before_the_outputs(
    loaded, data_type, outputs, words
):
    request = seeds(2)
    request.inputs["seeds"].ClearField("tensor_content")
    request.inputs["seeds"].dtype = messages.DataType.values_by_name[data_type].number
    request.output_filter[:] = outputs
    with pytest.raises(serving.ServingError) as caught:
        prediction.Model(loaded, "m", 1).predict(request)
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message.startswith(words)


def test_inputs_that_no_array_holds(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.complex64, "x")])
    def parts(x):
        return {"real": tf.math.real(x)}

    tf.saved_model.save(tf.Module(), str(tmp_path), {"parts": parts})
    loaded = saved_model.SavedModel(tmp_path)
    request = tiny_models.predict_request("m", "parts", x=np.zeros(1))
    request.inputs["x"].dtype = tf.complex64.as_datatype_enum
    with pytest.raises(serving.ServingError, match="input x: the dtype complex64") as e:
        prediction.Model(loaded, "m", 1).predict(request)
    assert e.value.code == grpc.StatusCode.UNIMPLEMENTED
    loaded.close()


@pytest.mark.parametrize("options", [None, batching.BatchingOptions()])
def test_any_number_of_selections_of_outputs_takes_little_memory(tmp_path, options):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def outputs(x):
        return {f"y{k}": x + k for k in range(6)}

    tf.saved_model.save(tf.Module(), str(tmp_path), {"serving_default": outputs})
    loaded = saved_model.SavedModel(tmp_path)
    model = prediction.Model(loaded, "m", 1, options)
    request = tiny_models.predict_request("m", "serving_default", x=np.float32([1, 2]))
    for count in range(1, 7):
        for chosen in itertools.combinations(range(6), count):
            request.output_filter[:] = [f"y{k}" for k in chosen]
            answer = model.predict(request).outputs
            found = {name: tensors.decode(y).tolist() for name, y in answer.items()}
            assert found == {f"y{k}": [1 + k, 2 + k] for k in chosen}
    assert 32 <= len(loaded._callables) < 40
    model.close()


def test_an_answer_too_large_to_send_is_not_computed(loaded, monkeypatch):
    room = messages.OVERHEAD_BYTES + 10 * tiny_models.SIZE**2
    model = prediction.Model(loaded, "m", 1, max_message_bytes=room)
    assert model.predict(seeds(10)).outputs
    ran = []
    monkeypatch.setattr(loaded, "run", lambda *given: ran.append(given))
    with pytest.raises(serving.ServingError, match="The answer to 11 rows needs"):
        model.predict(seeds(11))
    assert not ran


def test_a_model_warms_up_with_more_rows_than_an_answer_can_hold(loaded):
    room = messages.OVERHEAD_BYTES + 10 * tiny_models.SIZE**2
    model = prediction.Model(loaded, "m", 1, max_message_bytes=room)
    model.warm_up([seeds(11)])
    assert model.predict(seeds(10)).outputs


def test_the_sizes_that_are_warm_are_computed(loaded):
    batches = []
    model = prediction.Model(
        loaded,
        "m",
        1,
        batching.BatchingOptions(),
        on_batch=lambda *told: batches.append(told),
    )
    model.warm_up(seeds(rows) for rows in (1, 6))
    model.predict(seeds(5))
    assert batches == [("m", "sample", 5, 6)]
