"""Compares the testbed with the numeric twin, task by task.

The twin replays a recorded episode's tasks and decisions with the same random draws, in exact virtual time. Parity is
"held" when all of these are true:

* at least 97 % of the tasks have the same outcome
* for those tasks, the 95th percentile of the difference in transmission and execution durations is at most 5 %
* for those tasks, the 95th percentile of the difference in waiting and completion is at most 5 % or 20 ms, whichever is
  more

The functions are pure: two sets of task outcomes in, plain data out.
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
    """The twin's outcomes of the tasks of a `TaskColumns`, in the same order.

    Durations are model seconds, 0 for stages that the task did not reach.
    """

    outcome: NDArray[np.str_]
    transmission_waiting_s: FloatArray
    transmission_s: FloatArray
    execution_waiting_s: FloatArray
    execution_s: FloatArray
    completion_s: FloatArray


def measure_parity(measured: TaskColumns, twin: TwinOutcomes, run_transfer: str) -> dict[str, Any]:
    """Parity per kind of transfer, in the form of `results.json`; empty without tasks.

    A local task counts for the run's own kind of transfer, because it shared the node with tasks of that kind.
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
    """Whether parity is held, from the numbers of one kind of transfer. A stage that no task reached counts as held."""
    stages = all((found[name]["p95"] or 0.0) <= RELATIVE_BOUND for name in _STAGES)
    waits = all((found[name]["of_bound"] or 0.0) <= 1.0 for name in _WAITS)
    return bool(found["same_outcome"] >= SAME_OUTCOME_BOUND and stages and waits)


def _differences(measured: TaskColumns, twin: TwinOutcomes, rows: NDArray[np.bool_]) -> dict[str, int]:
    """Counts such as `"success → dropped": 3` (the measured outcome, then the twin's), most frequent first."""
    pairs = [f"{here} → {there}" for here, there in zip(measured.outcome[rows], twin.outcome[rows], strict=True)]
    names, counts = np.unique(pairs, return_counts=True)
    return {str(names[k]): int(counts[k]) for k in np.argsort(-counts, kind="stable")}


def _p95(values: FloatArray) -> dict[str, Any]:
    if not values.size:
        return {"count": 0, "median": None, "p95": None}
    median, p95 = np.quantile(values, [0.5, 0.95])
    return {"count": int(values.size), "median": float(median), "p95": float(p95)}
