"""Flattens the valid rows of some slots to tensors, over which the losses average."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.transitions import Transitions


class Rows(NamedTuple):
    """R rows. Each row is the transition of one node in one slot.

    observations, next_observations: (R, O); masks, next_masks: (R, N+1) bool; actions: (R,) int64
    rewards: (R,) the team reward of the row's slot, normalized
    """

    observations: Tensor
    masks: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    next_masks: Tensor


def rows_of(transitions: Transitions, rewards: NDArray[np.float64], device: torch.device) -> Rows:
    """The valid rows of all nodes, with `rewards` (T,) in place of the recorded ones."""
    valid = transitions.valid
    team = np.broadcast_to(rewards.astype(np.float32)[:, None], valid.shape)

    def tensor(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values[valid]).to(device)

    return Rows(
        observations=tensor(transitions.observations),
        masks=tensor(transitions.masks),
        actions=tensor(transitions.actions),
        rewards=tensor(team),
        next_observations=tensor(transitions.next_observations),
        next_masks=tensor(transitions.next_masks),
    )
