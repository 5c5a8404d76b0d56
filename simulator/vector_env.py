"""The twin as a Gymnasium vector environment: every node of every episode is a sub-environment, with shared parameters in mind."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from offload.network import Network
from offload.settings import Settings
from simulator.episodes import EpisodeSequence, settings_of
from simulator.parallel_env import observation_space

GYMNASIUM_ID = "offload_testbed/Offloading-v0"

Observations = dict[str, NDArray[Any]]


class OffloadingVectorEnv(VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """B episodes on one network, side by side: B·N sub-environments, node i of episode b being number b·N + i.

    settings, network: as of `OffloadingParallelEnv`, and so are observations, masks, actions, rewards and seeds; episodes: B

    All episodes end together. They start again in the same step (`AutoresetMode.SAME_STEP`): the observations are the first ones
    of the next traces, `infos["final_obs"]` has the last ones, `infos["success_rate"]` (B·N,) what the episodes reached.
    """

    def __init__(
        self, settings: Settings | str = "paper-simulation", network: Network | None = None, episodes: int = 16
    ) -> None:
        self._sequence = EpisodeSequence(settings_of(settings), network, episodes)
        nodes, elements = self._sequence.nodes, self._sequence.profile.size
        self.num_envs = episodes * nodes
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.render_mode = None
        self.single_observation_space = observation_space(nodes, elements)
        self.nodes = nodes
        self.single_action_space = spaces.Discrete(nodes + 1)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin B episodes. Raises ValueError for a list of seeds: the traces of one seed are independent already."""
        if seed is not None:
            if not isinstance(seed, int):
                raise ValueError("give one seed: its traces are independent of each other")
            self._sequence.seed(seed)
        self._sequence.start((options or {}).get("trace"))
        observed = self._observed()
        return observed, {"action_mask": observed["action_mask"]}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Decide a slot of all episodes; `actions` (B·N,). Raises ValueError for an action that is not in 0 … N."""
        sequence = self._sequence
        given = np.asarray(actions)
        if given.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {given.shape}, not ({self.num_envs},)")
        decided = sequence.decide(sequence.checked(given.reshape(sequence.batch, sequence.nodes)))
        infos: dict[str, Any] = {"illegal": decided.illegal.ravel()}
        if decided.is_over:
            rates = np.repeat(sequence.twin.fates().success_rates(), sequence.nodes)
            everyone = np.ones(self.num_envs, bool)
            infos |= {
                "final_obs": self._observed(),
                "_final_obs": everyone,
                "success_rate": rates,
                "_success_rate": everyone,
            }
            sequence.start()
        observed = self._observed()
        infos["action_mask"] = observed["action_mask"]
        rewards = np.repeat(decided.reward, sequence.nodes)
        return observed, rewards, np.zeros(self.num_envs, bool), np.full(self.num_envs, decided.is_over), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """(B·N, N+1) what is legal now."""
        return self._sequence.legal.reshape(self.num_envs, -1)

    def scheduler_actions(self, name: str, **parameters: Any) -> NDArray[np.int64]:
        """(B·N,) what one of the edge nodes' schedulers does now: a baseline, or a teacher.

        Raises ValueError for a scheduler or a parameter that there is not.
        """
        return self._sequence.scheduler_actions(name, parameters).ravel()

    def _observed(self) -> Observations:
        sequence = self._sequence
        return {
            "observation": sequence.observations.reshape(self.num_envs, -1),
            "action_mask": sequence.masks.reshape(self.num_envs, -1),
        }


def make_vector_env(num_envs: int = 1, **options: Any) -> OffloadingVectorEnv:
    """As `gymnasium.make_vec` calls it: `num_envs` sub-environments, which must be whole episodes of N nodes.

    Give `episodes` instead and leave `num_envs` out. Raises ValueError for another number than B·N.
    """
    made = OffloadingVectorEnv(**options)
    if num_envs not in (1, made.num_envs):
        raise ValueError(
            f"num_envs = {num_envs} is not episodes · nodes; leave it out, and give episodes (of {made.nodes} nodes each)"
        )
    return made


# The id is there once this module is imported; `gymnasium.make_vec("simulator.vector_env:offload_testbed/…")` does that, too.
if GYMNASIUM_ID not in gymnasium.registry:
    gymnasium.register(GYMNASIUM_ID, vector_entry_point="simulator.vector_env:make_vector_env")
