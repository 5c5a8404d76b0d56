"""Converts an episode's log to transitions (o_t, a_t, r_t, o_{t+1}) of all nodes, slot by slot (paper section IV-B).

Slots without a task are transitions too; their only legal action is N. An episode is truncated, not terminated. There
is no "done" flag, and the value after the last slot is that of the observation-only tick T.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offload.episodes import EpisodeLog


@dataclass(frozen=True, eq=False)
class Transitions:
    """T slots (of an episode, or drawn from a replay buffer) with the rows of all N nodes.

    observations, next_observations: (T, N, O) float32; masks, next_masks: (T, N, N+1) bool, True where legal
    actions: (T, N) int64; rewards: (T,) float64, the team reward of the slot, not normalized
    valid: (T, N) False where the node was down in the slot or in the next one; losses leave such rows out
    """

    observations: NDArray[np.float32]
    masks: NDArray[np.bool_]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float64]
    next_observations: NDArray[np.float32]
    next_masks: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    @property
    def slots(self) -> int:
        """T, the number of slots."""
        return len(self.rewards)


def transitions_of(log: EpisodeLog) -> Transitions:
    """The T transitions of an episode; the arrays are views of the log's arrays.

    The `lost` tasks of a node that was down count in the team reward, which all nodes share. Only the rows of that node
    are invalid. Raises ValueError when the action of a node that was up is not legal in its recorded mask.
    """
    valid = log.up[:-1] & log.up[1:]
    taken = np.take_along_axis(log.masks, np.clip(log.actions, 0, log.masks.shape[-1] - 1)[..., None], axis=-1)[..., 0]
    wrong = np.argwhere(log.up & ~taken)
    if len(wrong):
        slot, node = (int(part) for part in wrong[0])
        raise ValueError(
            f"episode {log.episode}, slot {slot}, node {node}: action {log.actions[slot, node]} is not legal in its "
            f"recorded mask; record each decision with the mask that allows it"
        )
    return Transitions(
        observations=log.observations[:-1],
        masks=log.masks[:-1],
        actions=log.actions[:-1],
        rewards=log.team_reward,
        next_observations=log.observations[1:],
        next_masks=log.masks[1:],
        valid=valid,
    )


@dataclass(frozen=True)
class RewardStatistics:
    """Mean and standard deviation of the team reward per slot, for normalization; stored with the model."""

    mean: float
    std: float

    @classmethod
    def of(cls, rewards: Iterable[NDArray[np.float64]]) -> RewardStatistics:
        """The statistics of all slots of some episodes. The standard deviation of constant rewards counts as 1."""
        joined = np.concatenate([np.asarray(part, dtype=np.float64) for part in rewards])
        std = float(joined.std())
        return cls(float(joined.mean()), std if std > 1e-8 else 1.0)

    def normalize(self, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T,) z-scores."""
        return (rewards - self.mean) / self.std


IDENTITY = RewardStatistics(0.0, 1.0)
"""Statistics that do not change rewards."""
