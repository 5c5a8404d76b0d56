"""Tests that both algorithms find the best policy of a small problem: signs, masks, targets, alignment of rewards."""

from offload.settings import LearnerSettings, OfflineSettings, OnlineSettings
from trainer.algorithms import ppo, sac_cql
from trainer.seeds import Stream, generator
from trainer.tiny_world import NODES, OBSERVATION, SLOTS, buffer_of, play, probability_of_best

LEARNER = LearnerSettings(hidden=(32, 32), device="cpu")


def test_offline_training_finds_the_best_policy_in_random_logs() -> None:
    settings = OfflineSettings(batch_slots=64, learning_rate=3e-3, soft_update=0.02, discount=0.9, entropy_weight=0.05)
    episodes = 60
    buffer = buffer_of(episodes * (SLOTS + 1), *(play(None, episode) for episode in range(episodes)))
    learner = sac_cql.make_learner(LEARNER, settings, 1, OBSERVATION, NODES + 1)
    learner.rewards = buffer.reward_statistics()
    assert probability_of_best(learner["actor"]) < 0.6
    for step in range(500):
        sac_cql.train_step(learner, buffer.sample(generator(1, Stream.REPLAY, step), 64), settings)
    assert probability_of_best(learner["actor"]) > 0.95


def test_ppo_finds_the_best_policy_from_scratch() -> None:
    settings = OnlineSettings(
        episodes=120, episodes_per_update=6, learning_rate=1e-2, minibatch_rows=256, discount=0.5, gae_lambda=0.5
    )
    learner = ppo.make_learner(LEARNER, settings, 1, OBSERVATION, NODES + 1)
    updates = 20
    first = last = 0.0
    for update in range(updates):
        logs = [play(learner["actor"], 6 * update + k) for k in range(6)]
        last = ppo.update(learner, logs, settings, 1, updates)["success_rate"]
        first = first or last
    assert probability_of_best(learner["actor"]) > 0.95
    assert last > first + 0.2
