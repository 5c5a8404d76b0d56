"""Tests that a saved and loaded learner continues bit for bit, and that unsuitable ones are rejected by name."""

import numpy as np
import pytest
import torch

from offload.settings import LearnerSettings, OfflineSettings, OnlineSettings
from trainer.algorithms import ppo, sac_cql
from trainer.learner import Learner, LearnerError
from trainer.networks import mlp
from trainer.seeds import Stream, generator, seeded_initialization
from trainer.tiny_world import NODES, OBSERVATION, SLOTS, buffer_of, play
from trainer.transitions import RewardStatistics

LEARNER = LearnerSettings(hidden=(16, 16), device="cpu")
ADAPTIVE = OfflineSettings(entropy="adaptive", entropy_weight=0.2, gradient_clip=1.0)


def offline_learner(hidden: tuple[int, ...] = (16, 16), seed: int = 1):
    learner = sac_cql.make_learner(LearnerSettings(hidden=hidden, device="cpu"), ADAPTIVE, seed, OBSERVATION, NODES + 1)
    learner.rewards = RewardStatistics(0.25, 1.5)
    return learner


def train(learner, steps: int) -> None:
    buffer = buffer_of(3 * (SLOTS + 1), *(play(None, k) for k in range(3)))
    while learner.step < steps:
        sac_cql.train_step(learner, buffer.sample(generator(1, Stream.REPLAY, learner.step), 16), ADAPTIVE)


def test_offline_training_resumes_bit_for_bit() -> None:
    straight, first = offline_learner(), offline_learner()
    train(straight, 12)
    train(first, 5)
    resumed = offline_learner(seed=99)
    resumed.load_bytes(first.to_bytes())
    assert resumed.step == 5
    assert resumed.rewards == RewardStatistics(0.25, 1.5)
    train(resumed, 12)
    assert resumed.to_bytes() == straight.to_bytes()


def test_online_training_resumes_bit_for_bit() -> None:
    online = OnlineSettings(episodes=40)

    def fresh(seed: int = 1):
        return ppo.make_learner(LEARNER, online, seed, OBSERVATION, NODES + 1)

    def update(learner) -> None:
        ppo.update(learner, [play(learner["actor"], learner.step)], online, 1, 4)

    straight, resumed = fresh(), fresh(seed=5)
    update(straight)
    update(straight)
    resumed.load_bytes(straight.to_bytes())
    update(straight)
    update(resumed)
    assert resumed.to_bytes() == straight.to_bytes()


def test_ppo_starts_from_the_offline_actor_and_critic_and_reward_statistics() -> None:
    offline = offline_learner()
    train(offline, 2)
    online = ppo.make_learner(LEARNER, OnlineSettings(), 7, OBSERVATION, NODES + 1)
    online.load_modules(offline.to_bytes(), ("actor", "critic"))
    rows = torch.rand(5, OBSERVATION)
    for name in ("actor", "critic"):
        assert torch.equal(online[name](rows), offline[name](rows))
    assert online.rewards == offline.rewards
    assert online.step == 0


def test_a_learner_of_another_kind_or_size_is_refused_and_nothing_changes() -> None:
    online = ppo.make_learner(LEARNER, OnlineSettings(), 7, OBSERVATION, NODES + 1)
    before = online.to_bytes()
    with pytest.raises(LearnerError, match=r"actor.0.weight has shape \(8, 5\), this one's has \(16, 5\)"):
        online.load_modules(offline_learner(hidden=(8, 8)).to_bytes(), ("actor", "critic"))
    with pytest.raises(LearnerError, match=r"no parameters q1\.0\.weight"):
        offline_learner().load_bytes(before)
    with pytest.raises(LearnerError, match="cannot be read"):
        online.load_bytes(before[:-10])
    assert online.to_bytes() == before


def test_initialization_depends_only_on_the_seed() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, same, other = offline_learner(), offline_learner(), offline_learner(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert one.to_bytes() == same.to_bytes()
    assert one.to_bytes() != other.to_bytes()


def test_one_pass_for_several_groups_is_a_pass_for_each():
    rows = torch.from_numpy(np.random.default_rng(0).random((16, 4), dtype=np.float32))

    def made():
        with seeded_initialization(3):
            modules = {name: mlp(4, (8,), 2) for name in ("one", "two")}
        return Learner(modules, {name: ((name,), 0.01) for name in modules}, torch.device("cpu"))

    apart, together = made(), made()
    for _ in range(3):
        for name in ("one", "two"):
            apart.descend(name, (apart[name](rows) ** 2).mean(), 0.05)
        losses = {name: (together[name](rows) ** 2).mean() for name in ("one", "two")}
        together.descend_all(losses, 0.05)
    assert apart.to_bytes() == together.to_bytes()
