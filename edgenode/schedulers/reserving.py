"""`sed-reserve`: shortest expected delay that also counts the tasks which other nodes are deciding on in this slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgenode.schedulers.estimates import joined, others_by_capacity
from edgenode.schedulers.shortest_delay import lowest_delay
from offload.draws import Draws
from offload.protocols import Choice, SchedulerContext
from offload.state import FloatArray, IntArray, LocalState, Reports, report_of

_TAKEN_SHARE = 0.5
"""The share of earlier probes' work that is expected to come: an asker chooses one of a few nodes."""


@dataclass(frozen=True, eq=False)
class SEDReserve:
    """The lowest estimated delay among itself and d probes, which it draws in proportion to the nodes' capacities.

    Decisions of one slot are simultaneous: `sed` does not see the tasks of the slot that the other nodes are deciding
    on. This scheduler counts two kinds of them as work of the node that it asks.

    pending: whether to count the probed node's own task of the slot, as if it stays there
    reservations: whether probes carry their task; half of the work of earlier probes of the slot then counts
    confirm: whether to choose again after the announcement
    """

    context: SchedulerContext
    d: int = 2
    pending: bool = True
    reservations: bool = True
    confirm: bool = False

    enough_reports: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.d < 1:
            raise ValueError(f"scheduler.parameters.d: {self.d}; it must be at least 1")

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """d distinct others, each drawn in proportion to its capacity."""
        return others_by_capacity(states, draws, self.d)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the estimated delays."""
        own = report_of(states)
        # Nothing more is expected at this node: its own task enters its queue now, before those of others arrive.
        more_work_s = np.concatenate([np.zeros(own.node.shape), self._expected_s(reports)], axis=1)
        return lowest_delay(states, joined(own, reports), more_work_s)

    def _expected_s(self, reports: Reports) -> FloatArray:
        """(B, d) execution seconds of this slot's other tasks that are expected at each probed node."""
        expected_s = np.zeros(reports.node.shape)
        if self.reservations:
            expected_s += _TAKEN_SHARE * reports.asked_work_s
        if self.pending:
            expected_s += reports.pending_cycles / np.where(reports.answered, reports.capacity_hz, 1.0)
        return expected_s
