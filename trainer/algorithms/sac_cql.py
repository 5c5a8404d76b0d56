"""Trains offline: discrete SAC + CQL + the additional critic (paper section IV-C2, eq. 10–12, Algorithm 1).

Decisions where the paper is incomplete or ambiguous:

* Eq. 11 maximises V(o_t), not V(o_{t+1}), so its states are those of the recorded actions. It uses the current Qs, as
  the discrete SAC does that the paper builds on. The target y uses the target Qs.
* The target y of a step is computed once, before any update, for the critic and the Qs.
* Losses are averages over the valid rows of the minibatch (the paper's sums over i, divided by the number of rows).
* Masks: the policy, and so V, gives illegal actions probability 0. The regularizer's log-sum-exp is over legal actions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offload.settings import LearnerSettings, OfflineSettings, SettingsError
from trainer.algorithms.protocols import AlgorithmContext, Curve
from trainer.algorithms.rows import Rows, rows_of
from trainer.learner import Learner
from trainer.networks import Policy, choose_device, masked_policy, mlp
from trainer.seeds import seeded_initialization
from trainer.transitions import IDENTITY, RewardStatistics, Transitions

CURVES = MappingProxyType(
    {
        "critic_loss": Curve("critic loss", in_progress=True),
        "actor_loss": Curve("actor loss"),
        "q_loss": Curve("loss of the Qs"),
        "cql_regularizer": Curve("CQL regularizer"),
        "q_mean": Curve("Q of the recorded actions"),
        "entropy": Curve("entropy", in_progress=True),
        "entropy_weight": Curve("weight α of the entropy"),
    }
)


@dataclass(frozen=True)
class SACCQL:
    """Discrete SAC with CQL and an additional critic (eq. 10–12, Algorithm 1); its parameters are keys of `offline`.

    It reads `learning_rate`, `discount`, `soft_update`, `entropy`, `entropy_weight`, `target_entropy_share`,
    `cql_weight`, `reward_normalization` and `gradient_clip`. The modules of the state are actor, critic, q1, q2,
    target_q1, target_q2, and entropy_weight if it is adaptive. Raises SettingsError for an adaptive entropy weight that
    starts at 0.
    """

    context: AlgorithmContext

    phase: ClassVar[Literal["offline"]] = "offline"
    curves: ClassVar[Mapping[str, Curve]] = CURVES

    def __post_init__(self) -> None:
        _check_entropy_weight(self.context.offline)

    def fresh(self, rewards: RewardStatistics) -> Learner:
        """Untrained networks. Without normalization the stored statistics are the identity.

        The online phase then does not normalize either: the critic that it takes over has learned this scale.
        """
        context = self.context
        learner = make_learner(
            context.learner, context.offline, context.seed, context.observation_size, context.actions
        )
        learner.rewards = IDENTITY if context.offline.reward_normalization == "none" else rewards
        return learner

    def train(self, state: Learner, batch: Transitions) -> dict[str, Tensor]:
        """Take one step of Algorithm 1."""
        return train_step(state, batch, self.context.offline)


class EntropyWeight(nn.Module):
    """The learned weight α of the entropy, stored as its logarithm."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.logarithm = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self) -> Tensor:
        """ln α."""
        return self.logarithm


def make_learner(
    learner: LearnerSettings, offline: OfflineSettings, seed: int, observation_size: int, actions: int
) -> Learner:
    """Untrained networks from a seed. The target Qs start equal to the Qs (initialization of Algorithm 1).

    Raises SettingsError for an adaptive entropy weight that starts at 0, because it would stay 0.
    """
    _check_entropy_weight(offline)
    with seeded_initialization(seed):
        modules: dict[str, nn.Module] = {
            "actor": mlp(observation_size, learner.hidden, actions),
            "critic": mlp(observation_size, learner.hidden, 1),
            "q1": mlp(observation_size, learner.hidden, actions),
            "q2": mlp(observation_size, learner.hidden, actions),
        }
    modules["target_q1"], modules["target_q2"] = copy.deepcopy(modules["q1"]), copy.deepcopy(modules["q2"])
    rate = offline.learning_rate
    optimizers = {"actor": (("actor",), rate), "critic": (("critic",), rate), "q": (("q1", "q2"), rate)}
    if offline.entropy == "adaptive":
        modules["entropy_weight"] = EntropyWeight(offline.entropy_weight)
        optimizers["entropy"] = (("entropy_weight",), rate)
    return Learner(modules, optimizers, choose_device(learner.device))


def _check_entropy_weight(offline: OfflineSettings) -> None:
    if offline.entropy == "adaptive" and offline.entropy_weight <= 0:
        raise SettingsError(
            f"offline.entropy_weight = {offline.entropy_weight:g}: an adaptive weight must start above 0, such as 0.2"
        )


def train_step(learner: Learner, batch: Transitions, offline: OfflineSettings) -> dict[str, Tensor]:
    """Take one step of Algorithm 1 on a minibatch of slots with the rows of all nodes; returns losses on the device."""
    statistics = normalization(batch.rewards, learner.rewards, offline)
    rows = rows_of(batch, statistics.normalize(batch.rewards), learner.device)
    entropy_weight: float | Tensor = offline.entropy_weight
    if offline.entropy == "adaptive":
        entropy_weight = learner["entropy_weight"]().detach().exp()

    target = _target(learner, rows, entropy_weight, offline.discount)
    critic = critic_loss(learner["critic"](rows.observations)[:, 0], target)
    qs = [learner[name](rows.observations) for name in ("q1", "q2")]
    policy = masked_policy(learner["actor"](rows.observations), rows.masks)
    actor = actor_loss(policy, torch.minimum(*qs).detach(), entropy_weight)
    q_losses = torch.stack([q_loss(q, rows.masks, rows.actions, target, offline.cql_weight) for q in qs])
    learner.descend_all({"critic": critic, "actor": actor, "q": q_losses.sum()}, offline.gradient_clip)

    entropy = policy.entropy().detach()
    if offline.entropy == "adaptive":
        loss = entropy_weight_loss(learner["entropy_weight"](), entropy, rows.masks, offline.target_entropy_share)
        learner.descend("entropy", loss)
    for name in ("q1", "q2"):
        soft_update(learner["target_" + name], learner[name], offline.soft_update)
    learner.step += 1
    choices = rows.masks.sum(-1) > 1
    return {
        "critic_loss": critic.detach(),
        "actor_loss": actor.detach(),
        "q_loss": q_losses.mean().detach(),
        "cql_regularizer": cql_regularizer(qs[0].detach(), rows.masks, rows.actions).mean(),
        "q_mean": _taken(qs[0], rows.actions).mean().detach(),
        "entropy": (entropy * choices).sum() / choices.sum().clamp(min=1),
        "entropy_weight": torch.as_tensor(entropy_weight),
    }


def normalization(
    rewards: NDArray[np.float64], stored: RewardStatistics | None, offline: OfflineSettings
) -> RewardStatistics:
    """The statistics that normalize the minibatch's rewards: the data set's, the minibatch's own, or the identity."""
    if offline.reward_normalization == "batch":
        return RewardStatistics.of([rewards])
    if offline.reward_normalization == "dataset":
        if stored is None:
            raise ValueError("rewards are normalized by the data set's statistics, but the learner has none stored")
        return stored
    return IDENTITY


def soft_value(policy: Policy, q: Tensor, entropy_weight: float | Tensor) -> Tensor:
    """(R,) V(o) = π(o)ᵀ (Q(o) − α log π(o)), over legal actions; q: (R, N+1), the smaller of two."""
    return (policy.probabilities * (q - entropy_weight * policy.log_probabilities)).sum(-1)


def target_value(rewards: Tensor, next_values: Tensor, discount: float) -> Tensor:
    """(R,) y(r_t, o_{t+1}) = r_t + γ V(o_{t+1})."""
    return rewards + discount * next_values


def cql_regularizer(q: Tensor, mask: Tensor, actions: Tensor) -> Tensor:
    """(R,) R(o, a) = log Σ_{a' legal} exp Q(o, a') − Q(o, a), per state; 0 when only one action is legal."""
    return torch.logsumexp(q.masked_fill(~mask, -torch.inf), dim=-1) - _taken(q, actions)


def q_loss(q: Tensor, mask: Tensor, actions: Tensor, target: Tensor, cql_weight: float) -> Tensor:
    """Eq. 10 for one Q: the mean over rows of (Q(o, a) − y)² + λ_c R(o, a)."""
    return ((_taken(q, actions) - target) ** 2 + cql_weight * cql_regularizer(q, mask, actions)).mean()


def actor_loss(policy: Policy, q: Tensor, entropy_weight: float | Tensor) -> Tensor:
    """Eq. 11, to be minimised: −mean V(o_t)."""
    return -soft_value(policy, q, entropy_weight).mean()


def critic_loss(values: Tensor, target: Tensor) -> Tensor:
    """Eq. 12: the mean of (V_ω(o_t) − y)²."""
    return ((values - target) ** 2).mean()


def entropy_weight_loss(logarithm: Tensor, entropy: Tensor, mask: Tensor, share: float) -> Tensor:
    """The loss of log α. It moves each row's entropy to `share` of the maximum, ln(number of legal actions).

    Rows with one legal action have no entropy and are left out. The loss is 0 when there are no other rows.
    """
    legal = mask.sum(-1)
    choices = legal > 1
    surplus = torch.where(choices, entropy - share * torch.log(legal.to(entropy.dtype)), 0.0)
    return logarithm * surplus.sum() / choices.sum().clamp(min=1)


@torch.no_grad()
def soft_update(target: nn.Module, source: nn.Module, rate: float) -> None:
    """φ̄ ← (1 − τ) φ̄ + τ φ (Algorithm 1, line 7)."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)


@torch.no_grad()
def _target(learner: Learner, rows: Rows, entropy_weight: float | Tensor, discount: float) -> Tensor:
    policy = masked_policy(learner["actor"](rows.next_observations), rows.next_masks)
    minimum = torch.minimum(learner["target_q1"](rows.next_observations), learner["target_q2"](rows.next_observations))
    return target_value(rows.rewards, soft_value(policy, minimum, entropy_weight), discount)


def _taken(q: Tensor, actions: Tensor) -> Tensor:
    return q.gather(-1, actions[:, None])[:, 0]
