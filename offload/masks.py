"""Computes and packs the masks of legal actions: 0 … N−1 sends the task to that node, N is "no task"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offload.state import BoolArray, IntArray, LocalState


def action_mask(states: LocalState) -> BoolArray:
    """(B, N+1), True where an action is legal.

    Without a task only N is. With a task, every node whose overload bit is not set is, and the deciding node itself.
    """
    n = states.nodes
    mask = np.zeros((states.batch, n + 1), dtype=bool)
    mask[:, :n] = ~states.overloaded
    mask[np.arange(states.batch), states.node] = True
    mask[:, :n] &= states.has_task[:, None]
    mask[:, n] = ~states.has_task
    return mask


def recorded_mask(mask: BoolArray, action: IntArray) -> BoolArray:
    """(B, N+1) the mask as it is recorded: the action that was taken is always legal there."""
    recorded = mask.copy()
    recorded[np.arange(len(action)), action] = True
    return recorded


def pack_masks(mask: BoolArray) -> NDArray[np.uint8]:
    """(…, N+1) bools as (…, ⌈(N+1)/8⌉) bytes, the first action in the lowest bit."""
    return np.packbits(mask, axis=-1, bitorder="little")


def unpack_masks(packed: NDArray[np.uint8], actions: int) -> BoolArray:
    """The inverse of `pack_masks`, for `actions` = N+1."""
    return np.unpackbits(packed, axis=-1, count=actions, bitorder="little").astype(bool)
