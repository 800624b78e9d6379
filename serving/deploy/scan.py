"""Looks at a folder of models without loading them."""

import dataclasses
import os
import pathlib

import google.protobuf.message

from serving import errors, messages, signatures
from serving.versions import versions_in


@dataclasses.dataclass(frozen=True)
class FoundModel:
    """One model of the folder: its versions, and the newest one's signatures."""

    name: str
    versions: tuple
    signatures: dict

    @property
    def unbatchable(self):
        """Signatures that a TensorFlow Serving with batching would fail."""
        return [
            signature.key
            for signature in self.signatures.values()
            if signature.method in signatures.PREDICT_METHODS
            and not all(spec.has_free_rows for spec in signature.inputs.values())
        ]


def scan(models_dir):
    """Returns the FoundModels of a folder, by name."""
    models_dir = pathlib.Path(models_dir)
    if not models_dir.is_dir():
        raise FileNotFoundError(f"{models_dir} is not a folder")
    found = []
    for base_path in sorted(models_dir.iterdir()):
        versions = _versions(base_path) if base_path.is_dir() else {}
        if versions:
            newest = versions[max(versions)]
            found.append(
                FoundModel(base_path.name, tuple(sorted(versions)), _signatures(newest))
            )
    if not found:
        raise FileNotFoundError(
            f"{models_dir} holds no models (MODEL/VERSION/saved_model.pb); "
            f"`python -m export PRESET {models_dir}` writes one"
        )
    return found


def _versions(base_path):
    return {
        version: pathlib.Path(path)
        for version, path in versions_in(base_path).items()
        if os.path.exists(os.path.join(path, "saved_model.pb"))
    }


def _signatures(path):
    file = path / "saved_model.pb"
    try:
        saved = messages.SavedModel.FromString(file.read_bytes())
    except google.protobuf.message.DecodeError as error:
        raise errors.invalid_argument(f"{file} is no SavedModel") from error
    for meta_graph in saved.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return signatures.parse(meta_graph.signature_def)
    raise errors.invalid_argument(f"{file} has no graph with the tag serve")
