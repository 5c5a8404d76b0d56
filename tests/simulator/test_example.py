"""Tests that the documented example runs, and learns in a few seconds more than the masks alone give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from offload.episodes import EVALUATION_TRACES
from simulator.vector_env import OffloadingVectorEnv

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "train_maskable_ppo.py"


def rate_of_any_legal_action() -> float:
    """The success rate of random legal actions."""
    rng = np.random.default_rng(0)
    twin = OffloadingVectorEnv("demo", episodes=20)
    _, infos = twin.reset(options={"trace": EVALUATION_TRACES})
    while "final_info" not in infos:
        masks = twin.action_masks()
        *_, infos = twin.step((rng.random(masks.shape) * masks).argmax(axis=1))
    return float(infos["final_info"]["success_rate"].mean())


def test_the_example_trains_an_algorithm_of_another_library() -> None:
    pytest.importorskip("sb3_contrib")
    assert len(EXAMPLE.read_text().splitlines()) < 60
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--steps", "30000"],
        capture_output=True, text=True, timeout=150, check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rates = {line.split()[0].rstrip(":"): float(line.rsplit(": ", 1)[1]) for line in done.stdout.splitlines()}
    assert set(rates) == {"MaskablePPO", "random", "ratc", "sed"}
    assert rates["sed"] > rates["ratc"]
    assert rates["ratc"] > rates["random"] + 0.05
    assert rates["MaskablePPO"] > rate_of_any_legal_action() + 0.02
