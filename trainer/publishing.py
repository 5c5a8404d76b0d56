"""Publishes a learner as a version: files in the storage, then a row in the database.

This order makes interruptions harmless. A version without a row has not been used. A resumed run trains it again, with
the same result, and overwrites its files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from middleware.database import Database, ModelRow, Run, find_models, record_model
from middleware.retrying import retry_while_unavailable
from middleware.storage import Storage, fetch_model, publish_model
from offload.manifest import ACTOR_FILE, LEARNER_FILE, ModelManifest
from trainer.algorithms import trained_profile
from trainer.algorithms.protocols import TrainingState
from trainer.export import actor_to_onnx
from trainer.transitions import IDENTITY


@dataclass(frozen=True)
class ModelVersions:
    """The model versions of a run. `activate(version)` asks the controller to make a version active on all nodes."""

    db: Database
    storage: Storage
    run: Run
    activate: Callable[[str], None]

    def publish(
        self,
        learner: TrainingState,
        version: str,
        *,
        algorithm: str,
        phase: str,
        method: str,
        parent: str | None,
        statistics: Mapping[str, Any],
    ) -> ModelManifest:
        """Publish actor and learner as `version`, then record it with the number `learner.step`. Idempotent."""
        profile = trained_profile(self.run.settings)
        rewards = learner.rewards or IDENTITY
        fields = {
            "version": version,
            "algorithm": algorithm,
            "profile": profile.to_json(),
            "actions": profile.outputs,
            "observation_size": profile.size,
            "reward_mean": rewards.mean,
            "reward_std": rewards.std,
            "parent": parent,
            "steps": learner.step,
        }
        files = {ACTOR_FILE: actor_to_onnx(learner.actor), LEARNER_FILE: learner.to_bytes()}
        manifest = retry_while_unavailable(lambda: publish_model(self.storage, self.run.name, fields, files))
        retry_while_unavailable(
            lambda: record_model(
                self.db,
                self.run,
                manifest,
                phase=phase,
                method=method,
                number=learner.step,
                statistics=_finite(statistics),
            )
        )
        return manifest

    def learner_bytes(self, version: str) -> bytes:
        """A version's learner, verified. Raises ManifestError when it is damaged or does not fit this run's network."""
        manifest, files = retry_while_unavailable(
            lambda: fetch_model(self.storage, self.run.name, version, names=(LEARNER_FILE,))
        )
        manifest.check_fit(trained_profile(self.run.settings))
        return files[LEARNER_FILE]

    def recorded(self, method: str) -> list[ModelRow]:
        """The recorded versions of a method, ordered by number."""
        return retry_while_unavailable(lambda: find_models(self.db, self.run, method=method))


def _finite(values: Any) -> Any:
    """The same values with null for NaN and infinity: JSON does not have them, and MySQL rejects them."""
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
