"""Measures how long a decision takes in an edge node with each scheduler, and how much memory a node needs.

    python benchmarks/decision_latency.py [--episodes N]

Real node processes play the preset `paper-testbed` at real speed, in two fleets:

* as many nodes as the machine has cores, so that no node waits for a processor; every node has a task in every slot
* the preset's ten nodes

The measure is `decision_s`: the time from a node's tick to its decision, including the answers of probed nodes.
The baseline is torch: onnxruntime (as in a node) and torch in eager mode evaluate the same actor once every 100 ms. The
caches are cold then, as they are in a node at its next slot.

Writes the figures and a description of the machine to `benchmarks/results/decision_latency.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from local_fleet import local_fleet, settings_of
from machine import machine

from edgenode.schedulers.actor import OnnxActor
from offload.profiles import make_profile
from trainer.export import actor_to_onnx
from trainer.networks import mlp

RESULTS = Path(__file__).parent / "results" / "decision_latency.json"
SCHEDULERS = ["local", "random", "weighted", "drl", "rda", "rda-tuned", "ratc", "sed", "drl-probe"]


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--episodes", type=int, default=5, help="episodes under each scheduler")
    options = arguments.parse_args()
    cores = max(2, os.cpu_count() or 2)
    fleets = [
        measure({"nodes": cores, "arrival_probability": [1, 1]}, options.episodes),
        measure({"nodes": 10}, options.episodes),
    ]
    results = {"machine": machine("numpy", "onnxruntime", "torch"), "fleets": fleets, "actor": actor_alone()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {RESULTS}")


def measure(network: dict[str, Any], episodes: int) -> dict[str, Any]:
    """Measure all schedulers in a fleet with these network settings."""
    settings = settings_of("paper-testbed", SCHEDULERS, {"network": network})
    print(f"{network['nodes']} nodes on {os.cpu_count()} cores; decisions in real milliseconds")
    print(f"{'scheduler':>12} {'decisions':>9} {'p50':>7} {'p99':>7} {'probes':>7} {'node MB':>8}")
    schedulers = {}
    with local_fleet(settings) as fleet:
        for scheduler in SCHEDULERS:
            fleet.play(scheduler, episodes)
            found = fleet.results()["methods"][scheduler]
            took = found["decision_real_s"]
            figures = {
                "decisions": found["tasks"],
                "p50_ms": round(took["p50"] * 1e3, 3),
                "p99_ms": round(took["p99"] * 1e3, 3),
                "probes": round(found["probes"], 2),
                "largest_node_mb": round(fleet.largest_node_mb(), 1),
            }
            schedulers[scheduler] = figures
            print(f"{scheduler:>12} {figures['decisions']:9} {figures['p50_ms']:7.2f} {figures['p99_ms']:7.2f} "
                  f"{figures['probes']:7.2f} {figures['largest_node_mb']:8.1f}", flush=True)  # fmt: skip
    return {**network, "episodes": episodes, "schedulers": schedulers}


def actor_alone() -> dict[str, Any]:
    """Measure the preset's actor with onnxruntime and with the baseline, outside of a node."""
    settings = settings_of("paper-testbed", ["drl"])
    profile = make_profile(settings)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = mlp(profile.size, settings.learner.hidden, profile.nodes + 1).eval()
    actor = OnnxActor(actor_to_onnx(network))
    observation = np.random.default_rng(0).random((1, profile.size), dtype=np.float32)

    def by_torch() -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(observation)).numpy()

    def by_onnxruntime() -> np.ndarray:
        return actor.logits(observation)

    np.testing.assert_allclose(by_torch(), by_onnxruntime(), atol=1e-5)
    found = {"onnxruntime": _cold(by_onnxruntime), "torch (baseline)": _cold(by_torch)}
    for name, figures in found.items():
        print(f"actor alone, {name}: p50 {figures['p50_ms']:.3f} ms, p99 {figures['p99_ms']:.3f} ms")
    return found


def _cold(call: Callable[[], Any], times: int = 200) -> dict[str, float]:
    took = []
    for _ in range(times):
        time.sleep(0.1)
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return {f"p{share}_ms": round(float(np.percentile(took, share)) * 1e3, 3) for share in (50, 99)}


if __name__ == "__main__":
    main()
