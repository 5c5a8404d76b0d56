"""`scorer`: a learned value for each candidate, in networks of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np

from edgenode.schedulers.estimates import joined, others_by_weight, scattered
from offload.candidates import PROMISE, VALUE, CandidateProfile, reported_rows, unreported_rows
from offload.draws import Draws
from offload.manifest import ACTOR_FILE
from offload.protocols import Actor, Choice, SchedulerContext
from offload.state import IntArray, LocalState, Reports, report_of

_SMALLEST_EXPONENT = -600.0
"""Weights stay above 0, so that a network of two nodes has a node to probe."""


@cache
def shipped_actor() -> Actor:
    """The actor that comes with the testbed. `docs/schedulers.md` has the command that made it."""
    from edgenode.schedulers.actor import OnnxActor

    return OnnxActor((files(__package__) / "models" / "scorer" / ACTOR_FILE).read_bytes())


@dataclass(frozen=True, eq=False)
class Scorer:
    """Probes d nodes that a learned actor proposes, and takes the best of them and itself by the actor's value.

    The actor has no weights for single nodes, so it can be used in every network. Without a model of the profile
    `candidates`, the scheduler uses the actor that comes with the testbed.

    d: nodes to probe
    temperature: of the softmax that draws the nodes to probe; near 0, all nodes would probe the same ones
    exploration: share of the decisions that choose uniformly among the candidates; for training
    reservations: whether probes carry their task
    confirm: whether to choose again after the announcement
    """

    context: SchedulerContext
    d: int = 3
    temperature: float = 0.1
    exploration: float = 0.0
    reservations: bool = True
    confirm: bool = True

    enough_reports: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.d < 1:
            raise ValueError(f"scheduler.parameters.d: {self.d}; it must be at least 1")
        if not self.temperature > 0:
            raise ValueError(f"scheduler.parameters.temperature: {self.temperature}; it must be above 0")
        if not 0 <= self.exploration <= 1:
            raise ValueError(f"scheduler.parameters.exploration: {self.exploration}; it must be from 0 to 1")

    @property
    def _actor(self) -> Actor:
        own = self.context.actor
        return own if own is not None and isinstance(self.context.profile, CandidateProfile) else shipped_actor()

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """(B, min(d, N−1)) distinct others, drawn without replacement from a softmax of the actor's second output."""
        if states.nodes == 1:
            return np.zeros((states.batch, 0), dtype=np.int64)
        rows = unreported_rows(states)
        promise = self._actor.logits(rows.reshape(-1, rows.shape[-1]))[:, PROMISE].astype(np.float64)
        exponents = promise.reshape(states.batch, states.nodes) / self.temperature
        exponents[np.arange(states.batch), states.node] = -np.inf
        exponents -= exponents.max(axis=1, keepdims=True)
        return others_by_weight(states, draws, np.exp(np.maximum(exponents, _SMALLEST_EXPONENT)), self.d)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the actor's values."""
        candidates = joined(report_of(states), reports)
        rows = reported_rows(states, candidates)
        value = self._actor.logits(rows.reshape(-1, rows.shape[-1]))[:, VALUE].astype(np.float64)
        value = np.where(candidates.answered, value.reshape(rows.shape[:2]), -np.inf)
        column = np.argmax(value, axis=1)
        if self.exploration > 0:
            explores = draws.uniform(self.d) < self.exploration
            rank = np.floor(draws.uniform(self.d + 1) * candidates.answered.sum(axis=1))
            drawn = np.argmax(np.cumsum(candidates.answered, axis=1) > rank[:, None], axis=1)
            column = np.where(explores, drawn, column)
        destination = np.take_along_axis(candidates.node, column[:, None], axis=1)[:, 0]
        return Choice.of(destination, states.nodes, scattered(candidates, value, states.nodes))
