"""The experiment of the tests on a cluster: short episodes, and a pipeline of some minutes."""

from __future__ import annotations

import os
from typing import Any, Final

SHORT: Final = os.environ.get("OFFLOAD_TEST_CLUSTER_SHORT") == "yes"
NODES: Final = 4 if SHORT else 10

EXPERIMENT: Final[dict[str, Any]] = {
    "seed": 5,
    "network": {"nodes": NODES},
    "time": {"slots": 30},
    "scheduler": {"name": "ratc"},
    "offline": {"episodes": 6, "steps": 60, "checkpoints": 1, "checkpoint_episodes": 1},
    "online": {"episodes": 4, "episodes_per_update": 2},
    "evaluation": {"episodes": 3, "methods": ["random", "ratc", "sed", "offline-only", "o2o-drl"]},
}
