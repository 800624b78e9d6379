"""Loads a SavedModel and runs its signatures.

Into a session, as TensorFlow Serving does: what loads here loads there, and it is a
little faster per call than the functions of `tf.saved_model.load`.
"""

import os
import re
import threading

# TensorFlow's C++ would say which CUDA libraries it did not find. What goes wrong with
# a model is an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import google.protobuf.message
import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import ops
from tensorflow.python.saved_model import loader_impl

from serving import errors, messages, signatures, versions

_MAX_WARMUP_RECORDS = 1000
_CALLERS_THREAD = -1  # As tensorflow/core/protobuf/config.proto has it.
_TAGS = [tf.saved_model.SERVING]

# What may stand before and behind the words of an error.
_PLACES = re.compile(r"\{\{function_node [^}]*\}\} *| *\[Op:\w+\] name: *")


def _in_words(error):
    """Returns the line of a TensorFlow error that says what happened, and not where."""
    told = str(error.message).removeprefix("Graph execution error:").lstrip()
    return _PLACES.sub("", told.split("\n", maxsplit=1)[0])


class SavedModel:
    """One version of a model in memory."""

    def __init__(self, path):
        self.path = str(path)
        self._callables = {}
        self._lock = threading.Lock()
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        try:
            definitions = self._load()
        except BaseException:
            self.close()
            raise
        self.signature_defs = _as_our_messages(definitions)
        self.signatures = signatures.parse(self.signature_defs)

    def _load(self):
        files = [
            os.path.join(self.path, f"saved_model.{end}") for end in ("pb", "pbtxt")
        ]
        if not any(map(os.path.exists, files)):
            raise errors.not_found(
                "Could not find SavedModel .pb or .pbtxt at supplied export directory "
                f"path: {self.path}"
            )
        try:
            # What `tf.compat.v1.saved_model.load` does, without its warning.
            loader = loader_impl.SavedModelLoader(self.path)
            if os.path.exists(os.path.join(self.path, versions.VARIABLES_FILE)):
                meta_graph = loader.load(self._session, _TAGS)
            else:
                meta_graph = _load_without_variables(loader, self._session)
        except tf.errors.OpError as error:
            code = errors.status_code(error.error_code)
            raise errors.ServingError(code, _in_words(error)) from error
        except RuntimeError as error:  # No graph with this tag.
            raise errors.not_found(str(error)) from error
        except OSError as error:  # The file is no SavedModel message.
            raise errors.ServingError(
                grpc.StatusCode.OUT_OF_RANGE, f"Cannot read {files[0]}: {error}"
            ) from error
        except (ValueError, TypeError, KeyError) as error:
            raise errors.invalid_argument(
                f"{self.path} does not load: {error}"
            ) from error
        return meta_graph.signature_def

    def run(self, signature, arrays, outputs):
        """Computes `outputs` (names) from `arrays`, ordered as the inputs.

        Returns the arrays in the order of `outputs`. Releases the interpreter
        lock while it computes.
        """
        try:
            return self._callable(signature, tuple(outputs))(*arrays)
        except tf.errors.OpError as error:
            code = errors.status_code(error.error_code)
            raise errors.ServingError(code, _in_words(error)) from error
        except (ValueError, TypeError) as error:
            raise errors.invalid_argument(str(error)) from error
        except MemoryError as error:
            raise errors.ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "Out of memory"
            ) from error

    def _callable(self, signature, outputs):
        key = (signature.key, outputs)
        call = self._callables.get(key)
        if call is None:
            # The public make_callable looks every name up again at each call, which
            # costs as much as computing a small model.
            options = config_pb2.CallableOptions(
                feed=[spec.tensor for spec in signature.inputs.values()],
                fetch=[signature.outputs[name].tensor for name in outputs],
            )
            # A generator is a chain of operations; handing each to another thread
            # costs more than it could gain. Large ones still use every processor.
            options.run_options.inter_op_thread_pool = _CALLERS_THREAD
            with self._lock:
                call = self._callables.setdefault(
                    key, self._session._make_callable_from_options(options)
                )
        return call

    def close(self):
        """Frees the session, its variables and its graph."""
        self._callables.clear()
        self._session.close()
        # A graph is full of reference cycles. A search for garbage would find them, but
        # go through all objects of the program, and every request wait.
        ops.dismantle_graph(self._graph)
        self._session = self._graph = None


def set_intra_op_parallelism(threads):
    """Sets how many threads share one operation, in this process and for good.

    TensorFlow makes them once, for all models, else as many as there are processors;
    so call it before the first model is loaded.

    Args:
        threads: 1 or more.

    Raises:
        RuntimeError: If TensorFlow has made them already, another number of them.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.list_logical_devices()  # Makes the threads.


def _load_without_variables(loader, session):
    """Loads a folder without values of variables, as TensorFlow Serving does.

    Python's loader refuses it where the graph has some. Every use of them then fails
    with FAILED_PRECONDITION.
    """
    loader.load_graph(session.graph, _TAGS)
    loader.run_init_ops(session, _TAGS)
    return loader.get_meta_graph_def_from_tags(_TAGS)


def _as_our_messages(signature_defs):
    """Returns TensorFlow's SignatureDefs as the classes of `serving.messages`."""
    carrier = tf.compat.v1.MetaGraphDef()
    for key, definition in signature_defs.items():
        carrier.signature_def[key].CopyFrom(definition)
    return messages.MetaGraphDef.FromString(carrier.SerializeToString()).signature_def


def warmup_requests(path):
    """Yields the PredictRequests of a model's warmup file, if it has one."""
    file = os.path.join(path, versions.WARMUP_FILE)
    if not os.path.exists(file):
        return
    try:
        for count, record in enumerate(tf.data.TFRecordDataset(file)):
            if count == _MAX_WARMUP_RECORDS:
                raise errors.invalid_argument(
                    f"Number of warmup records exceeds the maximum "
                    f"({_MAX_WARMUP_RECORDS}) at {file}"
                )
            log = messages.PredictionLog.FromString(record.numpy())
            if log.WhichOneof("log_type") != "predict_log":
                raise errors.ServingError(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"Unsupported log_type for warmup: {log.WhichOneof('log_type')}",
                )
            yield log.predict_log.request
    except tf.errors.OpError as error:
        code = errors.status_code(error.error_code)
        raise errors.ServingError(code, _in_words(error)) from error
    except google.protobuf.message.DecodeError as error:
        raise errors.invalid_argument(
            f"Failed to parse warmup record: {file}"
        ) from error
