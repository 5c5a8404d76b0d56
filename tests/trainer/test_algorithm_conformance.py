"""Tests that our algorithms conform, and that the conformance kit finds a user's mistakes."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer import conformance
from trainer.algorithms import _load, algorithm_names
from trainer.algorithms.ppo import PPO
from trainer.algorithms.rows import rows_of
from trainer.conformance import check_algorithm
from trainer.networks import mlp
from trainer.seeds import seeded_initialization

PAGE = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
_namespace: dict = {"__name__": __name__}
exec(compile(EXAMPLE.replace("from __future__ import annotations", ""), "docs/algorithms.md", "exec"), _namespace)
Cloning = _namespace["Cloning"]


@pytest.mark.parametrize("name", algorithm_names())
def test_every_registered_algorithm_conforms(name):
    check_algorithm(_load(name, name))


@dataclass(frozen=True)
class Undocumented(Cloning):
    """It does not describe its parameter."""

    learning_rate: float = 0.003


class Base(Cloning):
    """learning_rate: step size of Adam"""


class ForgetsToCount(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        found = super().train(state, batch)
        state.step -= 1
        return found


class OtherCurves(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        return {"loss": super().train(state, batch)["imitation_loss"]}


class GlobalInitialization(Base):
    """learning_rate: step size of Adam"""

    def fresh(self, rewards):
        state = super().fresh(rewards)
        nn.init.normal_(next(state.actor.parameters()), std=0.1)
        return state


class GlobalRandomness(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        found = super().train(state, batch)
        with torch.no_grad():
            next(state.actor.parameters()).add_(1e-3 * torch.rand(1))
        return found


class NumPyRandomness(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        np.random.rand()
        return super().train(state, batch)


class IgnoresTheSeed(Base):
    """learning_rate: step size of Adam"""

    def fresh(self, rewards):
        return Cloning(replace(self.context, seed=3)).fresh(rewards)


class KeepsStateOutside(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        state.momentum = getattr(state, "momentum", 0.0) + 1.0
        found = super().train(state, batch)
        with torch.no_grad():
            next(state.actor.parameters()).add_(1e-3 * state.momentum)
        return found


class ForgetsMasks(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        rows = rows_of(batch, batch.rewards, state.device)
        loss = nn.functional.cross_entropy(state.actor(rows.observations), rows.actions)
        state.descend("actor", loss)
        state.step += 1
        return {"imitation_loss": loss.detach()}


class ChangesTheBatch(Base):
    """learning_rate: step size of Adam"""

    def train(self, state, batch):
        batch.rewards[...] = 0.0
        return super().train(state, batch)


class _Scaled(nn.Sequential):
    def forward(self, rows):
        return 2.0 * super().forward(rows)


class ExportsAnotherActor(Base):
    """learning_rate: step size of Adam"""

    def fresh(self, rewards):
        state = super().fresh(rewards)
        state.modules["actor"].__class__ = _Scaled
        return state


class LearnsNothing(Base):
    """learning_rate: step size of Adam"""


class TakesNothingOver(PPO):
    """Starts from fresh networks."""

    def start_from(self, state, content):
        pass


class TrustsEveryEpisode(PPO):
    """Trains on the episodes of other actors."""

    def update(self, state, logs, updates):
        state.step += 1
        return dict.fromkeys(self.curves, 0.0)


class WrongSize(Base):
    """learning_rate: step size of Adam"""

    def fresh(self, rewards):
        state = super().fresh(rewards)
        with seeded_initialization(self.context.seed):
            state.modules["actor"] = mlp(self.context.observation_size, (), self.context.actions + 1)
        return state


@pytest.mark.parametrize(
    ("factory", "part"),
    [
        (Undocumented, "its docstring does not explain the parameter 'learning_rate'"),
        (ForgetsToCount, "after 1 steps, state.step is 0"),
        (OtherCurves, "a step returns ['loss'], and `curves` names ['imitation_loss']"),
        (GlobalInitialization, "two fresh states of the same seed differ"),
        (GlobalRandomness, "training twice with the same seed differs"),
        (NumPyRandomness, "it draws from the global random state"),
        (IgnoresTheSeed, "does not depend on the seed"),
        (KeepsStateOutside, "saved at step 2, loaded and continued to step 5, it differs"),
        (ForgetsMasks, "the actor's logit of an illegal action changes the training"),
        (ChangesTheBatch, "changed the minibatch"),
        (ExportsAnotherActor, "the exported actor computes other logits than torch"),
        (LearnsNothing, "it must have at least 0.9"),
        (WrongSize, "not (7, N+1)"),
        (TakesNothingOver, "does not take over the actor"),
        (TrustsEveryEpisode, "trains on episodes of another actor"),
    ],
)
def test_a_mistake_is_found_and_named(factory, part):
    with pytest.raises(AssertionError) as found:
        check_algorithm(factory, steps=3)
    assert part in str(found.value)
    assert str(found.value).startswith(factory.__name__)


def test_the_kit_documents_itself():
    assert "check_algorithm(" in (conformance.__doc__ or "")
