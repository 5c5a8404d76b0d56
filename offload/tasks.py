"""Tasks and traces: which node receives what in which slot (Bernoulli arrivals, paper section III-A)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from offload.draws import Purpose, uniform
from offload.network import Network

if TYPE_CHECKING:
    from offload.settings import TaskSettings


MAX_SLOTS = 100_000
MAX_EPISODE = 0xFFFFFFFF
"""Limits of a trace: its arrays must fit into memory, and the draws are keyed by 32-bit numbers."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task: `size_bits` s_i, `cycles` c_i, `deadline_s` d_i (relative to its slot's planned instant)."""

    slot: int
    source: int
    size_bits: float
    cycles: float
    deadline_s: float


@dataclass(frozen=True, eq=False)
class Trace:
    """The tasks of one episode as arrays of shape (T, N); `has_task[t, i]` says whether node i receives one in slot t.

    `episode` is the number that keys every random draw of the trace (arrivals and failures alike): two methods that
    play the same trace meet the same failures.
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
        """Plain data as `tasks.json` has it: sorted by slot, then source."""
        keys = ("slot", "source", "size_bits", "cycles", "deadline_s")
        return {
            "episode": self.episode,
            "slot_s": self.slot_s,
            "slots": self.slots,
            "tasks": [{key: getattr(task, key) for key in keys} for task in self],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], nodes: int) -> Trace:
        """A trace from `tasks.json`'s plain data for a network of `nodes` nodes.

        `slots` is optional (the last task's slot + 1), so is `episode` (0). Raises ValueError naming the wrong task.
        """
        try:
            tasks = list(data["tasks"])
            slots = _whole(data.get("slots") or max((_whole(task["slot"]) for task in tasks), default=0) + 1)
            slot_s = float(data["slot_s"])
            episode = _whole(data.get("episode", 0))
        except KeyError as missing:
            raise ValueError(f"the trace has no {missing}") from None
        except (AttributeError, TypeError, ValueError) as wrong:
            raise ValueError(f"the trace is malformed: {wrong}") from None
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"the trace has {slots} slots; it needs 1 to {MAX_SLOTS}")
        if not (math.isfinite(slot_s) and slot_s > 0):
            raise ValueError(f"the trace's slot_s must be above 0, got {slot_s}")
        if not 0 <= episode <= MAX_EPISODE:
            raise ValueError(f"the trace's episode is {episode}; it keys random draws and lies in 0 … {MAX_EPISODE}")
        has_task = np.zeros((slots, nodes), dtype=bool)
        values = {key: np.zeros((slots, nodes)) for key in ("size_bits", "cycles", "deadline_s")}
        for number, task in enumerate(tasks):
            try:
                slot, source = _whole(task["slot"]), _whole(task["source"])
                facts = {key: float(task[key]) for key in values}
            except (KeyError, TypeError, ValueError) as wrong:
                raise ValueError(f"task {number} of the trace is malformed: {wrong!r}") from None
            if not (0 <= slot < slots and 0 <= source < nodes):
                raise ValueError(
                    f"task {number} of the trace is in slot {slot} at node {source}; "
                    f"there are {slots} slots and {nodes} nodes"
                )
            if has_task[slot, source]:
                raise ValueError(f"the trace has two tasks in slot {slot} at node {source}; there is at most one")
            for key, value in facts.items():
                if not (np.isfinite(value) and value > 0):
                    raise ValueError(f"task {number} of the trace has {key} = {value}; it must be above 0")
                values[key][slot, source] = value
            has_task[slot, source] = True
        return cls(episode, slot_s, has_task, **values)


def _whole(value: Any) -> int:
    """A whole number as JSON may write it (3 or 3.0). Raises ValueError: 3.7 is not slot 3."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def draw_trace(settings: TaskSettings, network: Network, slot_s: float, slots: int, seed: int, episode: int) -> Trace:
    """The trace of an episode: in each slot node i gets a task with probability λ_i; sizes and complexities uniform."""
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
