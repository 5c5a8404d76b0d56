"""Computes difference rewards: what a decision gains for its own task, and costs the other tasks at the executor.

A team's reward says little about one decision of many. A difference reward compares what happens with what would happen
without the task, all other decisions as they were (Wolpert and Tumer, "Optimal payoff functions for members of
collectives", 2001). In a FIFO queue it can be computed from the records of the tasks, for the node that got the task
and for every other node that could have got it. What a task costs later tasks on its link is not counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from offload.outcomes import TIME_TOLERANCE_S


@dataclass(frozen=True)
class QueuedTask:
    """A task that arrives at an executor. Instants and durations are in seconds.

    arrival_s: rounded to nanoseconds; source, slot: decide the order of tasks that arrive at the same instant
    duration_s: the execution time; held_s: how long it holds the executor, which can be less if it fails
    success: e^(−α x), the probability that its execution does not fail (eq. 4)
    """

    arrival_s: float
    source: int
    slot: int
    due_s: float
    duration_s: float
    held_s: float
    success: float

    @property
    def place(self) -> tuple[float, int, int]:
        """The key of the queue's order."""
        return self.arrival_s, self.source, self.slot


@dataclass
class ExecutorHistory:
    """All tasks that arrived at one executor during an episode."""

    tasks: Sequence[QueuedTask]
    _places: list[tuple[float, int, int]] = field(init=False)
    _free_s: list[float] = field(init=False)
    _index: dict[tuple[int, int], int] = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = sorted(self.tasks, key=lambda task: task.place)
        self._places = [task.place for task in self.tasks]
        self._index = {(task.slot, task.source): k for k, task in enumerate(self.tasks)}
        free = -float("inf")
        self._free_s = [free]  # when the executor is free of the tasks before the k-th
        for task in self.tasks:
            free = _after(task, free)[0]
            self._free_s.append(free)

    def difference(self, task: QueuedTask) -> tuple[bool, float]:
        """Whether this executor executes a task, and the task's externality E.

        E = Σ e^(−α x_m) over the other tasks m that are executed without this task and dropped with it, minus the
        reverse. The task may be one of the history, or one that went elsewhere. The queue is replayed with and without
        it, until the executor is free at the same instant in both cases. A task of the history arrives as recorded.
        """
        begin = self._index.get((task.slot, task.source))
        if begin is None:
            begin = rest = bisect_left(self._places, task.place)
        else:
            task, rest = self.tasks[begin], begin + 1
        without = self._free_s[begin]
        with_it, executed = _after(task, without)
        if not executed:
            return False, 0.0
        lost = 0.0
        for k in range(rest, len(self.tasks)):
            other = self.tasks[k]
            if with_it == without or (other.arrival_s >= with_it and other.arrival_s >= without):
                break  # the rest is the same with and without the task
            with_it, is_executed = _after(other, with_it)
            without, would_be = _after(other, without)
            if is_executed != would_be:
                lost += other.success if would_be else -other.success
        return True, lost


def _after(task: QueuedTask, free_s: float) -> tuple[float, bool]:
    """When the executor is free after the task, and whether it executes it: it drops what would be late."""
    start = task.arrival_s if task.arrival_s > free_s else free_s
    if start + task.duration_s <= task.due_s + TIME_TOLERANCE_S:
        return start + task.held_s, True
    return free_s, False
