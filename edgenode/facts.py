"""Data types for an episode and its tasks, as one node knows them. They have no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offload.network import Network
from offload.state import LocalState

Key = tuple[int, int]
"""A task within an episode: (slot, source)."""

Settlement = Literal["accepted", "refused", "doubt"]
"""The result of a handover, as its sender knows it. "doubt": the receiver may or may not have accepted the task."""


@dataclass(frozen=True)
class EpisodeFacts:
    """What is fixed for an episode.

    episode: its number within the run
    episode_uid: its identity, which is unique over all runs
    trace: the number that selects the random draws of failures
    failure_timing: whether a failure ends its stage at the planned end, or at the instant of the failure
    transfer: whether a task's transmission is emulated, or its bytes are sent
    """

    episode: int
    episode_uid: str
    trace: int
    node: int
    network: Network
    seed: int
    slot_s: float
    slots: int
    failure_timing: Literal["end", "event"]
    overload_threshold_s: float
    transfer: Literal["emulated", "payload"]


@dataclass(slots=True)
class NodeTask:
    """A task at the node that owns it, with the durations of its stages so far (model seconds)."""

    slot: int
    source: int
    size_bits: float
    cycles: float
    deadline_s: float
    skew_s: float = 0.0
    decision_s: float = 0.0
    destination: int | None = None
    transmission_waiting_s: float = 0.0
    transmission_s: float = 0.0
    handover_s: float = 0.0
    execution_waiting_s: float = 0.0
    execution_s: float = 0.0
    transfer: str | None = None

    @property
    def key(self) -> Key:
        """(slot, source)."""
        return self.slot, self.source


@dataclass(frozen=True)
class Snapshot:
    """The node's state at its tick of a slot, before any task of the slot was queued. `states` has B = 1."""

    slot: int
    at_s: float
    states: LocalState
    task: NodeTask | None


@dataclass(frozen=True)
class TaskCounts:
    """Counts of one node's tasks since the episode was opened.

    owned: tasks that the node owns now
    accepted: handovers that it has accepted
    settled: handovers of its own with a known result
    ended: tasks that have ended here
    """

    owned: int
    accepted: int
    settled: int
    ended: int
