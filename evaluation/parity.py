"""Parity: does the testbed do to each task what the numeric twin says? Pure: two sets of outcomes in, plain data out.

The twin replays a recorded episode's tasks and decisions with the same random draws, in exact virtual time. "Held" is the
design's promise: at least 97 % of the tasks have the same outcome; of those, transmission and execution durations differ by at
most 5 %, waiting and completion by at most 5 % or 20 ms, whichever is more, each at its 95th percentile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from middleware.database import TaskColumns
from offload.state import FloatArray

SAME_OUTCOME_BOUND = 0.97
RELATIVE_BOUND = 0.05
ABSOLUTE_BOUND_S = 0.02

_STAGES = ("transmission_s", "execution_s")
_WAITS = ("transmission_waiting_s", "execution_waiting_s", "completion_s")


@dataclass(frozen=True, eq=False)
class TwinOutcomes:
    """What the twin says of the tasks of a `TaskColumns`, in its order. Durations are model seconds, 0 where not reached."""

    outcome: NDArray[np.str_]
    transmission_waiting_s: FloatArray
    transmission_s: FloatArray
    execution_waiting_s: FloatArray
    execution_s: FloatArray
    completion_s: FloatArray


def measure_parity(measured: TaskColumns, twin: TwinOutcomes, run_transfer: str) -> dict[str, Any]:
    """Parity by kind of transfer, as `results.json` has it; empty without tasks.

    A local task counts as one of the run's own transfer: it shared its node's time with those that travelled.
    """
    transfer = np.where(measured.transfer == "", run_transfer, measured.transfer)
    return {str(kind): _of(measured, twin, transfer == kind) for kind in np.unique(transfer)}


def _of(measured: TaskColumns, twin: TwinOutcomes, chosen: NDArray[np.bool_]) -> dict[str, Any]:
    same = chosen & (measured.outcome == twin.outcome)
    found: dict[str, Any] = {"tasks": int(chosen.sum()), "same_outcome": float(same.sum() / chosen.sum())}
    for name in _STAGES:
        here, there = getattr(measured, name), getattr(twin, name)
        reached = same & (here > 0) & (there > 0)
        found[name] = _p95(np.abs(here[reached] / there[reached] - 1))
    for name in _WAITS:
        here, there = getattr(measured, name)[same], getattr(twin, name)[same]
        difference = np.abs(here - there)
        found[name] = {
            **_p95(difference),
            "of_bound": _p95(difference / np.maximum(RELATIVE_BOUND * there, ABSOLUTE_BOUND_S))["p95"],
        }
    found["different_outcomes"] = _differences(measured, twin, chosen & ~same)
    found["held"] = is_held(found)
    return found


def is_held(found: Mapping[str, Any]) -> bool:
    """Whether the promise is held, from one transfer's numbers; a stage that no task reached holds."""
    stages = all((found[name]["p95"] or 0.0) <= RELATIVE_BOUND for name in _STAGES)
    waits = all((found[name]["of_bound"] or 0.0) <= 1.0 for name in _WAITS)
    return bool(found["same_outcome"] >= SAME_OUTCOME_BOUND and stages and waits)


def _differences(measured: TaskColumns, twin: TwinOutcomes, rows: NDArray[np.bool_]) -> dict[str, int]:
    """`"success → dropped": 3`: measured, then the twin's; the most frequent first."""
    pairs = [f"{here} → {there}" for here, there in zip(measured.outcome[rows], twin.outcome[rows], strict=True)]
    names, counts = np.unique(pairs, return_counts=True)
    return {str(names[k]): int(counts[k]) for k in np.argsort(-counts, kind="stable")}


def _p95(values: FloatArray) -> dict[str, Any]:
    if not values.size:
        return {"count": 0, "median": None, "p95": None}
    median, p95 = np.quantile(values, [0.5, 0.95])
    return {"count": int(values.size), "median": float(median), "p95": float(p95)}
