"""Defines the networks (paper section V-A): three fully connected layers with ReLU for actor, Qs and critic.

Actor: observation → N+1 logits. Q: observation → N+1 values, one per action. Critic: observation → one value.
`masked_policy` masks illegal actions outside the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from offload.settings import SettingsError


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Linear layers of the hidden widths, each followed by ReLU, and a linear output layer."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class Policy(NamedTuple):
    """π(·|o) of R rows over N+1 actions.

    probabilities: (R, N+1) exactly 0 for illegal actions
    log_probabilities: (R, N+1) *0 for illegal actions*, so that products with the probabilities are 0 there
    """

    probabilities: Tensor
    log_probabilities: Tensor

    def entropy(self) -> Tensor:
        """(R,) −Σ_a π log π in nats."""
        return -(self.probabilities * self.log_probabilities).sum(-1)

    def log_probability(self, actions: Tensor) -> Tensor:
        """(R,) the log-probabilities of legal actions (R,)."""
        return self.log_probabilities.gather(-1, actions[:, None])[:, 0]


def masked_policy(logits: Tensor, mask: Tensor) -> Policy:
    """Softmax over the legal actions.

    logits: (R, N+1); mask: (R, N+1) True where legal, at least once in every row
    An illegal action has probability exactly 0, and the gradient of its logit is exactly 0.
    """
    log_probabilities = torch.log_softmax(logits.masked_fill(~mask, -torch.inf), dim=-1)
    return Policy(log_probabilities.exp(), log_probabilities.masked_fill(~mask, 0.0))


def choose_device(name: str) -> torch.device:
    """The torch device of this name; `auto` is CUDA if available. Raises SettingsError when torch does not find it."""
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
