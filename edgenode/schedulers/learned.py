"""Schedulers that follow a trained actor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgenode.schedulers.estimates import joined
from edgenode.schedulers.shortest_delay import lowest_delay
from edgenode.schedulers.simple import sampled
from offload.draws import Draws
from offload.masks import action_mask
from offload.protocols import Actor, Choice, SchedulerContext
from offload.state import FloatArray, IntArray, LocalState, Reports, report_of


@dataclass(frozen=True, eq=False)
class _Learned:
    context: SchedulerContext

    enough_reports: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.context.actor is None or self.context.profile is None:
            raise ValueError("scheduler.model: this scheduler needs an active model; activate one first")

    def log_probabilities(self, states: LocalState) -> FloatArray:
        """(B, N+1) of the actor's masked softmax; −inf where illegal."""
        actor, profile = self.context.actor, self.context.profile
        assert actor is not None and profile is not None
        return masked_log_softmax(actor, profile.encode(states), action_mask(states))


def masked_log_softmax(actor: Actor, observations: np.ndarray, mask: np.ndarray) -> FloatArray:
    """(B, N+1) log-probabilities over legal actions, −inf for the others."""
    logits = np.where(mask, actor.logits(observations).astype(np.float64), -np.inf)
    logits -= logits.max(axis=1, keepdims=True)
    result: FloatArray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return result


@dataclass(frozen=True, eq=False)
class DRL(_Learned):
    """Samples from the actor's masked softmax; not its maximum: nodes that all take that one herd."""

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """Nobody: (B, 0)."""
        return np.zeros((states.batch, 0), dtype=np.int64)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the probabilities of the N nodes."""
        logs = self.log_probabilities(states)
        probabilities = np.exp(logs)
        destination = sampled(probabilities, draws.uniform(0))
        chosen = np.take_along_axis(logs, destination[:, None], axis=1)[:, 0]
        return Choice(destination, probabilities[:, : states.nodes], chosen)


@dataclass(frozen=True, eq=False)
class DRLProbe(_Learned):
    """The actor proposes d nodes to ask; the lowest estimated delay among them and itself is taken."""

    d: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d < 1:
            raise ValueError(f"scheduler.parameters.d: {self.d}; at least 1 node is asked")

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """d distinct others, sampled without replacement from the masked softmax; −1 where fewer are legal.

        The d largest of log π + Gumbel noise are such a sample.
        """
        logs = self.log_probabilities(states)[:, : states.nodes]
        logs[np.arange(states.batch), states.node] = -np.inf
        noise = np.stack([-np.log(-np.log(draws.uniform(j))) for j in range(states.nodes)], axis=1)
        keys = logs + noise
        count = min(self.d, states.nodes)
        order = np.argsort(-keys, axis=1, kind="stable")[:, :count]
        legal = np.isfinite(np.take_along_axis(keys, order, axis=1))
        return np.where(legal, order, -1).astype(np.int64)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the estimated delays; there is no policy over destinations, hence no log-probability."""
        return lowest_delay(states, joined(report_of(states), reports))
