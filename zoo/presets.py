"""Presets: trained models as folders, resolved from a name, a path or a URL.

A preset holds `config.json` (class and constructor arguments), `model.weights.h5` and
`metadata.json` (where it comes from, what was measured, and the SHA-256 of the other
files). Ours lie in `zoo/presets/<name>/`; one that only has a `recipe.json` has not
been trained yet. A preset from elsewhere is untrusted input: hashes are always checked,
the class is looked up among the zoo's, and Keras deserializes in safe mode.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import tempfile
import urllib.error
import urllib.request

import keras

BUILT_IN = pathlib.Path(__file__).parent / "presets"
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
RECIPE = "recipe.json"
#: Version of the layout; readers refuse presets with a higher one.
FORMAT = 1
#: Seconds without a byte after which a download counts as broken.
_TIMEOUT = 30


def list_presets():
    """Returns a dict from the name of each built-in preset to its metadata.

    Presets that have a recipe and no weights yet have `{"trained": False}` with the
    recipe's description.
    """
    presets = {}
    for folder in sorted(BUILT_IN.iterdir()) if BUILT_IN.is_dir() else []:
        if (folder / METADATA).exists():
            presets[folder.name] = {"trained": True, **_read_json(folder / METADATA)}
        elif (folder / RECIPE).exists():
            description = _read_json(folder / RECIPE).get("description", "")
            presets[folder.name] = {"trained": False, "description": description}
    return presets


def load(handle, base, sha256=None):
    """Loads the model of a preset; see `zoo.from_preset`.

    Args:
        handle: Name of a built-in preset, a folder, the folder of a run, or a base URL.
        base: Class that the model must be, or derive from.
        sha256: Expected SHA-256 of `metadata.json`, which pins everything else.

    Returns:
        The model, uncompiled.

    Raises:
        ValueError: If the handle is unknown, a file is missing or damaged, or the
            preset is of another class or made by a newer version.
    """
    folder = resolve(handle, sha256)
    metadata = check(folder, sha256)
    config = _read_json(folder / CONFIG)
    model_class = _class_named(metadata, config, folder, base)
    try:
        model = model_class.from_config(config["config"])
        model.load_weights(folder / WEIGHTS)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f"The preset {folder} does not fit this version of the zoo "
            f"({_versions()['gan-zoo']}; it was made by "
            f"{metadata.get('versions', {}).get('gan-zoo', 'an unknown one')}): {error}"
        ) from error
    return model


def save(model, folder, metadata=None):
    """Writes a model as a preset folder, whole or not at all.

    Args:
        model: A model of the zoo. Where it keeps an averaged generator, that one is
            saved as the generator.
        folder: Where to write. A preset that is there is replaced.
        metadata: Dict of what else is known, such as `dataset`, `licence`, `paper`,
            `recipe` and `measured`.

    Raises:
        FileExistsError: If the folder holds something other than a preset.
    """
    folder = pathlib.Path(folder)
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
        _write_json(partial / CONFIG, config)
        copy.save_weights(partial / WEIGHTS)
        _write_json(
            partial / METADATA,
            {
                **(metadata or {}),
                "format": FORMAT,
                "class": config["class_name"],
                "parameters": copy.count_params(),
                "versions": _versions(),
                "files": {name: _sha256(partial / name) for name in (CONFIG, WEIGHTS)},
            },
        )
        if folder.exists():
            folder.rename(pathlib.Path(scratch) / "replaced")
        partial.rename(folder)


def resolve(handle, sha256=None):
    """Returns the local folder of a handle, downloading it if it is a URL.

    Raises:
        ValueError: If there is no such preset.
    """
    handle = os.fspath(handle)
    if handle.startswith(("http://", "https://")):
        return _download(handle.rstrip("/"), sha256)
    folder = pathlib.Path(handle)
    for candidate in (folder, folder / "model", BUILT_IN / handle):
        if (candidate / METADATA).exists():
            return candidate
    if (BUILT_IN / handle / RECIPE).exists():
        raise ValueError(
            f"The preset {handle!r} is a recipe that has not been trained yet. Train "
            f"it: python -m zoo train {handle} --out runs/{handle}"
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
    trained = [name for name, known in list_presets().items() if known["trained"]]
    raise ValueError(
        f"Unknown preset. Expected one of {trained}, a folder, or a base URL. "
        f"Received: {handle!r}"
    )


def fingerprint(handle):
    """Returns the SHA-256 that pins a preset, which `from_preset(sha256=)` takes."""
    return _sha256(resolve(handle) / METADATA)


def check(folder, sha256=None):
    """Verifies the files of a preset folder against their hashes.

    Returns:
        The metadata.

    Raises:
        ValueError: If a file is missing or damaged, or the layout is newer.
    """
    folder = pathlib.Path(folder)
    if sha256 is not None and _sha256(folder / METADATA) != sha256:
        raise ValueError(
            f"{folder / METADATA} has the SHA-256 {_sha256(folder / METADATA)}, and "
            f"{sha256} was asked for."
        )
    metadata = _read_json(folder / METADATA)
    if metadata.get("format", 0) > FORMAT:
        raise ValueError(
            f"The preset {folder} has the layout {metadata['format']}, and this "
            f"version reads up to {FORMAT}. Install a newer gan-zoo."
        )
    for name in (CONFIG, WEIGHTS):
        expected = metadata.get("files", {}).get(name)
        path = folder / name
        if not path.exists():
            raise ValueError(f"The preset {folder} is incomplete: {name} is missing.")
        if _sha256(path) != expected:
            raise ValueError(
                f"The preset {folder} is damaged: {name} has the SHA-256 "
                f"{_sha256(path)}, and {METADATA} says {expected}. Get it again."
            )
    return metadata


def _class_named(metadata, config, folder, base):
    name = config.get("registered_name", "")
    found = keras.saving.get_registered_object(name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            f"The preset {folder} is of class {metadata.get('class')!r}. "
            f"Expected: {base.__name__}"
        )
    return found


def _cache_root():
    home = os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")
    return pathlib.Path(home) / "gan-zoo"


def _download(url, sha256):
    """Fetches a preset into the cache, metadata first, and returns its folder.

    The cache's folder is named by the hash of the metadata, so a preset that changed at
    the source is another entry. Files take their final name only once their hash is
    right; a broken download is resumed where it ended.
    """
    root = _cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _opened(f"{url}/{METADATA}") as response:
            text = response.read()
        digest = hashlib.sha256(text).hexdigest()
        if sha256 is not None and digest != sha256:
            raise ValueError(
                f"{url}/{METADATA} has the SHA-256 {digest}, and {sha256} was asked "
                "for."
            )
        folder = root / digest
        folder.mkdir(exist_ok=True)
        files = _parsed(text, f"{url}/{METADATA}").get("files", {})
        for name in (CONFIG, WEIGHTS):
            if name not in files:
                raise ValueError(f"{url}/{METADATA} gives no hash for {name}.")
            _fetch(f"{url}/{name}", folder / name, files[name])
        # The metadata makes the folder a preset, so it comes last.
        partial = folder / f"{METADATA}.{os.getpid()}.partial"
        partial.write_bytes(text)
        partial.replace(folder / METADATA)
        return folder
    except OSError as error:
        raise ValueError(f"The preset {url} can't be fetched: {error}") from error


def _fetch(url, path, digest):
    if path.exists() and _sha256(path) == digest:
        return
    partial = path.with_name(path.name + ".partial")
    have = partial.stat().st_size if partial.exists() else 0
    with _opened(url, start=have) as response:
        # A server without ranges answers 200 and the whole file.
        mode = "ab" if response.status == 206 else "wb"
        with open(partial, mode) as file:
            started = file.tell()
            shutil.copyfileobj(response, file)
            received = file.tell() - started
        promised = int(response.headers.get("Content-Length", received))
    if received < promised:
        raise ValueError(
            f"{url} can't be fetched: the connection broke off {promised - received} "
            "bytes before the end. The next try goes on from there."
        )
    if _sha256(partial) != digest:
        received = _sha256(partial)
        partial.unlink()
        raise ValueError(
            f"{url} is damaged: it has the SHA-256 {received}, and the metadata says "
            f"{digest}. Nothing was kept; try again."
        )
    partial.replace(path)


@contextlib.contextmanager
def _opened(url, start=0):
    request = urllib.request.Request(url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        raise ValueError(f"{url} can't be fetched: {error}") from error


def _parsed(text, source):
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{source} is damaged: {error}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{source} is damaged: it holds no JSON object.")
    return parsed


def _read_json(path):
    try:
        return _parsed(path.read_text(), path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing.") from None


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions():
    return {
        name: importlib.metadata.version(name)
        for name in ("gan-zoo", "keras", "tensorflow")
    }
