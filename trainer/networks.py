"""The networks (paper section V-A): three fully connected layers with ReLU, the same for actor, Qs and critic.

Actor: observation → N+1 logits. Q: observation → N+1 values, one per action. Critic: observation → one value.
Illegal actions are masked outside the networks, by `masked_policy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from offload.settings import SettingsError


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers of the hidden widths with ReLU between, and a linear output."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class Policy(NamedTuple):
    """π(·|o) of R rows over N+1 actions.

    probabilities: (R, N+1), exactly 0 where illegal
    log_probabilities: (R, N+1), *0 where illegal*, so that products with the probabilities vanish there
    """

    probabilities: Tensor
    log_probabilities: Tensor

    def entropy(self) -> Tensor:
        """(R,) −Σ_a π log π in nats."""
        return -(self.probabilities * self.log_probabilities).sum(-1)

    def log_probability(self, actions: Tensor) -> Tensor:
        """(R,) of legal actions (R,)."""
        return self.log_probabilities.gather(-1, actions[:, None])[:, 0]


def masked_policy(logits: Tensor, mask: Tensor) -> Policy:
    """Softmax over the legal actions: logits (R, N+1), mask (R, N+1) True where legal, one at least in every row.

    An illegal action has probability exactly 0, and its logit gets exactly no gradient.
    """
    log_probabilities = torch.log_softmax(logits.masked_fill(~mask, -torch.inf), dim=-1)
    return Policy(log_probabilities.exp(), log_probabilities.masked_fill(~mask, 0.0))


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises SettingsError for a device that torch does not find on this machine."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps"):
        raise SettingsError(f"learner.device: '{name}' is not a device; write auto, cpu, mps, cuda, or cuda:0")
    if kind == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"learner.device: {name}, but torch finds no CUDA device here; write auto or cpu")
    if index and int(index) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise SettingsError(
            f"learner.device: {name}, but torch finds {found} CUDA devices here: cuda:0 to cuda:{found - 1}"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("learner.device: mps, but torch finds no such device here; write auto or cpu")
    return torch.device(name)
