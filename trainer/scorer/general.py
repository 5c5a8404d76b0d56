"""Trains one actor on the decisions of many networks, so that it can be used in all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from offload.candidates import PROFILE, Decisions
from offload.manifest import ACTOR_FILE, LEARNER_FILE, MANIFEST_FILE, FileEntry, ModelManifest
from trainer.export import actor_to_onnx
from trainer.learner import Learner
from trainer.progress import Progress
from trainer.scorer.fitting import FitSettings, fit, fresh_learner

ALGORITHM = "scorer"


@dataclass(frozen=True)
class Trained:
    """A trained actor, and the mean losses of the last epoch."""

    learner: Learner
    losses: dict[str, float]

    def files(self, version: str) -> dict[str, bytes]:
        """The files of the model, by name."""
        files = {ACTOR_FILE: actor_to_onnx(self.learner.actor), LEARNER_FILE: self.learner.to_bytes()}
        manifest = ModelManifest(
            version=version,
            algorithm=ALGORITHM,
            profile=PROFILE.to_json(),
            actions=PROFILE.outputs,
            observation_size=PROFILE.size,
            steps=self.learner.step,
            files={name: FileEntry.of(content) for name, content in files.items()},
        )
        return {**files, MANIFEST_FILE: manifest.to_bytes()}


def train(played: Iterable[Decisions], count: int, settings: FitSettings, seed: int, progress: Progress) -> Trained:
    """Take played decisions until there are `count`, and fit an actor to them.

    played: yields the decisions of one group of networks after the other, without an end
    """
    parts: list[Decisions] = []
    found = 0
    progress.begin("play", count, "decisions")
    for part in played:
        parts.append(part)
        found += len(part.success)
        progress.advance(len(part.success))
        if found >= count:
            break
    progress.end()
    learner = fresh_learner(settings, seed)
    return Trained(learner, fit(learner, Decisions.joined(parts), settings, seed, progress))
