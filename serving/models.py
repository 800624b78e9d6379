"""Which versions of which models are served: found, loaded, handed over, unloaded."""

import collections
import contextlib
import functools
import logging
import os
import threading

import grpc

from serving import (
    errors,
    links,
    messages,
    model_config,
    prediction,
    saved_model,
)
from serving.versions import is_folder, is_hidden, versions_in

_log = logging.getLogger(__name__)

_State = messages.ModelVersionStatus.State
# A model republished every minute for a year must not fill the memory.
_MAX_HISTORY = 100


def models_in(folder):
    """Returns the ModelConfigs of a folder of models, one per subfolder."""
    return [
        model_config.ModelConfig(entry.name, entry.path)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if is_folder(entry) and not is_hidden(entry.name) and _can_be_asked(entry.name)
    ]


@functools.cache  # Folders are looked at every second, and the warning is for once.
def _can_be_asked(name):
    """Whether a folder's name is UTF-8, as the names in requests are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        _log.warning("the folder %r is left out: its name is not UTF-8", name)
        return False
    return True


def _refuse_links_out(path, roots):
    """Raises unless everything under `path` really is inside one of `roots`."""
    for item in links.walk(path):
        if not links.lies_in(item, roots):
            raise errors.ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{item} is a link that leaves {' and '.join(map(str, roots))}; copy "
                "the files there instead",
            )


class _Servable:
    """A loaded version, counted while requests use it."""

    def __init__(self, model):
        self.model = model
        self._users = 0
        self._retired = False
        self._lock = threading.Lock()

    def enter(self):
        """Counts a request; not once it is retired, as nobody finds it then."""
        with self._lock:
            self._users += 1

    def leave(self):
        with self._lock:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self.model.close()

    def retire(self):
        """Closes the model, at once or when its last request is answered."""
        with self._lock:
            self._retired = True
            idle = not self._users
        if idle:
            self.model.close()


class _Model:
    """The versions of one model, and what became of them."""

    def __init__(self, name):
        self.name = name
        # {label: version} of the configuration that is in force.
        self.labels = {}
        self.servables = {}
        self.history = collections.OrderedDict()
        # {version: path}, not tried again while they are wanted.
        self.failed = {}
        self.trouble = None

    def follow(self, config):
        """Returns `_wanted` of the ModelConfig that is in force.

        What failed and is wanted no more, is gone or elsewhere, may come again.

        Raises:
            OSError: If the folder cannot be read.
        """
        try:
            wanted = _wanted(config)
        except FileNotFoundError:
            self.failed.clear()
            raise
        self.failed = dict(self.failed.items() & wanted.items())
        return wanted

    def notice_gone(self):
        """Forgets what did not load and is no more there."""
        for version, path in list(self.failed.items()):
            if not os.path.isdir(path):
                del self.failed[version]

    def record(self, version, state, error=None):
        status = messages.ModelVersionStatus(version=version, state=state)
        status.status.error_code = 0 if error is None else error.code.value[0]
        status.status.error_message = "" if error is None else error.message
        self.history[version] = status
        self.history.move_to_end(version)
        for old in list(self.history):
            if len(self.history) <= _MAX_HISTORY:
                break
            if old not in self.servables and old != version:
                del self.history[old]


def _wanted(config):
    """Returns {version: path}, ascending, of what a ModelConfig asks of its folder.

    Raises:
        OSError: If the folder cannot be read.
    """
    found = versions_in(config.base_path)
    return {v: found[v] for v in sorted(config.policy.choose(found))}


def _staying(wanted, there, servables):
    """Returns the versions to serve: those wanted, of the ones that are there.

    Where nothing came to take over, what is served stays.
    """
    return wanted & there or (wanted and set(servables))


def _asked_version(spec, model):
    """Returns the version that a ModelSpec names, None if it names none.

    Args:
        spec: The ModelSpec.
        model: The _Model of its name, None if there is none.
    """
    choice = spec.WhichOneof("version_choice")
    if choice != "version_label":
        return spec.version.value if choice == "version" else None
    labels = model.labels if model else {}
    if spec.version_label not in labels:
        raise errors.invalid_argument(
            f"Unrecognized servable version label: {spec.version_label}"
        )
    return labels[spec.version_label]


class ModelManager:
    """Keeps the served versions in step with the disk.

    Args:
        find_models: Returns the ModelConfigs to serve, asked again at each poll.
        roots: No model may lie, or link, outside these folders.
        batching_options: How requests are batched (None: not at all).
        per_model_batching: Whether a version's `batching_params.pbtxt` counts.
        max_message_bytes: The largest answer that will be computed.
        allow_labels_for_unavailable: Whether a new label may name a version that is
            not loaded.
        on_batch: Called with (model, signature, rows, padded rows).
    """

    def __init__(
        self,
        find_models,
        roots,
        batching_options=None,
        per_model_batching=False,
        max_message_bytes=prediction.MAX_MESSAGE_BYTES,
        allow_labels_for_unavailable=False,
        on_batch=None,
    ):
        self._find_models = find_models
        self._roots = roots
        self._batching_options = batching_options
        self._per_model_batching = per_model_batching
        self._max_message_bytes = max_message_bytes
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._on_batch = on_batch
        self._models = {}
        # Paths of what did not load for configurations that were refused; not tried
        # again for the next one.
        self._refused = set()
        self._lock = threading.Lock()  # Guards the tables; never held while loading.
        self._polling = threading.Lock()  # One poll at a time.
        self._closing = False

    # Requests ---------------------------------------------------------------

    @contextlib.contextmanager
    def use(self, spec):
        """Gives the loaded version that a ModelSpec means, kept alive meanwhile."""
        servable, version = self._find(spec)
        try:
            yield servable.model, version
        finally:
            servable.leave()

    def _find(self, spec):
        # At once, so that what is found, or a label names, is not unloaded meanwhile.
        with self._lock:
            model = self._models.get(spec.name)
            version = _asked_version(spec, model)
            if model is not None and model.servables:
                wanted = max(model.servables) if version is None else version
                servable = model.servables.get(wanted)
                if servable is not None:
                    servable.enter()
                    return servable, wanted
        request = (
            f"Latest({spec.name})"
            if version is None
            else f"Specific({spec.name}, {version})"
        )
        raise errors.not_found(f"Servable not found for request: {request}")

    def statuses(self, spec):
        """Returns the ModelVersionStatus messages a ModelSpec asks for."""
        with self._lock:
            model = self._models.get(spec.name)
            history = dict(model.history) if model else {}
            asked = _asked_version(spec, model)
        if asked is None:
            if not history:
                raise errors.not_found(
                    f"Could not find any versions of model {spec.name}"
                )
            return [history[version] for version in sorted(history, reverse=True)]
        if asked not in history:
            raise errors.not_found(
                f"Could not find version {asked} of model {spec.name}"
            )
        return [history[asked]]

    def knows(self, name):
        """Whether this is a model of ours that is, or was, on the disk."""
        known = self._models.get(name)
        return known is not None and bool(known.history)

    def available(self):
        """Returns {model name: available versions, ascending}."""
        with self._lock:
            return {
                name: sorted(model.servables) for name, model in self._models.items()
            }

    def failures(self):
        """Returns {model name: how many of its versions on the disk did not load}."""
        with self._lock:
            return {name: len(model.failed) for name, model in self._models.items()}

    # Changes ----------------------------------------------------------------

    def poll(self):
        """Brings what is served in step with the disk, and returns when done."""
        with self._polling:
            self._apply(self._find_models())

    def reload(self, configs):
        """Serves `configs` from now on, and returns once their models are loaded.

        Raises:
            ServingError: If a model lies outside the roots, a label names a version
                that would not be served, or a model that was not served so far has no
                version that loads. Then nothing changes.
        """
        self.check_places(configs)
        with self._polling:
            with self._staging() as staged:
                self._stage(configs, staged)
            self._find_models = lambda: configs
            self._adopt_failures(configs)
            self._publish(staged)
            names = {config.name for config in configs}
            for name in self._models.keys() - names:
                self._models[name].failed.clear()  # It is asked for no more.
            self._apply(configs)

    @contextlib.contextmanager
    def _staging(self):
        """Gives a list for what is loaded but not served, freed where all is refused.

        It holds the model, the version, the servable, and what the history said of it.
        """
        staged = []
        known = {
            path for model in self._models.values() for path in model.failed.values()
        }
        try:
            yield staged
        except BaseException:
            for model in self._models.values():
                self._refused |= set(model.failed.values()) - known
            with self._lock:
                for model, version, _, before in staged:
                    if before is None:
                        model.history.pop(version, None)
                    else:
                        model.history[version] = before
            for *_, servable, _ in staged:
                servable.retire()
            self._forget()
            raise

    def _stage(self, configs, staged):
        """Loads what `configs` ask for that is not served yet, the new models first.

        Where a file that is refused is read again and again, its versions that cannot
        load are known, and it is refused before anything is loaded.
        """
        served = {config.name for config in self._find_models()}
        self._notice_gone()
        wanted = {config.name: self._wanted_of(config) for config in configs}
        loadable = {config.name: self._loadable(config, wanted) for config in configs}
        missing = []

        def check(config, versions):
            """Checks a model that has these versions, beside those served so far."""
            servables = self._servables(config.name)
            asked = wanted[config.name].keys()
            there = versions | servables.keys()
            if not asked & there and config.name not in served:
                missing.append(config.name)
            else:
                self._check_labels(config, _staying(asked, there, servables))

        for config in configs:
            check(config, loadable[config.name].keys())
        self._refuse(missing)
        for config in sorted(configs, key=lambda config: config.name in served):
            if config.name in served:
                self._refuse(missing)
            model = self._model(config.name)
            for version, path in loadable[config.name].items():
                before = model.history.get(version)
                if servable := self._load(model, config, version, path):
                    staged.append((model, version, servable, before))
            check(config, {version for owner, version, *_ in staged if owner is model})
        self._refuse(missing)

    def _refuse(self, missing):
        """Raises `ServingError` if there are names of models without a version."""
        if missing:
            raise errors.ServingError(
                grpc.StatusCode.UNKNOWN,
                f"{len(missing)} servable(s) did not become available: "
                f"{', '.join(map(self._with_failures, sorted(missing)))}",
            )

    def _notice_gone(self):
        """Forgets what did not load for refused configurations and is no more there."""
        self._refused = set(filter(os.path.isdir, self._refused))

    def _servables(self, name):
        model = self._models.get(name)
        return model.servables if model else {}

    def _wanted_of(self, config):
        """Returns {version: path} of what to serve; what is served if nobody can say.

        Raises nothing: `_load_wanted` says what is wrong with the folder.
        """
        try:
            return _wanted(config)
        except OSError:
            return dict.fromkeys(self._servables(config.name))

    def _loadable(self, config, wanted):
        """Returns {version: path} of what is not served yet, but for what failed."""
        model = self._models.get(config.name, _Model(config.name))
        failed = self._refused.union(model.failed.values())
        return {
            version: path
            for version, path in wanted[config.name].items()
            if version not in model.servables and path not in failed
        }

    def _adopt_failures(self, configs):
        """Takes what did not load for refused configurations as known to fail."""
        for config in configs:
            self._model(config.name).failed |= {
                version: path
                for version, path in self._wanted_of(config).items()
                if path in self._refused
            }
        self._refused.clear()

    def _with_failures(self, name):
        """Returns a model's name with what its versions failed by, if any did."""
        model = self._models.get(name)
        if model is None:  # It has no version that could be tried.
            return name
        failures = [
            f"version {version}: {model.history[version].status.error_message}"
            for version in sorted(model.failed.keys() & model.history.keys())
        ]
        return f"{name} ({'; '.join(failures)})" if failures else name

    def _apply(self, configs):
        """Follows `configs`; what is wrong with one model does not keep the others.

        Raises:
            ServingError: What was wrong with the first such model, in the end.
        """
        wrong = []
        self._notice_gone()
        for config in configs:
            model = self._model(config.name)
            wanted = self._load_wanted(model, config)
            staying = _staying(wanted, model.servables.keys(), model.servables)
            try:
                self._check_labels(config, staying)
            except errors.ServingError as error:
                wrong.append(error)
            else:
                with self._lock:
                    model.labels = config.labels
            # Last, so that no label names what is gone.
            self._unload(model, model.servables.keys() - staying)
        names = {config.name for config in configs}
        for model in [self._models[name] for name in self._models.keys() - names]:
            model.notice_gone()
            with self._lock:
                model.labels = {}
            self._unload(model, set(model.servables))
        self._forget(names)
        if wrong:
            raise wrong[0]

    def _model(self, name):
        with self._lock:
            return self._models.setdefault(name, _Model(name))

    def _forget(self, wanted=()):
        """Drops the models that have no history, but for those that are wanted."""
        with self._lock:
            for name in set(self._models).difference(wanted):
                if not self._models[name].history:
                    del self._models[name]

    def check_places(self, configs):
        """Raises `ServingError` for a model that lies outside the roots."""
        for config in configs:
            if not links.lies_in(config.base_path, self._roots):
                raise errors.ServingError(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"model {config.name}: the base_path {config.base_path} is outside "
                    f"of where this server was started with models, "
                    f"{' and '.join(map(str, self._roots)) or 'nowhere'}",
                )

    def _check_labels(self, config, versions):
        model = self._models.get(config.name)
        assigned = model.labels if model else {}
        for label, version in config.labels.items():
            # As in TensorFlow Serving, a label in use is never moved to what is not
            # there.
            unmoved = assigned.get(label, version) == version
            if self._allow_labels_for_unavailable and unmoved:
                continue
            if version not in versions:
                raise errors.failed_precondition(
                    f"Request to assign label to version {version} of model "
                    f"{config.name}, which is not currently available for inference; "
                    f"the label is {label}"
                )

    def _load_wanted(self, model, config):
        """Loads what is not served yet, and returns the set of versions to serve."""
        try:
            wanted = model.follow(config)
        except OSError as error:  # A volume that is briefly away is no reason to stop.
            if model.trouble != str(error):
                _log.warning("model %s: %s", config.name, error)
            model.trouble = str(error)
            return set(model.servables)
        model.trouble = None
        # One that failed stays failed while it is wanted, as in TensorFlow Serving; one
        # that was unloaded and is wanted again loads anew.
        for version, path in wanted.items():
            if version in model.failed or version in model.servables:
                continue
            servable = self._load(model, config, version, path)
            if servable is not None:
                self._publish([(model, version, servable, None)])
        return set(wanted)

    def _load(self, model, config, version, path):
        """Returns the servable of a version, None if it does not load."""
        if self._closing:  # Once it is, nothing is published; see `close`.
            return None
        with self._lock:
            model.record(version, _State.LOADING)
        try:
            _refuse_links_out(path, self._roots)
            return _Servable(self._open(config.name, version, path))
        except errors.ServingError as error:
            failure = error
        except Exception as error:  # A broken model must not end the polling.
            _log.exception("loading %s version %d", config.name, version)
            failure = errors.ServingError(grpc.StatusCode.UNKNOWN, str(error))
        with self._lock:
            model.record(version, _State.END, failure)
            model.failed[version] = path
        _log.error("%s version %d did not load: %s", config.name, version, failure)
        return None

    def _publish(self, staged):
        """Serves what was loaded, unless all is being closed."""
        with self._lock:
            serves = not self._closing
            for model, version, servable, _ in staged:
                if serves:
                    model.servables[version] = servable
                model.record(version, _State.AVAILABLE if serves else _State.END)
        for model, version, servable, _ in staged:
            if serves:
                _log.info("serving %s version %d", model.name, version)
            else:
                servable.retire()

    def _open(self, name, version, path):
        options = self._batching_options
        if options is not None and self._per_model_batching:
            options = model_config.batching_of(path, options)
        model = prediction.Model(
            saved_model.SavedModel(path),
            name,
            version,
            options,
            self._max_message_bytes,
            self._on_batch,
        )
        try:
            model.warm_up(saved_model.warmup_requests(path))
        except BaseException:
            model.close()
            raise
        return model

    def _unload(self, model, versions):
        for version in sorted(versions):
            with self._lock:
                servable = model.servables.pop(version, None)
                if servable is None:  # `close` was faster.
                    continue
                model.record(version, _State.END)
            servable.retire()
            _log.info("unloaded %s version %d", model.name, version)

    def close(self, seconds):
        """Unloads everything, and begins to load nothing more.

        Args:
            seconds: How long to wait for a version that is being loaded, which nothing
                can stop. One that is ready later is freed then, and not served.
        """
        with self._lock:
            self._closing = True
        alone = self._polling.acquire(timeout=seconds)
        if not alone:
            _log.warning("stopped while a version was being loaded")
        try:
            for model in list(self._models.values()):
                self._unload(model, set(model.servables))
        finally:
            if alone:
                self._polling.release()
