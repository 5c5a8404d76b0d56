"""The twin as a Gymnasium vector environment, for algorithms with shared parameters.

Every node of every episode is a sub-environment.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from offload.network import Network
from offload.settings import Settings
from simulator.episodes import Decided, EpisodeSequence, settings_of
from simulator.parallel_env import begin, observation_space

Observations = dict[str, NDArray[Any]]


class OffloadingVectorEnv(VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """B episodes on one network, side by side, as B·N sub-environments; node i of episode b has number b·N + i.

    settings, network: as in `OffloadingParallelEnv`; episodes: B
    Observations, masks, actions, rewards and seeds are those of `OffloadingParallelEnv`, too.

    A seed's traces are played in groups of B: 0 … B−1, then B … 2B−1, and so on.

    All episodes end together and start again in the same step (`AutoresetMode.SAME_STEP`). The returned values then
    have the form of Gymnasium's `SyncVectorEnv`:

    * observations, infos: the first ones of the next episodes
    * `infos["final_obs"]` (B·N,): the observations of tick T, one dict each
    * `infos["final_info"]`: the last infos, with the `success_rate` (B·N,) of each sub-environment's episode

    Every array of the infos has a mask, whose name starts with an underscore; it is True for all sub-environments.

    Raises ValueError for what `OffloadingParallelEnv` rejects, and for fewer than one episode.
    """

    def __init__(
        self, settings: Settings | str = "paper-simulation", network: Network | None = None, episodes: int = 16
    ) -> None:
        self._sequence = EpisodeSequence(settings_of(settings), network, episodes)
        nodes, elements = self._sequence.nodes, self._sequence.profile.size
        self.nodes = nodes
        self.num_envs = episodes * nodes
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.render_mode = None
        self.single_observation_space = observation_space(nodes, elements)
        self.single_action_space = spaces.Discrete(nodes + 1)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin B episodes: traces 0 … B−1 of `seed`, or the next B. `options={"trace": k}` selects k … k+B−1.

        Raises ValueError for a list of seeds, and for a seed or a trace that is not in 0 … 2**32 − 1.
        """
        if seed is not None and not hasattr(seed, "__index__"):
            raise ValueError(
                f"seed {seed!r} is not an integer: give one seed; its traces are independent of each other"
            )
        begin(self._sequence, seed, options)
        # Sets `np_random_seed` only: the environment draws nothing from Gymnasium's generator.
        super().reset(seed=None if seed is None else int(seed))
        observed = self._observed()
        return observed, self._infos(np.zeros(self.num_envs, bool), np.zeros(self.num_envs))

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observations, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Decide a slot of all episodes. actions: (B·N,).

        Raises ValueError for a wrong shape, or an action that is not in 0 … N.
        """
        sequence = self._sequence
        given = np.asarray(actions)
        if given.shape != (self.num_envs,):
            raise ValueError(f"actions have shape {given.shape}, not ({self.num_envs},)")
        decided = sequence.decide(sequence.checked(given.reshape(sequence.batch, sequence.nodes)))
        illegal = decided.illegal.ravel()
        infos: dict[str, Any] = {}
        if decided.is_over:
            infos = self._last(decided)
            sequence.start()
            illegal = np.zeros(self.num_envs, bool)
        observed = self._observed()
        infos |= self._infos(illegal, np.zeros(self.num_envs))
        rewards = np.repeat(decided.reward, sequence.nodes)
        return observed, rewards, np.zeros(self.num_envs, bool), np.full(self.num_envs, decided.is_over), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """(B·N, N+1) the legal actions of this slot, in a new array."""
        return self._sequence.legal.reshape(self.num_envs, -1).copy()

    def scheduler_actions(self, name: str, **parameters: Any) -> NDArray[np.int64]:
        """(B·N,) the actions of an edge-node scheduler in this slot, for example as a baseline or a teacher.

        Raises ValueError for an unknown scheduler or parameter.
        """
        return self._sequence.scheduler_actions(name, parameters).ravel()

    def _observed(self) -> Observations:
        sequence = self._sequence
        return {
            "observation": sequence.observations.reshape(self.num_envs, -1),
            "action_mask": sequence.masks.reshape(self.num_envs, -1),
        }

    def _infos(self, illegal: NDArray[np.bool_], success_rate: NDArray[np.float64]) -> dict[str, Any]:
        """The infos, as in `OffloadingParallelEnv`. illegal, success_rate: (B·N,)."""
        return {
            "illegal": illegal,
            "_illegal": np.ones(self.num_envs, bool),
            "success_rate": success_rate,
            "_success_rate": np.ones(self.num_envs, bool),
        }

    def _last(self, decided: Decided) -> dict[str, Any]:
        """The final observations and infos of the episodes that have just ended. Call it before the next ones start."""
        sequence, observed = self._sequence, self._observed()
        rows = np.empty(self.num_envs, object)
        for row, (one, mask) in enumerate(zip(observed["observation"], observed["action_mask"], strict=True)):
            rows[row] = {"observation": one, "action_mask": mask}
        rates = np.repeat(sequence.twin.task_outcomes().success_rates(), sequence.nodes)
        final_info = self._infos(decided.illegal.ravel(), rates)
        return {
            "final_obs": rows,
            "_final_obs": np.ones(self.num_envs, bool),
            "final_info": final_info,
            "_final_info": np.ones(self.num_envs, bool),
        }


def make_vector_env(num_envs: int = 1, episodes: int | None = None, **options: Any) -> OffloadingVectorEnv:
    """Make the environment for `gymnasium.make_vec`. Give `episodes` (16 by default), or `num_envs` = B·N.

    Gymnasium passes `num_envs` = 1 by default, so that value is ignored. Raises ValueError for any other value than
    B·N.
    """
    if num_envs == 1:
        return OffloadingVectorEnv(**options) if episodes is None else OffloadingVectorEnv(episodes=episodes, **options)
    nodes = OffloadingVectorEnv(episodes=1, **options).nodes
    wanted = num_envs // nodes if episodes is None else episodes
    if num_envs != wanted * nodes:
        raise ValueError(f"num_envs = {num_envs} must be episodes · {nodes} nodes; give `episodes` instead")
    return OffloadingVectorEnv(episodes=wanted, **options)
