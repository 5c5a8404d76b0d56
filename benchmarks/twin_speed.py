"""Measures the speed of the numeric twin on one core, and that of common tools for the same purposes (baselines).

    python benchmarks/twin_speed.py [--repeats N]

* Given decisions: whole episodes of the preset `paper-simulation` with failures, 64 side by side, for several N. The
  baseline is SimPy, the usual discrete-event library, with a process per task and the same network, tasks, decisions
  and failures. The benchmark stops if SimPy's outcomes differ for any task.
* Observations: the same slot by slot. All observations and masks are built before each slot is decided (profile
  `default`).
* Schedulers: those of the edge nodes, which decide the tasks of all episodes of a slot at once.
* PettingZoo: environment steps at N = 10. The baseline is MPE's simple_spread with 10 agents.

Everything is compiled beforehand. The best of the repeats counts, for the baselines too.

Writes the figures and a description of the machine to `benchmarks/results/twin_speed.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import simpy
from machine import machine

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, draw_network, draw_trace, make_profile, resolve_settings
from offload.draws import Purpose, failure_instant_s
from offload.network import Network
from offload.outcomes import TIME_TOLERANCE_S, Outcome
from offload.presets import PRESETS
from offload.protocols import Scheduler
from offload.settings import Settings
from offload.tasks import Trace
from simulator.observations import Observer
from simulator.twin import OUTCOMES, Twin

RESULTS = Path(__file__).parent / "results" / "twin_speed.json"
EPISODES = 64
BASELINE_EPISODES = 2


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    results = {
        "machine": machine("numpy", "numba", "simpy", "pettingzoo", "mpe2"),
        "given_decisions": [given_decisions(nodes, options.repeats) for nodes in (10, 20, 50, 100)],
        "observations": [observations(nodes, options.repeats) for nodes in (10, 20, 50)],
        "schedulers": schedulers(options.repeats),
        "pettingzoo": pettingzoo_steps(options.repeats),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {RESULTS}")


def world(nodes: int, episodes: int = EPISODES) -> tuple[Settings, Network, list[Trace]]:
    """Settings, a network and traces of the preset for this N."""
    settings = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": nodes}}])
    network, times = draw_network(settings.network, settings.seed), settings.time
    traces = [
        draw_trace(settings.tasks, network, times.slot_s, times.slots, settings.seed, number)
        for number in range(episodes)
    ]
    return settings, network, traces


def given_decisions(nodes: int, repeats: int) -> dict[str, Any]:
    """Task decisions per second with random given destinations; at N = 20, also those of the baseline."""
    settings, network, traces = world(nodes)
    destinations = np.random.default_rng(0).integers(0, nodes, (EPISODES, settings.time.slots, nodes))
    tasks = sum(int(trace.has_task.sum()) for trace in traces)
    took = best(lambda twin: twin.play_given(destinations), lambda: Twin([network], traces, settings), repeats)
    found = {"nodes": nodes, "episodes": EPISODES, "tasks": tasks, "decisions_per_s": round(tasks / took)}
    print(f"given decisions, N = {nodes}: {tasks / took / 1e6:.2f} million task decisions/s")
    if nodes == 20:
        of_twin = Twin([network], traces, settings).play_given(destinations).outcome
        baseline_took = baseline_tasks = 0.0
        for b in range(BASELINE_EPISODES):
            began = time.perf_counter()
            outcomes = by_simpy(network, traces[b], destinations[b], settings)
            baseline_took += time.perf_counter() - began
            baseline_tasks += len(outcomes)
            for (slot, source), outcome in outcomes.items():
                if OUTCOMES[of_twin[b, slot, source]] is not outcome:
                    raise SystemExit(f"task {slot, source} of episode {b}: {outcome} in SimPy, but not in the twin")
        speed = baseline_tasks / baseline_took
        found["simpy_decisions_per_s"] = round(speed)
        print(f"  SimPy (baseline), the same outcomes: {speed / 1e6:.4f} million task decisions/s")
    return found


def by_simpy(
    network: Network, trace: Trace, destinations: np.ndarray, settings: Settings
) -> dict[tuple[int, int], Outcome]:
    """The outcome of every task of an episode, from SimPy with one process per task."""
    environment = simpy.Environment()
    executors = [simpy.Resource(environment) for _ in range(network.nodes)]
    links = {(i, j): simpy.Resource(environment) for i in range(network.nodes) for j in range(network.nodes) if i != j}
    outcomes: dict[tuple[int, int], Outcome] = {}

    def fails(purpose: Purpose, slot: int, i: int, j: int, rate: float, duration_s: float) -> bool:
        return bool(failure_instant_s(settings.seed, purpose, trace.episode, slot, i, j, rate) < duration_s)

    def task(slot: int, i: int, j: int, size_bits: float, cycles: float, due_s: float) -> Any:
        yield environment.timeout(slot * trace.slot_s)
        if i != j:
            duration = size_bits / float(network.rate_bps[i, j])
            with links[i, j].request() as turn:
                yield turn
                if environment.now + duration > due_s + TIME_TOLERANCE_S:
                    outcomes[slot, i] = Outcome.DROPPED
                    return
                yield environment.timeout(duration)
            rate = float(network.link_failure_rate[i, j])
            if fails(Purpose.TRANSMISSION_FAILURE, slot, i, j, rate, duration):
                outcomes[slot, i] = Outcome.TRANSMISSION_FAILURE
                return
        duration = cycles / float(network.capacity_hz[j])
        with executors[j].request() as turn:
            yield turn
            if environment.now + duration > due_s + TIME_TOLERANCE_S:
                outcomes[slot, i] = Outcome.DROPPED
                return
            yield environment.timeout(duration)
        failed = fails(Purpose.EXECUTION_FAILURE, slot, i, j, float(network.failure_rate[j]), duration)
        outcomes[slot, i] = Outcome.EXECUTION_FAILURE if failed else Outcome.SUCCESS

    for one in trace:
        due_s = one.slot * trace.slot_s + one.deadline_s
        environment.process(
            task(one.slot, one.source, int(destinations[one.slot, one.source]), one.size_bits, one.cycles, due_s)
        )
    environment.run()
    return outcomes


def observations(nodes: int, repeats: int) -> dict[str, Any]:
    """Agent decisions per second, including observations and masks. Every node decides in every slot, task or not."""
    settings, network, traces = world(nodes)
    profile, slots = make_profile(settings), settings.time.slots
    destinations = np.random.default_rng(0).integers(0, nodes, (slots, EPISODES, nodes))

    def make() -> tuple[Twin, Observer, np.ndarray, np.ndarray]:
        twin = Twin([network], traces, settings)
        observer = Observer(twin, profile)
        return twin, observer, np.zeros(observer.shape, np.float32), np.zeros((EPISODES, nodes, nodes + 1), bool)

    def play(made: tuple[Twin, Observer, np.ndarray, np.ndarray]) -> None:
        twin, observer, seen, masks = made
        for slot in range(slots):
            observer.observe(seen, masks)
            twin.decide(destinations[slot])

    took = best(play, make, repeats)
    decisions = EPISODES * slots * nodes
    print(f"with observations and masks, N = {nodes}: {decisions / took / 1e6:.2f} million agent-decisions/s")
    return {
        "nodes": nodes, "episodes": EPISODES, "elements": profile.size, "agent_decisions_per_s": round(decisions / took)
    }  # fmt: skip


def schedulers(repeats: int) -> dict[str, int]:
    """Task decisions per second of the edge nodes' schedulers at N = 20."""
    settings, network, traces = world(20)
    context = SchedulerContext(network.nodes, make_profile(settings))
    tasks = sum(int(trace.has_task.sum()) for trace in traces)
    found = {}
    for name in ("local", "random", "rda", "ratc", "sed"):
        scheduler = create_scheduler(name, {}, context)

        def play(twin: Twin, scheduler: Scheduler = scheduler) -> None:
            twin.play(scheduler)

        took = best(play, lambda: Twin([network], traces, settings), repeats)
        found[name] = round(tasks / took)
        print(f"scheduler {name}: {tasks / took / 1e6:.2f} million task decisions/s")
    return found


def pettingzoo_steps(repeats: int) -> dict[str, Any]:
    """Environment steps per second with 10 agents, including resets; actions are drawn beforehand."""
    from mpe2 import simple_spread_v3

    from simulator.parallel_env import OffloadingParallelEnv

    settings = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": 10}}])
    ours = steps_per_s(OffloadingParallelEnv(settings), 10, 3000, repeats)
    theirs = steps_per_s(simple_spread_v3.parallel_env(N=10), 5, 200, 1)
    print(f"PettingZoo, 10 agents: {ours:,.0f} steps/s; MPE simple_spread (baseline): {theirs:,.0f} steps/s")
    return {"agents": 10, "steps_per_s": round(ours), "simple_spread_steps_per_s": round(theirs)}


def steps_per_s(environment: Any, actions: int, steps: int, repeats: int) -> float:
    """Steps per second in the best of the repeats; actions are uniform in 0 … `actions`−1."""
    drawn = np.random.default_rng(0).integers(0, actions, (steps, 10)).tolist()

    def play(_: None) -> None:
        environment.reset(seed=1)
        for row in drawn:
            if not environment.agents:
                environment.reset()
            environment.step(dict(zip(environment.agents, row, strict=True)))

    return steps / best(play, lambda: None, repeats)


def best(play: Callable[[Any], Any], make: Callable[[], Any], repeats: int) -> float:
    """The seconds of the fastest repeat. The first call compiles and does not count."""
    took = []
    for _ in range(repeats + 1):
        made = make()
        began = time.perf_counter()
        play(made)
        took.append(time.perf_counter() - began)
    return min(took[1:])


if __name__ == "__main__":
    main()
