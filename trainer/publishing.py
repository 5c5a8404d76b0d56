"""A learner becomes a version: its files in the storage, its row in the database, and, when asked, active on all nodes.

The order makes every interruption harmless: a version whose row is missing was never used by anybody, so that a
resumed run trains it again (to the same result) and publishes it over what is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from middleware.database import Database, ModelRow, Run, find_models, record_model
from middleware.patience import patiently
from middleware.storage import Storage, fetch_model, publish_model
from offload.manifest import ACTOR_FILE, LEARNER_FILE, ModelManifest
from offload.profiles import make_profile
from trainer.algorithms.protocols import TrainingState
from trainer.export import actor_to_onnx
from trainer.transitions import IDENTITY


@dataclass(frozen=True)
class ModelShelf:
    """The versions of a run. `activate(version)` asks the controller to make a version active on all nodes."""

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
        """Publish actor and learner as `version`, then record it; `learner.step` is its number. Idempotent."""
        profile = make_profile(self.run.settings)
        rewards = learner.rewards or IDENTITY
        fields = {
            "version": version,
            "algorithm": algorithm,
            "profile": profile.to_json(),
            "actions": profile.nodes + 1,
            "observation_size": profile.size,
            "reward_mean": rewards.mean,
            "reward_std": rewards.std,
            "parent": parent,
            "steps": learner.step,
        }
        files = {ACTOR_FILE: actor_to_onnx(learner.actor), LEARNER_FILE: learner.to_bytes()}
        manifest = patiently(lambda: publish_model(self.storage, self.run.name, fields, files))
        patiently(
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
        manifest, files = patiently(lambda: fetch_model(self.storage, self.run.name, version, names=(LEARNER_FILE,)))
        manifest.check_fit(make_profile(self.run.settings))
        return files[LEARNER_FILE]

    def recorded(self, method: str) -> list[ModelRow]:
        """The versions of a method, by number."""
        return patiently(lambda: find_models(self.db, self.run, method=method))


def _finite(values: Any) -> Any:
    """JSON has no NaN, and MySQL refuses it: such a value becomes null."""
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
