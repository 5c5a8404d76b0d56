"""What a node reports of itself when another node probes it (`Report`), and its reports of recent slots (`SlotReports`).

Concurrency: a `Report` is plain data. `SlotReports` has one lock: request threads announce ticks and wait for reports;
the loop thread publishes them.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from edgenode.errors import AlreadyTicked, ProbeTimeout
from middleware.http.openapi import LARGEST
from offload.state import LocalState

_MOST: Final = sys.float_info.max
_KEPT: Final = 8
"""Slots whose reports are kept: a probe that comes later than that has timed out."""


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to a probe."""

    slot: int
    """Of the snapshot: what was true at its tick, before anything of the slot was queued."""
    capacity_hz: float
    """F_j in cycles/s."""
    failure_rate: float
    """α_j in execution failures per second."""
    execution_queue_length: int
    """Tasks, the running one included."""
    execution_backlog_s: float
    """Seconds until the executor is free of what is in its queue: the rest of the running task included."""
    receiving_work_s: float
    """Seconds of execution of the tasks that are announced and on their way."""

    @classmethod
    def of(cls, states: LocalState) -> Self:
        """What a node reports of its snapshot (B = 1)."""
        return cls(
            states.slot.item(),
            states.capacity_hz.item(),
            states.failure_rate.item(),
            states.execution_queue_length.item(),
            states.execution_backlog_s.item(),
            states.receiving_work_s.item(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, as it is sent (docs/contracts.md): the fields by their names."""
        return {
            "slot": self.slot,
            "capacity_hz": self.capacity_hz,
            "failure_rate": self.failure_rate,
            "execution_queue_length": self.execution_queue_length,
            "execution_backlog_s": self.execution_backlog_s,
            "receiving_work_s": self.receiving_work_s,
        }

    @classmethod
    def from_bytes(cls, content: bytes, slot: int) -> Self:
        """A report of this slot from what was received; keys that are no fields are ignored.

        Raises ValueError naming what is missing, negative, not finite, or of another slot.
        """
        try:
            data = json.loads(str(content, "utf-8"))
        except ValueError:
            raise ValueError("no JSON") from None
        if not isinstance(data, dict):
            raise ValueError("no object")
        if data.get("slot") != slot:
            raise ValueError(f"slot: {data.get('slot')!r} instead of {slot}")
        for name in MEASURES:
            value: Any = data.get(name)
            # No bool, which is an integer; NaN fails both comparisons.
            if type(value) not in (int, float) or not 0 <= value <= _MOST:
                raise ValueError(f"{name}: {value!r} is no number of 0 or more")
        length = data["execution_queue_length"]
        if type(length) is not int or length > LARGEST:
            raise ValueError(f"execution_queue_length: {length!r} is no number of tasks")
        return cls(
            slot,
            data["capacity_hz"],
            data["failure_rate"],
            length,
            data["execution_backlog_s"],
            data["receiving_work_s"],
        )


MEASURES: Final = tuple(field.name for field in fields(Report) if field.name != "slot")
"""The fields that say something of the node; `offload.state.Reports` and `LocalState` have arrays of the same names."""


class SlotReports:
    """The reports of one episode."""

    def __init__(self, episode: int) -> None:
        self._episode = episode
        self._changed = threading.Condition()
        self._reports: dict[int, Report] = {}
        self._newest = -1
        self._closed = False

    def expect(self, slot: int) -> None:
        """A tick of the slot has come. Raises AlreadyTicked for a slot that had its tick, or is before one that had."""
        with self._changed:
            if slot <= self._newest:
                raise AlreadyTicked(f"slot {slot} of episode {self._episode} has been ticked already")
            self._newest = slot

    def publish(self, report: Report) -> None:
        """Let probes of the report's slot have it."""
        with self._changed:
            self._reports[report.slot] = report
            self._reports.pop(report.slot - _KEPT, None)
            self._changed.notify_all()

    def wait_for(self, slot: int, timeout_s: float) -> Report:
        """The report of a slot, as soon as there is one. Raises ProbeTimeout."""
        with self._changed:
            if self._changed.wait_for(lambda: slot in self._reports or self._closed, timeout_s):
                found = self._reports.get(slot)
                if found is not None:
                    return found
        raise ProbeTimeout(f"no snapshot of slot {slot} within {timeout_s:g} s")

    def close(self) -> None:
        """Nobody waits any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
