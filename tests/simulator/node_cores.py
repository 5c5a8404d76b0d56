"""Plays episodes with the edge nodes' own cores (`edgenode/core.py`), in virtual time.

It does not use the twin. Messages take no time, and threads wake up exactly at the instant they asked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edgenode.core import NodeCore
from edgenode.effects import Announce, Ended, Execute, HandOver, Withdraw
from edgenode.facts import EpisodeFacts, Snapshot
from offload.fidelity import PUSH_LEAD
from offload.network import Network
from offload.settings import Settings
from offload.tasks import Trace


@dataclass
class NodeCores:
    """All nodes of one episode. `play` returns the ends of all tasks by (slot, source)."""

    network: Network
    trace: Trace
    settings: Settings

    def __post_init__(self) -> None:
        settings, trace = self.settings, self.trace
        self.cores = [
            NodeCore(
                EpisodeFacts(
                    episode=0, episode_uid="", trace=trace.episode, node=i, network=self.network, seed=settings.seed,
                    slot_s=trace.slot_s, slots=trace.slots, failure_timing=settings.time.failure_timing,
                    overload_threshold_s=settings.overload_threshold_s, transfer="emulated",
                )
            )
            for i in range(self.network.nodes)
        ]  # fmt: skip
        self.ended: dict[tuple[int, int], Ended] = {}
        self._executions: list[tuple[float, int, tuple[int, int]]] = []
        self._sequence = 0

    def play(self, decide: Callable[[int, list[Snapshot]], np.ndarray]) -> dict[tuple[int, int], Ended]:
        """decide(slot, snapshots): gives the destinations (N,) of the slot's tasks; it is also called at tick T."""
        slot_s, slots = self.trace.slot_s, self.trace.slots
        for slot in range(slots + 1):
            now = slot * slot_s
            self._pass_until(now)
            snapshots = []
            for i, core in enumerate(self.cores):
                snapshot = core.tick(slot, self.trace.task(slot, i), now)
                assert snapshot is not None
                snapshots.append(snapshot)
                self._carry_out(i, now)
            destinations = decide(slot, snapshots)
            for i, snapshot in enumerate(snapshots):
                if snapshot.task is not None:
                    self.cores[i].decided(snapshot.task.key, int(destinations[i]), now)
                    self._carry_out(i, now)
            push_at = (slot + 1 - PUSH_LEAD) * slot_s
            self._pass_until(push_at)
            self._sequence += 1
            for i, core in enumerate(self.cores):
                overloaded = core.overloaded(push_at)
                for j, other in enumerate(self.cores):
                    if i != j:
                        other.overload_received(i, overloaded, self._sequence)
        self._pass_until(float("inf"))
        return self.ended

    def _pass_until(self, until: float) -> None:
        while True:
            instants = [core.next_instant() for core in self.cores]
            planned = min(instants)
            ends = self._executions[0][0] if self._executions else float("inf")
            now = min(planned, ends)
            if now > until or now == float("inf"):
                return
            while self._executions and self._executions[0][0] <= now:
                _, i, key = heapq.heappop(self._executions)
                self.cores[i].execution_ended(key, now)
                self._carry_out(i, now)
            for i, instant in enumerate(instants):
                if instant <= now:
                    self.cores[i].advance(now)
                    self._carry_out(i, now)

    def _carry_out(self, i: int, now: float) -> None:
        core = self.cores[i]
        while effects := core.take_effects():
            for effect in effects:
                match effect:
                    case Ended(task):
                        assert task.key not in self.ended
                        self.ended[task.key] = effect
                    case Announce(destination, task, forget_after_s):
                        self.cores[destination].announced(i, task.slot, task.cycles, now + forget_after_s)
                    case Withdraw(destination, slot):
                        self.cores[destination].withdrawn(i, slot)
                    case HandOver(destination, task, elapsed_at_start_s):
                        elapsed = elapsed_at_start_s + task.transmission_s
                        assert self.cores[destination].handed_over(replace(task), elapsed, now)
                        self._carry_out(destination, now)
                        core.handover_settled(task.key, "accepted", now)
                    case Execute(task, _, end_s):
                        heapq.heappush(self._executions, (end_s, i, task.key))
