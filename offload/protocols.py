"""Defines the protocols that other packages can implement: schedulers, applications, actors, sources of episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from offload.candidates import CandidateProfile
from offload.draws import Draws
from offload.episodes import EpisodeLog, EpisodePlan
from offload.profiles import Profile
from offload.state import FloatArray, IntArray, LocalState, Reports

_LARGEST = float(np.finfo(np.float32).max)
"""Scores are recorded as float32, in which a larger value would become infinite."""
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Choice:
    """The result of B decisions.

    destination: (B,) in 0 … N−1
    scores: (B, N) the scheduler's rating of each node, NaN for nodes that it did not rate; for the heuristics the
        estimated delay in seconds, for the actor the probability
    log_probability: (B,) of the destination under the scheduler's policy, NaN where it is not defined
    """

    destination: IntArray
    scores: FloatArray
    log_probability: FloatArray

    @classmethod
    def of(cls, destination: IntArray, nodes: int, scores: FloatArray | None = None) -> Choice:
        """A choice without a policy's probability, and without scores unless given."""
        batch = len(destination)
        if scores is None:
            scores = np.full((batch, nodes), np.nan)
        return cls(destination.astype(np.int64), scores, np.full(batch, np.nan))

    def fault(self, batch: int, nodes: int) -> str | None:
        """Why this is not a valid result of B decisions among N nodes; None if it can be carried out and recorded.

        NaN has a meaning in scores and log-probabilities. An infinity has none, and databases reject it.
        """
        destinations, scores, log_probabilities = self.destination, self.scores, self.log_probability
        # One expression, and lists instead of arrays: a node checks every decision within its decision time.
        if not (
            isinstance(destinations, np.ndarray)
            and isinstance(scores, np.ndarray)
            and isinstance(log_probabilities, np.ndarray)
            and destinations.shape == log_probabilities.shape == (batch,)
            and scores.shape == (batch, nodes)
            and destinations.dtype.kind in "iu"
            and scores.dtype.kind == log_probabilities.dtype.kind == "f"
        ):
            return self._wrong_shape(batch, nodes)
        for destination in destinations.tolist():
            if not 0 <= destination < nodes:
                return f"destination {destination} must be a node, 0 … {nodes - 1}"
        for score in scores.ravel().tolist():
            if not -_LARGEST <= score <= _LARGEST and score == score:
                return f"scores {score} must be a finite number, or NaN where it is not defined"
        for value in log_probabilities.tolist():
            if not -_LARGEST <= value <= _LARGEST and value == value:
                return f"log_probability {value} must be a finite number, or NaN where it is not defined"
            if value > _ROUNDING:
                return f"log_probability {value} must be at most 0, as the logarithm of a probability"
        return None

    def _wrong_shape(self, batch: int, nodes: int) -> str:
        for name, shape, kinds, kind in (
            ("destination", (batch,), "iu", "integer"),
            ("scores", (batch, nodes), "f", "floating"),
            ("log_probability", (batch,), "f", "floating"),
        ):
            value = getattr(self, name)
            if not (isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind in kinds):
                found = f"{getattr(value, 'dtype', type(value).__name__)} of shape {np.shape(value)}"
                return f"{name} is {found}; it must be {kind} of shape {shape}"
        raise AssertionError("all arrays have the right shapes")


class Actor(Protocol):
    """A trained network: logits of the N+1 actions, before masking, or the outputs of the profile `candidates`."""

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, O) → (B, N+1), or the rows of R candidates → (R, 2)."""
        ...


@dataclass(frozen=True)
class SchedulerContext:
    """What a scheduler knows when it is created.

    nodes: N; actor: of the active model, if there is one
    profile: encodes the actor's input; without an actor, the network's own profile
    """

    nodes: int
    profile: Profile | CandidateProfile | None = None
    actor: Actor | None = None


@runtime_checkable
class Scheduler(Protocol):
    """Decides where tasks go, B at once, from local states and the reports of the nodes that it asks.

    An implementation is a frozen dataclass. Its fields other than `context` are its parameters. They need defaults, and
    users set them as `scheduler.parameters`. It keeps no state between calls: all randomness comes from `draws`.
    It is registered in the entry-point group `offload.schedulers`.
    """

    @property
    def enough_reports(self) -> int | None:
        """The number of answers after which the node stops waiting. None: it waits for all, up to the time-out.

        This can be a class attribute: `enough_reports: ClassVar[int | None] = None`.
        """
        ...

    # An implementation may also have `reservations: bool` (see `reserves`) and `confirm: bool` (see `confirms`).

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """(B, d) the nodes to ask, −1 for none; d may be 0. The deciding node may be among them: it answers at once."""
        ...

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """Where each task goes. Every row of `states` has a task. The values of unanswered probes mean nothing."""
        ...


def reserves(scheduler: Scheduler) -> bool:
    """Whether the scheduler's probes carry their task: its attribute `reservations`, False without one.

    Probed nodes add such a task to `Reports.asked_work_s` and `asked_count` of the slot's later probes. So decisions of
    one slot are no longer simultaneous. The twin draws their order; a node answers in the order of arrival.
    """
    return bool(getattr(scheduler, "reservations", False))


def confirms(scheduler: Scheduler) -> bool:
    """Whether the scheduler chooses again after its announcement: its attribute `confirm`, False without one.

    The destination answers the announcement with its work at that instant. Then `choose` is called once more, with this
    answer in the destination's column. If it chooses another node, the announcement is withdrawn.
    """
    return bool(getattr(scheduler, "confirm", False))


class Application(Protocol):
    """Executes a task on an edge node, in a separate thread. It is registered in `offload.applications`."""

    def execute(self, cycles: float, duration_s: float, wait_until: Callable[[float], None]) -> None:
        """Run a task of `cycles` cycles, planned to take `duration_s` real seconds. Returns when it has ended.

        `wait_until(share)` sleeps until that share (0 … 1) of the planned duration has passed.
        """
        ...


class EpisodeSource(Protocol):
    """Plays episodes for the trainer, on the testbed or in the numeric twin."""

    def play(self, plan: EpisodePlan) -> EpisodeLog:
        """Play one episode, repeat it while it is not complete, and return its log.

        Raises EpisodeError when it is not complete after as many repetitions as the settings allow.
        """
        ...

    def play_all(self, plans: Sequence[EpisodePlan]) -> Iterator[EpisodeLog]:
        """Play several episodes, in parallel if possible. Yields each log as soon as it is complete, in any order."""
        ...
