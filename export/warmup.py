"""Warmup records: requests that TensorFlow Serving replays while it loads a version.

A right record proves that the signature works before traffic arrives; any failing one
fails the load.
"""

import os

import tensorflow as tf
from tensorflow_serving.apis import (
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
)

_PLACE = os.path.join("assets.extra", "tf_serving_warmup_requests")
#: TensorFlow Serving refuses files with more.
MAX_RECORDS = 1000


def write_warmup(directory, signatures, batch_sizes):
    """Writes one record for each signature and batch size.

    Args:
        directory: Folder of the version.
        signatures: Dict from name to `export.signatures.Signature`.
        batch_sizes: Batch sizes that the model is meant to be served with.

    Raises:
        ValueError: If they make more records than TensorFlow Serving takes.
    """
    count = len(signatures) * len(batch_sizes)
    if count > MAX_RECORDS:
        raise ValueError(
            f"{len(signatures)} signatures at {len(batch_sizes)} batch sizes make "
            f"{count} warmup records; TensorFlow Serving takes at most {MAX_RECORDS}."
        )
    path = os.path.join(directory, _PLACE)
    os.makedirs(os.path.dirname(path))
    with tf.io.TFRecordWriter(path) as writer:
        for name, signature in signatures.items():
            for batch_size in batch_sizes:
                record = _record(name, signature.example(batch_size))
                writer.write(record.SerializeToString())


def _record(signature_name, inputs):
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name="warmup", signature_name=signature_name),
        inputs={key: tf.make_tensor_proto(value) for key, value in inputs.items()},
    )
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
