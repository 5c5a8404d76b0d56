"""Registers the environments' ids with Gymnasium and PettingZoo when it is imported.

Neither Gymnasium (since 1.0) nor PettingZoo reads entry points. This module does not import the twin: the twin is
loaded when an environment is made.
"""

from __future__ import annotations

import gymnasium
import pettingzoo

GYMNASIUM_ID = "offload_testbed/Offloading-v0"
PETTINGZOO_ID = "offload_testbed/offloading-v0"


def register() -> None:
    """Register the ids that are not registered yet."""
    if GYMNASIUM_ID not in gymnasium.registry:
        # For `make_vec` only: one node is not an episode, so `gymnasium.make` has nothing to make.
        gymnasium.register(GYMNASIUM_ID, vector_entry_point="simulator.vector_env:make_vector_env")
    if PETTINGZOO_ID not in pettingzoo.parallel_registry:
        pettingzoo.register("parallel", PETTINGZOO_ID, entry_point="simulator.parallel_env:parallel_env")


register()
