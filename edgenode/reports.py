"""The reports of recent slots, with which a node answers probes.

Concurrency: one lock. Request threads announce ticks and wait for reports; the loop thread publishes them.
"""

from __future__ import annotations

import threading
from typing import Any

from edgenode.errors import AlreadyTicked, ProbeTimeout

_KEPT = 8
"""Slots whose reports are kept: a probe that comes later than that has timed out."""


class SlotReports:
    """The reports of one episode."""

    def __init__(self, episode: int) -> None:
        self._episode = episode
        self._changed = threading.Condition()
        self._reports: dict[int, dict[str, Any]] = {}
        self._newest = -1
        self._closed = False

    def expect(self, slot: int) -> None:
        """A tick of the slot has come. Raises AlreadyTicked for a slot that had its tick, or is before one that had."""
        with self._changed:
            if slot <= self._newest:
                raise AlreadyTicked(f"slot {slot} of episode {self._episode} has been ticked already")
            self._newest = slot

    def publish(self, slot: int, report: dict[str, Any]) -> None:
        """Let probes of the slot have its report."""
        with self._changed:
            self._reports[slot] = report
            self._reports.pop(slot - _KEPT, None)
            self._changed.notify_all()

    def wait_for(self, slot: int, timeout_s: float) -> dict[str, Any]:
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
