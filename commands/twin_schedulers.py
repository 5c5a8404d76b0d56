"""Creates schedulers for `offload replay` and `offload simulate`, and reads their models from folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from offload.candidates import PROFILE, CandidateProfile
from offload.explanations import unknown_name
from offload.manifest import ACTOR_FILE, MANIFEST_FILE, ManifestError, ModelManifest
from offload.profiles import PROFILES, Profile, make_profile
from offload.protocols import SchedulerContext
from offload.settings import Settings

if TYPE_CHECKING:
    from offload.network import Network
    from offload.protocols import Actor, Scheduler

    Model: TypeAlias = tuple[Actor, Profile | CandidateProfile]


def make_scheduler(name: str, parameters: Mapping[str, Any], network: Network, model: Model | None) -> Scheduler:
    """Create a scheduler by name.

    Raises ValueError for an unknown scheduler or parameter, and for a scheduler that needs a model and has none.
    """
    from edgenode.schedulers import create_scheduler

    actor, profile = model or (None, None)
    return create_scheduler(name, parameters, SchedulerContext(network.nodes, profile, actor))


def read_model(folder: Path, nodes: int) -> Model:
    """The actor in a model's folder (`models/<run>/<version>` of a storage), and the profile it was trained for.

    Raises ManifestError when the folder contains no model, a damaged one, or one for another number of nodes.
    """
    from edgenode.schedulers.actor import OnnxActor

    try:
        content = {name: (folder / name).read_bytes() for name in (MANIFEST_FILE, ACTOR_FILE)}
    except OSError as error:
        raise ManifestError(f"{folder} is not a model's folder: {error.strerror}: {error.filename}") from None
    manifest = ModelManifest.from_bytes(content[MANIFEST_FILE], str(folder / MANIFEST_FILE))
    manifest.check_files({ACTOR_FILE: content[ACTOR_FILE]})
    profile = _profile(manifest.profile, nodes, folder)
    manifest.check_fit(profile)
    try:
        return OnnxActor(content[ACTOR_FILE]), profile
    except Exception as error:  # onnxruntime raises various exceptions for a file that is not a network
        raise ManifestError(f"{folder / ACTOR_FILE} cannot be read: {' '.join(str(error).split())}") from None


def _profile(described: Mapping[str, Any], nodes: int, folder: Path) -> Profile | CandidateProfile:
    """The profile that a manifest describes. Raises ManifestError if it describes none."""
    if described.get("name") == PROFILE.name:
        return PROFILE
    if described.get("name") not in PROFILES:
        raise ManifestError(f"{folder}: {unknown_name('profile', described.get('name'), PROFILES)}")
    needed = make_profile(Settings()).maxima
    maxima = described.get("maxima")
    if not (
        isinstance(maxima, dict)
        and set(maxima) == set(needed)
        and all(isinstance(value, int | float) and value > 0 for value in maxima.values())
        and isinstance(described.get("version"), int)
    ):
        raise ManifestError(f"{folder / MANIFEST_FILE}: its profile needs a version, and maxima of {', '.join(needed)}")
    return Profile(described["name"], described["version"], nodes, maxima)
