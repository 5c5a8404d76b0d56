"""Fits an actor of the profile `candidates` to decisions whose candidates' difference rewards are known.

The reward of sending a task to candidate j is y_j = R_j − κ E_j (`offload.candidates.Decisions`): R is the success of
the task itself, E what it costs the other tasks there. κ is below 1, because the other nodes react: they see the longer
queue, and send their next tasks elsewhere.

The first output estimates y_j from the row of a candidate that answered. The second estimates, from the row before the
probes, how much a probe gains: max(0, Q_j − Q_itself).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from offload.candidates import PROFILE, PROMISE, VALUE, Decisions
from trainer.learner import Learner, check_finite
from trainer.networks import mlp
from trainer.progress import Progress
from trainer.seeds import Stream, generator, seeded_initialization


@dataclass(frozen=True)
class FitSettings:
    """How an actor is fitted.

    hidden: widths of the actor's hidden layers; externality_weight: κ
    epochs: over all decisions; minibatch: decisions in one Adam step
    learning_rate: of the first step; it falls to 0 as a half cosine
    """

    hidden: Sequence[int] = (64, 32)
    externality_weight: float = 0.35
    epochs: int = 20
    minibatch: int = 1024
    learning_rate: float = 2e-3


def fresh_learner(settings: FitSettings, seed: int) -> Learner:
    """An untrained actor with its optimizer."""
    with seeded_initialization(seed):
        actor = mlp(PROFILE.size, settings.hidden, PROFILE.outputs)
    return Learner({"actor": actor}, {"actor": (("actor",), settings.learning_rate)}, torch.device("cpu"))


def fit(
    learner: Learner, decisions: Decisions, settings: FitSettings, seed: int, progress: Progress
) -> dict[str, float]:
    """Train the actor on all decisions. Returns the mean losses of the last epoch.

    Adds the number of Adam steps to `learner.step`. Raises DivergenceError.
    """
    reported, unreported = torch.from_numpy(decisions.reported), torch.from_numpy(decisions.unreported)
    answered = torch.from_numpy(decisions.answered)
    rewards = torch.from_numpy(decisions.success - settings.externality_weight * decisions.externality).float()
    count = len(reported)
    parts = math.ceil(count / settings.minibatch)
    steps, means = settings.epochs * parts, {}
    progress.begin("fit", settings.epochs, "epochs")
    for epoch in range(settings.epochs):
        order = torch.from_numpy(generator(seed, Stream.MINIBATCHES, learner.step).permutation(count))
        sums = torch.zeros(2)
        for part, rows in enumerate(order.chunk(parts)):
            done = (epoch * parts + part) / steps
            learner.set_learning_rate(0.5 * settings.learning_rate * (1 + math.cos(math.pi * done)))
            value, promise = losses(learner, reported[rows], unreported[rows], answered[rows], rewards[rows])
            learner.descend("actor", value + promise)
            learner.step += 1
            sums += torch.stack([value, promise]).detach()
        means = {"value_loss": float(sums[0]) / parts, "promise_loss": float(sums[1]) / parts}
        check_finite(means, f"epoch {epoch + 1}", "learning rate")
        progress.advance(1, f"value loss {means['value_loss']:.4f}")
    progress.end()
    return means


def losses(
    learner: Learner, reported: Tensor, unreported: Tensor, answered: Tensor, rewards: Tensor
) -> tuple[Tensor, Tensor]:
    """The mean squared errors of the two outputs over the candidates that answered.

    reported: (R, C, COLUMNS); unreported: (R, d, COLUMNS); answered, rewards: (R, C)
    """
    candidates = reported.shape[1]
    outputs = learner.actor(torch.cat([reported, unreported], dim=1))
    values, promises = outputs[:, :candidates, VALUE], outputs[:, candidates:, PROMISE]
    estimates = values.detach()
    gains = (estimates[:, 1:] - estimates[:, :1]).clamp(min=0)
    return (
        _mean((values - rewards) ** 2, answered),
        _mean((promises - gains) ** 2, answered[:, 1:]),
    )


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
