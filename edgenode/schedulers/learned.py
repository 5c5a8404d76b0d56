"""Schedulers that use a trained actor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgenode.schedulers.estimates import joined
from edgenode.schedulers.shortest_delay import lowest_delay
from edgenode.schedulers.simple import sampled
from offload.draws import Draws
from offload.masks import action_mask
from offload.profiles import Profile
from offload.protocols import Actor, Choice, SchedulerContext
from offload.state import BoolArray, FloatArray, IntArray, LocalState, Reports, report_of


@dataclass(frozen=True, eq=False)
class _Learned:
    context: SchedulerContext

    enough_reports: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        actor, profile = self.context.actor, self.context.profile
        if actor is None or profile is None:
            raise ValueError(
                "scheduler.model: this scheduler needs a model: set it, or give --model to a command that has it"
            )
        if not isinstance(profile, Profile):
            raise ValueError(
                f"scheduler.model: the model's profile is {profile.name}; such a model is for the scheduler scorer"
            )

    def log_probabilities(self, states: LocalState) -> FloatArray:
        """(B, N+1) of the actor's masked softmax; −inf where illegal."""
        actor, profile = self.context.actor, self.context.profile
        assert actor is not None and isinstance(profile, Profile)
        return masked_log_softmax(actor, profile.encode(states), action_mask(states))


def masked_log_softmax(actor: Actor, observations: NDArray[np.float32], mask: BoolArray) -> FloatArray:
    """(B, N+1) log-probabilities over legal actions, −inf for the others.

    Raises ValueError if the actor's value of a legal action is not a finite number. Otherwise a choice from such values
    would look valid.
    """
    logits = np.where(mask, actor.logits(observations).astype(np.float64), -np.inf)
    if not np.isfinite(logits[mask]).all():
        raise ValueError("the actor's logits are not finite numbers; its training diverged, or the model is damaged")
    logits -= logits.max(axis=1, keepdims=True)
    result: FloatArray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return result


@dataclass(frozen=True, eq=False)
class DRL(_Learned):
    """Samples from the actor's masked softmax. With its maximum, all nodes would choose the same node."""

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """No probes: (B, 0)."""
        return np.zeros((states.batch, 0), dtype=np.int64)

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the probabilities of the N nodes."""
        logs = self.log_probabilities(states)
        probabilities = np.exp(logs)
        destination = sampled(probabilities, draws.uniform(0))
        chosen = logs[np.arange(states.batch), destination]
        return Choice(destination, probabilities[:, : states.nodes], chosen)


@dataclass(frozen=True, eq=False)
class DRLProbe(_Learned):
    """Probes d nodes that the actor proposes; takes the lowest estimated delay, including its own."""

    d: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d < 1:
            raise ValueError(f"scheduler.parameters.d: {self.d}; it must be at least 1")

    def probes(self, states: LocalState, draws: Draws) -> IntArray:
        """(B, min(d, N−1)) distinct others, sampled without replacement from the masked softmax.

        An entry is −1 if too few nodes are legal. Each column takes one draw, from the softmax over the remaining
        nodes.
        """
        rows = np.arange(states.batch)
        logs = self.log_probabilities(states)[:, : states.nodes]
        logs[rows, states.node] = -np.inf
        proposed = np.full((states.batch, min(self.d, states.nodes - 1)), -1, dtype=np.int64)
        for column in range(proposed.shape[1]):
            highest = logs.max(axis=1, keepdims=True)
            left = np.isfinite(highest[:, 0])
            weights = np.exp(logs - np.where(np.isfinite(highest), highest, 0.0))
            weights[~left, 0] = 1.0  # a row without remaining nodes can then be sampled; its sample is not used
            node = sampled(weights, draws.uniform(column))
            proposed[:, column] = np.where(left, node, -1)
            logs[rows, node] = -np.inf
        return proposed

    def choose(self, states: LocalState, reports: Reports, draws: Draws) -> Choice:
        """The scores are the estimated delays. There is no policy over destinations, hence no log-probability."""
        return lowest_delay(states, joined(report_of(states), reports))
