"""Figures of measured durations: fidelity to the model, and the time of a decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from evaluation.fidelity import MEDIAN_BOUND, P95_BOUND
from evaluation.figures.axes import ROW_IN, Results
from evaluation.style import FAINT, HEURISTIC_COLOUR, INK, MUTED, WIDTH_IN, method_colour

_DECISION_BOUNDS_S = {1e-3: "1 ms", 25e-3: "25 ms"}


def fidelity(results: Results) -> Figure:
    """The distribution of measured / modelled durations, for transmissions and for executions."""
    kinds = list(results["fidelity"])
    figure = Figure(figsize=(WIDTH_IN, 0.5 + 2.9 * len(kinds)))
    grid = figure.subplots(len(kinds), 2, squeeze=False, sharey=True)
    for line, kind in zip(grid, kinds, strict=True):
        values = results["fidelity"][kind]
        for axes, stage, model in zip(
            line, ("transmission", "execution"), ("size / rate", "cycles / capacity"), strict=True
        ):
            _ratio_curve(axes, values[stage])
            suffix = f", {kind} transfers" if stage == "transmission" else ""
            axes.set_title(f"{stage.capitalize()}{suffix}")
            axes.set_xlabel(f"measured / modelled ({model})")
        line[0].set_ylabel("share of tasks at or below")
        line[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def decision_times(results: Results) -> Figure:
    """The real time of decisions, including probes: median, quartiles, 1st and 99th percentile."""
    methods = [(name, values) for name, values in results["methods"].items() if values["decision_real_s"]["p50"]]
    methods.sort(key=lambda entry: entry[1]["decision_real_s"]["p50"])
    rows = np.arange(len(methods))[::-1]
    figure = Figure(figsize=(WIDTH_IN, 1.1 + ROW_IN * len(methods)))
    axes = figure.subplots()
    smallest, largest = np.inf, 0.0
    for row, (method, values) in zip(rows, methods, strict=True):
        spread = values["decision_real_s"]
        colour = method_colour(method, values["kind"])
        low = max(spread["p1"], 1e-7)
        smallest, largest = min(smallest, low), max(largest, spread["p99"])
        axes.plot([low, spread["p99"]], [row, row], color=colour, linewidth=1.6)
        axes.plot(
            [spread["p25"], spread["p75"]], [row, row], color=colour, linewidth=8, alpha=0.45, solid_capstyle="butt"
        )
        axes.plot(spread["p50"], row, "o", color=colour, markersize=5)
        axes.plot(spread["p99"], row, "|", color=colour, markersize=11, markeredgewidth=2)
        asked = f", asks {values['probes']:.1f}" if values["probes"] else ""
        axes.annotate(
            f"{_duration(spread['p50'])}, p99 {_duration(spread['p99'])}{asked}", (1.01, row),
            xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
        )  # fmt: skip
    for bound, label in _DECISION_BOUNDS_S.items():
        axes.axvline(bound, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            label, (bound, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="center", fontsize=8.5, color=MUTED,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(min(smallest * 0.7, 5e-4), max(largest * 1.4, 40e-3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _duration(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(rows, [method for method, _ in methods])
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.set_xlabel("real time of a decision, probes included (log scale): ● median, ▬ middle half, ┤ 99th percentile")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure


def _ratio_curve(axes: Axes, stage: Mapping[str, Any]) -> None:
    for bound, alpha in ((P95_BOUND, 0.25), (MEDIAN_BOUND, 0.45)):
        axes.axvspan(1 - bound, 1 + bound, color=FAINT, alpha=alpha, linewidth=0, zorder=0)
    axes.axvline(1, color=MUTED, linewidth=0.8, zorder=1)
    if not stage["count"]:
        axes.annotate("none in this run", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
        return
    ratio, share = np.array(stage["distribution"]).T
    axes.plot(ratio, share, color=HEURISTIC_COLOUR, linewidth=2, zorder=3)
    # The axis leaves out the most extreme percent: one far value would compress all others into one line.
    inner = ratio[(share >= 0.005) & (share <= 0.99)]
    spread = max(1.4 * P95_BOUND, 1.1 * float(np.abs(inner - 1).max(initial=0.0)))
    axes.set_xlim(max(0.0, 1 - spread), 1 + spread)
    axes.set_ylim(0, 1.02)
    outside = float((np.abs(ratio - 1) > spread).any())
    text = f"{stage['count']:,} measured\nerror: median {stage['median']:.2%}\n95th percentile {stage['p95']:.2%}"
    if outside:
        text += f"\nlargest: {ratio[np.abs(ratio - 1).argmax()]:.2f} (outside)"
    axes.annotate(
        text, (0.03, 0.96), xycoords="axes fraction", va="top", fontsize=8.5, color=INK, linespacing=1.4, zorder=4
    )
    axes.annotate(
        f"bands: ±{MEDIAN_BOUND:.0%}, ±{P95_BOUND:.0%}",
        (0.97, 0.04),
        xycoords="axes fraction",
        ha="right",
        fontsize=8,
        color=MUTED,
    )


def _duration(seconds: float) -> str:
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"
