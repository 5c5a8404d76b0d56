"""Tests the regression that trains the actor of `scorer`, on decisions with a known best candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offload.candidates import COLUMNS, PROFILE, PROMISE, VALUE, Decisions
from trainer.learner import DivergenceError
from trainer.progress import Silent
from trainer.scorer.buffer import CandidateBuffer, NothingToLearnError
from trainer.scorer.general import FitSettings, fit, train
from trainer.scorer.regression import Rows, fresh_learner, losses

FINISH, EXECUTION = COLUMNS.index("finish"), COLUMNS.index("execution")
SETTINGS = FitSettings(hidden=(32, 16), epochs=12, minibatch=256)


def decisions(count, seed=0):
    """Success falls with the finish, the externality grows with the execution time; some candidates are silent."""
    random = np.random.default_rng(seed)
    reported = random.uniform(0, 1, (count, 3, PROFILE.size)).astype(np.float32)
    answered = np.ones((count, 3), bool)
    answered[:, 2] = random.random(count) < 0.7
    reported[~answered] = 0.0
    success = np.where(answered, 1.0 - 0.5 * reported[..., FINISH], 99.0)
    externality = np.where(answered, 0.8 * reported[..., EXECUTION], -99.0)
    return Decisions(reported, answered, reported[:, 1:].copy(), success, externality)


def test_the_value_is_the_success_less_the_weighted_externality():
    learner = fresh_learner(1, 2e-3, hidden=SETTINGS.hidden)
    found = fit(learner, decisions(24_000), SETTINGS, 1, Silent())
    assert set(found) == {"value_loss", "promise_loss"}
    new = decisions(2000, seed=9)
    with torch.no_grad():
        outputs = learner.actor(torch.from_numpy(new.reported)).numpy()
    reward = new.success - 0.35 * new.externality
    assert np.abs(outputs[..., VALUE] - reward)[new.answered].mean() < 0.02
    values = np.where(new.answered, outputs[..., VALUE], -np.inf)
    rewards = np.where(new.answered, reward, -np.inf)
    assert (values.argmax(axis=1) == rewards.argmax(axis=1)).mean() > 0.9


def test_the_promise_is_what_a_probe_gains():
    learner = fresh_learner(1, 2e-3, hidden=SETTINGS.hidden)
    fit(learner, decisions(8000), SETTINGS, 1, Silent())
    new = decisions(2000, seed=9)
    with torch.no_grad():
        promise = learner.actor(torch.from_numpy(new.unreported[:, 0])).numpy()[:, PROMISE]
    reward = new.success - 0.35 * new.externality
    gain = np.maximum(0.0, reward[:, 1] - reward[:, 0])
    assert np.corrcoef(promise, gain)[0, 1] > 0.6  # the gain also depends on the deciding node's own row
    assert abs(promise.mean() - gain.mean()) < 0.02


def test_candidates_without_an_answer_do_not_count():
    learner = fresh_learner(1, 2e-3)
    rows = Rows.of(decisions(64), 0.35, learner.device)
    other = rows._replace(rewards=torch.where(rows.answered, rows.rewards, -5.0))
    for one, two in zip(losses(learner, rows), losses(learner, other), strict=True):
        assert one == two


def test_a_buffer_keeps_the_newest_episodes_and_draws_rows_of_them():
    buffer = CandidateBuffer(250, nodes=4)
    for k in range(3):
        one = decisions(50, k)
        one.success[:] = k
        buffer.append(one, slots=100)
    assert len(buffer) == 100  # two episodes of 100 slots fit into 250
    drawn = buffer.sample(np.random.default_rng(0), slots=16)
    assert len(drawn) == 64
    assert set(np.unique(drawn.success)) == {1.0, 2.0}


def test_a_buffer_without_a_decision_says_so():
    with pytest.raises(NothingToLearnError, match="no task"):
        CandidateBuffer(10, nodes=4).sample(np.random.default_rng(0), 1)


def test_the_same_seed_gives_the_same_model():
    def files(seed):
        return train(iter([decisions(500), decisions(700, 2)]), 1200, SETTINGS, seed, Silent()).files("v")

    assert files(3) == files(3)
    assert files(3)["actor.onnx"] != files(4)["actor.onnx"]


def test_numbers_that_are_not_finite_are_a_divergence():
    made = decisions(300)
    made.success[4, 0] = np.inf
    with pytest.raises(DivergenceError, match="value_loss"):
        fit(fresh_learner(1, 2e-3, hidden=SETTINGS.hidden), made, SETTINGS, 1, Silent())
