"""Defines the named experiments. A preset is a layer of settings between the defaults and the user's file."""

from __future__ import annotations

from typing import Any

# The learner of the paper's section V-A. What the paper does not state is taken from the authors' published code.
_PAPER_LEARNER: dict[str, Any] = {
    "learner": {"hidden": [64, 64]},
    "offline": {
        "batch_slots": 128,
        "learning_rate": 3e-4,
        "discount": 0.99,
        "soft_update": 5e-4,
        "entropy": "fixed",
        "entropy_weight": 0.05,
        "cql_weight": 0.1,
    },
    "online": {
        "episodes_per_update": 1,
        "epochs": 4,
        "minibatch_rows": None,
        "learning_rate": 3e-4,
        "learning_rate_decay": False,
        "discount": 0.99,
        "gae_lambda": 0.95,
        "clip": 0.2,
        "normalize_advantages": False,
        "decisions_only": False,
        "gradient_clip": 10.0,
    },
}

_PAPER_TESTBED: dict[str, Any] = {
    **_PAPER_LEARNER,
    "network": {
        "nodes": 10,
        "cores": [4, 8, 12, 16, 20, 24, 28, 32],
        "core_frequency_hz": "3 GHz",
        "arrival_probability": [0, 1],
        "rate_bps": ["10 MB/s", "40 MB/s"],
        "link_failure_rate": [0, 0.03],
        "failure_rate": [0, 0.4],
    },
    "tasks": {
        "size_bits": ["500 KB", "2500 KB"],
        "complexity_cycles_per_bit": [400, 800],
        "deadline_s": "1 s",
    },
    "time": {"slot_s": "100 ms", "slots": 50},
    "offline": {**_PAPER_LEARNER["offline"], "episodes": 200, "steps": 400},
    "online": {**_PAPER_LEARNER["online"], "episodes": 50},
}

_PAPER_SIMULATION: dict[str, Any] = {
    **_PAPER_LEARNER,
    "network": {
        "nodes": 20,
        "cores": [4, 8, 16, 20, 24, 28, 32],
        "core_frequency_hz": "3 GHz",
        "arrival_probability": [0, 1],
        "rate_bps": ["10 MB/s", "40 MB/s"],
        "link_failure_rate": [0, 0.03],
        "failure_rate": [0, 0.1],
    },
    "tasks": {
        "size_bits": ["1000 KB", "8000 KB"],
        "complexity_cycles_per_bit": [800, 2400],
        "deadline_s": "4 s",
    },
    "time": {"slot_s": "500 ms", "slots": 100},
}

# The settings in the authors' code where they differ from the paper, without the errors of that code.
_REFERENCE: dict[str, Any] = {
    **_PAPER_TESTBED,
    "offline": {
        **_PAPER_TESTBED["offline"],
        "soft_update": 0.005,
        "entropy": "adaptive",
        "entropy_weight": 0.2,
        "target_entropy_share": 0.95,
        "reward_normalization": "batch",
    },
    "online": {**_PAPER_TESTBED["online"], "reward_normalization": "batch"},
}

# A small and fast experiment with real processes. Some weak nodes get many tasks and some strong nodes get few, so
# offloading raises the success rate, but not to 100 %. Two cores can run it at twice real speed, not faster.
_DEMO: dict[str, Any] = {
    "seed": 7,
    "network": {
        "nodes": 5,
        "cores": [4, 8, 16, 32],
        "arrival_probability": [0.2, 1.0],
    },
    "time": {"slot_s": "100 ms", "slots": 30, "time_scale": 2.0},
    "offline": {"episodes": 16, "steps": 600, "checkpoints": 1, "checkpoint_episodes": 2},
    "online": {"episodes": 12, "episodes_per_update": 4},
    "evaluation": {
        "episodes": 5,
        "methods": [
            "local",
            "random",
            "rda",
            "rda-tuned",
            "ratc",
            "sed",
            "sed-reserve",
            "scorer",
            "offline-only",
            "online-only",
            "o2o-drl",
        ],
    },
}

PRESETS: dict[str, dict[str, Any]] = {
    "demo": _DEMO,
    "paper-testbed": _PAPER_TESTBED,
    "paper-simulation": _PAPER_SIMULATION,
    "reference": _REFERENCE,
}
