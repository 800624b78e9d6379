"""The files of a deployment."""

import dataclasses
import hashlib
import json
import os
import pathlib
import urllib.parse

from google.protobuf import text_format

from serving import errors, messages, model_config
from serving.deploy import templates
from serving.deploy.scan import SERVED, scan

# The runtime the models were exported with.
IMAGE = "tensorflow/serving:2.21.0"

# Inside the container.
MODELS = "/models"
CONFIG = "/config"

# The options of the last time.
SETTINGS_FILE = "settings.json"

# Stands in it, to tell it from the settings of other programs.
_MARK = {"written_by": "python -m serving config"}

# What else there is of every deployment, also of those before there were settings.
FILES = (
    "models.config",
    "batching.config",
    "monitoring.config",
    "prometheus.yml",
    "Dockerfile",
    "compose.yaml",
    "kubernetes.yaml",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of a deployment.

    Attributes:
        image: The TensorFlow Serving image.
        baked_image: The image that pods run, with the models in it, such as one built
            from the Dockerfile; if empty, they run `image`, and the models are those
            of a volume.
        max_batch_size: The most rows computed together.
        cpus: Processors of one replica.
        memory: GiB of memory that one replica may use.
        replicas: The least number of replicas.
    """

    image: str = IMAGE
    baked_image: str = ""
    max_batch_size: int = 32
    cpus: int = 2
    memory: int = 2
    replicas: int = 2

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if type(value) is not field.type or (field.type is int and value < 1):
                wanted = "text" if field.type is str else "a positive integer"
                raise ValueError(f"{field.name} is {wanted}, not {value!r}")


def models_config(found, labels):
    """Returns the `models.config` text for FoundModels.

    The two newest versions are served: `stable` names the newest, and a rollback
    moves the label back to the one before, which is still loaded.

    Args:
        found: The FoundModels.
        labels: {model: {label: version}} of those that have labels already.
    """
    config = messages.ModelServerConfig()
    for model in found:
        entry = config.model_config_list.config.add(
            name=model.name,
            base_path=f"{MODELS}/{model.name}",
            model_platform="tensorflow",
        )
        entry.model_version_policy.latest.num_versions = SERVED
        newest = {"stable": model.versions[-1].number}
        entry.version_labels.update(labels.get(model.name) or newest)
    return text_format.MessageToString(config)


def _labels_to_keep(found, path):
    """Returns {model: {label: version}} of an earlier deployment's `models.config`.

    Else writing it again in the middle of a canary would make the canary stable.
    """
    if not path.exists():
        return {}
    labels = {model.name: model.labels for model in model_config.read_models(path)}
    for model in found:
        served = [version.number for version in model.versions]
        for label, version in labels.get(model.name, {}).items():
            if version not in served:
                raise errors.RequestError(
                    f"{path}: the label {label} of model {model.name} names version "
                    f"{version}, and the versions to serve are "
                    f"{', '.join(map(str, served))}; move the label, remove it, or "
                    "delete the folders of later versions that are not to be served"
                )
    return labels


def batching_config(max_batch_size, threads):
    """Returns the batching parameters text: powers of two, and the largest size.

    Batches are padded to these sizes. Those up to 32 are the ones that `python -m
    export` warms up.
    """
    parameters = messages.BatchingParameters()
    sizes = [1 << k for k in range(max_batch_size.bit_length())]
    parameters.max_batch_size.value = max_batch_size
    # A single caller should not wait; what queues up meanwhile fills the next batch.
    parameters.batch_timeout_micros.value = 0
    parameters.max_enqueued_batches.value = 100
    parameters.num_batch_threads.value = threads
    parameters.allowed_batch_sizes.extend(sorted({*sizes, max_batch_size}))
    return text_format.MessageToString(parameters)


def server_flags(cpus, xla=False):
    """Returns the flags of `tensorflow_model_server`.

    It answers with tensors in typed fields, the slower way: what its REST interface
    reads are these, by its sources.

    Args:
        cpus: Processors of one replica.
        xla: Whether a model is exported with `--jit-compile`.
    """
    channel_arguments = {
        # Clients look up addresses anew when a connection ends. So they find new
        # replicas, and forget one that stops, while it sleeps (`kubernetes.yaml`).
        "grpc.max_connection_age_ms": 30_000,
        "grpc.max_connection_age_grace_ms": 60_000,
        # By default a server ends connections whose clients ask more often than every
        # five minutes whether it is alive, and those that ask while no call is running,
        # as happens where the question crosses the answer.
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
    }
    return [
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_config_file={CONFIG}/models.config",
        "--model_config_file_poll_wait_seconds=60",
        # Five times it tries again what did not load, and loads nothing else meanwhile.
        # By default that is once a minute, as long as a start may take.
        "--load_retry_interval_micros=5000000",
        # Else labels in the file a server starts with stop it from starting.
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={CONFIG}/batching.config",
        f"--monitoring_config_file={CONFIG}/monitoring.config",
        "--enable_grpc_healthcheck_service=true",
        # Left to itself the server counts the processors of the node, whatever share
        # of them is its own.
        f"--tensorflow_intra_op_parallelism={cpus}",
        f"--tensorflow_inter_op_parallelism={cpus}",
        # A request holds a thread until it is answered. Over REST, one that finds none
        # waits; four a processor is the server's own measure.
        f"--rest_api_num_threads={4 * cpus}",
        # Over gRPC it is refused, and by that measure there would be fewer than fill a
        # batch. The embedded server takes as many.
        "--grpc_max_threads=256",
        "--grpc_channel_arguments="
        + ",".join(f"{name}={value}" for name, value in channel_arguments.items()),
        # Else it loads no model that asks for XLA.
        *(["--xla_cpu_compilation_enabled=true"] if xla else []),
    ]


def _earlier_options(out):
    """Returns the options that were given for an earlier deployment.

    Raises:
        serving.RequestError: If they cannot be read, or there are files that are not of
            a deployment.
    """
    path = out / SETTINGS_FILE
    there = [name for name in FILES if os.path.lexists(out / name)]
    is_deployment = len(there) == len(FILES)
    if os.path.lexists(path):
        try:
            options = json.loads(path.read_text(encoding="utf-8"))
            if not is_deployment and _MARK.items() - options.items():
                raise ValueError("another program's")
            options = {k: v for k, v in options.items() if k not in _MARK}
            Settings(**options)
        except (AttributeError, TypeError, ValueError) as error:
            if is_deployment:
                raise errors.RequestError(
                    f"{path} holds no options of a deployment ({error}); mend it, or "
                    "delete it and give them again"
                ) from error
            there.insert(0, SETTINGS_FILE)
        else:
            return options
    if there and not is_deployment:
        raise errors.RequestError(
            f"{out} holds a {there[0]} that this command did not write; give another "
            "--out"
        )
    return {}


def write(models_dir, out, **options):
    """Writes a deployment of every model in a folder.

    Args:
        models_dir: The folder of models.
        out: The folder to write. Files of an earlier deployment are replaced, but the
            version labels of its `models.config` are kept, and options given then hold
            where they are not given now. Files of these names that are not of a
            deployment are left alone, and the folder is refused.
        **options: Those of `Settings` that are to differ from its defaults.

    Returns:
        The paths written.

    Raises:
        FileNotFoundError: If the folder holds no models.
        ValueError: If a setting is of another kind, or `models_dir` is the folder of
            one model.
        serving.RequestError: If TensorFlow Serving would not load or not answer one
            with these settings, a label names a version that is not to be served, the
            options given before cannot be read, or `out` holds files of somebody else.
        serving.ServingError: If the earlier `models.config` cannot be read.
    """
    out = pathlib.Path(out)
    options = _earlier_options(out) | options
    settings = Settings(**options)
    found = scan(models_dir)
    for model in found:
        for version in model.versions:
            what = f"model {model.name} version {version.number}"
            _check(what, version, settings.max_batch_size)
    models = models_config(found, _labels_to_keep(found, out / "models.config"))
    batching = batching_config(settings.max_batch_size, settings.cpus)
    monitoring = templates.MONITORING
    flags = server_flags(
        settings.cpus, any(version.xla for model in found for version in model.versions)
    )
    baked = bool(settings.baked_image)
    values = {
        "image": settings.image,
        "pod_image": settings.baked_image or settings.image,
        "models_mount": "" if baked else templates.MODELS_MOUNT,
        "models_volume": "" if baked else templates.MODELS_VOLUME,
        "flags_json": json.dumps(["tensorflow_model_server", *flags]),
        "flags_yaml": _indented([f'- "{flag}"' for flag in flags], 12),
        "models_config_yaml": _indented(models.splitlines(), 4),
        "batching_config_yaml": _indented(batching.splitlines(), 4),
        "monitoring_config_yaml": _indented(monitoring.splitlines(), 4),
        # Of what a server reads when it starts; `models.config` it follows.
        "checksum": hashlib.sha256((batching + monitoring).encode()).hexdigest(),
        # Unlike a model's status this is an error until a version is loaded. A probe
        # has one path, and asks for one model.
        "probe_path": json.dumps(
            f"/v1/models/{urllib.parse.quote(found[0].name)}/metadata"
        ),
        "cpus": settings.cpus,
        "memory": settings.memory,
        "memory_requested": 512 * settings.memory,
        "replicas": settings.replicas,
        "max_replicas": 4 * settings.replicas,
    }
    files = {
        # First: a deployment whose writing was cut off is known by it.
        SETTINGS_FILE: json.dumps(_MARK | options, indent=2) + "\n",
        "models.config": models,
        "batching.config": batching,
        "monitoring.config": monitoring,
        "prometheus.yml": templates.PROMETHEUS,
        "Dockerfile": templates.DOCKERFILE.format(**values),
        "compose.yaml": templates.COMPOSE.format(
            **values,
            # From the compose file on. A dollar sign would name a variable.
            models=json.dumps(
                os.path.relpath(models_dir, out), ensure_ascii=False
            ).replace("$", "$$"),
        ),
        "kubernetes.yaml": templates.KUBERNETES.format(**values),
    }
    assert files.keys() == {SETTINGS_FILE, *FILES}
    if not out.exists():
        out.mkdir(parents=True)
        out.chmod(0o755)
    return _write(out, files)


def _write(out, files):
    """Writes files by their names; old ones stay until all are on the disk."""
    partial = {out / name: out / f".{name}.partial" for name in files}
    try:
        for path, new in partial.items():
            new.write_text(files[path.name], encoding="utf-8")
            # The server that reads them is another user, whatever the umask is.
            new.chmod(0o644)
        for path, new in partial.items():
            new.replace(path)
    finally:
        for new in partial.values():
            new.unlink(missing_ok=True)
    return list(partial)


def _check(what, version, max_batch_size):
    if version.unbatchable:
        raise errors.RequestError(
            f"{what}: TensorFlow Serving cannot batch the signatures "
            f"{', '.join(version.unbatchable)}; one needs inputs, and each of them "
            "the batch as its first dimension"
        )
    most = max(version.warm_rows, default=0)
    if most > max_batch_size:
        raise errors.RequestError(
            f"{what} has a warmup record of {most} rows, and TensorFlow Serving would "
            f"not load it with batches of {max_batch_size}: give a --max-batch-size of "
            f"{most} or more, or export it with smaller --batch-sizes"
        )


def _indented(lines, spaces):
    return "\n".join(" " * spaces + line for line in lines)
