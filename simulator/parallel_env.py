"""The twin as a PettingZoo parallel environment: the agents are the nodes, a step is a slot."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pettingzoo
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from offload.network import Network
from offload.settings import Settings
from simulator.episodes import EpisodeSequence, settings_of

PETTINGZOO_ID = "offload_testbed/offloading-v0"

Observation = dict[str, NDArray[Any]]


class OffloadingParallelEnv(ParallelEnv[str, Observation, int]):
    """One episode at a time on one network.

    settings: of the experiment, or a preset's name; network: the settings' by default

    Agent `node_i` sees `{"observation": (O,) float32 in [0, 1], "action_mask": (N+1,) int8}` and takes an action in 0 … N: the node
    that its task goes to, or N where it has none. Each agent's reward is the team's: +1 for every task that succeeds in the
    slot, −1 for every other end. After T slots all agents are truncated, with the observation of tick T.

    `reset(seed=s)` begins the sequence of traces of a seed, `reset()` goes on with the next one, `options={"trace": k}` chooses
    one. Actions that the mask forbids are taken in a way that is defined (`EpisodeSequence.decide`), and told in the infos.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "offloading_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, settings: Settings | str = "paper-simulation", network: Network | None = None) -> None:
        self._sequence = EpisodeSequence(settings_of(settings), network, batch=1)
        nodes, elements = self._sequence.nodes, self._sequence.profile.size
        self.possible_agents = [f"node_{i}" for i in range(nodes)]
        self.agents: list[str] = []
        self._observation_space = {agent: observation_space(nodes, elements) for agent in self.possible_agents}
        self._action_space = {agent: spaces.Discrete(nodes + 1) for agent in self.possible_agents}
        self._running = dict.fromkeys(self.possible_agents, False)
        self._over = dict.fromkeys(self.possible_agents, True)

    def observation_space(self, agent: str) -> spaces.Dict:
        """Of one agent; all are alike."""
        return self._observation_space[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """0 … N−1 send the task to that node, N is "no task"."""
        return self._action_space[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin an episode. Raises ValueError for a seed that is not 32-bit."""
        if seed is not None:
            self._sequence.seed(seed)
        self._sequence.start((options or {}).get("trace"))
        self.agents = self.possible_agents[:]
        return self._observed([False] * len(self.agents), {})

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Decide a slot. Raises ValueError where an agent's action is missing or is not in 0 … N, or the episode is over."""
        if not self.agents:
            raise ValueError("the episode is over; reset the environment")
        sequence = self._sequence
        decided = sequence.decide(self._given(actions))
        reward, agents = float(decided.reward[0]), self.possible_agents
        more = {"success_rate": float(sequence.twin.fates().success_rates()[0])} if decided.is_over else {}
        observations, infos = self._observed(decided.illegal[0].tolist(), more)
        if decided.is_over:
            self.agents = []
        truncated = self._over if decided.is_over else self._running
        return observations, dict.fromkeys(agents, reward), self._running.copy(), truncated.copy(), infos

    def _given(self, actions: dict[str, int]) -> NDArray[np.int64]:
        nodes = len(self.possible_agents)
        given = np.empty((1, nodes), np.int64)
        for i, agent in enumerate(self.possible_agents):
            action = actions.get(agent)
            if action is None:
                raise ValueError(f"{agent} has no action")
            if not 0 <= action <= nodes or action != int(action):
                raise ValueError(f"{agent}: action {action!r}; actions are 0 to {nodes}")
            given[0, i] = action
        return given

    def _observed(
        self, illegal: list[bool], more: dict[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        seen, masks = list(self._sequence.observations[0]), list(self._sequence.masks[0])
        observations = {
            agent: {"observation": one, "action_mask": mask}
            for agent, one, mask in zip(self.possible_agents, seen, masks, strict=True)
        }
        infos = {
            agent: {"action_mask": mask, "illegal": wrong, **more}
            for agent, mask, wrong in zip(self.possible_agents, masks, illegal, strict=True)
        }
        return observations, infos


def observation_space(nodes: int, elements: int) -> spaces.Dict:
    """Of one node: the profile's O elements, and the mask of the N+1 actions."""
    return spaces.Dict(
        {
            "observation": spaces.Box(0.0, 1.0, (elements,), np.float32),
            "action_mask": spaces.Box(0, 1, (nodes + 1,), np.int8),
        }
    )


def parallel_env(**options: Any) -> OffloadingParallelEnv:
    """As PettingZoo's environments are made."""
    return OffloadingParallelEnv(**options)


# The id is there once this module is imported.
if PETTINGZOO_ID not in pettingzoo.parallel_registry:
    pettingzoo.register("parallel", PETTINGZOO_ID, entry_point="simulator.parallel_env:parallel_env")
