"""The guard of on-policy training: episodes that another actor has played are refused, never trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offload.episodes import EpisodeLog

LOG_PROBABILITY_TOLERANCE = 1e-4
"""Absolute, between a recorded log-probability and the one that is computed anew: actors are float32."""


class OffPolicyError(RuntimeError):
    """Records that were not made by the actor that is to be trained; the message names episode, slot and node."""


def check_on_policy(log: EpisodeLog, log_probabilities: NDArray[np.floating]) -> float:
    """The greatest difference between recorded and recomputed (T+1, N) log-probabilities, over slots with a task.

    Raises OffPolicyError when it is above the tolerance, or nothing was recorded.
    """
    no_task = log.masks.shape[-1] - 1
    decided = log.up & (log.actions != no_task)
    difference = np.where(decided, np.abs(log.log_probabilities - log_probabilities), 0.0)
    difference = np.where(np.isnan(difference), np.inf, difference)
    if not difference.size or difference.max() <= LOG_PROBABILITY_TOLERANCE:
        return float(difference.max(initial=0.0))
    slot, node = (int(part) for part in np.unravel_index(difference.argmax(), difference.shape))
    raise OffPolicyError(
        f"episode {log.episode}, slot {slot}, node {node}: model {log.plan.scheduler.model} gives action "
        f"{log.actions[slot, node]} the log-probability {log_probabilities[slot, node]:.6f}, but "
        f"{log.log_probabilities[slot, node]:.6f} was recorded (tolerance {LOG_PROBABILITY_TOLERANCE:g}): "
        "another actor, profile or mask decided there"
    )
