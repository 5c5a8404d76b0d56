"""A FIFO queue in front of one resource (the executor or a link), on planned instants. Pure: no clock, no threads.

The next job starts at the planned end of the job before it, or at its own arrival if that is later. So a thread that
wakes late never delays the following jobs. A job that cannot meet its deadline when it reaches the head is dropped
there, and does not use the resource. All instants are model seconds since the episode's start.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from offload.outcomes import TIME_TOLERANCE_S

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Job(Generic[Item]):
    """A task in this queue.

    slot: the task's slot
    source: the task's source, which breaks ties
    arrival_s: the arrival at this queue
    due_s: the instant of the deadline
    duration_s: the modelled duration
    """

    item: Item
    slot: int
    source: int
    arrival_s: float
    due_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Running(Generic[Item]):
    """The job that holds the resource, with its planned start and end. A failure can end it early."""

    job: Job[Item]
    start_s: float
    end_s: float


class FifoServer(Generic[Item]):
    """One resource and its queue, in the order of arrival (ties: lower source, then lower slot)."""

    def __init__(self) -> None:
        self.running: Running[Item] | None = None
        self._waiting: list[Job[Item]] = []
        self._free_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether the resource is free and no job waits."""
        return self.running is None and not self._waiting

    def enqueue(self, job: Job[Item]) -> None:
        """Queue a job by its arrival, rounded to a nanosecond: 0.1 + 0.2 and 0.3 count as the same instant."""
        bisect.insort(self._waiting, job, key=lambda one: (round(one.arrival_s, 9), one.source, one.slot))

    def jobs(self) -> Iterator[Job[Item]]:
        """The running job, then the waiting ones in order."""
        if self.running is not None:
            yield self.running.job
        yield from self._waiting

    def next_start(self) -> float | None:
        """When the head would start. None while the resource is in use or no job waits."""
        if self.running is not None or not self._waiting:
            return None
        return max(self._free_at, self._waiting[0].arrival_s)

    def take_head(self) -> tuple[Job[Item], float, bool]:
        """Remove the head: (job, planned start, whether it can meet its deadline). Requires a free resource."""
        start = self.next_start()
        assert start is not None
        job = self._waiting.pop(0)
        return job, start, start + job.duration_s <= job.due_s + TIME_TOLERANCE_S

    def hold(self, job: Job[Item], start_s: float, end_s: float) -> Running[Item]:
        """Let a job hold the resource from its planned start to its planned end."""
        self.running = Running(job, start_s, end_s)
        self._free_at = end_s
        return self.running

    def release(self) -> Running[Item]:
        """End the running job, and return it."""
        running = self.running
        assert running is not None
        self.running = None
        return running

    def length(self, before_slot: int) -> int:
        """How many jobs of slots before `before_slot` are in the queue, including the running one."""
        return sum(1 for job in self.jobs() if job.slot < before_slot)

    def backlog_s(self, now: float, before_slot: int) -> float:
        """Seconds until the resource has finished the jobs of slots before `before_slot`.

        A waiting job that will be dropped at the head counts as 0.
        """
        free = now
        if self.running is not None and self.running.job.slot < before_slot:
            # The duration, not the planned end: an early failure is not known in advance.
            free = max(now, self.running.start_s + self.running.job.duration_s)
        for job in self._waiting:
            start = max(free, job.arrival_s)
            if job.slot < before_slot and start + job.duration_s <= job.due_s + TIME_TOLERANCE_S:
                free = start + job.duration_s
        return free - now
