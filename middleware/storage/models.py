"""Reads and writes models in the storage: `models/<run>/<version>/{actor.onnx, learner.safetensors, manifest.json}`.

The manifest is written last. A version without a manifest does not exist, so an interrupted publication is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from middleware.storage.port import Storage
from offload.manifest import ACTOR_FILE, MANIFEST_FILE, FileEntry, ManifestError, ModelManifest


def model_folder(run_name: str, version: str) -> str:
    """The folder of a version's files."""
    return f"models/{run_name}/{version}"


def named_model(run_name: str, model: str) -> tuple[str, str]:
    """(run, version) that a setting names: `VERSION` of this run, or `RUN/VERSION` of another run."""
    other, _, version = model.rpartition("/")
    return other or run_name, version


def publish_model(
    storage: Storage, run_name: str, manifest_fields: Mapping[str, Any], files: Mapping[str, bytes]
) -> ModelManifest:
    """Write a version's files, then its manifest with their sizes and SHA-256. Returns the manifest."""
    entries = {name: FileEntry.of(content) for name, content in files.items()}
    manifest = ModelManifest(**manifest_fields, files=entries)
    folder = model_folder(run_name, manifest.version)
    for name, content in files.items():
        storage.write(f"{folder}/{name}", content)
    storage.write(f"{folder}/{MANIFEST_FILE}", manifest.to_bytes())
    return manifest


def fetch_model(
    storage: Storage, run_name: str, version: str, names: Iterable[str] = (ACTOR_FILE,)
) -> tuple[ModelManifest, dict[str, bytes]]:
    """A version's manifest and the named files, verified against it.

    Raises ManifestError if the version does not exist, or if a file is missing, truncated or modified.
    """
    folder = model_folder(run_name, version)
    try:
        content = storage.read(f"{folder}/{MANIFEST_FILE}")
    except FileNotFoundError:
        raise ManifestError(f"there is no model {version} of run '{run_name}' (no {folder}/{MANIFEST_FILE})") from None
    manifest = ModelManifest.from_bytes(content, f"{folder}/{MANIFEST_FILE}")
    if manifest.version != version:
        raise ManifestError(f"{folder}/{MANIFEST_FILE} is of version {manifest.version}, not {version}")
    files = {}
    for name in names:
        try:
            files[name] = storage.read(f"{folder}/{name}")
        except FileNotFoundError:
            raise ManifestError(f"model {version}: {name} is missing in the storage") from None
    manifest.check_files(files)
    return manifest, files
