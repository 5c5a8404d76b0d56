"""Draws the figure of an experiment: methods over conditions, a comparison in one condition, or curves of learning."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.style import HEURISTIC_COLOUR, MUTED, RC, WIDTH_IN
from experiments.definitions import Experiment
from experiments.methods import REFERENCES, training_of

_COLOURS: Final = {
    "offline-only": "#e0a100",
    "online-only": "#b5639b",
    "o2o-drl": "#d1480a",
    "scorer": "#2f8f5b",
    "scorer-offline": "#7fbf9b",
    "scorer-online-only": "#8c564b",
    "scorer-o2o": "#14532d",
}
_LINES: Final = ("-", "--", ":", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
FIGURES: Final = ("figure.svg", "figure.png")
_Summary = Mapping[str, Mapping[str, Any]]


def drawn(experiment: Experiment, summary: _Summary) -> dict[str, bytes]:
    """The figure as files, by the names in `FIGURES`."""
    style: Any = RC
    with mpl.rc_context(style):
        figure = _figure(experiment, summary)
        files = {}
        for name in FIGURES:
            content, kind = io.BytesIO(), name.rpartition(".")[2]
            figure.savefig(content, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
            files[name] = content.getvalue()
    return files


def _figure(experiment: Experiment, summary: _Summary) -> Figure:
    if experiment.curves:
        return _curves(experiment, next(iter(summary.values())))
    if len(summary) > 1:
        return _over_conditions(experiment, summary)
    return _comparison(experiment, next(iter(summary.values())))


def colour_of(method: str) -> str:
    """The colour of a method: heuristics are blue, references grey, each learned method has its own."""
    return MUTED if method in REFERENCES else _COLOURS.get(method, HEURISTIC_COLOUR)


def _comparison(experiment: Experiment, methods: Mapping[str, Any]) -> Figure:
    ordered = sorted(methods.items(), key=lambda item: item[1]["mean"])
    figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.28 * len(ordered)))
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1), sharey=True)
    for row, (method, values) in enumerate(ordered):
        colour, rates = colour_of(method), list(values["networks"].values())
        left.plot(rates, [row] * len(rates), "|", color=colour, alpha=0.35, markersize=6)
        _interval(left, row, values, colour, 1.0)
        left.annotate(f"{values['mean']:.1%}", (1.01, row), xycoords=("axes fraction", "data"), va="center")
        if values["difference"]:
            _interval(right, row, values["difference"], colour, 100.0)
            text = f"{values['difference']['mean'] * 100:+.2f}".replace("-", "−")
            right.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center")
    left.set_yticks(range(len(ordered)), [method for method, _ in ordered])
    left.set_ylim(-0.6, len(ordered) - 0.4)
    left.set_xlim(right=min(1.0, left.get_xlim()[1]))
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    left.set_xlabel("mean with 95 % interval; thin ticks: single networks")
    left.set_title("Success rate")
    right.axvline(0, color=MUTED, linewidth=1)
    right.set_xlabel("percentage points, on the same networks")
    right.set_title("Difference to sed")
    figure.suptitle(experiment.title, x=0.01, ha="left", fontsize=11)
    return figure


def _interval(axes: Any, row: float, values: Mapping[str, Any], colour: str, scale: float) -> None:
    if values["interval"]:
        low, high = (bound * scale for bound in values["interval"])
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
    axes.plot(values["mean"] * scale, row, "o", color=colour, markersize=5)


def _over_conditions(experiment: Experiment, summary: _Summary) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, 4.6))
    axes = figure.subplots()
    labels = list(summary)
    last = summary[labels[-1]]
    order = sorted(last, key=lambda method: -last[method]["mean"])
    styles: dict[str, int] = {}
    for method in order:
        colour = colour_of(method)
        style = _LINES[styles.setdefault(colour, 0) % len(_LINES)]
        styles[colour] += 1
        at = [place for place, label in enumerate(labels) if method in summary[label]]
        means = [summary[labels[place]][method]["mean"] for place in at]
        width = 1.2 if training_of(method) is None and method != "scorer" else 2.0
        axes.plot(at, means, linestyle=style, marker="o", markersize=3.5, color=colour, linewidth=width, label=method)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(experiment.axis)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.set_ylabel("success rate, mean over networks")
    axes.set_title(experiment.title)
    figure.legend(loc="outside right upper", title="from high to low, right end")
    return figure


def _curves(experiment: Experiment, methods: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, 4.2))
    axes = figure.subplots()
    levels = 0
    for method, values in methods.items():
        colour = colour_of(method)
        if values["online"]:
            updates = range(1, len(values["online"]) + 1)
            share = [update / len(values["online"]) for update in updates]
            rates = [math.nan if rate is None else rate for rate in values["online"]]
            axes.plot(share, rates, color=colour, linewidth=2, label=method)
            axes.plot(1.03, values["mean"], "o", color=colour, markersize=5)
        else:
            style = _LINES[1:][levels % len(_LINES[1:])]
            axes.axhline(values["mean"], color=colour, linewidth=1.2, linestyle=style, label=method)
            levels += 1
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of the online episodes; dots: the evaluation afterwards")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.set_ylabel("success rate, mean over networks")
    axes.set_title(experiment.title)
    figure.legend(loc="outside right upper")
    return figure
