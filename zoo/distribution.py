"""`tf.distribute` strategies by name."""

import contextlib
import functools
import json
import os

import tensorflow as tf

from zoo import checks

NAMES = ("none", "mirrored", "multi_worker_mirrored", "tpu")


def strategy(name="none", replicas=None):
    """Returns the strategy under whose scope a model is built, compiled and fitted.

    ::

        with zoo.strategy("mirrored").scope():
            gan = zoo.DCGAN(image_shape=(28, 28, 1), seed=0)
            gan.compile()
        gan.fit(train, epochs=25)

    Args:
        name: `"none"` for one device; `"mirrored"` for the GPUs of this machine;
            `"multi_worker_mirrored"` for the machines that the environment variable
            `TF_CONFIG` lists; `"tpu"` for the TPU that `TPU_NAME` names (written to
            TensorFlow's documentation and never run: we have no TPU).
        replicas: For `"mirrored"`: how many devices to use; None for all GPUs, or the
            CPU where there is none. Without a GPU, more than 1 splits the CPU into
            logical devices, which must happen before TensorFlow's first operation.

    Raises:
        ValueError: If the name is unknown, `replicas` no number of 1 or more, or what
            the strategy needs is not there.
    """
    if name not in NAMES:
        raise ValueError(f"Expected one of {NAMES}. Received: strategy={name!r}")
    replicas = checks.optional(checks.count, "replicas", replicas)
    if replicas is not None and name != "mirrored":
        raise ValueError(
            f"replicas is for the strategy 'mirrored'. Received: {name!r} with "
            f"replicas={replicas}"
        )
    if name == "mirrored":
        return _mirrored(_devices(replicas))
    if name == "multi_worker_mirrored":
        _check_tf_config()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


def spans_workers(strategy):
    """Whether the replicas are in several processes."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def sum_over_replicas(strategy):
    """Returns a function that adds up an integer of each worker, once for each replica.

    All workers have to call it, each with its own integer, at the same place of their
    training.
    """

    @tf.function(autograph=False)
    def total(number):
        def sum_of_all(number):
            # Of a tensor on the replica's device; the argument is on none.
            return tf.distribute.get_replica_context().all_reduce(
                "sum", tf.identity(number)
            )

        return strategy.run(sum_of_all, args=(number,))

    def added(number):
        sums = total(tf.constant(number, tf.int64))
        return int(strategy.experimental_local_results(sums)[0])

    return added


def is_chief(strategy):
    """Says whether this process writes files: of several workers the first does."""
    resolver = getattr(strategy, "cluster_resolver", None)
    return resolver is None or not resolver.task_id


def _devices(replicas):
    """Returns the names of so many devices of this machine, or of all."""
    if tf.config.list_physical_devices("GPU"):
        gpus = tf.config.list_logical_devices("GPU")
        if replicas is not None and replicas > len(gpus):
            raise ValueError(
                f"{replicas} replicas need {replicas} GPUs; here are {len(gpus)}."
            )
        return tuple(gpu.name for gpu in gpus[:replicas])
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu) or [None]
    if replicas is not None and len(configured) < replicas:
        # Once TensorFlow has started it refuses, and the devices are what they are.
        with contextlib.suppress(RuntimeError):
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
            )
    cpus = tf.config.list_logical_devices("CPU")
    if replicas is not None and replicas > len(cpus):
        raise ValueError(
            f"{replicas} replicas on the CPU need {replicas} logical devices, and "
            f"TensorFlow has started with {len(cpus)}. Ask for the strategy first."
        )
    return tuple(cpu.name for cpu in cpus[:replicas])


@functools.cache
def _mirrored(devices):
    # Every MirroredStrategy counts its collective operations from the same number, and
    # those of two on the same devices get in each other's way. So there is one.
    return tf.distribute.MirroredStrategy(devices)


def _check_tf_config():
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        workers, task = config["cluster"]["worker"], config["task"]
        valid = task["type"] == "worker" and 0 <= task["index"] < len(workers)
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            "multi_worker_mirrored reads the cluster from the environment variable "
            'TF_CONFIG, such as {"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}. '
            f"Received: TF_CONFIG={os.environ.get('TF_CONFIG')!r}"
        )
