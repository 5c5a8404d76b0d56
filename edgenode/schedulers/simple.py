"""Schedulers that need no reports from other nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from offload.draws import Draws
from offload.masks import action_mask
from offload.protocols import Choice, SchedulerContext
from offload.state import FloatArray, IntArray, LocalState, Reports


@dataclass(frozen=True, eq=False)
class _WithoutProbes:
    context: SchedulerContext

    enough_reports: ClassVar[int | None] = None

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """No probes: (B, 0)."""
        return np.zeros((states.batch, 0), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Random(_WithoutProbes):
    """Chooses uniformly among all N nodes, including itself, regardless of their load."""

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """⌊u·N⌋."""
        destination = np.floor(draws.uniform(0) * states.nodes).astype(np.int64)
        return Choice.of(destination, states.nodes)


@dataclass(frozen=True, eq=False)
class Local(_WithoutProbes):
    """Executes every task at its own node: no offloading."""

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The own index."""
        return Choice.of(states.node, states.nodes)


@dataclass(frozen=True, eq=False)
class Weighted(_WithoutProbes):
    """Chooses randomly among the nodes without overload, in proportion to their computation capacity."""

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """Sampled by the inverse of the cumulated weights. The scores are the probabilities."""
        legal = action_mask(states)[:, : states.nodes]
        weights = np.where(legal, states.peer_capacity_hz, 0.0)
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        return Choice.of(sampled(probabilities, draws.uniform(0)), states.nodes, probabilities)


def sampled(probabilities: FloatArray, uniform: FloatArray) -> IntArray:
    """(B,) an index sampled from each row of (B, N) probabilities; never one with probability 0."""
    cumulated = np.cumsum(probabilities, axis=1)
    cumulated /= cumulated[:, -1:]
    index = (cumulated <= uniform[:, None]).sum(axis=1)
    last = probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0, axis=1)
    result: IntArray = np.minimum(index, last).astype(np.int64)
    return result
