"""A node's answer to a probe (`Report`), and its reports of recent slots (`SlotReports`).

Concurrency: a `Report` is plain data. `SlotReports` has one lock. Request threads announce ticks, and wait for
reports to answer probes; the loop thread publishes them.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

from edgenode.errors import AlreadyTicked, ProbeTimeout
from middleware.http.openapi import LARGEST
from offload.state import LocalState

_MOST: Final = sys.float_info.max
_KEPT: Final = 8
"""How many slots' reports are kept. A later probe has timed out."""


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to a probe."""

    slot: int
    """The slot of the snapshot: the state at its tick, before any task of the slot was queued."""
    capacity_hz: float
    """F_j in cycles/s."""
    failure_rate: float
    """α_j in execution failures per second."""
    execution_queue_length: int
    """Tasks in the execution queue, including the running one."""
    execution_backlog_s: float
    """Seconds until the executor has finished its queue, including the rest of the running task."""
    receiving_work_s: float
    """Seconds of execution of the announced tasks that have not arrived."""
    pending_cycles: float
    """Cycles of the node's own task of this slot, on which it decides now; 0 without one."""
    asked_work_s: float = 0.0
    """Seconds of execution here of the tasks whose probes with a reservation were answered before, in this slot."""
    asked_count: int = 0
    """The number of these tasks."""

    @classmethod
    def of(cls, states: LocalState) -> Self:
        """The report of a node's snapshot (B = 1), which knows of no probes."""
        return cls(
            states.slot.item(),
            states.capacity_hz.item(),
            states.failure_rate.item(),
            states.execution_queue_length.item(),
            states.execution_backlog_s.item(),
            states.receiving_work_s.item(),
            states.cycles.item(),
        )

    def to_json(self) -> dict[str, Any]:
        """The report as it is sent (docs/contracts.md): the fields by name."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def from_bytes(cls, content: bytes, slot: int) -> Self:
        """Read a report of this slot from received bytes. Unknown keys are ignored.

        Raises ValueError naming the field that is missing, negative, not finite, or of another slot.
        """
        try:
            data = json.loads(str(content, "utf-8"))
        except ValueError:
            raise ValueError("not JSON") from None
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        if data.get("slot") != slot:
            raise ValueError(f"slot: {data.get('slot')!r} instead of {slot}")
        for name in MEASURES:
            value: Any = data.get(name)
            # Not a bool, which is an integer too. NaN fails both comparisons.
            if type(value) not in (int, float) or not 0 <= value <= _MOST:
                raise ValueError(f"{name}: {value!r} must be a number of 0 or more")
        for name in COUNTS:
            if type(data[name]) is not int or data[name] > LARGEST:
                raise ValueError(f"{name}: {data[name]!r} must be a number of tasks")
        return cls(slot, *(data[name] for name in MEASURES))


_NAMES: Final = tuple(field.name for field in fields(Report))
MEASURES: Final = _NAMES[1:]
"""The fields with the node's state. `offload.state.Reports` has arrays with the same names."""
COUNTS: Final = ("execution_queue_length", "asked_count")
"""The measures that are integers. The others are floats."""


@dataclass(frozen=True)
class Reservation:
    """The task of a probe: another node decides on it in this slot, and may send it here."""

    source: int
    cycles: float


class SlotReports:
    """The reports of one episode's slots."""

    def __init__(self, episode: int) -> None:
        self._episode = episode
        self._changed = threading.Condition()
        self._reports: dict[int, Report] = {}
        self._asked: dict[int, dict[int, float]] = {}
        """Execution seconds here of the tasks with a reservation, by slot and source, in the order of the answers."""
        self._newest = -1
        self._closed = False

    def expect(self, slot: int) -> None:
        """Note that a tick of the slot has arrived. Raises AlreadyTicked if it or a later slot had its tick before."""
        with self._changed:
            if slot <= self._newest:
                raise AlreadyTicked(f"slot {slot} of episode {self._episode} has been ticked already")
            self._newest = slot

    def publish(self, report: Report) -> None:
        """Give the report to the probes of its slot."""
        with self._changed:
            self._reports[report.slot] = report
            self._reports.pop(report.slot - _KEPT, None)
            self._asked.pop(report.slot - _KEPT, None)
            self._changed.notify_all()

    def answer(self, slot: int, timeout_s: float, reservation: Reservation | None = None) -> Report:
        """Answer a probe: the report of a slot, for which this waits at most `timeout_s` real seconds.

        A reservation counts in the answers to later probes of the slot. If it is repeated, it gets the same answer.
        Raises ProbeTimeout.
        """
        with self._changed:
            if self._changed.wait_for(lambda: slot in self._reports or self._closed, timeout_s):
                found = self._reports.get(slot)
                if found is not None:
                    return self._with_asked(found, reservation)
        raise ProbeTimeout(f"no snapshot of slot {slot} within {timeout_s:g} s")

    def _with_asked(self, report: Report, reservation: Reservation | None) -> Report:
        asked = self._asked.setdefault(report.slot, {})
        before = list(asked.values())
        if reservation is not None:
            if reservation.source in asked:
                before = before[: list(asked).index(reservation.source)]
            else:
                asked[reservation.source] = reservation.cycles / report.capacity_hz
        return replace(report, asked_work_s=sum(before), asked_count=len(before)) if before else report

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
