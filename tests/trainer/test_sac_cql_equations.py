"""Tests eq. 10–12 against numbers computed by hand."""

import math

import numpy as np
import pytest
import torch

from offload.settings import LearnerSettings, OfflineSettings
from trainer.algorithms import sac_cql
from trainer.algorithms.rows import rows_of
from trainer.networks import Policy, masked_policy
from trainer.tiny_world import NODES, OBSERVATION, play
from trainer.transitions import IDENTITY, transitions_of

LEARNER = LearnerSettings(hidden=(8,), device="cpu")


def fresh(offline: OfflineSettings | None = None):
    return sac_cql.make_learner(LEARNER, offline or OfflineSettings(), 1, OBSERVATION, NODES + 1)


def test_soft_value_and_target() -> None:
    policy = Policy(torch.tensor([[0.25, 0.75, 0.0]]), torch.tensor([[math.log(0.25), math.log(0.75), 0.0]]))
    q = torch.tensor([[2.0, 4.0, 1000.0]])
    # 0.25·(2 − 0.1·ln 0.25) + 0.75·(4 − 0.1·ln 0.75): the illegal action's large Q does not count
    by_hand = 0.25 * (2 + 0.1 * 1.3862944) + 0.75 * (4 + 0.1 * 0.2876821)
    assert sac_cql.soft_value(policy, q, 0.1).item() == pytest.approx(by_hand, rel=1e-6)
    target = sac_cql.target_value(torch.tensor([-2.0]), torch.tensor([by_hand]), 0.9)
    assert target.item() == pytest.approx(-2 + 0.9 * by_hand, rel=1e-6)


def test_the_target_takes_the_smaller_target_q_and_the_next_slots_mask() -> None:
    learner = fresh(OfflineSettings(discount=0.5, entropy_weight=0.2))
    rows = rows_of(transitions_of(play(None, 1)), np.linspace(-1, 1, 40), torch.device("cpu"))
    with torch.no_grad():
        for parameter in learner["target_q2"].parameters():
            parameter.add_(0.3)
        y = sac_cql._target(learner, rows, 0.2, 0.5)
        row = 17
        q = torch.minimum(*(learner[name](rows.next_observations[row]) for name in ("target_q1", "target_q2")))
        logits = learner["actor"](rows.next_observations[row])
        legal = [a for a in range(NODES + 1) if rows.next_masks[row, a]]
        weights = [math.exp(logits[a]) for a in legal]
        shares = [weight / sum(weights) for weight in weights]
        value = sum(p * (float(q[a]) - 0.2 * math.log(p)) for p, a in zip(shares, legal, strict=True))
    assert float(y[row]) == pytest.approx(float(rows.rewards[row]) + 0.5 * value, rel=1e-5)


def test_cql_regularizer_is_over_legal_actions() -> None:
    q = torch.tensor([[1.0, 2.0, 50.0], [1.0, 7.0, 3.0]])
    mask = torch.tensor([[True, True, False], [False, True, False]])
    regularizer = sac_cql.cql_regularizer(q, mask, torch.tensor([0, 1]))
    # ln(e¹ + e²) − 1; and nothing to regularize with one legal action
    assert regularizer.tolist() == pytest.approx([math.log(math.e + math.e**2) - 1, 0.0], abs=1e-6)


def test_q_loss_actor_loss_and_critic_loss() -> None:
    q = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    loss = sac_cql.q_loss(q, mask, torch.tensor([1, 0]), torch.tensor([1.5, 1.0]), 0.1)
    first = 0.25 + 0.1 * (math.log(math.e + math.e**2) - 2)
    second = 1.0 + 0.1 * (math.log(1 + math.e**3) - 0)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    even = masked_policy(torch.zeros(1, 2), mask[:1])
    assert sac_cql.actor_loss(even, q[:1], 0.05).item() == pytest.approx(-(1.5 + 0.05 * math.log(2)), rel=1e-6)
    assert sac_cql.critic_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])).item() == pytest.approx(2.5)


def test_the_adaptive_weight_grows_when_entropy_is_short_of_its_share() -> None:
    mask = torch.tensor([[True, True, True, False], [False, False, False, True]])
    logarithm = torch.tensor(0.0, requires_grad=True)
    entropy = torch.tensor([0.5, 0.0])
    # target 0.9·ln 3 = 0.98875 in the first row; the second, with one legal action, is left out
    (gradient,) = torch.autograd.grad(sac_cql.entropy_weight_loss(logarithm, entropy, mask, 0.9), logarithm)
    assert gradient.item() == pytest.approx(0.5 - 0.9 * math.log(3), rel=1e-5)
    assert gradient.item() < 0  # descent raises the weight


def test_an_adaptive_weight_is_learned_and_cannot_start_at_zero() -> None:
    offline = OfflineSettings(entropy="adaptive", entropy_weight=0.2, learning_rate=0.01)
    learner = fresh(offline)
    learner.rewards = IDENTITY
    batch = transitions_of(play(None, 1))
    weights = [float(sac_cql.train_step(learner, batch, offline)["entropy_weight"]) for _ in range(5)]
    assert weights[0] == pytest.approx(0.2)
    assert weights[-1] != weights[0]
    with pytest.raises(ValueError, match=r"offline\.entropy_weight = 0"):
        fresh(OfflineSettings(entropy="adaptive", entropy_weight=0))


def test_target_networks_start_equal_and_follow_slowly_each_its_own() -> None:
    learner = fresh()
    for name in ("q1", "q2"):
        for target, source in zip(learner["target_" + name].parameters(), learner[name].parameters(), strict=True):
            assert torch.equal(target, source)
            assert target is not source
    assert not torch.equal(next(learner["q1"].parameters()), next(learner["q2"].parameters()))
    before = next(learner["target_q2"].parameters()).clone()
    with torch.no_grad():
        next(learner["q2"].parameters()).add_(1.0)
    sac_cql.soft_update(learner["target_q2"], learner["q2"], 0.25)
    assert torch.allclose(next(learner["target_q2"].parameters()), before + 0.25)


def test_a_step_moves_every_network_and_the_targets_by_tau_only() -> None:
    offline = OfflineSettings(soft_update=0.1)
    learner = fresh(offline)
    learner.rewards = IDENTITY
    before = {name: next(module.parameters()).clone() for name, module in learner.modules.items()}
    sac_cql.train_step(learner, transitions_of(play(None, 1)), offline)
    after = {name: next(module.parameters()).detach() for name, module in learner.modules.items()}
    assert learner.step == 1
    for name in ("actor", "critic", "q1", "q2"):
        assert not torch.equal(before[name], after[name]), name
    assert torch.allclose(after["target_q1"], 0.9 * before["q1"] + 0.1 * after["q1"], atol=1e-7)


def test_rewards_are_normalized_as_the_settings_say() -> None:
    rewards = np.array([0.0, 2.0, 4.0])
    assert sac_cql.normalization(rewards, None, OfflineSettings(reward_normalization="none")) == IDENTITY
    batch = sac_cql.normalization(rewards, IDENTITY, OfflineSettings(reward_normalization="batch"))
    assert batch.mean == pytest.approx(2.0)
    assert batch.std == pytest.approx(math.sqrt(8 / 3))
    assert sac_cql.normalization(rewards, batch, OfflineSettings()) is batch
    with pytest.raises(ValueError, match="has none"):
        sac_cql.normalization(rewards, None, OfflineSettings())
