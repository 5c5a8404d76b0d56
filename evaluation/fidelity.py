"""Compares measured with modelled durations: a transmission should take size / r_ij, an execution cycles / F_j.

Fidelity is "held" when all of these are true:

* transmissions and executions: the median of the relative error is at most 2 %, its 95th percentile at most 5 %
* at most 1 % of the tasks are late: dropped because their *measured* completion passed the deadline

The functions are pure: columns in, plain data out.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.statistics import quantiles
from middleware.database import NOWHERE, TaskColumns
from offload.network import Network
from offload.outcomes import Outcome
from offload.state import FloatArray

MEDIAN_BOUND = 0.02
P95_BOUND = 0.05
LATE_BOUND = 0.01

_CURVE = np.concatenate([np.linspace(0, 0.98, 99), np.linspace(0.981, 1, 20)])
"""The shares at which the distribution of measured / modelled is stored; they are denser in the upper tail."""


def transmission_ratio(columns: TaskColumns, network: Network, failure_timing: Literal["end", "event"]) -> FloatArray:
    """Measured / modelled transmission time of every transmission that was not cut short by a failure."""
    ran = (columns.transmission_s > 0) & (columns.destination != NOWHERE) & (columns.destination != columns.source)
    if failure_timing == "event":  # a failure ends the transmission early
        ran &= columns.outcome != Outcome.TRANSMISSION_FAILURE
    modelled = columns.size_bits[ran] / network.rate_bps[columns.source[ran], columns.destination[ran]]
    ratio: FloatArray = columns.transmission_s[ran] / modelled
    return ratio


def execution_ratio(columns: TaskColumns, network: Network, failure_timing: Literal["end", "event"]) -> FloatArray:
    """Measured / modelled execution time of every execution that was not cut short by a failure."""
    ran = (columns.execution_s > 0) & (columns.destination != NOWHERE)
    if failure_timing == "event":  # a failure ends the execution early
        ran &= columns.outcome != Outcome.EXECUTION_FAILURE
    modelled = columns.cycles[ran] / network.capacity_hz[columns.destination[ran]]
    ratio: FloatArray = columns.execution_s[ran] / modelled
    return ratio


def measure_fidelity(
    columns: TaskColumns, network: Network, failure_timing: Literal["end", "event"], run_transfer: str
) -> dict[str, Any]:
    """Fidelity per kind of transfer, in the form of `results.json`; empty without tasks.

    A local task counts for the run's own kind of transfer, because it shared the node with tasks of that kind.
    """
    transfer = np.where(columns.transfer == "", run_transfer, columns.transfer)
    found = {}
    for kind in sorted(set(transfer.tolist())):
        rows = _rows(columns, transfer == kind)
        transmission = _errors(transmission_ratio(rows, network, failure_timing))
        execution = _errors(execution_ratio(rows, network, failure_timing))
        late_share = float(rows.late.mean())
        found[kind] = {
            "tasks": len(rows),
            "transmission": transmission,
            "execution": execution,
            "handover_s": quantiles(rows.handover_s[rows.handover_s > 0], {"p50": 0.5, "p95": 0.95}),
            "skew_s": quantiles(rows.skew_s, {"p50": 0.5, "p95": 0.95}),
            "late": int(rows.late.sum()),
            "late_share": late_share,
            "held": _held(transmission, execution, late_share),
        }
    return found


def _errors(ratio: FloatArray) -> dict[str, Any]:
    """The relative error |measured / modelled − 1|, and the distribution of the ratio for the figure."""
    curve = np.quantile(ratio, _CURVE) if ratio.size else np.empty(0)
    return {
        "count": int(ratio.size),
        **quantiles(np.abs(ratio - 1), {"median": 0.5, "p95": 0.95}),
        "distribution": [[float(value), float(share)] for value, share in zip(curve, _CURVE, strict=False)],
    }


def _held(transmission: dict[str, Any], execution: dict[str, Any], late_share: float) -> bool | None:
    """Whether fidelity is held; None when nothing was transmitted or executed."""
    stages = [stage for stage in (transmission, execution) if stage["count"]]
    if not stages:
        return None
    within = all(stage["median"] <= MEDIAN_BOUND and stage["p95"] <= P95_BOUND for stage in stages)
    return within and late_share <= LATE_BOUND


def _rows(columns: TaskColumns, chosen: NDArray[np.bool_]) -> TaskColumns:
    return TaskColumns(**{name: values[chosen] for name, values in vars(columns).items()})
