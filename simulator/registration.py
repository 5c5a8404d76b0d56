"""The environments' ids: importing this module registers them.

Neither Gymnasium (since 1.0) nor PettingZoo looks for entry points. Imports nothing of the twin, which is compiled or loaded
when an environment is made.
"""

from __future__ import annotations

import gymnasium
import pettingzoo

GYMNASIUM_ID = "offload_testbed/Offloading-v0"
PETTINGZOO_ID = "offload_testbed/offloading-v0"


def register() -> None:
    """Register what is not registered yet."""
    if GYMNASIUM_ID not in gymnasium.registry:
        # For `make_vec` alone: a single node is no episode, so that there is nothing for `gymnasium.make`.
        gymnasium.register(GYMNASIUM_ID, vector_entry_point="simulator.vector_env:make_vector_env")
    if PETTINGZOO_ID not in pettingzoo.parallel_registry:
        pettingzoo.register("parallel", PETTINGZOO_ID, entry_point="simulator.parallel_env:parallel_env")


register()
