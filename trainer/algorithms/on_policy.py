"""Checks that episodes are on-policy. Episodes that another actor has played are rejected and never trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offload.episodes import EpisodeLog

LOG_PROBABILITY_TOLERANCE = 1e-4
"""The largest absolute difference between a recorded and a recomputed log-probability; actors are float32."""


class OffPolicyError(RuntimeError):
    """The actor to be trained did not make these records; the message names episode, slot and node."""


def check_on_policy(log: EpisodeLog, log_probabilities: NDArray[np.floating]) -> float:
    """The greatest difference between recorded and recomputed (T+1, N) log-probabilities, over slots with a task.

    Raises OffPolicyError when the difference is above the tolerance, or a log-probability was not recorded.
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
        "another actor, profile or mask was used there"
    )
