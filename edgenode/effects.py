"""The effects of a node's core (`core.py`): the threads around it carry out each effect once, in order."""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.facts import NodeTask
from offload.outcomes import Outcome


@dataclass(frozen=True)
class Announce:
    """Announce to `destination` that a task has entered the sending queue to it."""

    destination: int
    task: NodeTask
    forget_after_s: float


@dataclass(frozen=True)
class Withdraw:
    """Notify `destination` that an announced task will not arrive."""

    destination: int
    slot: int


@dataclass(frozen=True)
class Transmit:
    """A transmission occupies the link from start to end. With payload transfers, the bytes are sent in that time."""

    destination: int
    task: NodeTask
    start_s: float
    end_s: float


@dataclass(frozen=True)
class HandOver:
    """The transmission has ended, and `destination` has to accept the task.

    elapsed_at_start_s: seconds from the start of the task's slot to that of the transmission
    """

    destination: int
    task: NodeTask
    elapsed_at_start_s: float


@dataclass(frozen=True)
class Execute:
    """The executor is occupied from start to end. Call `execution_ended` when the application has finished."""

    task: NodeTask
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Ended:
    """A task has ended, with its only outcome."""

    task: NodeTask
    outcome: Outcome
    completion_s: float
    end_slot: int
    late: bool


Effect = Announce | Withdraw | Transmit | HandOver | Execute | Ended
