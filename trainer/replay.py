"""The replay buffer: the newest ticks of many episodes, each with the rows of all N nodes, in preallocated arrays.

The buffer is a ring of *ticks*. An episode of T slots takes T+1 places. The last place is its observation-only tick: it
is the next observation of slot T−1, and is never drawn itself. So each observation is stored once, not twice. Episodes
are appended whole and in order, and the oldest ticks are overwritten first. So the successor of a stored tick is stored
too.

In the storage a buffer consists of `buffers/<run>/<name>/part-0000.safetensors` … of bounded size, and `index.json`,
which is written last.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import safetensors.numpy

from middleware.storage import Storage
from trainer.transitions import RewardStatistics, Transitions

_PART_BYTES = 32 * 2**20
_INDEX = "index.json"


class ReplayBuffer:
    """A ring of `capacity` ticks for N = `nodes` nodes and observations of O = `observation_size` elements.

    Memory: about capacity × N × (4·O + N + 4) bytes, allocated at once. Not thread-safe.
    """

    def __init__(self, capacity: int, nodes: int, observation_size: int) -> None:
        if capacity < 2:
            raise ValueError(f"a replay buffer of {capacity} ticks cannot contain a transition; it needs at least 2")
        self.capacity = capacity
        self._arrays = {
            "observations": np.zeros((capacity, nodes, observation_size), np.float32),
            "masks": np.zeros((capacity, nodes, nodes + 1), np.bool_),
            "actions": np.zeros((capacity, nodes), np.int16),
            "rewards": np.zeros(capacity, np.float64),
            "valid": np.zeros((capacity, nodes), np.bool_),
            "drawable": np.zeros(capacity, np.bool_),
        }
        self._next = 0
        self._filled = 0
        self._drawable: np.ndarray | None = None

    def __len__(self) -> int:
        """The number of slots (transitions) that can be drawn."""
        return len(self._drawable_places())

    def append(self, episode: Transitions) -> None:
        """Add a whole episode of T slots, over the oldest ticks. An episode longer than the ring loses its start."""
        ticks = {
            "observations": _with_last(episode.observations, episode.next_observations),
            "masks": _with_last(episode.masks, episode.next_masks),
            "actions": np.concatenate([episode.actions, np.zeros_like(episode.actions[:1])]).astype(np.int16),
            "rewards": np.append(episode.rewards, 0.0),
            "valid": np.concatenate([episode.valid, np.zeros_like(episode.valid[:1])]),
            # A slot without a valid row has nothing to train on.
            "drawable": np.append(episode.valid.any(axis=1), False),
        }
        self._append(ticks)

    def sample(self, generator: np.random.Generator, slots: int) -> Transitions:
        """Draw `slots` slots uniformly with replacement, each with the rows of all nodes.

        Raises ValueError when the buffer is empty.
        """
        places = self._drawable_places()
        if not len(places):
            raise ValueError("the replay buffer is empty: no slot has a valid row")
        here = places[generator.integers(len(places), size=slots)]
        after = (here + 1) % self.capacity
        arrays = self._arrays
        return Transitions(
            observations=arrays["observations"][here],
            masks=arrays["masks"][here],
            actions=arrays["actions"][here].astype(np.int64),
            rewards=arrays["rewards"][here],
            next_observations=arrays["observations"][after],
            next_masks=arrays["masks"][after],
            valid=arrays["valid"][here],
        )

    def reward_statistics(self) -> RewardStatistics:
        """The statistics of the team rewards of all slots that can be drawn."""
        return RewardStatistics.of([self._arrays["rewards"][self._drawable_places()]])

    def save(self, storage: Storage, folder: str, episodes: Sequence[int]) -> None:
        """Write the buffer, oldest tick first, with the numbers of its episodes."""
        order = (np.arange(self._filled) + (self._next - self._filled)) % self.capacity
        tick_bytes = sum(array[:1].nbytes for array in self._arrays.values())
        chunk = max(1, _PART_BYTES // tick_bytes)
        parts = []
        for number, start in enumerate(range(0, len(order), chunk)):
            places = order[start : start + chunk]
            name = f"part-{number:04d}.safetensors"
            content = safetensors.numpy.save({key: array[places] for key, array in self._arrays.items()})
            storage.write(f"{folder}/{name}", content)
            parts.append(name)
        index = {"episodes": list(episodes), "capacity": self.capacity, "parts": parts}
        storage.write(f"{folder}/{_INDEX}", json.dumps(index).encode())

    def load(self, storage: Storage, folder: str, episodes: Sequence[int]) -> bool:
        """Fill an empty buffer from the storage. Returns False if none has exactly these episodes and this capacity."""
        try:
            index = json.loads(storage.read(f"{folder}/{_INDEX}"))
        except FileNotFoundError:
            return False
        if index["episodes"] != list(episodes) or index["capacity"] != self.capacity:
            return False
        for name in index["parts"]:
            self._append(safetensors.numpy.load(storage.read(f"{folder}/{name}")))
        return True

    def _append(self, ticks: dict[str, np.ndarray]) -> None:
        count = len(ticks["rewards"])
        kept = min(count, self.capacity)
        places = (self._next + np.arange(kept)) % self.capacity
        for key, array in self._arrays.items():
            array[places] = ticks[key][count - kept :]
        self._next = (self._next + kept) % self.capacity
        self._filled = min(self._filled + kept, self.capacity)
        self._drawable = None

    def _drawable_places(self) -> np.ndarray:
        if self._drawable is None:
            # Oldest first, so that a saved and loaded buffer draws the same slots.
            order = (np.arange(self._filled) + (self._next - self._filled)) % self.capacity
            self._drawable = order[self._arrays["drawable"][order]]
        return self._drawable


def _with_last(values: np.ndarray, next_values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, next_values[-1:]])
