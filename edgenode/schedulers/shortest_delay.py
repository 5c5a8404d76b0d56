"""SED: shortest expected delay among itself and a few random nodes. A baseline that is not in the papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgenode.schedulers.estimates import distinct_others, estimated_delay_s, joined, scattered
from offload.draws import Draws
from offload.protocols import Choice, SchedulerContext
from offload.state import FloatArray, IntArray, LocalState, Reports, report_of


@dataclass(frozen=True, eq=False)
class SED:
    """Probes d random nodes; takes the lowest estimated delay, including its own."""

    context: SchedulerContext
    d: int = 2

    enough_reports: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.d < 1:
            raise ValueError(f"scheduler.parameters.d: {self.d}; it must be at least 1")

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """d distinct others."""
        return distinct_others(states, draws, self.d)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the estimated delays."""
        return lowest_delay(states, joined(report_of(states), reports))


def lowest_delay(states: LocalState, reports: Reports, more_work_s: FloatArray | float = 0.0) -> Choice:
    """The node with the lowest estimated delay among those that answered. `more_work_s`: see `estimated_delay_s`."""
    delay = estimated_delay_s(states, reports, more_work_s)
    column = np.argmin(delay, axis=1)
    destination = np.take_along_axis(reports.node, column[:, None], axis=1)[:, 0]
    return Choice.of(destination, states.nodes, scattered(reports, delay, states.nodes))
