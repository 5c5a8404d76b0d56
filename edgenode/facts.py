"""What a node knows of an episode and of the tasks in it: plain data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offload.network import Network
from offload.state import LocalState

Key = tuple[int, int]
"""A task within an episode: (slot, source)."""

Settlement = Literal["accepted", "refused", "doubt"]
"""How a handover ended, as its sender knows it."""


@dataclass(frozen=True)
class EpisodeFacts:
    """What is fixed for an episode. `trace` keys the failures; `transfer` says how tasks travel.

    episode, episode_uid: its number within the run, and its identity, which no other run's episode has
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
class Journey:
    """A task's way so far: its facts, and the durations of its stages (model seconds, measured)."""

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
    """The node at its tick of a slot, before anything of the slot was queued; `states` has B = 1."""

    slot: int
    at_s: float
    states: LocalState
    task: Journey | None


@dataclass(frozen=True)
class Progress:
    """How many tasks a node owns now; how many handovers it has accepted, how many of its own are settled, and how many
    tasks have ended here, since the episode was opened.
    """

    owned: int
    accepted: int
    settled: int
    ended: int
