"""Defines the experiments: those of the paper's figures, and the comparison of all methods (`ladder`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_HEURISTICS: Final = ("random", "rda", "rda-tuned", "weighted", "ratc", "sed", "sed-reserve")
_LEARNED: Final = ("offline-only", "online-only", "o2o-drl", "scorer-offline", "scorer-o2o", "scorer")
_ALL: Final = (*_HEURISTICS, *_LEARNED, "central", "ceiling")


@dataclass(frozen=True)
class Experiment:
    """Methods that are compared in some conditions, on the same networks and traces.

    title: what the figure shows; axis: the meaning of the conditions' labels
    conditions: layers of settings over the preset, by label
    curves: the figure shows the success rates during the online phase
    """

    title: str
    axis: str
    conditions: Mapping[str, Mapping[str, Any]]
    methods: tuple[str, ...] = _ALL
    preset: str = "paper-simulation"
    curves: bool = field(default=False)


def _sizes() -> dict[str, Any]:
    return {f"{most}": {"tasks": {"size_bits": ["1000 KB", f"{most * 1000} KB"]}} for most in (6, 7, 8, 9, 10)}


def _network(key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {label: {"network": {key: value}} for label, value in values.items()}


EXPERIMENTS: Final[Mapping[str, Experiment]] = {
    "fig3": Experiment(
        "Learning online, with and without an offline phase (the paper's Fig. 3)",
        "",
        {"": {}},
        ("ratc", "sed", "offline-only", "online-only", "o2o-drl", "scorer-offline", "scorer-online-only", "scorer-o2o"),
        curves=True,
    ),
    "fig4": Experiment(
        "Learning from the logs of different heuristics (the paper's Fig. 4)",
        "heuristic",
        {name: {"offline": {"heuristic": name}} for name in ("random", "rda", "ratc", "sed")},
        ("random", "rda", "ratc", "sed", "offline-only", "o2o-drl", "scorer-offline", "scorer-o2o"),
    ),
    "fig5a": Experiment("Task sizes (the paper's Fig. 5a)", "largest task, MB", _sizes()),
    "fig5b": Experiment(
        "Task arrival probabilities (the paper's Fig. 5b)",
        "highest arrival probability",
        _network("arrival_probability", {f"{most:g}": [0, most] for most in (0.6, 0.7, 0.8, 0.9, 1.0)}),
    ),
    "fig5c": Experiment(
        "Execution failure rates (the paper's Fig. 5c)",
        "highest failure rate, 1/s",
        _network("failure_rate", {f"{most:g}": [0, most] for most in (0.1, 0.15, 0.2, 0.25, 0.3)}),
    ),
    "fig6": Experiment(
        "Numbers of edge nodes (the paper's Fig. 6)",
        "edge nodes",
        _network("nodes", {f"{nodes}": nodes for nodes in (10, 20, 30, 40, 50)}),
    ),
    "ladder": Experiment("All methods", "", {"": {}}),
}
"""The experiments by name."""
