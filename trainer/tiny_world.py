"""A small environment with a known best policy, for conformance tests.

It has three nodes and no queues; a task ends in the slot in which it arrives. In every slot each node has a task with
probability 0.7. The task is of kind A or B, which the observation shows. Kind A succeeds at node 0 with probability
0.95, kind B at node 1 with 0.95, and everything else with 0.2. So the best action is 0 for kind A, and 1 for kind B.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from offload.episodes import EpisodeLog, EpisodePhase, EpisodePlan
from offload.scheduler_choice import SchedulerChoice
from trainer.networks import masked_policy
from trainer.replay import ReplayBuffer
from trainer.transitions import RewardStatistics, Transitions, transitions_of

NODES, SLOTS, OBSERVATION = 3, 40, 2 + 3
GOOD, BAD = 0.95, 0.2
_EPISODES, _BATCH_SLOTS = 24, 64


def play(
    actor: torch.nn.Module | None, episode: int, seed: int = 0, allowed: Sequence[int] | None = None
) -> EpisodeLog:
    """An episode with the actions of an actor, or with random actions if it is None.

    allowed: the nodes that tasks may go to; all by default
    """
    random = np.random.default_rng([seed, episode])
    shape = SLOTS + 1, NODES
    has_task = random.random(shape) < 0.7
    kind = random.integers(0, 2, shape)
    observations = np.zeros((*shape, OBSERVATION), np.float32)
    for t, i in np.argwhere(has_task):
        observations[t, i, kind[t, i]] = 1.0
    observations[..., 2:] = np.eye(NODES)
    masks = np.zeros((*shape, NODES + 1), bool)
    masks[..., :NODES] = has_task[..., None]
    masks[..., NODES] = ~has_task
    if allowed is not None:
        masks[..., [node for node in range(NODES) if node not in allowed]] = False
    probabilities = masks / masks.sum(-1, keepdims=True)
    if actor is not None:
        with torch.no_grad():
            probabilities = masked_policy(actor(torch.from_numpy(observations)), torch.from_numpy(masks))[0].numpy()
    cumulative = probabilities.cumsum(-1) / probabilities.sum(-1, keepdims=True)
    actions = (random.random((*shape, 1)) > cumulative).sum(-1)
    actions = np.where(np.take_along_axis(masks, actions[..., None], -1)[..., 0], actions, probabilities.argmax(-1))
    chosen = np.take_along_axis(probabilities, actions[..., None], -1)[..., 0]
    success = random.random(shape) < np.where(actions == kind, GOOD, BAD)
    feedback = np.where(has_task, np.where(success, 1.0, -1.0), 0.0)[:SLOTS]
    return EpisodeLog(
        episode=episode,
        plan=EpisodePlan(EpisodePhase.ONLINE, "tiny", episode, SchedulerChoice("drl", model="tiny")),
        observations=observations,
        masks=masks,
        actions=actions.astype(np.int64),
        log_probabilities=np.log(chosen).astype(np.float32),
        up=np.ones(shape, bool),
        team_reward=feedback.sum(1),
        tasks=int(has_task[:SLOTS].sum()),
        successes=int((success & has_task)[:SLOTS].sum()),
    )


def buffer_of(capacity: int, *logs: EpisodeLog) -> ReplayBuffer:
    """A replay buffer with these episodes."""
    buffer = ReplayBuffer(capacity, NODES, OBSERVATION)
    for log in logs:
        buffer.append(transitions_of(log))
    return buffer


class ActionWorld:
    """The environment, in the form that `trainer.conformance` needs."""

    inputs, outputs = OBSERVATION, NODES + 1
    shape = "(7, N+1)"
    updates = 20

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, ...] | None, ReplayBuffer] = {}

    @property
    def rewards(self) -> RewardStatistics:
        """Of all slots to learn from."""
        return self._buffer(None).reward_statistics()

    def batch(self, random: np.random.Generator, allowed: Sequence[int] | None) -> Transitions:
        """A minibatch of slots. allowed: the nodes that tasks may go to; all by default"""
        return self._buffer(allowed).sample(random, _BATCH_SLOTS)

    def episode(self, actor: torch.nn.Module, number: int, allowed: Sequence[int] | None) -> EpisodeLog:
        """An episode that the actor plays."""
        return play(actor, number, allowed=allowed)

    def probability_of_best(self, actor: torch.nn.Module) -> float:
        """The least probability that the actor gives to the best action."""
        return probability_of_best(actor)

    def _buffer(self, allowed: Sequence[int] | None) -> ReplayBuffer:
        key = None if allowed is None else tuple(allowed)
        if key not in self._buffers:
            logs = (play(None, k, allowed=allowed) for k in range(_EPISODES))
            self._buffers[key] = buffer_of(_EPISODES * (SLOTS + 1), *logs)
        return self._buffers[key]


def probability_of_best(actor: torch.nn.Module) -> float:
    """The least probability that the actor gives to the best action, over all observations with a task."""
    rows, best = [], []
    for node in range(NODES):
        for kind in (0, 1):
            row = np.zeros(OBSERVATION, np.float32)
            row[kind], row[2 + node] = 1.0, 1.0
            rows.append(row)
            best.append(kind)
    mask = torch.tensor([[True] * NODES + [False]] * len(rows))
    with torch.no_grad():
        policy = masked_policy(actor(torch.from_numpy(np.stack(rows))), mask)
    return float(policy.probabilities[range(len(rows)), best].min())
