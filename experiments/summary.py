"""Summarizes the cells of an experiment: means over networks with intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from evaluation.statistics import Estimate, estimate_mean, paired_difference
from experiments.cells import Cell
from experiments.definitions import Experiment
from experiments.methods import CEILING, TRAININGS

CONFIDENCE: Final = 0.95
COMPARED_WITH: Final = "sed"
"""Differences are to this method: the best heuristic that uses no reservations."""


def summarize(
    experiment: Experiment, methods: Sequence[str], found: Mapping[Cell, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """By condition and method: `{"mean", "interval", "networks", "difference", "share_of_ceiling", "online"}`.

    mean, interval: of the success rate, over networks
    networks: the success rate on each network with tasks, the mean over traces and training seeds
    difference: to `sed` on the same networks; None for `sed` itself, for `ceiling`, and where `sed` was not played
    share_of_ceiling: the sum over networks divided by that of `ceiling`; None where that was not computed
    online: the mean success rate during each update, over networks and seeds; only of methods trained online
    """
    summary: dict[str, dict[str, Any]] = {}
    for label in experiment.conditions:
        some = {cell: result for cell, result in found.items() if cell.condition == label}
        rates = {method: _by_network(some, method) for method in methods}
        summary[label] = {
            method: _summarized(method, known, rates) | {"online": _online(some, method)}
            for method, known in rates.items()
            if known
        }
    return summary


def _by_network(found: Mapping[Cell, Mapping[str, Any]], method: str) -> dict[int, float]:
    """The success rate on each network that has one."""
    values: dict[int, list[float]] = {}
    for cell, result in found.items():
        rates = [rate for rate in result["rates"].get(method, ()) if rate is not None]
        if rates:
            values.setdefault(cell.network, []).append(math.fsum(rates) / len(rates))
    return {network: math.fsum(one) / len(one) for network, one in sorted(values.items())}


def _summarized(method: str, known: dict[int, float], rates: Mapping[str, dict[int, float]]) -> dict[str, Any]:
    base, most = rates.get(COMPARED_WITH, {}), rates.get(CEILING, {})
    difference = None
    if method not in (COMPARED_WITH, CEILING) and known.keys() & base.keys():
        difference = paired_difference(known, base, CONFIDENCE).to_json()
    both = known.keys() & most.keys()
    possible = sum(most[k] for k in both)
    share = sum(known[k] for k in both) / possible if possible > 0 and method != CEILING else None
    return {
        **_within_rates(estimate_mean(list(known.values()), CONFIDENCE)),
        "networks": {str(network): rate for network, rate in known.items()},
        "difference": difference,
        "share_of_ceiling": share,
    }


def _within_rates(estimate: Estimate) -> dict[str, Any]:
    """A mean rate in plain data. Its interval ends at 0 and 1: that of a few networks may extend beyond."""
    interval = None if estimate.interval is None else [min(max(end, 0.0), 1.0) for end in estimate.interval]
    return {"mean": estimate.mean, "interval": interval}


def _online(found: Mapping[Cell, Mapping[str, Any]], method: str) -> list[float | None]:
    """The mean over all trainings of each update's success rate; None where no episode had a task."""
    curves = [
        result["online"]
        for cell, result in found.items()
        if cell.work in TRAININGS and TRAININGS[cell.work].online == method
    ]
    known = [[rate for rate in update if rate is not None] for update in zip(*curves, strict=True)]
    return [math.fsum(rates) / len(rates) if rates else None for rates in known]
