"""Tests the regression that trains the actor of `scorer`, on decisions with a known best candidate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offload.candidates import COLUMNS, PROFILE, PROMISE, VALUE, Decisions
from trainer.learner import DivergenceError
from trainer.progress import Silent
from trainer.scorer.fitting import FitSettings, fit, fresh_learner, losses
from trainer.scorer.general import train

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
    learner = fresh_learner(SETTINGS, 1)
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
    learner = fresh_learner(SETTINGS, 1)
    fit(learner, decisions(8000), SETTINGS, 1, Silent())
    new = decisions(2000, seed=9)
    with torch.no_grad():
        promise = learner.actor(torch.from_numpy(new.unreported[:, 0])).numpy()[:, PROMISE]
    reward = new.success - 0.35 * new.externality
    gain = np.maximum(0.0, reward[:, 1] - reward[:, 0])
    assert np.corrcoef(promise, gain)[0, 1] > 0.6  # the gain also depends on the deciding node's own row
    assert abs(promise.mean() - gain.mean()) < 0.02


def test_candidates_without_an_answer_do_not_count():
    learner, made = fresh_learner(SETTINGS, 1), decisions(64)
    tensors = [torch.from_numpy(one) for one in (made.reported, made.unreported, made.answered)]
    rewards = torch.from_numpy(made.success).float()
    other = torch.where(tensors[2], rewards, -5.0)
    for one, two in zip(losses(learner, *tensors, rewards), losses(learner, *tensors, other), strict=True):
        assert one == two


def test_the_same_seed_gives_the_same_model():
    def files(seed):
        return train(iter([decisions(500), decisions(700, 2)]), 1200, SETTINGS, seed, Silent()).files("v")

    assert files(3) == files(3)
    assert files(3)["actor.onnx"] != files(4)["actor.onnx"]


def test_numbers_that_are_not_finite_are_a_divergence():
    made = decisions(300)
    made.success[4, 0] = np.inf
    with pytest.raises(DivergenceError, match="value_loss"):
        fit(fresh_learner(SETTINGS, 1), made, SETTINGS, 1, Silent())
