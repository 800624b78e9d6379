"""What is bounded: warmup records, and the versions that are remembered."""

import pytest
import tensorflow as tf
import tiny_models

import serving
from serving import messages, models, saved_model

State = messages.ModelVersionStatus.State


def test_a_warmup_file_has_at_most_1000_records(tmp_path):
    request = tiny_models.predict_request("m")
    tiny_models.write_warmup(tmp_path, [request] * 1000)
    assert len(list(saved_model.warmup_requests(tmp_path))) == 1000
    tiny_models.write_warmup(tmp_path, [request] * 1001)
    with pytest.raises(serving.ServingError, match=r"exceeds the maximum \(1000\)"):
        list(saved_model.warmup_requests(tmp_path))


def test_warmup_records_of_other_calls_are_refused_by_their_names(tmp_path):
    file = tiny_models.write_warmup(tmp_path, [])
    log = messages.PredictionLog()
    log.classify_log.SetInParent()
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(serving.ServingError, match=r"UNIMPLEMENTED: .*: classify_log"):
        list(saved_model.warmup_requests(tmp_path))


def test_100_versions_of_a_model_are_remembered_and_those_that_are_loaded():
    model = models._Model("m")
    model.servables[1] = "loaded"
    for version in range(1, 151):
        model.record(version, State.END)
    assert list(model.history) == [1, *range(52, 151)]


def test_versions_are_remembered_by_what_became_of_them_last():
    model = models._Model("m")
    model.servables[1] = "loaded"
    for version in range(1, 151):
        model.record(version, State.END)
    del model.servables[1]
    model.record(1, State.END)
    model.record(151, State.LOADING)
    assert list(model.history) == [*range(53, 151), 1, 151]
