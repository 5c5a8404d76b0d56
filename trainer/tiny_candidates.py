"""A small environment for algorithms of the scheduler `scorer`, with a known best candidate.

Every decision has three candidates with random rows. A candidate's success is its column `slack`, and it costs other
tasks nothing. So the best candidate is the one with the most slack.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from offload.candidates import COLUMNS, PROFILE, VALUE, Decisions
from trainer.transitions import IDENTITY, RewardStatistics

_CANDIDATES, _DECISIONS = 3, 200
_SLACK = COLUMNS.index("slack")


class CandidateWorld:
    """The environment, in the form that `trainer.conformance` needs."""

    inputs, outputs = PROFILE.size, PROFILE.outputs
    shape = "(7, 2)"
    updates = 60
    rewards: RewardStatistics = IDENTITY

    def batch(self, random: np.random.Generator, allowed: Sequence[int] | None) -> Decisions:
        """A minibatch of decisions."""
        shape = _DECISIONS, _CANDIDATES
        reported = random.random((*shape, PROFILE.size), dtype=np.float32)
        answered = np.ones(shape, bool)
        answered[:, -1] = random.random(_DECISIONS) < 0.7
        reported[~answered] = 0.0
        success = np.where(answered, reported[..., _SLACK].astype(np.float64), 0.0)
        return Decisions(reported, answered, reported[:, 1:].copy(), success, np.zeros(shape))

    def episode(self, actor: torch.nn.Module, number: int, allowed: Sequence[int] | None) -> Decisions:
        """The decisions of an episode. They do not depend on the actor."""
        return self.batch(np.random.default_rng(number), allowed)

    def probability_of_best(self, actor: torch.nn.Module) -> float:
        """The share of decisions in which the actor gives the best candidate the highest value."""
        decisions = self.batch(np.random.default_rng(1_000_000), None)
        with torch.no_grad():
            values = actor(torch.from_numpy(decisions.reported))[..., VALUE].numpy()
        values = np.where(decisions.answered, values, -np.inf)
        best = np.where(decisions.answered, decisions.success, -np.inf)
        return float((values.argmax(axis=1) == best.argmax(axis=1)).mean())
