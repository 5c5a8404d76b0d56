"""What is asked of a source of episodes (`EpisodePlan`), and what comes back (`EpisodeLog`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offload.errors import UserError

COLLECT_TRACES = 0
CHECKPOINT_TRACES = 1_000_000
ONLINE_TRACES = 2_000_000
EVALUATION_TRACES = 3_000_000
CONTINUOUS_TRACES = 4_000_000
"""Where each phase's traces begin: no phase is trained or judged on another's."""


class EpisodePhase(StrEnum):
    """For what an episode is played."""

    COLLECT = "collect"
    CHECKPOINT = "checkpoint"
    ONLINE = "online"
    EVALUATE = "evaluate"
    SERVE = "serve"


class EpisodeStatus(StrEnum):
    """How far an episode is. Aborted ones count nowhere."""

    OPEN = "open"
    CLOSED = "closed"
    ABORTED = "aborted"


class Verdict(StrEnum):
    """What a closed episode is good for: only a complete one is trained on and compared.

    MIXED: more than one scheduler or model decided; INCOMPLETE: records are missing
    """

    COMPLETE = "complete"
    MIXED = "mixed"
    INCOMPLETE = "incomplete"


class EpisodeError(UserError):
    """An episode could not be played completely, as often as it was tried."""


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to play.

    phase: collect, checkpoint, online, evaluate or serve
    method: whose episode it is, as reports name it (`ratc`, `o2o-drl`)
    trace: the number that keys the trace and its failures
    scheduler, parameters, model: what decides in every node
    """

    phase: str
    method: str
    trace: int
    scheduler: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None


@dataclass(frozen=True, eq=False)
class EpisodeLog:
    """The log of one complete episode: T slots and the observation-only tick T, N nodes.

    episode: its number within the run
    observations: (T+1, N, O) float32; masks: (T+1, N, N+1) bool
    actions: (T+1, N) int64, N is "no task"; log_probabilities: (T+1, N) float32, NaN for schedulers without a policy
    up: (T+1, N) False in slots in which the node was down: those rows are zeros and left out of every loss
    team_reward: (T,) the sum over all nodes of the feedback of the tasks that end in the slot
    """

    episode: int
    plan: EpisodePlan
    observations: NDArray[np.float32]
    masks: NDArray[np.bool_]
    actions: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]
    up: NDArray[np.bool_]
    team_reward: NDArray[np.float64]
    tasks: int
    successes: int

    @property
    def success_rate(self) -> float:
        """Successes per generated task; NaN for an episode without tasks."""
        return self.successes / self.tasks if self.tasks else float("nan")
