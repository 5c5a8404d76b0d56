"""Builds `results.json` from the database: the content of the report as plain data (docs/contracts.md).

The same records give the same results, byte for byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.comparison import compare, select_comparison
from evaluation.fidelity import measure_fidelity
from evaluation.learning import learning_curve
from evaluation.statistics import quantiles
from middleware.database import (
    FOLDER,
    Conservation,
    Database,
    DecisionColumns,
    EpisodeSummary,
    Run,
    count_conservation,
    find_episodes,
    find_models,
    load_network,
    read_decisions,
    read_tasks,
)
from offload.episodes import EpisodePhase, Verdict
from offload.network import Network
from offload.outcomes import Outcome
from offload.settings import Settings

EXPERIMENT_PHASES = (EpisodePhase.COLLECT, EpisodePhase.CHECKPOINT, EpisodePhase.ONLINE, EpisodePhase.EVALUATE)
"""The phases of the experiment. The continuous arrivals of `offload serve` and replays do not belong to it."""

_SPREAD = {"p1": 0.01, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99}


def build_results(db: Database, run: Run) -> dict[str, Any]:
    """The results of a run, finished or not; `missing` lists in words what is missing."""
    settings, network = run.settings, load_network(db, run)
    confidence = settings.evaluation.confidence
    summaries = find_episodes(db, run, status=None)
    complete = [summary for summary in summaries if summary.verdict == Verdict.COMPLETE]
    comparison = select_comparison(
        [summary for summary in summaries if summary.plan.phase == EpisodePhase.EVALUATE],
        settings.evaluation.methods,
        settings.evaluation.episodes,
    )
    methods, best, differences = compare(comparison, confidence)
    offloading, queues = {}, {}
    for method, compared in comparison.episodes.items():
        numbers = [summary.episode for summary in compared]
        decided = read_decisions(db, run, numbers)
        methods[method] |= _method_measurements(db, run, numbers, decided, network)
        offloading[method] = offloading_matrix(decided, network.nodes).tolist()
        queues[method] = mean_queue_lengths(decided, settings.time.slots)
    models = find_models(db, run)
    curve = learning_curve(complete, models, settings.offline.heuristic, confidence)
    experiment = [summary for summary in complete if summary.plan.phase in EXPERIMENT_PHASES]
    conservation = count_conservation(db, run)
    results = {
        "run": run.name,
        "seed": settings.seed,
        "settings": settings.experiment(),
        "versions": {name: version for name, version in run.versions.items() if name != FOLDER},
        "services": dict(run.services),
        "created_at": run.created_at,
        "unit": "episodes",
        "confidence": confidence,
        "missing": [*comparison.missing, *_missing(summaries, settings, conservation)],
        "traces": list(comparison.traces),
        "methods": methods,
        "best_heuristic": best,
        "differences": differences,
        "learning_curve": curve,
        "offloading": offloading,
        "queues": queues,
        "fidelity": _fidelity(db, run, experiment, network),
        "conservation": {**vars(conservation), "conserved": conservation.conserved},
        "episodes": _count_episodes(summaries),
        "network": {**network.to_json(), "load": offered_load(network, settings).tolist()},
    }
    return without_nan(results)  # type: ignore[no-any-return]


def results_json(results: dict[str, Any]) -> bytes:
    """The results as indented, strict JSON."""
    return json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def offloading_matrix(decided: DecisionColumns, nodes: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(N, N) how many tasks each node (row) sent to each node (column); the diagonal counts the tasks that it kept."""
    with_task = decided.action < nodes
    place = decided.node[with_task] * nodes + decided.action[with_task]
    return np.bincount(place, minlength=nodes * nodes).reshape(nodes, nodes)


def mean_queue_lengths(decided: DecisionColumns, slots: int) -> dict[str, list[float]]:
    """Per queue, the tasks per node at each slot's tick, averaged over nodes and episodes."""
    count = np.bincount(decided.slot, minlength=slots)
    lengths = {
        "execution": decided.execution_queue_length,
        "sending": decided.sending_queue_length,
        "receiving": decided.receiving_queue_length,
    }
    with np.errstate(invalid="ignore"):
        return {
            name: (np.bincount(decided.slot, weights=values, minlength=slots) / count).tolist()
            for name, values in lengths.items()
        }


def offered_load(network: Network, settings: Settings) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N,) the share of its capacity that a node's own tasks need on average; above 1 the node cannot do them alone."""
    cycles = np.mean(settings.tasks.size_bits) * np.mean(settings.tasks.complexity_cycles_per_bit)
    return network.arrival_probability * cycles / settings.time.slot_s / network.capacity_hz


def without_nan(value: Any) -> Any:
    """The same data with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _method_measurements(
    db: Database, run: Run, numbers: Sequence[int], decided: DecisionColumns, network: Network
) -> dict[str, Any]:
    ended = read_tasks(db, run, numbers)
    with_task = decided.action < network.nodes
    # In the twin a decision takes no time, so there is no decision time to report.
    decision_s = decided.decision_s[with_task & (not run.by_twin)]
    sent = decided.action[with_task] != decided.node[with_task]
    return {
        "late": int(ended.late.sum()),
        "completion_s": quantiles(ended.completion_s[ended.outcome == Outcome.SUCCESS], {"p50": 0.5, "p95": 0.95}),
        "decision_s": quantiles(decision_s, _SPREAD),
        "decision_real_s": quantiles(decision_s / run.settings.time.time_scale, _SPREAD),
        "probes": float(decided.probes[with_task].mean()) if with_task.any() else 0.0,
        "offloaded_share": float(sent.mean()) if sent.size else 0.0,
    }


def _fidelity(db: Database, run: Run, experiment: Sequence[EpisodeSummary], network: Network) -> dict[str, Any]:
    settings = run.settings
    columns = read_tasks(db, run, [summary.episode for summary in experiment])
    if run.by_twin:
        return {}  # the twin's durations are the model's
    found = measure_fidelity(columns, network, settings.time.failure_timing, settings.node.transfer)
    late_slots = sum(summary.late_slots for summary in experiment)
    slots = len(experiment) * (settings.time.slots + 1)
    # A run has one clock, so the late slots are the same for every kind of transfer.
    return {kind: {**values, "late_slots": late_slots, "slots": slots} for kind, values in found.items()}


def _count_episodes(summaries: Sequence[EpisodeSummary]) -> dict[str, dict[str, int]]:
    """The number of episodes by phase and verdict; by status for episodes without a verdict."""
    counts: dict[str, dict[str, int]] = {}
    for summary in summaries:
        of_phase = counts.setdefault(summary.plan.phase, {})
        state = summary.verdict or summary.status
        of_phase[state] = of_phase.get(state, 0) + 1
    return counts


def _missing(summaries: Sequence[EpisodeSummary], settings: Settings, conservation: Conservation) -> list[str]:
    lines: list[str] = []
    if not summaries:
        lines.append("no episode has been played yet")
    elif not any(summary.plan.phase == EpisodePhase.EVALUATE for summary in summaries):
        lines.append("the phase evaluate has not begun")
    online: dict[str, set[int]] = {}
    for summary in summaries:
        if summary.plan.phase == EpisodePhase.ONLINE and summary.verdict == Verdict.COMPLETE:
            online.setdefault(summary.plan.method, set()).add(summary.plan.trace)
    for method, traces in online.items():
        if len(traces) < settings.online.episodes:
            lines.append(f"{method} has {len(traces)} of {settings.online.episodes} online episodes")
    if not conservation.conserved:
        lines.append(
            f"conservation is broken: {conservation.tasks} tasks, {conservation.outcomes} outcomes, "
            f"{conservation.matched} of them match"
        )
    return lines
