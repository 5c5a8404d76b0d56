"""Defines the outcomes of a task, the slot in which a task ends, and the reward of an outcome."""

from __future__ import annotations

from enum import StrEnum

TIME_TOLERANCE_S = 1e-9
"""Comparisons of instants allow one nanosecond, so that an end exactly at the deadline is in time."""

LATE_TOLERANCE = 0.01
"""On the testbed a *measured* completion may exceed the deadline by this share of it and still count as a success."""


class Outcome(StrEnum):
    """The outcome of a task; each task has exactly one.

    `LOST` exists only on the testbed: a node crashed or could not be reached.
    """

    SUCCESS = "success"
    DROPPED = "dropped"
    EXECUTION_FAILURE = "execution_failure"
    TRANSMISSION_FAILURE = "transmission_failure"
    LOST = "lost"


def end_slot(slot: int, completion_s: float, slot_s: float, slots: int) -> int:
    """The slot in which a task ends: ⌊(arrival + completion time)/Δ⌋, at most T−1.

    A completion exactly at a slot's boundary belongs to the later slot, also if rounding puts it slightly below.
    """
    return min(int((slot * slot_s + completion_s) / slot_s + TIME_TOLERANCE_S), slots - 1)


def reward(outcome: Outcome) -> int:
    """+1 for a success, −1 for anything else (paper section IV-B3)."""
    return 1 if outcome is Outcome.SUCCESS else -1
