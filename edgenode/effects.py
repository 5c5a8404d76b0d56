"""What a node's core asks of the threads around it (`core.py`): each effect is carried out once, in order."""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.facts import Journey
from offload.outcomes import Outcome


@dataclass(frozen=True)
class Announce:
    """Tell `destination` that a task has entered the sending queue to it."""

    destination: int
    journey: Journey
    forget_after_s: float


@dataclass(frozen=True)
class Withdraw:
    """Tell `destination` that an announced task will not come."""

    destination: int
    slot: int


@dataclass(frozen=True)
class Transmit:
    """A transmission occupies the link from start to end; with `payload` the bytes are to be sent within it."""

    destination: int
    journey: Journey
    start_s: float
    end_s: float


@dataclass(frozen=True)
class HandOver:
    """The transmission is over: `destination` is to accept the task. `elapsed_at_start_s`: when the transmission began."""

    destination: int
    journey: Journey
    elapsed_at_start_s: float


@dataclass(frozen=True)
class Execute:
    """The executor is held from start to end; `execution_ended` is to be called when the application is done."""

    journey: Journey
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Ended:
    """A task has ended, with its one outcome."""

    journey: Journey
    outcome: Outcome
    completion_s: float
    end_slot: int
    late: bool


Effect = Announce | Withdraw | Transmit | HandOver | Execute | Ended
