"""The twin as a PettingZoo parallel environment: the agents are the nodes, a step is a slot."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from offload.limits import MAX_EPISODE
from offload.network import Network
from offload.settings import Settings
from simulator.episodes import EpisodeSequence, settings_of
from simulator.registration import register

Observation = dict[str, NDArray[Any]]
Infos = dict[str, dict[str, Any]]


class OffloadingParallelEnv(ParallelEnv[str, Observation, int]):
    """One episode at a time on one network.

    settings: of the experiment, or a preset's name; network: drawn from the settings by default

    Observation of agent `node_i`: `{"observation": (O,) float32 in [0, 1], "action_mask": (N+1,) int8}`.
    Action: in 0 … N, the node that the agent's task goes to; N means "no task".
    Reward of each agent: the team reward, +1 for every task that succeeds in the slot, −1 for every other outcome.
    End: after T slots all agents are truncated, with the observation of tick T.
    Infos of each agent: `illegal`, whether its mask forbids its last action; `success_rate`, the team's success rate.
    The success rate is 0 before the end of the episode, and NaN at the end of an episode without tasks.

    An illegal action raises no error. "No task" although there is a task leaves the task at its node. A node although
    there is no task is ignored. An overloaded node receives the task.

    state() is (N·O,): all agents' observations one after the other, for algorithms with a central critic.

    Raises ValueError for an unknown preset, or a network whose size differs from the settings'.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "offloading_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, settings: Settings | str = "paper-simulation", network: Network | None = None) -> None:
        self._sequence = EpisodeSequence(settings_of(settings), network, 1)
        nodes, elements = self._sequence.nodes, self._sequence.profile.size
        self.possible_agents = [f"node_{i}" for i in range(nodes)]
        self.agents: list[str] = []
        # One object per agent, because PettingZoo seeds each agent's action space on its own.
        self._observation_space = {agent: observation_space(nodes, elements) for agent in self.possible_agents}
        self.state_space = spaces.Box(0.0, 1.0, (nodes * elements,), np.float32)
        self._action_space = {agent: spaces.Discrete(nodes + 1) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Dict:
        """The observation space of one agent; it is the same for all agents."""
        return self._observation_space[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """0 … N−1 send the task to that node, N is "no task"."""
        return self._action_space[agent]

    def state(self) -> NDArray[np.float32]:
        """(N·O,) what all agents observe now, in a new array."""
        state: NDArray[np.float32] = self._sequence.observations[0].ravel().copy()
        return state

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Begin an episode: trace 0 of `seed`, or the next trace of the last seed.

        `options={"trace": k}` selects trace k; other options are ignored.
        Raises ValueError for a seed or a trace that is not in 0 … 2**32 − 1.
        """
        begin(self._sequence, seed, options)
        self.agents = self.possible_agents[:]
        return self._observed([False] * len(self.agents))

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Decide a slot. Raises ValueError when an action is missing or not in 0 … N, or the episode is over."""
        if not self.agents:
            raise ValueError("no episode is running: call reset() first")
        sequence, agents = self._sequence, self.possible_agents
        decided = sequence.decide(self._given(actions))
        success_rate = 0.0
        if decided.is_over:
            self.agents = []
            success_rate = float(sequence.twin.task_outcomes().success_rates()[0])
        observations, infos = self._observed(decided.illegal[0].tolist(), success_rate)
        return (
            observations,
            dict.fromkeys(agents, float(decided.reward[0])),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, decided.is_over),
            infos,
        )

    def _given(self, actions: Mapping[str, int]) -> NDArray[np.int64]:
        """(1, N)."""
        try:
            given = [*map(index, map(actions.__getitem__, self.possible_agents))]
        except (KeyError, TypeError):
            raise self._complaint(actions) from None
        if min(given) < 0 or max(given) > len(given):
            raise self._complaint(actions)
        return np.array([given], np.int64)

    def _complaint(self, actions: Mapping[str, Any]) -> ValueError:
        """The error for the first agent without a valid action."""
        nodes = len(self.possible_agents)
        for agent in self.possible_agents:
            if agent not in actions:
                return ValueError(f"{agent} has no action; every agent needs one ({nodes} if it has no task)")
            action = actions[agent]
            if not hasattr(action, "__index__") or np.ndim(action) or not 0 <= action <= nodes:
                break
        return ValueError(f"{agent}: action {action!r} is not an integer in 0 … {nodes}")

    def _observed(self, illegal: list[bool], success_rate: float = 0.0) -> tuple[dict[str, Observation], Infos]:
        # Views of arrays that belong to this slot only: later slots do not overwrite them.
        seen, masks = self._sequence.observations[0], self._sequence.masks[0]
        observations, infos = {}, {}
        for agent, one, mask, wrong in zip(self.possible_agents, seen, masks, illegal, strict=True):
            observations[agent] = {"observation": one, "action_mask": mask}
            infos[agent] = {"illegal": wrong, "success_rate": success_rate}
        return observations, infos


def observation_space(nodes: int, elements: int) -> spaces.Dict:
    """The observation space of one node: the profile's O elements, and the mask of the N+1 actions."""
    return spaces.Dict(
        {
            "observation": spaces.Box(0.0, 1.0, (elements,), np.float32),
            "action_mask": spaces.Box(0, 1, (nodes + 1,), np.int8),
        }
    )


def begin(sequence: EpisodeSequence, seed: int | None, options: Mapping[str, Any] | None) -> None:
    """Start the episodes that a reset with these arguments asks for. Raises ValueError for a wrong seed or trace."""
    if seed is not None:
        sequence.seed(index(seed))
    trace = (options or {}).get("trace")
    if trace is not None and not 0 <= index(trace) <= MAX_EPISODE - sequence.batch + 1:
        raise ValueError(f"trace {trace} is not in 0 … {MAX_EPISODE - sequence.batch + 1}")
    sequence.start(trace)


def parallel_env(**options: Any) -> OffloadingParallelEnv:
    """Make the environment, by PettingZoo's naming convention."""
    return OffloadingParallelEnv(**options)


register()  # importing one environment registers the ids of both
