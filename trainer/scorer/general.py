"""Trains one actor on the decisions of many networks, so that it can be used in all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from offload.candidates import PROFILE, Decisions
from offload.manifest import ACTOR_FILE, LEARNER_FILE, MANIFEST_FILE, FileEntry, ModelManifest
from trainer.export import actor_to_onnx
from trainer.learner import Learner, check_finite
from trainer.progress import Progress
from trainer.scorer.regression import EXTERNALITY_WEIGHT, HIDDEN, LOSSES, Rows, descend, fresh_learner
from trainer.seeds import Stream, generator

ALGORITHM = "scorer"


@dataclass(frozen=True)
class FitSettings:
    """How an actor is fitted.

    hidden: widths of the actor's hidden layers; externality_weight: κ
    epochs: over all decisions; minibatch: decisions in one Adam step
    learning_rate: of the first step; it falls to 0 as a half cosine
    """

    hidden: Sequence[int] = HIDDEN
    externality_weight: float = EXTERNALITY_WEIGHT
    epochs: int = 20
    minibatch: int = 1024
    learning_rate: float = 2e-3


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
        found += len(part)
        progress.advance(len(part))
        if found >= count:
            break
    progress.end()
    learner = fresh_learner(seed, settings.learning_rate, hidden=settings.hidden)
    return Trained(learner, fit(learner, Decisions.joined(parts), settings, seed, progress))


def fit(
    learner: Learner, decisions: Decisions, settings: FitSettings, seed: int, progress: Progress
) -> dict[str, float]:
    """Train the actor on all decisions. Returns the mean losses of the last epoch.

    Adds the number of Adam steps to `learner.step`. Raises DivergenceError.
    """
    rows = Rows.of(decisions, settings.externality_weight, learner.device)
    parts = math.ceil(len(decisions) / settings.minibatch)
    steps, means = settings.epochs * parts, {}
    progress.begin("fit", settings.epochs, "epochs")
    for epoch in range(settings.epochs):
        order = torch.from_numpy(generator(seed, Stream.MINIBATCHES, learner.step).permutation(len(decisions)))
        sums = dict.fromkeys(LOSSES, torch.zeros(()))
        for part, some in enumerate(order.chunk(parts)):
            done = (epoch * parts + part) / steps
            learner.set_learning_rate(half_cosine(settings.learning_rate, done))
            found = descend(learner, rows.take(some))
            learner.step += 1
            sums = {name: sums[name] + found[name] for name in LOSSES}
        means = {name: float(total) / parts for name, total in sums.items()}
        check_finite(means, f"epoch {epoch + 1}", "learning rate")
        progress.advance(1, f"value loss {means['value_loss']:.4f}")
    progress.end()
    return means


def half_cosine(rate: float, done: float) -> float:
    """A learning rate that falls from `rate` to 0. done: from 0 to 1"""
    return 0.5 * rate * (1 + math.cos(math.pi * min(done, 1.0)))
