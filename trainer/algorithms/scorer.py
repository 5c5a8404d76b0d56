"""Trains actors for the scheduler `scorer`: regression on difference rewards, offline and online.

`trainer/scorer/regression.py` has the losses. The pipeline rebuilds the decisions of an episode from its log, with the
value of each candidate. Both phases use the same loss. Online, the logs are those of the actor itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from offload.candidates import Decisions
from offload.scheduler_choice import ParameterValue
from trainer.algorithms.protocols import AlgorithmContext, Curve, TrainedScheduler
from trainer.learner import Learner, check_finite
from trainer.scorer.buffer import NothingToLearnError
from trainer.scorer.general import half_cosine
from trainer.scorer.regression import EXTERNALITY_WEIGHT, LOSSES, Rows, descend, fresh_learner
from trainer.seeds import Stream, generator
from trainer.transitions import RewardStatistics


@dataclass(frozen=True)
class Scorer:
    """Regression on the difference rewards of all candidates of each decision.

    learning_rate: of the first step; it falls to 0 over `offline.steps`, as a half cosine
    externality_weight: κ, weight of the externality: the successes that a task costs other tasks
    """

    context: AlgorithmContext
    learning_rate: float = 0.002
    externality_weight: float = EXTERNALITY_WEIGHT

    phase: ClassVar[Literal["offline"]] = "offline"
    scheduler: ClassVar[TrainedScheduler] = "scorer"
    curves: ClassVar[Mapping[str, Curve]] = LOSSES

    def __post_init__(self) -> None:
        _check("offline", self.learning_rate, self.externality_weight)

    def fresh(self, rewards: RewardStatistics) -> Learner:
        """An untrained actor. The rewards of slots are not used."""
        return _fresh(self.context, self.learning_rate)

    def train(self, state: Learner, batch: Decisions) -> dict[str, Tensor]:
        """Take one Adam step on some decisions."""
        state.set_learning_rate(half_cosine(self.learning_rate, state.step / self.context.offline.steps))
        found = descend(state, Rows.of(batch, self.externality_weight, state.device))
        state.step += 1
        return found


@dataclass(frozen=True)
class ScorerOnline:
    """The same regression on the episodes that the actor has just played.

    learning_rate: of the first update; it falls to 0 over all updates, as a half cosine
    externality_weight: κ, weight of the externality: the successes that a task costs other tasks
    epochs: over the decisions of an update
    minibatch: decisions in one Adam step
    exploration: share of the decisions in these episodes that choose uniformly among the candidates
    """

    context: AlgorithmContext
    learning_rate: float = 0.0005
    externality_weight: float = EXTERNALITY_WEIGHT
    epochs: int = 4
    minibatch: int = 1024
    exploration: float = 0.05

    phase: ClassVar[Literal["online"]] = "online"
    scheduler: ClassVar[TrainedScheduler] = "scorer"
    on_policy: ClassVar[bool] = False
    curves: ClassVar[Mapping[str, Curve]] = {
        **LOSSES,
        "decisions": Curve("decisions"),
        "learning_rate": Curve("learning rate"),
    }

    def __post_init__(self) -> None:
        _check("online", self.learning_rate, self.externality_weight)
        for name, value in (("epochs", self.epochs), ("minibatch", self.minibatch)):
            if value < 1:
                raise ValueError(f"online.parameters.{name}: {value}; it must be at least 1")
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"online.parameters.exploration: {self.exploration:g}; it must be from 0 to 1")

    @property
    def playing(self) -> Mapping[str, ParameterValue]:
        """The scheduler's parameters in the episodes to learn from."""
        return {"exploration": self.exploration}

    def fresh(self) -> Learner:
        """An untrained actor."""
        return _fresh(self.context, self.learning_rate)

    def start_from(self, state: Learner, content: bytes) -> None:
        """Load the actor of the offline state."""
        state.load_modules(content, ("actor",))

    def update(self, state: Learner, episodes: Sequence[Decisions], updates: int) -> dict[str, float]:
        """Do some epochs on the decisions of the episodes. Raises NothingToLearnError when there is none."""
        decisions = Decisions.joined(episodes)
        if not len(decisions):
            raise NothingToLearnError("there is no decision to learn from: the played episodes have no task")
        rate = half_cosine(self.learning_rate, state.step / updates)
        state.set_learning_rate(rate)
        rows = Rows.of(decisions, self.externality_weight, state.device)
        sums, steps = dict.fromkeys(LOSSES, torch.zeros((), device=state.device)), 0
        for epoch in range(self.epochs):
            draws = generator(self.context.seed, Stream.MINIBATCHES, state.step, epoch)
            order = torch.from_numpy(draws.permutation(len(decisions))).to(state.device)
            for some in order.chunk(math.ceil(len(decisions) / self.minibatch)):
                found = descend(state, rows.take(some))
                sums, steps = {name: sums[name] + found[name] for name in LOSSES}, steps + 1
        state.step += 1
        means = {name: float(total) / steps for name, total in sums.items()}
        check_finite(means, f"update {state.step}", "online.parameters.learning_rate")
        return {**means, "decisions": float(len(decisions)), "learning_rate": rate}


def _fresh(context: AlgorithmContext, learning_rate: float) -> Learner:
    return fresh_learner(
        context.seed,
        learning_rate,
        inputs=context.observation_size,
        outputs=context.actions,
        device=context.learner.device,
    )


def _check(phase: str, learning_rate: float, externality_weight: float) -> None:
    if not learning_rate > 0:
        raise ValueError(f"{phase}.parameters.learning_rate: {learning_rate:g}; it must be above 0")
    if not externality_weight >= 0:
        raise ValueError(f"{phase}.parameters.externality_weight: {externality_weight:g}; it must be at least 0")
