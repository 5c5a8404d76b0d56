"""The regression of an actor of the profile `candidates` on decisions whose candidates' values are known.

The reward of sending a task to candidate j is y_j = R_j − κ E_j (`offload.candidates.Decisions`): R is the success of
the task itself, E what it costs the other tasks there. κ is below 1, because the other nodes react: they see the longer
queue, and send their next tasks elsewhere.

The first output estimates y_j from the row of a candidate that answered. The second estimates, from the row before the
probes, how much a probe gains: max(0, Q_j − Q_itself).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from offload.candidates import PROFILE, PROMISE, VALUE, Decisions
from trainer.algorithms.protocols import Curve
from trainer.learner import Learner
from trainer.networks import choose_device, mlp
from trainer.seeds import seeded_initialization

HIDDEN: Final = (64, 32)
"""Widths of the actor's hidden layers."""
EXTERNALITY_WEIGHT: Final = 0.35
"""κ"""
LOSSES: Final[Mapping[str, Curve]] = MappingProxyType(
    {
        "value_loss": Curve("loss of the candidates' values", in_progress=True),
        "promise_loss": Curve("loss of what probes gain"),
    }
)


class Rows(NamedTuple):
    """R decisions with C candidates as tensors.

    reported: (R, C, COLUMNS); unreported: (R, C−1, COLUMNS); answered: (R, C); rewards: (R, C) y
    """

    reported: Tensor
    unreported: Tensor
    answered: Tensor
    rewards: Tensor

    @classmethod
    def of(cls, decisions: Decisions, externality_weight: float, device: torch.device) -> Rows:
        """The decisions' rows, with y for this κ."""
        rewards = decisions.success - externality_weight * decisions.externality
        return cls(
            torch.from_numpy(decisions.reported).to(device),
            torch.from_numpy(decisions.unreported).to(device),
            torch.from_numpy(decisions.answered).to(device),
            torch.from_numpy(rewards).float().to(device),
        )

    def take(self, rows: Tensor) -> Rows:
        """Some of the decisions."""
        return Rows(*(values[rows] for values in self))


def fresh_learner(
    seed: int,
    learning_rate: float,
    *,
    inputs: int = PROFILE.size,
    hidden: Sequence[int] = HIDDEN,
    outputs: int = PROFILE.outputs,
    device: str = "cpu",
) -> Learner:
    """An untrained actor with its optimizer."""
    with seeded_initialization(seed):
        actor = mlp(inputs, hidden, outputs)
    return Learner({"actor": actor}, {"actor": (("actor",), learning_rate)}, choose_device(device))


def descend(learner: Learner, rows: Rows) -> dict[str, Tensor]:
    """Take one Adam step. Returns the losses by their names in `LOSSES`."""
    value, promise = losses(learner, rows)
    learner.descend("actor", value + promise)
    return {"value_loss": value.detach(), "promise_loss": promise.detach()}


def losses(learner: Learner, rows: Rows) -> tuple[Tensor, Tensor]:
    """The mean squared errors of the two outputs over the candidates that answered."""
    candidates = rows.reported.shape[1]
    outputs = learner.actor(torch.cat([rows.reported, rows.unreported], dim=1))
    values, promises = outputs[:, :candidates, VALUE], outputs[:, candidates:, PROMISE]
    estimates = values.detach()
    gains = (estimates[:, 1:] - estimates[:, :1]).clamp(min=0)
    return (
        _mean((values - rows.rewards) ** 2, rows.answered),
        _mean((promises - gains) ** 2, rows.answered[:, 1:]),
    )


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)
