"""The replay buffer of decisions among candidates, from which an offline algorithm for `scorer` learns."""

from __future__ import annotations

from collections import deque

import numpy as np

from offload.candidates import Decisions
from offload.errors import UserError
from trainer.transitions import IDENTITY, RewardStatistics


class NothingToLearnError(UserError):
    """There are no decisions."""


class CandidateBuffer:
    """The decisions of the newest episodes.

    capacity: in time slots; the oldest episodes are dropped when there are more; nodes: N
    """

    def __init__(self, capacity: int, nodes: int) -> None:
        self._capacity, self._nodes = capacity, nodes
        self._episodes: deque[tuple[int, Decisions]] = deque()
        self._joined: Decisions | None = None

    def __len__(self) -> int:
        """The number of decisions."""
        return sum(len(one) for _, one in self._episodes)

    def append(self, decisions: Decisions, slots: int) -> None:
        """Add the decisions of an episode of `slots` slots."""
        self._episodes.append((slots, decisions))
        while len(self._episodes) > 1 and sum(count for count, _ in self._episodes) > self._capacity:
            self._episodes.popleft()
        self._joined = None

    def sample(self, generator: np.random.Generator, slots: int) -> Decisions:
        """Draw as many decisions as `slots` slots have rows, slots · N, uniformly with replacement.

        Raises NothingToLearnError when the buffer is empty.
        """
        if not len(self):
            raise NothingToLearnError("there is no decision to learn from: the collected episodes have no task")
        if self._joined is None:
            self._joined = Decisions.joined([one for _, one in self._episodes])
        return self._joined.take(generator.integers(len(self._joined), size=slots * self._nodes))

    def reward_statistics(self) -> RewardStatistics:
        """The identity: values of candidates are not normalized."""
        return IDENTITY
