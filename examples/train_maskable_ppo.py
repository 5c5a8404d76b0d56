"""Somebody else's algorithm on the twin: MaskablePPO of sb3-contrib, one policy for all nodes.

python examples/train_maskable_ppo.py [--steps 400000] [--preset demo]: success rates on held-out traces, beside random and ratc.
"""

import argparse

import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import VecEnv

from offload.episodes import EVALUATION_TRACES
from simulator.vector_env import OffloadingVectorEnv


class Nodes(VecEnv):
    """`OffloadingVectorEnv` as stable-baselines3 wants it: the mask apart, an episode's last observation in the infos."""

    def __init__(self, twin):
        self.twin = twin
        super().__init__(twin.num_envs, twin.single_observation_space["observation"], twin.single_action_space)
        self.reset = lambda: twin.reset()[0]["observation"]
        self.step_async = lambda actions: setattr(self, "actions", actions)
        self.env_method = lambda name, *_, **__: list(getattr(twin, name)())  # SB3 asks for action_masks so

    def step_wait(self):
        seen, rewards, _, truncated, infos = self.twin.step(self.actions)
        last = infos["final_obs"]["observation"] if truncated[0] else ()
        told = [{"terminal_observation": one, "TimeLimit.truncated": True} for one in last]
        return seen["observation"], rewards, truncated, told or [{}] * self.num_envs

    def get_attr(self, name, indices=None):
        return [getattr(self.twin, name)] * self.num_envs

    reset = step_async = env_method = set_attr = env_is_wrapped = close = lambda self, *_, **__: None


def success_rate(preset, act):
    """Of `act(observed, masks)`, on twenty traces that nobody trained on."""
    twin = OffloadingVectorEnv(preset, episodes=20)
    (seen, infos), truncated = twin.reset(options={"trace": EVALUATION_TRACES}), [False]
    while not truncated[0]:
        seen, _, _, truncated, infos = twin.step(act(seen["observation"], twin))
    return infos["success_rate"].mean()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=400_000)
    options.add_argument("--preset", default="demo")
    given = options.parse_args()
    torch.set_num_threads(1)
    nodes = Nodes(OffloadingVectorEnv(given.preset, episodes=8))
    model = MaskablePPO("MlpPolicy", nodes, n_steps=90, batch_size=1200, seed=0)
    model.learn(given.steps)
    learned = success_rate(given.preset, lambda seen, twin: model.predict(seen, action_masks=twin.action_masks())[0])
    print(f"MaskablePPO after {model.num_timesteps} steps: {learned:.3f}")
    for name in ("random", "ratc"):
        print(f"{name}: {success_rate(given.preset, lambda _, twin, name=name: twin.scheduler_actions(name)):.3f}")
