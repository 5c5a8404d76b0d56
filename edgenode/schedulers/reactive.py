"""RDA, the Reactive Distributed Algorithm (paper section V-B), and a variant with a threshold in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgenode.schedulers.estimates import estimated_delay_s, scattered
from offload.draws import Draws
from offload.protocols import Choice, SchedulerContext
from offload.state import BoolArray, IntArray, LocalState, Reports


@dataclass(frozen=True, eq=False)
class _Reactive:
    context: SchedulerContext

    enough_reports: ClassVar[int | None] = 2

    def keeps(self, states: LocalState) -> BoolArray:
        """(B,) whether the task stays without probes."""
        raise NotImplementedError

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """All other nodes (a broadcast), unless the task stays."""
        n = states.nodes
        others = np.arange(n - 1)[None, :] + (np.arange(n - 1)[None, :] >= states.node[:, None])
        return np.where(self.keeps(states)[:, None], -1, others).astype(np.int64)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """Of the first two that answered, the one with the lower estimated delay; this node if none answered."""
        if reports.node.shape[1] == 0:
            return Choice.of(states.node, states.nodes)
        delay = np.where(first_answered(reports, 2), estimated_delay_s(states, reports), np.nan)
        heard = np.isfinite(delay).any(axis=1) & ~self.keeps(states)
        column = np.argmin(np.where(np.isfinite(delay), delay, np.inf), axis=1)
        chosen = np.take_along_axis(reports.node, column[:, None], axis=1)[:, 0]
        scores = scattered(reports, delay, states.nodes)
        return Choice.of(np.where(heard, chosen, states.node), states.nodes, scores)


def first_answered(reports: Reports, count: int) -> BoolArray:
    """(B, d) whether an answer is among the first `count`. Of two at one instant, the earlier column counts first."""
    after = np.where(reports.answered, reports.answered_after_s, np.inf)
    first = np.zeros(after.shape, dtype=bool)
    np.put_along_axis(first, np.argsort(after, axis=1, kind="stable")[:, :count], True, axis=1)
    return first & reports.answered


@dataclass(frozen=True, eq=False)
class RDA(_Reactive):
    """Keeps the task while its queue is short; else sends it to the faster of the first two that answer a broadcast."""

    threshold_tasks: float = 3.0
    """The node broadcasts from this many tasks in its execution queue, per `per_capacity_hz` of capacity."""
    per_capacity_hz: float = 12e9

    def __post_init__(self) -> None:
        if not self.threshold_tasks >= 0:
            raise ValueError(f"scheduler.parameters.threshold_tasks: {self.threshold_tasks}; it must be at least 0")
        if not self.per_capacity_hz > 0:
            raise ValueError(f"scheduler.parameters.per_capacity_hz: {self.per_capacity_hz}; it must be above 0")

    def keeps(self, states: LocalState) -> BoolArray:
        """While the execution queue, including the running task, has fewer tasks than the threshold."""
        threshold = self.threshold_tasks * states.capacity_hz / self.per_capacity_hz
        kept: BoolArray = states.execution_queue_length < threshold
        return kept


@dataclass(frozen=True, eq=False)
class TunedRDA(_Reactive):
    """RDA with its threshold in seconds of execution backlog: a strong baseline that is not in the papers."""

    threshold_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.threshold_s >= 0:
            raise ValueError(f"scheduler.parameters.threshold_s: {self.threshold_s}; it must be at least 0 seconds")

    def keeps(self, states: LocalState) -> BoolArray:
        """While the execution backlog, without receiving work, is below the threshold."""
        kept: BoolArray = states.execution_backlog_s < self.threshold_s
        return kept
