"""What the pipeline needs of a learning algorithm, and what it gives to one.

An algorithm is a frozen dataclass: `context` first, then its parameters with types and defaults. It keeps no state: what it
learns is in a `TrainingState`, which the pipeline stores and loads. `docs/algorithms.md` shows how to write one.
N nodes, O elements of an observation, N+1 actions (N: "no task"), T slots of an episode. Importing this needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from offload.episodes import EpisodeLog
from offload.settings import LearnerSettings, OfflineSettings, OnlineSettings
from trainer.transitions import RewardStatistics, Transitions

if TYPE_CHECKING:
    from torch import Tensor, nn

Phase = Literal["offline", "online"]


@dataclass(frozen=True)
class AlgorithmContext:
    """What an algorithm is made for.

    observation_size: O; actions: N+1; seed: keys all randomness, by `trainer.seeds.generator` and a place
    learner: widths of the networks and the device; offline, online: these sections of the settings, all keys
    """

    observation_size: int
    actions: int
    seed: int
    learner: LearnerSettings
    offline: OfflineSettings
    online: OnlineSettings


@dataclass(frozen=True)
class Curve:
    """A number that every training step or update reports.

    label: its name for people, with its unit if it has one; in_progress: the progress line shows it
    """

    label: str
    in_progress: bool = False


class TrainingState(Protocol):
    """Everything that training needs to continue exactly. `trainer.learner.Learner` is one; most algorithms use it.

    step: gradient steps (offline) or updates (online) so far
    rewards: the statistics that rewards are normalized by, stored in the manifest; None where there are none
    """

    step: int
    rewards: RewardStatistics | None

    @property
    def actor(self) -> nn.Module:
        """The network that nodes run: (R, O) float32 → (R, N+1) logits before masking; a chain of Linear and ReLU layers."""
        ...

    def to_bytes(self) -> bytes:
        """The whole state as safetensors, the actor's parameters as `parameters/actor.…`; equal states give equal bytes."""
        ...

    def load_bytes(self, content: bytes) -> None:
        """Take over a whole state. Raises LearnerError, having changed nothing, when the bytes do not fit."""
        ...


State = TypeVar("State", bound=TrainingState)


class OfflineAlgorithm(Protocol[State]):
    """Trains an actor on the logs of other schedulers, one gradient step at a time."""

    @property
    def phase(self) -> Literal["offline"]:
        """`phase: ClassVar[Literal["offline"]] = "offline"`."""
        ...

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Every number that `train` returns, by the name that it has in the database and in TensorBoard."""
        ...

    def fresh(self, rewards: RewardStatistics) -> State:
        """The state before the first step, from `context.seed` alone. rewards: of all slots that are learned from."""
        ...

    def train(self, state: State, batch: Transitions) -> Mapping[str, Tensor | float]:
        """One gradient step on a minibatch of slots with the rows of all nodes (rows that are not `valid` count nothing).

        Adds 1 to `state.step`; returns a number for each of `curves`, scalar tensors may stay on their device.
        Randomness comes from `context.seed` and `state.step`. Rewards are raw, as they were recorded.
        """
        ...


class OnlineAlgorithm(Protocol[State]):
    """Fine-tunes an actor on episodes that it has just played, one update at a time."""

    @property
    def phase(self) -> Literal["online"]:
        """`phase: ClassVar[Literal["online"]] = "online"`."""
        ...

    @property
    def on_policy(self) -> bool:
        """Whether `update` refuses episodes that another actor has played."""
        ...

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Every number that `update` returns, by the name that it has in the database and in TensorBoard."""
        ...

    def fresh(self) -> State:
        """The state before the first update, from `context.seed` alone."""
        ...

    def start_from(self, state: State, content: bytes) -> None:
        """Take over what an offline algorithm has learned into a fresh state: the actor, and what else is usable.

        content: the `to_bytes` of that algorithm's state; its `parameters/actor.…` are there, the rest depends on it
        Raises LearnerError, having changed nothing, when the actor is of another size.
        """
        ...

    def update(self, state: State, logs: Sequence[EpisodeLog], updates: int) -> Mapping[str, float]:
        """One update on complete episodes that `state.actor` has played; `updates` is how many there will be in all.

        Adds 1 to `state.step`; returns a number for each of `curves`. Raises OffPolicyError where `on_policy` and the
        recorded log-probabilities are another actor's, DivergenceError when a number is not finite.
        """
        ...
