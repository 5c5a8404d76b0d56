"""Figures that compare the methods: success rates and outcome shares, one row per method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.comparison import LEARNED
from evaluation.figures.axes import ROW_IN, Results, by_success_rate, draw_interval
from evaluation.style import HEURISTIC_COLOUR, MUTED, OUTCOME_COLOURS, OUTCOME_NAMES, WIDTH_IN, ink_on, method_colour
from offload.outcomes import Outcome

_SMALLEST_LABELLED_SHARE = 0.026


def success_rates(results: Results) -> Figure:
    """Left: success rates with intervals and single traces. Right: paired differences to the best heuristic."""
    ordered = by_success_rate(results)
    rows = np.arange(len(ordered))[::-1]
    best, percent = results["best_heuristic"], f"{results['confidence']:.0%}"
    figure = Figure(figsize=(WIDTH_IN, 1.35 + ROW_IN * len(ordered)))
    left, right = figure.subplots(1, 2, width_ratios=(1.55, 1), sharey=True)
    for row, (method, values) in zip(rows, ordered, strict=True):
        colour = method_colour(method, values["kind"])
        rates = [episode["success_rate"] for episode in values["episodes"]]
        left.plot(rates, np.full(len(rates), row), "|", color=colour, alpha=0.35, markersize=7, zorder=2)
        draw_interval(left, row, values, colour)
        left.annotate(
            f"{values['mean']:.1%}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9,
            fontweight="bold" if values["kind"] == LEARNED else "normal",
        )  # fmt: skip
        difference = results["differences"].get(method)
        if difference:
            points = {
                "mean": difference["mean"] * 100,
                "interval": difference["interval"] and [bound * 100 for bound in difference["interval"]],
            }
            draw_interval(right, row, points, colour)
            right.annotate(
                f"{points['mean']:+.1f}".replace("-", "−"), (1.01, row), xycoords=("axes fraction", "data"),
                va="center", fontsize=9,
            )  # fmt: skip
        elif method == best:
            right.annotate("reference", (0, row), xytext=(6, 0), textcoords="offset points", va="center", color=MUTED)
    left.set_yticks(rows, [method for method, _ in ordered])
    left.set_ylim(-0.6, len(ordered) - 0.4)
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    left.set_xlabel(f"mean with {percent} interval; thin ticks: single traces")
    left.set_title("Success rate")
    right.axvline(0, color=MUTED, linewidth=1, zorder=1)
    right.set_xlabel(f"percentage points, mean with {percent} interval")
    right.set_title(f"Difference to {best} on the same traces" if best else "No heuristic to compare with")
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    _family_key(figure, ordered)
    return figure


def outcome_shares(results: Results) -> Figure:
    """The outcomes of all tasks, one bar per method."""
    ordered = by_success_rate(results)
    rows = np.arange(len(ordered))[::-1]
    figure = Figure(figsize=(WIDTH_IN, 1.1 + ROW_IN * len(ordered)))
    axes = figure.subplots()
    start = np.zeros(len(ordered))
    for outcome in Outcome:
        shares = np.array([values["outcomes"][outcome] / max(values["tasks"], 1) for _, values in ordered])
        if not shares.any():
            continue
        colour = OUTCOME_COLOURS[outcome]
        axes.barh(rows, shares, 0.74, left=start, color=colour, label=OUTCOME_NAMES[outcome], linewidth=0)
        for row, begin, share in zip(rows, start, shares, strict=True):
            if share >= _SMALLEST_LABELLED_SHARE:
                ink = ink_on(*to_rgb(colour))
                axes.text(begin + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=7.5, color=ink)
        start += shares
    axes.set_yticks(rows, [method for method, _ in ordered])
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.5, len(ordered) - 0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of all generated tasks")
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside upper left", ncols=5, handlelength=1, handleheight=1, columnspacing=1.4)
    return figure


def _family_key(figure: Figure, ordered: list[tuple[str, Mapping[str, Any]]]) -> None:
    if not any(values["kind"] == LEARNED for _, values in ordered):
        return
    names = [method for method, values in ordered if values["kind"] == LEARNED]
    handles = [
        Line2D([], [], marker="o", linestyle="", color=method_colour(name, LEARNED), label=name) for name in names
    ]
    heuristic = Line2D([], [], marker="o", linestyle="", color=HEURISTIC_COLOUR, label="heuristics")
    figure.legend(handles=[heuristic, *handles], loc="outside upper left", ncols=len(handles) + 1, columnspacing=1.4)
