"""Tests eq. 13–19 against numbers computed by hand, and that only on-policy episodes are used for training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from offload.settings import LearnerSettings, OnlineSettings
from trainer.algorithms import ppo
from trainer.learner import DivergenceError
from trainer.tiny_world import NODES, OBSERVATION, play
from trainer.transitions import RewardStatistics

LEARNER = LearnerSettings(hidden=(8,), device="cpu")


def fresh(online: OnlineSettings | None = None):
    return ppo.make_learner(LEARNER, online or OnlineSettings(), 1, OBSERVATION, NODES + 1)


def test_gae_of_two_nodes_bootstraps_from_tick_t() -> None:
    rewards = np.array([1.0, -1.0])
    values = np.array([[0.5, 0.0], [1.0, 2.0], [4.0, -2.0]])
    advantages, targets = ppo.gae(rewards, values, np.ones((2, 2), bool), discount=0.5, gae_lambda=0.5)
    # node 0: δ = 1 + 0.5·1 − 0.5 = 1, −1 + 0.5·4 − 1 = 0; A = 1 + 0.25·0, 0
    # node 1: δ = 1 + 0.5·2 − 0 = 2, −1 + 0.5·(−2) − 2 = −4; A = 2 + 0.25·(−4), −4
    assert advantages.tolist() == [[1.0, 1.0], [0.0, -4.0]]
    assert targets.tolist() == [[1.5, 1.0], [1.0, -2.0]]


def test_gae_with_lambda_one_is_the_discounted_return_less_the_value() -> None:
    random = np.random.default_rng(1)
    rewards, values = random.normal(size=6), random.normal(size=(7, 3))
    advantages, targets = ppo.gae(rewards, values, np.ones((6, 3), bool), 0.9, 1.0)
    returns = [sum(0.9 ** (k - t) * rewards[k] for k in range(t, 6)) + 0.9 ** (6 - t) * values[6] for t in range(6)]
    assert np.allclose(targets, returns)
    assert np.allclose(advantages, returns - values[:-1])


def test_gae_does_not_cross_the_slots_in_which_a_node_was_down() -> None:
    rewards = np.array([1.0, 100.0, 100.0, 1.0])
    values = np.zeros((5, 1))
    valid = np.array([[True], [False], [False], [True]])
    advantages, _ = ppo.gae(rewards, values, valid, 0.9, 0.9)
    assert advantages[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 2.0, 2.4), (1.5, -2.0, -3.0), (0.5, 2.0, 1.0), (0.5, -2.0, -1.6), (1.1, 1.0, 1.1)],
)
def test_clipped_objective(ratio: float, advantage: float, expected: float) -> None:
    value = ppo.clipped_objective(torch.tensor([ratio]), torch.tensor([advantage]), 0.2)
    assert value.item() == pytest.approx(expected)


def test_ratio_and_critic_loss() -> None:
    ratio = ppo.probability_ratio(torch.log(torch.tensor([0.6])), torch.log(torch.tensor([0.4])))
    assert ratio.item() == pytest.approx(1.5)
    assert ppo.critic_loss(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 1.0])).item() == pytest.approx(2.5)


def test_records_of_another_actor_are_refused_by_episode_slot_and_node() -> None:
    online = OnlineSettings(episodes=10)
    learner = fresh(online)
    log = play(learner["actor"], 7)
    slot, node = np.argwhere(log.actions[:-1] != NODES)[3]
    recorded = log.log_probabilities.copy()
    recorded[slot, node] += 2e-4
    before = learner.to_bytes()
    with pytest.raises(ppo.OffPolicyError, match=f"episode 7, slot {slot}, node {node}.*model tiny"):
        ppo.update(learner, [replace(log, log_probabilities=recorded)], online, 1, 1)
    recorded[slot, node] = np.nan
    with pytest.raises(ppo.OffPolicyError):
        ppo.update(learner, [replace(log, log_probabilities=recorded)], online, 1, 1)
    assert learner.to_bytes() == before  # a rejected episode does not change the model
    recorded[slot, node] = log.log_probabilities[slot, node] + 5e-5
    ppo.update(learner, [replace(log, log_probabilities=recorded)], online, 1, 1)


def test_only_log_probabilities_of_decided_tasks_are_compared() -> None:
    online = OnlineSettings(episodes=10)
    learner = fresh(online)
    log = play(learner["actor"], 1)
    recorded = np.where(log.actions == NODES, np.nan, log.log_probabilities).astype(np.float32)
    up = log.up.copy()
    up[5:9, 1] = False
    recorded[~up] = np.nan
    statistics = ppo.update(learner, [replace(log, log_probabilities=recorded, up=up)], online, 1, 1)
    assert statistics["rows"] == 40 * 3 - 5  # slots 4 to 8 of node 1: in slot 4 its next observation is missing
    assert all(np.isfinite(value) for value in statistics.values())


def test_what_a_down_node_left_in_its_rows_does_not_matter() -> None:
    online = OnlineSettings(episodes=10)
    results = []
    for garbage in (0.0, 1e6):
        learner = fresh(online)
        log = play(learner["actor"], 1)
        up = log.up.copy()
        up[5:9, 1] = False
        observations = log.observations.copy()
        observations[~up] = garbage
        ppo.update(learner, [replace(log, observations=observations, up=up)], online, 1, 1)
        results.append(learner.to_bytes())
    assert results[0] == results[1]


def test_without_offline_data_the_first_updates_statistics_stay() -> None:
    online = OnlineSettings(episodes=20)
    learner = fresh(online)
    logs = [play(learner["actor"], k) for k in range(3)]
    ppo.update(learner, logs, online, 1, 2)
    assert learner.rewards == RewardStatistics.of([log.team_reward for log in logs])
    first = learner.rewards
    ppo.update(learner, [play(learner["actor"], 9)], online, 1, 2)
    assert learner.rewards == first


def test_the_learning_rate_decays_linearly_over_all_updates() -> None:
    online = OnlineSettings(episodes=40, learning_rate=1e-3)
    learner = fresh(online)
    rates = [ppo.update(learner, [play(learner["actor"], k)], online, 1, 4)["learning_rate"] for k in range(4)]
    assert rates == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])


def test_diverging_training_is_an_error_and_not_a_model() -> None:
    online = OnlineSettings(episodes=10, gradient_clip=None)
    learner = fresh(online)
    log = play(learner["actor"], 1)
    with torch.no_grad():
        next(learner["critic"].parameters()).fill_(torch.inf)
    with pytest.raises(DivergenceError, match=r"diverged at update 1: .* try a lower online\.learning_rate"):
        ppo.update(learner, [log], online, 1, 1)


@pytest.mark.parametrize("size", [None, 50, 1000])
def test_minibatches_are_all_rows_once_in_nearly_equal_parts(size: int | None) -> None:
    parts = list(ppo._minibatches(np.random.default_rng(0), 120, size))
    assert sorted(np.concatenate(parts).tolist()) == list(range(120))
    lengths = [len(part) for part in parts]
    assert max(lengths) <= (size or 120)
    assert max(lengths) - min(lengths) <= 1
