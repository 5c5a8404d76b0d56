"""Fine-tunes online: PPO with GAE on the logs of the current policy (paper section IV-C3, eq. 13–19, Algorithm 2).

All nodes have the team reward as their reward. Each node has its own advantages, from the shared critic on its own
observations. A chain of advantages ends where a node was down, with the value of its last observation before that.

Before an update, the log-probabilities are recomputed from the recorded observations and masks. If the recorded ones
differ by more than `LOG_PROBABILITY_TOLERANCE`, another actor has played the episode, and it is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offload.episodes import EpisodeLog
from offload.settings import LearnerSettings, OnlineSettings
from trainer.algorithms.on_policy import OffPolicyError as OffPolicyError
from trainer.algorithms.on_policy import check_on_policy
from trainer.algorithms.protocols import AlgorithmContext, Curve
from trainer.learner import Learner, check_finite, saved_modules
from trainer.networks import choose_device, masked_policy, mlp
from trainer.seeds import Stream, generator, seeded_initialization
from trainer.transitions import IDENTITY, RewardStatistics, transitions_of

CURVES = MappingProxyType(
    {
        "log_probability_difference": Curve("greatest difference to the recorded log-probabilities"),
        "reward_mean": Curve("team reward per slot"),
        "success_rate": Curve("success rate"),
        "rows": Curve("decision rows"),
        "learning_rate": Curve("learning rate"),
        "objective": Curve("clipped objective"),
        "critic_loss": Curve("critic loss"),
        "entropy": Curve("entropy of the decisions"),
        "clipped_share": Curve("share of clipped ratios"),
        "divergence": Curve("divergence from the policy that played"),
    }
)


@dataclass(frozen=True)
class PPO:
    """PPO with GAE (eq. 13–19, Algorithm 2), on-policy; its parameters are keys of `online`.

    It reads `epochs`, `minibatch_rows`, `learning_rate`, `learning_rate_decay`, `discount`, `gae_lambda`, `clip`,
    `entropy_bonus`, `normalize_advantages`, `decisions_only`, `gradient_clip` and `reward_normalization`. The modules
    of the state are actor and critic.
    """

    context: AlgorithmContext

    phase: ClassVar[Literal["online"]] = "online"
    on_policy: ClassVar[bool] = True
    curves: ClassVar[Mapping[str, Curve]] = CURVES

    def fresh(self) -> Learner:
        """Untrained networks."""
        context = self.context
        return make_learner(context.learner, context.online, context.seed, context.observation_size, context.actions)

    def start_from(self, state: Learner, content: bytes) -> None:
        """Load the actor and the reward statistics of the offline state, and its critic if it has one."""
        state.load_modules(content, ("actor", *({"critic"} & saved_modules(content))))

    def update(self, state: Learner, logs: Sequence[EpisodeLog], updates: int) -> dict[str, float]:
        """One update of Algorithm 2."""
        return update(state, logs, self.context.online, self.context.seed, updates)


def make_learner(
    learner: LearnerSettings, online: OnlineSettings, seed: int, observation_size: int, actions: int
) -> Learner:
    """An untrained actor and critic from a seed, with one Adam optimizer each."""
    with seeded_initialization(seed):
        actor, critic = mlp(observation_size, learner.hidden, actions), mlp(observation_size, learner.hidden, 1)
    rate = online.learning_rate
    optimizers = {"actor": (("actor",), rate), "critic": (("critic",), rate)}
    return Learner({"actor": actor, "critic": critic}, optimizers, choose_device(learner.device))


class _Data(NamedTuple):
    """The rows of an update.

    observations: (R, O); masks: (R, N+1); the others: (R,). counts: whether the actor's loss includes the row
    """

    observations: Tensor
    masks: Tensor
    actions: Tensor
    old_log_probabilities: Tensor
    advantages: Tensor
    targets: Tensor
    counts: Tensor

    def take(self, rows: Tensor) -> _Data:
        return _Data(*(values[rows] for values in self))


def update(
    learner: Learner, logs: Sequence[EpisodeLog], online: OnlineSettings, seed: int, updates: int
) -> dict[str, float]:
    """Do one update of Algorithm 2 (lines 3–8) on episodes of the current policy, and return its statistics.

    updates: the total number of updates, for the decay of the learning rate; `learner.step` counts them
    Raises OffPolicyError for episodes of another policy, DivergenceError when a loss is not finite.
    """
    if not logs:
        raise ValueError("an update needs at least one episode")
    rewards = _normalization(learner, logs, online)
    data, statistics = _prepare(learner, logs, rewards, online)
    if online.reward_normalization == "stored":
        # Without statistics from offline training, those of the first update are stored.
        learner.rewards = rewards
    rate = online.learning_rate
    if online.learning_rate_decay:
        rate *= max(0.0, 1.0 - learner.step / updates)
    learner.set_learning_rate(rate)
    sums: dict[str, float] = {}
    steps = 0
    for epoch in range(online.epochs):
        draws = generator(seed, Stream.MINIBATCHES, learner.step, epoch)
        for rows in _minibatches(draws, len(data.actions), online.minibatch_rows):
            values = _step(learner, data.take(torch.from_numpy(rows).to(learner.device)), online)
            sums = {key: sums.get(key, 0.0) + value for key, value in values.items()}
            steps += 1
    learner.step += 1
    means = {key: value / steps for key, value in sums.items()}
    check_finite(means, f"update {learner.step}", "online.learning_rate")
    return {**statistics, "learning_rate": rate, **means}


def gae(
    rewards: NDArray[np.floating],
    values: NDArray[np.floating],
    valid: NDArray[np.bool_],
    discount: float,
    gae_lambda: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Advantages and value targets of an episode, per node (eq. 13–15), bootstrapped from tick T.

    rewards: (T,) the normalized team reward; values: (T+1, N) V_ω_old; valid: (T, N)
    Returns (T, N) each: A_t = δ_t + λγ A_{t+1} with δ_t = r_t + γ V(o_{t+1}) − V(o_t), and V_t = A_t + V(o_t).
    Invalid rows have advantage 0, and contribute nothing to the slot before.
    """
    values = values.astype(np.float64)
    errors = rewards[:, None] + discount * values[1:] - values[:-1]  # eq. 14
    advantages = np.zeros(errors.shape)
    following = np.zeros(errors.shape[1])
    for slot in reversed(range(len(rewards))):
        following = np.where(valid[slot], errors[slot] + discount * gae_lambda * following, 0.0)  # eq. 13
        advantages[slot] = following
    return advantages, advantages + values[:-1]  # eq. 15


def clipped_objective(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """(R,) min(r A, η(r) A) of eq. 16, with η of eq. 18; to be maximised."""
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages)


def probability_ratio(log_probabilities: Tensor, old_log_probabilities: Tensor) -> Tensor:
    """(R,) r(θ) = π_θ(a|o) / π_θ_old(a|o) (eq. 17)."""
    return (log_probabilities - old_log_probabilities).exp()


def critic_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Eq. 19: the mean of (V_ω(o_t) − V_t)²."""
    return ((values - targets) ** 2).mean()


@torch.no_grad()
def _prepare(
    learner: Learner, logs: Sequence[EpisodeLog], rewards: RewardStatistics, online: OnlineSettings
) -> tuple[_Data, dict[str, float]]:
    parts: list[list[NDArray[np.generic]]] = []
    greatest = 0.0
    for log in logs:
        transitions = transitions_of(log)
        values = learner["critic"](torch.from_numpy(log.observations).to(learner.device))[..., 0].cpu().numpy()
        old = _log_probabilities(learner, log)
        greatest = max(greatest, check_on_policy(log, old))
        advantages, targets = gae(
            rewards.normalize(transitions.rewards), values, transitions.valid, online.discount, online.gae_lambda
        )
        valid = transitions.valid
        columns = transitions.observations, transitions.masks, transitions.actions, old[:-1], advantages, targets
        parts.append([column[valid] for column in columns])
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    observations, masks, actions, old, advantages, targets = joined
    if not len(actions):
        raise ValueError(f"episodes {[log.episode for log in logs]} have no valid row: all nodes were down throughout")
    counts = actions != masks.shape[-1] - 1 if online.decisions_only else np.ones(len(actions), dtype=bool)
    if online.normalize_advantages and counts.any():
        advantages = (advantages - advantages[counts].mean()) / (advantages[counts].std() + 1e-8)
    arrays = observations, masks, actions, old, advantages, targets, counts
    data = _Data(*(torch.from_numpy(_single(array)).to(learner.device) for array in arrays))
    return data, {
        "log_probability_difference": greatest,
        "reward_mean": float(np.mean([log.team_reward.mean() for log in logs])),
        "success_rate": sum(log.successes for log in logs) / max(1, sum(log.tasks for log in logs)),
        "rows": float(len(actions)),
    }


def _normalization(learner: Learner, logs: Sequence[EpisodeLog], online: OnlineSettings) -> RewardStatistics:
    if online.reward_normalization == "batch":
        return RewardStatistics.of([log.team_reward for log in logs])
    if online.reward_normalization == "stored":
        return learner.rewards or RewardStatistics.of([log.team_reward for log in logs])
    return IDENTITY


def _log_probabilities(learner: Learner, log: EpisodeLog) -> NDArray[np.float32]:
    """(T+1, N) the log-probabilities of the recorded actions under the learner's actor; 0 where a node was down."""
    up = log.up
    observations, masks, actions = (
        torch.from_numpy(values[up]).to(learner.device) for values in (log.observations, log.masks, log.actions)
    )
    result = np.zeros(up.shape, dtype=np.float32)
    result[up] = masked_policy(learner["actor"](observations), masks).log_probability(actions).cpu().numpy()
    return result


def _step(learner: Learner, data: _Data, online: OnlineSettings) -> dict[str, float]:
    policy = masked_policy(learner["actor"](data.observations), data.masks)
    ratio = probability_ratio(policy.log_probability(data.actions), data.old_log_probabilities)
    counted = data.counts.sum().clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return torch.where(data.counts, values, 0.0).sum() / counted

    objective = mean(clipped_objective(ratio, data.advantages, online.clip))
    entropy = mean(policy.entropy())
    if data.counts.any():
        learner.descend("actor", -objective - online.entropy_bonus * entropy, online.gradient_clip)
    values = learner["critic"](data.observations)[:, 0]
    loss = critic_loss(values, data.targets)
    learner.descend("critic", loss, online.gradient_clip)
    with torch.no_grad():
        return {
            "objective": float(objective),
            "critic_loss": float(loss),
            "entropy": float(entropy),
            "clipped_share": float(mean(((ratio - 1).abs() > online.clip).float())),
            "divergence": float(mean(ratio - 1 - ratio.log())),
        }


def _minibatches(draws: np.random.Generator, rows: int, size: int | None) -> Iterator[NDArray[np.int64]]:
    # Equal parts, because a rest of a few rows would cause a whole Adam step of noise.
    yield from np.array_split(draws.permutation(rows), -(-rows // (size or rows)))


def _single(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return array.astype(np.float32) if array.dtype == np.float64 else array
