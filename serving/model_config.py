"""TensorFlow Serving's configuration files: models and batching."""

import collections
import dataclasses
import logging
import os
import pathlib

from google.protobuf import text_format

from serving import batching, errors, messages

_log = logging.getLogger(__name__)

BATCHING_FILE = "batching_params.pbtxt"
#: TensorFlow Serving's, where a batching file names none.
_DEFAULT_MAX_BATCH_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk to serve.

    Attributes:
        latest: Serve this many of the highest numbers; 0 for every version.
        specific: Serve exactly these, if any are given.
    """

    latest: int = 1
    specific: tuple = ()

    def choose(self, versions):
        """Returns the set of `versions` to serve."""
        if self.specific:
            return set(versions) & set(self.specific)
        return set(sorted(versions)[-self.latest :])


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model of the server's configuration."""

    name: str
    base_path: str
    policy: VersionPolicy = VersionPolicy()
    labels: dict = dataclasses.field(default_factory=dict)


def _parse(text, message, name):
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise errors.invalid_argument(f"{name} cannot be parsed: {error}") from error


def _read(path, message):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.invalid_argument(f"{path} cannot be read: {error}") from error
    return _parse(text, message, path)


def read_models(path):
    """Returns the ModelConfigs of a `models.config` file."""
    return models_of(_read(path, messages.ModelServerConfig()), path)


def models_of(config, name="the configuration"):
    """Returns the ModelConfigs of a ModelServerConfig message, called by a name."""
    if config.WhichOneof("config") != "model_config_list":
        raise errors.invalid_argument(
            f"{name} must hold a model_config_list; "
            f"it holds {config.WhichOneof('config') or 'nothing'}"
        )
    found = [_model(entry) for entry in config.model_config_list.config]
    for model, times in collections.Counter(model.name for model in found).items():
        if times > 1:
            raise errors.invalid_argument(
                f"Duplicated model name {model} in the configuration"
            )
    return found


def _model(entry):
    if not entry.name:
        raise errors.invalid_argument("a model of the configuration has no name")
    if entry.model_platform != "tensorflow":
        raise errors.invalid_argument(
            f'model {entry.name}: model_platform must be "tensorflow", '
            f'not "{entry.model_platform}"'
        )
    if "://" in entry.base_path:
        raise errors.invalid_argument(
            f"model {entry.name}: this server reads folders of its own machine, not "
            f'"{entry.base_path}"'
        )
    if not os.path.isabs(entry.base_path):
        raise errors.invalid_argument(
            f"Expected model {entry.name} to have an absolute path or URI; got "
            f'base_path = "{entry.base_path}"'
        )
    if "\0" in entry.base_path:
        raise errors.invalid_argument(
            f"model {entry.name}: no path has a NUL, as base_path has: "
            f"{entry.base_path!r}"
        )
    if entry.HasField("logging_config"):
        _log.warning(
            "model %s: logging_config changes nothing; this server logs no requests",
            entry.name,
        )
    return ModelConfig(
        entry.name,
        entry.base_path,
        _policy(entry.name, entry.model_version_policy),
        dict(entry.version_labels),
    )


def _policy(name, policy):
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(latest=0)
    if choice == "specific":
        if not policy.specific.versions:
            raise errors.invalid_argument(
                f"model {name}: the specific version policy lists no versions"
            )
        return VersionPolicy(specific=tuple(policy.specific.versions))
    return VersionPolicy(latest=max(policy.latest.num_versions, 1))


def read_batching(path):
    """Returns the BatchingOptions of a batching parameters file.

    Raises:
        ServingError: If it cannot be read, or its values do not go together.
    """
    parameters = _read(path, messages.BatchingParameters())
    sizes = tuple(parameters.allowed_batch_sizes)
    if list(sizes) != sorted(set(sizes)) or any(size < 1 for size in sizes):
        raise errors.invalid_argument(
            f"{path}: allowed_batch_sizes entries must be in increasing order"
        )
    values = {
        name: getattr(parameters, name).value
        for name in (
            "max_batch_size",
            "batch_timeout_micros",
            "max_enqueued_batches",
            "num_batch_threads",
            "max_execution_batch_size",
        )
        if parameters.HasField(name)
    }
    for name, value in values.items():
        if value < (name != "batch_timeout_micros"):
            raise errors.invalid_argument(f"{path}: {name} cannot be {value}")
    if parameters.pad_variable_length_inputs:
        _log.warning(
            "%s: pad_variable_length_inputs changes nothing; requests of other shapes "
            "are computed apart",
            path,
        )
    limit = "max_batch_size"
    largest_run = values.pop("max_execution_batch_size", None)
    splits = parameters.enable_large_batch_splitting.value
    if splits and largest_run is not None:
        largest_request = values.get("max_batch_size", _DEFAULT_MAX_BATCH_SIZE)
        if largest_run > largest_request:
            raise errors.invalid_argument(
                f"{path}: max_execution_batch_size cannot be more than max_batch_size; "
                f"they are {largest_run} and {largest_request}"
            )
        limit = "max_execution_batch_size"
        values["max_batch_size"] = largest_run
    limited = bool(sizes) or "max_batch_size" in values
    options = batching.BatchingOptions(
        allowed_batch_sizes=sizes,
        split_large_requests=splits or not limited,
        **values,
    )
    most = options.max_batch_size or batching.DEFAULT_MAX_ROWS
    if sizes and sizes[-1] != most:
        raise errors.invalid_argument(
            f"{path}: last entry in allowed_batch_sizes must equal {limit}; "
            f"they are {sizes[-1]} and {most}"
        )
    return options


def batching_of(version_path, default):
    """Returns the BatchingOptions of a version's own file, else `default`."""
    path = os.path.join(version_path, BATCHING_FILE)
    return read_batching(path) if os.path.exists(path) else default
