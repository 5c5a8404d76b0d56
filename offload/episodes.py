"""Defines an episode's plan (`EpisodePlan`), its log (`EpisodeLog`), and its phase, status and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from offload.errors import UserError
from offload.scheduler_choice import SchedulerChoice

COLLECT_TRACES = 0
CHECKPOINT_TRACES = 1_000_000
ONLINE_TRACES = 2_000_000
EVALUATION_TRACES = 3_000_000
CONTINUOUS_TRACES = 4_000_000
"""The number of each phase's first trace. No phase uses the traces of another for training or evaluation."""


class EpisodePhase(StrEnum):
    """The purpose of an episode."""

    COLLECT = "collect"
    CHECKPOINT = "checkpoint"
    ONLINE = "online"
    EVALUATE = "evaluate"
    SERVE = "serve"
    REPLAY = "replay"


class EpisodeStatus(StrEnum):
    """The state of an episode. Aborted episodes are used nowhere."""

    OPEN = "open"
    CLOSED = "closed"
    ABORTED = "aborted"


class Verdict(StrEnum):
    """Whether a closed episode can be used for training and comparison: only a complete one can.

    MIXED: more than one scheduler or model decided; INCOMPLETE: records are missing
    """

    COMPLETE = "complete"
    MIXED = "mixed"
    INCOMPLETE = "incomplete"


class EpisodeError(UserError):
    """No attempt to play an episode gave a complete one."""


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to play.

    method: the method that the episode belongs to, as reports name it (`ratc`, `o2o-drl`)
    trace: the number of the trace, which is part of the key of all its draws, also those of failures
    scheduler: the scheduler of every node, with its parameters and model
    """

    phase: EpisodePhase
    method: str
    trace: int
    scheduler: SchedulerChoice

    def to_json(self) -> dict[str, Any]:
        """Plain data without nesting, as a request and a row of `episodes` have it."""
        return {
            "phase": self.phase,
            "method": self.method,
            "trace": self.trace,
            "scheduler": self.scheduler.name,
            "parameters": dict(self.scheduler.parameters),
            "model": self.scheduler.model,
        }

    @classmethod
    def of(cls, source: Any) -> Self:
        """The plan of an object that has the keys of `to_json` as attributes: a request or a row."""
        choice = SchedulerChoice(source.scheduler, source.parameters, source.model)
        return cls(EpisodePhase(source.phase), source.method, source.trace, choice)


@dataclass(frozen=True, eq=False)
class Executions:
    """When the tasks of an episode reached their executors, and how long each occupied its executor.

    arrival_s: (T, N) of the task of a slot and source, in seconds since the episode's start; NaN for tasks that reached
        no executor, and where there was no task
    execution_s: (T, N) in seconds; 0 for tasks that were not executed, and where there was no task
    """

    arrival_s: NDArray[np.float64]
    execution_s: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EpisodeLog:
    """The log of one complete episode of N nodes: T slots, and tick T, at which nodes only observe.

    episode: its number within the run
    observations: (T+1, N, O) float32; masks: (T+1, N, N+1) bool
    actions: (T+1, N) int64, N is "no task"; log_probabilities: (T+1, N) float32, NaN for schedulers without a policy
    up: (T+1, N) False where the node was down in the slot; these rows are zero, and no loss uses them
    team_reward: (T,) the sum over all nodes of the feedback of the tasks that end in the slot
    executions: None if they are not known, as in a data set
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
    executions: Executions | None = None

    @property
    def success_rate(self) -> float:
        """Successes per generated task; NaN for an episode without tasks."""
        return self.successes / self.tasks if self.tasks else float("nan")
