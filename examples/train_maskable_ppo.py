"""Trains MaskablePPO of sb3-contrib on the twin: one policy for all nodes.

`train_maskable_ppo.py [--preset demo] [--steps 400000]` prints its success rate and those of random, ratc and sed.
"""

import argparse

import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import VecEnv

from offload.episodes import EVALUATION_TRACES
from simulator.vector_env import OffloadingVectorEnv


class Nodes(VecEnv):
    """Adapts `OffloadingVectorEnv` to stable-baselines3: each node is one environment with its own mask."""

    def __init__(self, twin):
        self.twin = twin
        super().__init__(twin.num_envs, twin.single_observation_space["observation"], twin.single_action_space)

    def reset(self):
        return self.twin.reset()[0]["observation"]

    def step(self, actions):
        seen, rewards, _, truncated, infos = self.twin.step(actions)
        last = infos.get("final_obs", ())  # after an end of episodes: their last observations, to bootstrap
        ended = [{"terminal_observation": one["observation"], "TimeLimit.truncated": True} for one in last]
        return seen["observation"], rewards, truncated, ended or [{}] * self.num_envs

    def env_method(self, name, *args, indices=None, **options):  # MaskablePPO gets `action_masks` by this method
        return list(getattr(self.twin, name)(*args, **options))

    def get_attr(self, name, indices=None):
        return [getattr(self.twin, name)] * self.num_envs

    step_async = step_wait = set_attr = env_is_wrapped = close = None  # abstract in VecEnv, not used here


def success_rate(preset, act):
    twin = OffloadingVectorEnv(preset, episodes=20)
    seen, infos = twin.reset(options={"trace": EVALUATION_TRACES})
    while "final_info" not in infos:
        seen, _, _, _, infos = twin.step(act(twin, seen["observation"]))
    return infos["final_info"]["success_rate"].mean()


options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--preset", default="demo")
options.add_argument("--steps", type=int, default=400_000, help="number of steps, counted per node")
given = options.parse_args()
torch.set_num_threads(1)
nodes = Nodes(OffloadingVectorEnv(given.preset, episodes=8))
model = MaskablePPO("MlpPolicy", nodes, n_steps=90, batch_size=1200, seed=0).learn(given.steps)
learned = success_rate(given.preset, lambda twin, seen: model.predict(seen, action_masks=twin.action_masks())[0])
print(f"MaskablePPO after {model.num_timesteps} steps: {learned:.3f}")
for name in ("random", "ratc", "sed"):
    print(f"{name}: {success_rate(given.preset, lambda twin, _, name=name: twin.scheduler_actions(name)):.3f}")
