"""RATC, Reliability-Aware Two Choices (paper section V-B)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgenode.schedulers.estimates import distinct_nodes, estimated_delay_s, scattered, success_probability
from offload.draws import Draws
from offload.outcomes import TIME_TOLERANCE_S
from offload.protocols import Choice, SchedulerContext
from offload.state import IntArray, LocalState, Reports


@dataclass(frozen=True, eq=False)
class RATC:
    """Probes two random nodes, maybe itself; takes the more reliable one if both meet the deadline, else the faster."""

    context: SchedulerContext

    enough_reports: ClassVar[int | None] = None

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """Two distinct nodes, or one in a network of one node."""
        return distinct_nodes(states, draws, 2)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the estimated delays."""
        delay = estimated_delay_s(states, reports)
        both_in_time = (delay <= states.deadline_s[:, None] + TIME_TOLERANCE_S).all(axis=1)
        reliable = np.argmax(success_probability(states, reports), axis=1)
        column = np.where(both_in_time, reliable, np.argmin(delay, axis=1))
        chosen = np.take_along_axis(reports.node, column[:, None], axis=1)[:, 0]
        destination = np.where(reports.answered.any(axis=1), chosen, states.node)
        return Choice.of(destination, states.nodes, scattered(reports, delay, states.nodes))
