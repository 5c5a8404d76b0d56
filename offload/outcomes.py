"""What becomes of a task, in which slot that counts, and what it is worth."""

from __future__ import annotations

from enum import StrEnum

TIME_TOLERANCE_S = 1e-9
"""Exactly at the deadline is in time: comparisons of instants allow one nanosecond."""

LATE_TOLERANCE = 0.01
"""On the testbed a *measured* completion may pass the deadline by this share of it before it counts as dropped."""


class Outcome(StrEnum):
    """The one outcome of a task. `LOST` is the testbed's own: a crashed node, an unreachable peer."""

    SUCCESS = "success"
    DROPPED = "dropped"
    EXECUTION_FAILURE = "execution_failure"
    TRANSMISSION_FAILURE = "transmission_failure"
    LOST = "lost"


def end_slot(slot: int, completion_s: float, slot_s: float, slots: int) -> int:
    """The slot in which a task ends: ⌊(arrival + completion time)/Δ⌋, at most T−1.

    A completion exactly on a slot's boundary belongs to the later slot, also when floating point puts it a hair below.
    """
    return min(int((slot * slot_s + completion_s) / slot_s + TIME_TOLERANCE_S), slots - 1)


def reward(outcome: Outcome) -> int:
    """+1 for a success, −1 for anything else (paper section IV-B3)."""
    return 1 if outcome is Outcome.SUCCESS else -1
