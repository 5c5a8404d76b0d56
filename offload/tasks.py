"""Defines tasks and traces, and draws traces: which node receives which task in which slot.

Arrivals are Bernoulli trials (paper section III-A).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offload.draws import Purpose, uniform
from offload.given import mapping, number, sequence, whole
from offload.limits import LONGEST_DEADLINE_S, LONGEST_SLOT_S, MAX_EPISODE, MAX_SLOTS, MOST_BITS, MOST_CYCLES
from offload.network import Network

if TYPE_CHECKING:
    from offload.settings import TaskSettings


_FACTS: dict[str, dict[str, Any]] = {
    "size_bits": {"most": MOST_BITS},
    "cycles": {"most": MOST_CYCLES},
    "deadline_s": {
        "most": LONGEST_DEADLINE_S,
        "hint": "; 1e9 s, thirty years, have the effect of no deadline",
    },
}


@dataclass(frozen=True, slots=True)
class Task:
    """One task: `size_bits` s_i, `cycles` c_i, `deadline_s` d_i, counted from the planned instant of its slot."""

    slot: int
    source: int
    size_bits: float
    cycles: float
    deadline_s: float


@dataclass(frozen=True, eq=False)
class Trace:
    """The tasks of one episode as arrays of shape (T, N). `has_task[t, i]`: node i receives a task in slot t.

    `episode` is part of the key of every random draw of the trace, of arrivals and of failures: two methods that play
    the same trace meet the same failures.
    """

    episode: int
    slot_s: float
    has_task: NDArray[np.bool_]
    size_bits: NDArray[np.float64]
    cycles: NDArray[np.float64]
    deadline_s: NDArray[np.float64]

    @property
    def slots(self) -> int:
        """T, the number of slots."""
        return int(self.has_task.shape[0])

    @property
    def nodes(self) -> int:
        """N, the number of nodes."""
        return int(self.has_task.shape[1])

    def task(self, slot: int, source: int) -> Task | None:
        """The task that `source` receives in `slot`, or None."""
        if slot >= self.slots or not self.has_task[slot, source]:
            return None
        place = slot, source
        return Task(
            slot, source, float(self.size_bits[place]), float(self.cycles[place]), float(self.deadline_s[place])
        )

    def __iter__(self) -> Iterator[Task]:
        for slot, source in np.argwhere(self.has_task):
            task = self.task(int(slot), int(source))
            assert task is not None
            yield task

    def to_json(self) -> dict[str, Any]:
        """The trace as the plain data of `tasks.json`: tasks sorted by slot, then source."""
        keys = ("slot", "source", "size_bits", "cycles", "deadline_s")
        return {
            "episode": self.episode,
            "slot_s": self.slot_s,
            "slots": self.slots,
            "tasks": [{key: getattr(task, key) for key in keys} for task in self],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], nodes: int) -> Trace:
        """A trace from the plain data of `tasks.json`, for a network of `nodes` nodes.

        The keys `slots` and `episode` are optional. Their defaults are the last task's slot + 1, and 0.
        Raises ValueError that names the place of what is wrong.
        """
        mapping(data, "", ("slot_s", "tasks"), ("slots", "episode"))
        tasks = sequence(data["tasks"], "tasks", "objects")
        for k, task in enumerate(tasks):
            mapping(task, f"tasks[{k}]", ("slot", "source", *_FACTS))
        slot_s = number(data["slot_s"], "slot_s", most=LONGEST_SLOT_S, above=True)
        episode = whole(data.get("episode", 0), "episode", 0, MAX_EPISODE)
        if data.get("slots") is not None:
            slots = whole(data["slots"], "slots", 1, MAX_SLOTS)
        else:
            last = [whole(task["slot"], f"tasks[{k}].slot", 0, MAX_SLOTS - 1) for k, task in enumerate(tasks)]
            slots = max(last, default=0) + 1
        has_task = np.zeros((slots, nodes), dtype=bool)
        values = {key: np.zeros((slots, nodes)) for key in _FACTS}
        for k, task in enumerate(tasks):
            slot = whole(task["slot"], f"tasks[{k}].slot", 0, slots - 1)
            source = whole(task["source"], f"tasks[{k}].source", 0, nodes - 1)
            if has_task[slot, source]:
                raise ValueError(f"tasks[{k}]: slot {slot} has two tasks at node {source}; at most one is possible")
            for key, bounds in _FACTS.items():
                values[key][slot, source] = number(task[key], f"tasks[{k}].{key}", above=True, **bounds)
            has_task[slot, source] = True
        return cls(episode, slot_s, has_task, **values)


def draw_trace(settings: TaskSettings, network: Network, slot_s: float, slots: int, seed: int, episode: int) -> Trace:
    """Draw the trace of an episode. In each slot node i gets a task with probability λ_i.

    Sizes and complexities are uniform in their ranges.
    """
    slot = np.arange(slots)[:, None]
    source = np.arange(network.nodes)[None, :]

    def drawn(purpose: Purpose, low: float, high: float) -> NDArray[np.float64]:
        share: NDArray[np.float64] = uniform(seed, purpose, episode, slot, source)
        return low + share * (high - low)

    has_task = drawn(Purpose.ARRIVAL, 0.0, 1.0) < network.arrival_probability
    size_bits = np.where(has_task, drawn(Purpose.SIZE, *settings.size_bits), 0.0)
    complexity = drawn(Purpose.COMPLEXITY, *settings.complexity_cycles_per_bit)
    deadline_s = np.where(has_task, settings.deadline_s, 0.0)
    return Trace(episode, slot_s, has_task, size_bits, size_bits * complexity, deadline_s)
