"""Defines the interface between the pipeline and a learning algorithm.

An algorithm is a frozen dataclass: `context` first, then its parameters with types and defaults. It has no state of its
own. What it learns is in a `TrainingState`, which the pipeline stores and loads. `docs/algorithms.md` shows how to
write an algorithm. Importing this module does not need torch.

An algorithm trains an actor for a scheduler, which it names in `scheduler`:

* `drl`, the default: the actor has a logit for each action. It learns from transitions.
* `scorer`: the actor has two outputs for a row of the profile `candidates`. It learns from decisions whose candidates'
  values are known (`offload.candidates.Decisions`). The pipeline rebuilds them from the logs of any scheduler.

Shapes: N nodes, O elements of an observation, N+1 actions (N means "no task"), T slots of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from offload.candidates import Decisions
from offload.episodes import EpisodeLog
from offload.settings import LearnerSettings, OfflineSettings, OnlineSettings
from trainer.transitions import RewardStatistics, Transitions

if TYPE_CHECKING:
    from torch import Tensor, nn

Phase = Literal["offline", "online"]
TrainedScheduler = Literal["drl", "scorer"]
"""The schedulers that actors can be trained for."""


@dataclass(frozen=True)
class AlgorithmContext:
    """What an algorithm gets when it is made.

    observation_size, actions: inputs and outputs of the actor: O and N+1 for the scheduler `drl`, the size of a row of
        candidates and 2 for `scorer`
    seed: keys all random numbers, by `trainer.seeds.generator` and a place
    learner: widths of the networks, and the device
    offline, online: these sections of the settings, with all keys
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

    label: the name to show, with a unit if there is one; in_progress: whether the progress line shows it
    """

    label: str
    in_progress: bool = False


class TrainingState(Protocol):
    """Everything that training needs to continue exactly. Most algorithms use `trainer.learner.Learner`.

    step: gradient steps (offline) or updates (online) so far
    rewards: the statistics for the normalization of rewards, stored in the manifest; None if there are none
    """

    step: int
    rewards: RewardStatistics | None

    @property
    def actor(self) -> nn.Module:
        """The network that nodes run: (R, inputs) → (R, outputs) float32, a chain of Linear and ReLU.

        For `drl` the outputs are logits of the N+1 actions before masking.
        """
        ...

    def to_bytes(self) -> bytes:
        """The whole state as safetensors. Equal states give equal bytes. Keys of the actor: `parameters/actor.…`."""
        ...

    def load_bytes(self, content: bytes) -> None:
        """Load a whole state. Raises LearnerError, and changes nothing, when the bytes do not fit."""
        ...


State = TypeVar("State", bound=TrainingState)
Batch = TypeVar("Batch", bound=Transitions | Decisions, contravariant=True)
"""What a gradient step gets: transitions for the scheduler `drl`, decisions for `scorer`."""
Episode = TypeVar("Episode", bound=EpisodeLog | Decisions, contravariant=True)
"""What an update gets of an episode: its log for the scheduler `drl`, its decisions for `scorer`."""


class OfflineAlgorithm(Protocol[State, Batch]):
    """Trains an actor on the logs of other schedulers, one gradient step at a time.

    A class for `scorer` has `scheduler: ClassVar[TrainedScheduler] = "scorer"`.
    """

    @property
    def phase(self) -> Literal["offline"]:
        """`phase: ClassVar[Literal["offline"]] = "offline"`."""
        ...

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Every number that `train` returns, by its name in the database and in TensorBoard."""
        ...

    def fresh(self, rewards: RewardStatistics) -> State:
        """The state before the first step, from `context.seed` only. rewards: of all slots to learn from."""
        ...

    def train(self, state: State, batch: Batch) -> Mapping[str, Tensor | float]:
        """Take one gradient step on a minibatch: `offline.batch_slots` slots of N rows, or batch_slots · N decisions.

        Of transitions, ignore the rows that are not `valid`.
        Adds 1 to `state.step`. Returns a number for each of `curves`; scalar tensors may stay on their device.
        Random numbers depend on `context.seed` and `state.step` only. Rewards are not normalized.
        """
        ...


class OnlineAlgorithm(Protocol[State, Episode]):
    """Fine-tunes an actor on the episodes that it has just played, one update at a time.

    A class for `scorer` has `scheduler: ClassVar[TrainedScheduler] = "scorer"`. A class may have a property `playing`:
    the scheduler's parameters in these episodes, where they differ from its defaults.
    """

    @property
    def phase(self) -> Literal["online"]:
        """`phase: ClassVar[Literal["online"]] = "online"`."""
        ...

    @property
    def on_policy(self) -> bool:
        """Whether `update` rejects episodes that another actor has played."""
        ...

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Every number that `update` returns, by its name in the database and in TensorBoard."""
        ...

    def fresh(self) -> State:
        """The state before the first update, from `context.seed` only."""
        ...

    def start_from(self, state: State, content: bytes) -> None:
        """Load what an offline algorithm has learned into a fresh state: the actor, and other parts that can be used.

        content: `to_bytes` of the offline state. It has `parameters/actor.…`; other keys depend on the algorithm.
        Raises LearnerError, and changes nothing, when the actor is of another size.
        """
        ...

    def update(self, state: State, episodes: Sequence[Episode], updates: int) -> Mapping[str, float]:
        """Do one update on complete episodes that `state.actor` has played. updates: the total number of updates.

        Adds 1 to `state.step`. Returns a number for each of `curves`. Raises OffPolicyError if `on_policy` and the
        recorded log-probabilities are another actor's, DivergenceError when a number is not finite.
        """
        ...
