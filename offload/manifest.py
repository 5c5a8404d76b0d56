"""Defines a model's manifest: what an actor was trained for, and the sizes and SHA-256 of its files.

A node rejects an actor that was trained for another network size or profile, and files that differ from the manifest.
Pickle is not used: the actor is ONNX, the learner's parameters are safetensors, the manifest is JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from offload.candidates import PROFILE, CandidateProfile
from offload.errors import UserError
from offload.explanations import explain
from offload.profiles import Profile

ACTOR_FILE = "actor.onnx"
LEARNER_FILE = "learner.safetensors"
MANIFEST_FILE = "manifest.json"
ACTOR_INPUT, ACTOR_OUTPUT = "observation", "logits"
"""The tensors of an actor: observations (B, O) and logits (B, N+1), both float32."""


class ManifestError(UserError, ValueError):
    """A model cannot be used here. The message says what does not fit, or which file is damaged."""


_VERSION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def check_version(version: str) -> None:
    """Raise ManifestError unless this can be the version of a model."""
    if not re.fullmatch(_VERSION, version):
        raise ManifestError(
            f"'{version}' cannot be a model's version: write 1 to 64 letters, digits, '.', '_' and '-', "
            "the first a letter or a digit"
        )


class FileEntry(BaseModel):
    """Size in bytes and SHA-256 (hex) of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The entry of a file with this content."""
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest())


class ModelManifest(BaseModel):
    """The manifest of one version of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    version: str = Field(pattern=_VERSION, description="a folder's name in the storage, so not `..`")
    algorithm: str
    profile: dict[str, Any]
    actions: int = Field(ge=2, description="the actor's outputs: N+1, or 2 with the profile candidates")
    observation_size: int = Field(ge=1)
    reward_mean: float = 0.0
    reward_std: float = Field(1.0, gt=0)
    parent: str | None = None
    steps: int = 0
    files: dict[str, FileEntry]

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Self:
        """Parse a manifest. where: the file's name, for the message. Raises ManifestError."""
        try:
            return cls.model_validate(json.loads(content))
        except ValidationError as invalid:
            raise ManifestError(f"{where} is not a manifest: {explain(invalid, cls)}") from None
        except (ValueError, RecursionError) as invalid:
            raise ManifestError(f"{where} is not a manifest: {invalid}") from None

    def to_bytes(self) -> bytes:
        """The manifest as indented JSON with sorted keys."""
        return json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True).encode() + b"\n"

    def fitting_profile(self, own: Profile) -> Profile | CandidateProfile:
        """The profile of the actor: `candidates` if it is a model of that one, else `own`, this network's profile.

        Raises ManifestError as `check_fit` does.
        """
        profile = PROFILE if self.profile.get("name") == PROFILE.name else own
        self.check_fit(profile)
        return profile

    def check_fit(self, profile: Profile | CandidateProfile) -> None:
        """Raise ManifestError unless the actor was trained for observations of `profile`."""
        lines = profile.differences(self.profile)
        if self.actions != profile.outputs:
            lines.append(f"actions: the model has {self.actions}, this network needs {profile.outputs}")
        if not lines and self.observation_size != profile.size:
            lines.append(f"observation size: the model's is {self.observation_size}, the profile's is {profile.size}")
        if lines:
            raise ManifestError(f"model {self.version} does not fit: " + "; ".join(lines))

    def check_files(self, files: Mapping[str, bytes]) -> None:
        """Raise ManifestError when a file is truncated, changed, or not in the manifest."""
        for name, content in files.items():
            entry = self.files.get(name)
            if entry is None:
                raise ManifestError(f"model {self.version}: {name} is not in its manifest")
            if len(content) != entry.size:
                raise ManifestError(
                    f"model {self.version}: {name} has {len(content)} bytes, its manifest says {entry.size}: truncated?"
                )
            if FileEntry.of(content).sha256 != entry.sha256:
                raise ManifestError(f"model {self.version}: {name} does not have the SHA-256 of its manifest")
