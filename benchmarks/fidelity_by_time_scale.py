"""Measures up to which speed the testbed's durations match the model, for both kinds of transfer.

    python benchmarks/fidelity_by_time_scale.py [--episodes N] [--scales 1 2 4 …] [--preset NAME]

Real node processes play the preset `paper-testbed` with sed, at increasing speeds. The benchmark compares transmission
and execution durations with size / r and cycles / F. "Held" means: the median error is at most 2 %, the 95th percentile
at most 5 %, and at most 1 % of the tasks were dropped only because of this error.

The baseline is SimPy's `RealtimeEnvironment`, the usual way to run a model in real time. It runs in as many processes
as the preset has nodes. Each process executes its node's tasks of the same traces, and does nothing else.

Writes the figures and a description of the machine to `benchmarks/results/fidelity_by_time_scale.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import simpy.rt
from local_fleet import local_fleet, settings_of
from machine import machine

from offload.network import draw_network
from offload.settings import Settings
from offload.tasks import draw_trace

RESULTS = Path(__file__).parent / "results" / "fidelity_by_time_scale.json"
BASELINE = "SimPy (baseline)"
_TRACE = 3_000_000


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--episodes", type=int, default=10, help="episodes at each speed")
    arguments.add_argument("--scales", type=float, nargs="+", default=[1, 1.5, 2, 3, 4, 6])
    arguments.add_argument("--preset", default="paper-testbed")
    options = arguments.parse_args()
    print(f"{'transfers':>10} {'speed':>6} {'transmission':>16} {'execution':>16} {'late':>7}  held")
    found: dict[str, list[dict[str, Any]]] = {}
    for transfer in ("emulated", "payload"):
        for scale in options.scales:
            layers = {"time": {"time_scale": scale}, "node": {"transfer": transfer}}
            figures = by_testbed(settings_of(options.preset, ["sed"], layers), transfer, options.episodes)
            found.setdefault(transfer, []).append({"time_scale": scale, **figures})
            _show(transfer, scale, figures)
    with get_context("spawn").Pool(settings_of(options.preset, ["sed"]).network.nodes) as processes:
        for scale in options.scales:
            settings = settings_of(options.preset, ["sed"], {"time": {"time_scale": scale}})
            figures = by_simpy(processes, settings, options.episodes)
            found.setdefault(BASELINE, []).append({"time_scale": scale, **figures})
            _show(BASELINE, scale, figures)
    results = {
        "machine": machine("numpy", "simpy"),
        "preset": options.preset,
        "episodes": options.episodes,
        "transfers": found,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {RESULTS}")


def by_testbed(settings: Settings, transfer: str, episodes: int) -> dict[str, Any]:
    """Measure the testbed's fidelity, in the form of `results.json` without the distributions."""
    with local_fleet(settings) as fleet:
        fleet.play("sed", episodes)
        found = fleet.results()["fidelity"][transfer]
    kept = {
        name: {key: found[name][key] for key in ("count", "median", "p95")} for name in ("transmission", "execution")
    }
    return {**kept, "late_share": found["late_share"], "skew_s": found["skew_s"], "held": found["held"]}


def by_simpy(processes: Pool, settings: Settings, episodes: int) -> dict[str, Any]:
    """Measure SimPy's executions: each process is one node's FIFO executor in SimPy's real time."""
    errors: list[float] = []
    nodes = range(settings.network.nodes)
    processes.map(_wake_up, nodes, chunksize=1)
    for episode in range(episodes):
        places = [(settings, _TRACE + episode, node, time.time() + 0.5) for node in nodes]
        errors += [error for own in processes.starmap(_execute_in_simpy, places, chunksize=1) for error in own]
    median, p95 = np.percentile(errors, [50, 95])
    execution = {"count": len(errors), "median": float(median), "p95": float(p95)}
    return {"transmission": None, "execution": execution, "held": bool(median <= 0.02 and p95 <= 0.05)}


def _wake_up(node: int) -> None:
    """Sleep so long that each process of the pool takes one call; all processes have started then."""
    time.sleep(0.5)


def _execute_in_simpy(settings: Settings, trace_number: int, node: int, start_at: float) -> list[float]:
    network = draw_network(settings.network, settings.seed, settings.network.index)
    times = settings.time
    trace = draw_trace(settings.tasks, network, times.slot_s, times.slots, settings.seed, trace_number)
    time.sleep(max(0.0, start_at - time.time()))
    environment = simpy.rt.RealtimeEnvironment(factor=1 / times.time_scale, strict=False)
    executor = simpy.Resource(environment, capacity=1)
    errors = []

    def task(slot: int, duration_s: float) -> Any:
        yield environment.timeout(slot * times.slot_s)
        with executor.request() as turn:
            yield turn
            if environment.now + duration_s > slot * times.slot_s + settings.tasks.deadline_s:
                return
            began = time.monotonic()
            yield environment.timeout(duration_s)
            errors.append(abs((time.monotonic() - began) * times.time_scale / duration_s - 1))

    for one in trace:
        if one.source == node:
            environment.process(task(one.slot, one.cycles / float(network.capacity_hz[node])))
    environment.run()
    return errors


def _show(transfer: str, scale: float, figures: dict[str, Any]) -> None:
    def stage(values: dict[str, Any] | None) -> str:
        return "–" if values is None else f"{values['median']:.2%} / {values['p95']:.2%}"

    late = "–" if "late_share" not in figures else f"{figures['late_share']:.2%}"
    held = "yes" if figures["held"] else "no"
    stages = f"{stage(figures['transmission']):>16} {stage(figures['execution']):>16}"
    print(f"{transfer:>10} {scale:6g} {stages} {late:>7}  {held}", flush=True)


if __name__ == "__main__":
    main()
