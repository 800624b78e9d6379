"""TensorFlow Serving's messages, without TensorFlow.

The descriptors live in a pool of their own, so that these classes can stand in one
process beside those of `tensorflow_serving.apis`. On the wire they are the same.
"""

import base64

from google.protobuf import (
    any_pb2,  # noqa: F401  (registers the helpers of well-known types)
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from serving import descriptors

_FILES = descriptor_pb2.FileDescriptorSet.FromString(
    base64.b64decode(descriptors.FILE_DESCRIPTOR_SET)
).file

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

# Versions travel as int64.
MAX_VERSION = 2**63 - 1
# Room in a message for everything but the values of its tensors.
OVERHEAD_BYTES = 64 << 10


def new_pool(extra=()):
    """Returns a descriptor pool of these messages, plus serialized `extra` files."""
    pool = descriptor_pool.DescriptorPool()
    for file in _FILES:
        pool.AddSerializedFile(file.SerializeToString())
    for file in extra:
        pool.AddSerializedFile(file)
    return pool


_POOL = new_pool()


def _classes(descriptors):
    for descriptor in descriptors:
        yield message_factory.GetMessageClass(descriptor)
        yield from _classes(descriptor.nested_types)


# protobuf (upb) looks classes up in a table that does not keep them. One that only
# fields use, such as TensorInfo, would come and go with its instances, and a thread
# that looks it up while another one collects it as garbage brings the process down.
_KEPT = [
    message
    for file in _FILES
    for message in _classes(
        _POOL.FindFileByName(file.name).message_types_by_name.values()
    )
]


def _message(name):
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def methods(service):
    """Yields (name, request class, response class) of each method of `service`."""
    for method in _POOL.FindServiceByName(service).methods:
        yield (
            method.name,
            message_factory.GetMessageClass(method.input_type),
            message_factory.GetMessageClass(method.output_type),
        )


BatchingParameters = _message("tensorflow.serving.BatchingParameters")
ClassificationRequest = _message("tensorflow.serving.ClassificationRequest")
GetModelMetadataRequest = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
MetaGraphDef = _message("tensorflow.MetaGraphDef")
ModelServerConfig = _message("tensorflow.serving.ModelServerConfig")
ModelSpec = _message("tensorflow.serving.ModelSpec")
ModelVersionStatus = _message("tensorflow.serving.ModelVersionStatus")
MultiInferenceRequest = _message("tensorflow.serving.MultiInferenceRequest")
PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
PredictionLog = _message("tensorflow.serving.PredictionLog")
RegressionRequest = _message("tensorflow.serving.RegressionRequest")
ReloadConfigRequest = _message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _message("tensorflow.serving.ReloadConfigResponse")
SavedModel = _message("tensorflow.SavedModel")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
TensorProto = _message("tensorflow.TensorProto")

DataType = _POOL.FindEnumTypeByName("tensorflow.DataType")
