"""Presets: trained models as folders, resolved from a name, a path or a URL.

A preset holds `config.json` (class and constructor arguments), `model.weights.h5` and
`metadata.json` (where it comes from, what was measured, and the SHA-256 of the other
files). Ours lie in `zoo/presets/<name>/`; one that only has a `recipe.json` has not
been trained yet. A preset from elsewhere is untrusted input: hashes are always checked,
the class is looked up among the zoo's, and Keras deserializes in safe mode.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import warnings

import keras
import tensorflow as tf

# `safe_mode=True` yields to `keras.config.enable_unsafe_deserialization()`; this scope,
# which Keras doesn't export, does not.
from keras.src.saving.serialization_lib import SafeModeScope

from zoo import checks, downloads, files
from zoo.version import __version__

BUILT_IN = pathlib.Path(__file__).parent / "presets"
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
RECIPE = "recipe.json"
#: A file that every run has from its beginning.
RUN = "run.json"
#: Version of the layout; readers refuse presets with a higher one.
FORMAT = 1


def list_presets():
    """Returns a dict from the name of each built-in preset to its metadata."""
    return {
        name: _read_json(BUILT_IN / name / METADATA)
        for name in _built_in_names()
        if (BUILT_IN / name / METADATA).exists()
    }


def _built_in_names():
    """Returns the names of built-in presets and of those yet to be trained."""
    folders = BUILT_IN.iterdir() if BUILT_IN.is_dir() else ()
    return sorted(folder.name for folder in folders if folder.is_dir())


def load(handle, base, sha256=None, dtype=None):
    """Loads the model of a preset; see `zoo.from_preset`.

    Args:
        handle: Name of a built-in preset, a folder, the folder of a run, or a base URL.
        base: Class that the model must be, or derive from.
        sha256: Expected SHA-256 of `metadata.json`, which pins everything else.
        dtype: Dtype policy of the networks instead of the preset's.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: If the handle is unknown, a file is missing or damaged, or the
            preset is of another class, made by a newer version, or unsafe to load; or
            if there is no such policy.
    """
    changes = {}
    if dtype is not None:
        policy = checks.dtype_policy(dtype)
        changes["dtype"] = keras.dtype_policies.serialize(policy)
    folder = resolve(handle, sha256)
    metadata = check(folder, sha256)
    config = _read_json(folder / CONFIG)
    model_class = _class_named(config, metadata, folder, base)
    try:
        with SafeModeScope(True):
            model = model_class.from_config({**config.get("config"), **changes})
        with warnings.catch_warnings():
            # Keras would leave layers in lists that the file lacks at random weights.
            warnings.filterwarnings("error", "Skipping")
            model.load_weights(folder / WEIGHTS)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        OSError,
        RecursionError,
        TypeError,
        UserWarning,
        ValueError,
        tf.errors.OpError,
    ) as error:
        raise _misfit(error, metadata, folder) from error
    return model


def save(model, folder, metadata=None):
    """Writes a model as a preset folder, whole or not at all.

    Args:
        model: A model of the zoo. Where it keeps an averaged generator, that one is
            saved as the generator.
        folder: Where to write. A preset that is there is replaced; other files beside
            it stay.
        metadata: Dict of what else is known, such as `dataset`, `licence`, `paper`,
            `recipe`, `measured`, and `classes`, a list of their names.

    Raises:
        FileExistsError: If the folder holds something other than a preset.
        ValueError: If the metadata are not what JSON can hold.
    """
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "A preset's metadata are what JSON can hold, all numbers finite. "
            f"Received: {metadata}, of which it says: {error}"
        ) from error
    folder = pathlib.Path(folder).resolve()
    if folder.exists() and not (folder / METADATA).exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"{folder} holds files that are no preset. Choose an empty or new folder."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preset-", dir=folder.parent) as scratch:
        partial = pathlib.Path(scratch) / "preset"
        partial.mkdir()
        copy = model.inference_copy()
        config = {
            "class_name": type(model).__name__,
            "registered_name": keras.saving.get_registered_name(type(model)),
            "config": keras.saving.serialize_keras_object(copy.get_config()),
        }
        files.write_json(partial / CONFIG, config)
        copy.save_weights(partial / WEIGHTS)
        files.write_json(
            partial / METADATA,
            {
                **(metadata or {}),
                "format": FORMAT,
                "class": config["class_name"],
                "parameters": sum(
                    network.count_params() for network in copy.networks().values()
                ),
                "versions": {
                    "gan-zoo": __version__,
                    "keras": keras.__version__,
                    "tensorflow": tf.__version__,
                },
                "files": {
                    name: files.sha256_of(partial / name) for name in (CONFIG, WEIGHTS)
                },
            },
        )
        replaced = pathlib.Path(scratch) / "replaced"
        try:
            if folder.exists():
                _copy_others(folder, partial)
                folder.rename(replaced)
            partial.rename(folder)
        except BaseException:
            # It would go with the scratch folder.
            if replaced.exists() and not folder.exists():
                replaced.rename(folder)
            raise


def _copy_others(folder, target):
    """Copies what a folder holds beside its preset."""
    for path in folder.iterdir():
        if path.name in (CONFIG, WEIGHTS, METADATA):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, target / path.name, symlinks=True)
        else:
            shutil.copy2(path, target / path.name, follow_symlinks=False)


def resolve(handle, sha256=None):
    """Returns the local folder of a handle, downloading it if it is a URL.

    The name of a built-in preset is that preset's, wherever it is used: `./NAME` and
    `pathlib.Path(NAME)` are the folder.

    Raises:
        ValueError: If there is no such preset, or `sha256` is none.
    """
    if sha256 is not None and not (
        isinstance(sha256, str) and re.fullmatch("[0-9a-fA-F]{64}", sha256)
    ):
        raise ValueError(
            f"Expected sha256 as 64 hexadecimal digits. Received: {sha256!r}"
        )
    if not isinstance(handle, (str, os.PathLike)):
        raise ValueError(
            "Expected the name of a built-in preset, a folder or a base URL. "
            f"Received: {handle!r}"
        )
    if isinstance(handle, str) and handle in _built_in_names():
        return built_in(handle)
    handle = os.fspath(handle)
    scheme, separator, _ = handle.partition("://")
    if separator and scheme.lower() not in ("http", "https"):
        raise ValueError(
            f"Presets are fetched from http:// or https:// only. Received: {handle!r}"
        )
    if separator:
        return _download(handle.rstrip("/"), sha256)
    # An empty path would be the working directory.
    if not handle:
        return built_in(handle)
    folder = pathlib.Path(handle)
    for candidate in (folder, folder / "model"):
        if (candidate / METADATA).exists():
            return candidate
    if folder.suffix == ".keras" and folder.is_file():
        raise ValueError(
            f"{folder} is a model as `save` writes it, and no preset. Load it by "
            f"keras.saving.load_model({handle!r}); its save_to_preset writes a preset."
        )
    if (folder / RUN).exists():
        raise ValueError(
            f"The training of the run {folder} has not ended, so it has no model yet. "
            "Continue it by `python -m zoo train ... --resume`, or end it with the "
            "epoch that it is in by --finish."
        )
    if folder.is_dir():
        raise ValueError(
            f"{folder} is neither a preset nor a finished run: it has no {METADATA}, "
            f"nor has {folder / 'model'}."
        )
    if folder.name != handle:
        raise ValueError(
            f"There is no folder {handle}. A run is there once its training has begun, "
            "and stands for its model once it has ended."
        )
    return built_in(handle)


def built_in(name):
    """Returns the folder of a built-in preset, whatever lies in the working directory.

    Raises:
        ValueError: If there is none of that name, or only its recipe.
    """
    if name in (known := list_presets()):
        return BUILT_IN / name
    if name in _built_in_names():
        raise ValueError(
            f"The preset {name!r} is a recipe that has not been trained yet, and a "
            f"folder of this name is ./{name}. Train it: python -m zoo train {name} "
            f"--out runs/{name}"
        )
    raise ValueError(
        f"Unknown preset: {name!r}.{checks.did_you_mean(name, known)} Expected a "
        "preset that `python -m zoo list` names, a folder, or a base URL."
    )


def data_names(metadata):
    """Returns the names of the data that a preset says it was trained on, as a list.

    Of a domain model there are two, the source and the target; none, where it doesn't
    say. Anyone's preset may say anything there.
    """
    recipe = metadata.get("recipe")
    about = recipe.get("data") if isinstance(recipe, dict) else None
    said = about.get("name") if isinstance(about, dict) else None
    names = said if isinstance(said, list) else [said]
    return names if all(isinstance(name, str) for name in names) else []


def trained_on(handle, folder=None):
    """Returns the names of the data that a preset or run was trained on, as a list.

    Of a domain model there are two, the source and the target.

    Args:
        handle: Name, folder or URL.
        folder: What it has been resolved to, if it has.

    Raises:
        ValueError: If it says nothing of that.
    """
    names = data_names(check(folder or resolve(handle)))
    if not names:
        raise ValueError(
            f"{handle} does not say which data it was trained on: name some by --data."
        )
    return names


def metadata_of(handle):
    """Returns what a preset says of itself, as its `metadata.json` has it."""
    return check(resolve(handle))


def fingerprint(handle):
    """Returns the SHA-256 that pins a preset, which `from_preset(sha256=)` takes."""
    return files.sha256_of(resolve(handle) / METADATA)


def check(folder, sha256=None):
    """Verifies the files of a preset folder against their hashes.

    Returns:
        The metadata.

    Raises:
        ValueError: If a file is missing or damaged, or the layout is newer.
    """
    folder = pathlib.Path(folder)
    metadata = _checked(_read(folder / METADATA), folder / METADATA, sha256)
    for name in (CONFIG, WEIGHTS):
        expected = metadata["files"][name]
        path = folder / name
        if not path.is_file():
            raise ValueError(f"The preset {folder} is incomplete: {name} is missing.")
        if files.sha256_of(path) != expected:
            raise ValueError(
                f"The preset {folder} is damaged: {name} has the SHA-256 "
                f"{files.sha256_of(path)}, and {METADATA} says {expected}. Get it "
                "again."
            )
    return metadata


def _checked(text, source, sha256):
    """Parses the bytes of a `metadata.json` and checks all that loading relies on."""
    digest = hashlib.sha256(text).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise ValueError(
            f"{source} has the SHA-256 {digest}, and {sha256} was asked for."
        )
    metadata = _parsed(text, source)
    layout, files = metadata.get("format"), metadata.get("files")
    if type(layout) is not int or layout < 1:
        raise ValueError(
            f"{source} is damaged: its format must be an integer from 1 on. Get it "
            f"again. Received: {layout!r}"
        )
    # A newer layout may differ in all that follows.
    if layout > FORMAT:
        raise ValueError(
            f"{source} has the layout {layout}, and this version reads up to {FORMAT}. "
            "Install a newer gan-zoo."
        )
    for name in (CONFIG, WEIGHTS):
        if not (isinstance(files, dict) and isinstance(files.get(name), str)):
            raise ValueError(
                f"{source} is damaged: its files must give the SHA-256 of {name}. "
                f"Get it again. Received: {files!r}"
            )
    return metadata


def _class_named(config, metadata, folder, base):
    name = config.get("registered_name")
    if not isinstance(name, str):
        raise ValueError(
            f"{folder / CONFIG} is damaged: its registered_name must be a string. Get "
            f"it again. Received: {name!r}"
        )
    found = keras.saving.get_registered_object(name)
    if found is None and _is_newer(metadata):
        raise _newer(metadata, folder, f"the class {name!r}")
    if found is None and not name.startswith("zoo>"):
        raise ValueError(
            f"The preset {folder} is of class {name!r}, which is none of the zoo's. "
            "Import the module that defines it, and go on in Python: commands know the "
            "classes of the zoo alone."
        )
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            f"The preset {folder} is of class {name.removeprefix('zoo>')!r}. Expected: "
            f"{base.__name__}, or a registered class that derives from it"
        )
    said = metadata.get("class"), config.get("class_name")
    if said != (found.__name__, found.__name__):
        raise ValueError(
            f"The preset {folder} is damaged: it is of class {name!r}, and {METADATA} "
            f"and {CONFIG} say {said}. Get it again."
        )
    return found


def _misfit(error, metadata, folder):
    """Returns the error that explains why a config or its weights were not taken."""
    # Keras wraps a TypeError in another one, which holds the whole config.
    while "could not be deserialized properly" in str(error) and error.__context__:
        error = error.__context__
    reason = str(error)
    # What Keras refuses in safe mode has no class of errors, only this word. It goes on
    # with how to leave safe mode, which a preset can't.
    if "disallowed" in reason:
        return ValueError(
            f"The preset {folder} is unsafe and not allowed, because {CONFIG} could "
            f"run code of its author: {reason.split('. ')[0]}. Build the model in "
            f"Python instead, and let it load {WEIGHTS}."
        )
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return ValueError(
            f"The preset {folder} does not fit into memory. Its sizes are in {CONFIG}."
        )
    if _is_newer(metadata):
        return _newer(metadata, folder, reason)
    if "Could not locate" in reason or "not a KerasSaveable" in reason:
        return ValueError(
            f"The preset {folder} holds an object that is not allowed, being neither "
            f"one of Keras or the zoo nor registered: {reason}"
        )
    own, maker = __version__, _maker(metadata)
    versions = "" if maker == own else f" ({own}; it was made by {maker})"
    return ValueError(
        f"The preset {folder} does not fit this version of the zoo{versions}: {reason}"
    )


def _is_newer(metadata):
    return _release(_maker(metadata)) > _release(__version__)


def _newer(metadata, folder, reason):
    return ValueError(
        f"The preset {folder} was made by gan-zoo {_maker(metadata)}, newer than this "
        f"{__version__}: upgrade gan-zoo. It needs what this one doesn't know: {reason}"
    )


def _maker(metadata):
    versions = metadata.get("versions")
    known = isinstance(versions, dict) and "gan-zoo" in versions
    return str(versions["gan-zoo"]) if known else "an unknown one"


def _release(version):
    leading = re.match(r"[\d.]*", version).group()
    return [int(number) for number in re.findall(r"\d+", leading)]


def _cache_root():
    # Empty counts as unset, says the specification of the variable.
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "gan-zoo"


def _download(url, sha256):
    """Fetches a preset into the cache, metadata first, and returns its folder.

    The cache's folder is named by the hash of the metadata, so a preset that changed at
    the source is another entry, and a pinned one needs no network once it is there.
    Files take their final name only once their hash is right; a broken download is
    resumed where it ended.
    """
    if sha256 is not None and _is_cached(sha256.lower()):
        return _cache_root() / sha256.lower()
    source = f"{url}/{METADATA}"
    text = downloads.read(source)
    metadata = _checked(text, source, sha256)
    digest = hashlib.sha256(text).hexdigest()
    folder = _cache_root() / digest
    # A cache that is only read needs no lock.
    if _is_cached(digest):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with downloads.locked(folder):
            for name in (CONFIG, WEIGHTS):
                hash_of = metadata["files"][name]
                downloads.fetch(f"{url}/{name}", folder / name, hash_of)
            # The metadata makes the folder a preset, so it comes last.
            files.write_bytes(folder / METADATA, text)
    except OSError as error:
        raise ValueError(f"The preset {url} can't be cached: {error}") from error
    return folder


def _is_cached(digest):
    """Whether the cache has the whole preset whose metadata have a SHA-256."""
    with contextlib.suppress(ValueError, OSError):
        return bool(check(_cache_root() / digest, digest))
    return False


def _parsed(text, source):
    try:
        parsed = json.loads(text)
    # JSON nested too deep is a RecursionError.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{source} is damaged: {error}. Get it again.") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{source} is damaged: it holds no JSON object. Get it again.")
    return parsed


def _read_json(path):
    return _parsed(_read(path), path)


def _read(path):
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"The file {path} is missing.") from None
