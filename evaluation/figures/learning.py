"""The learning curve, from the first offline checkpoint to the final comparison."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.comparison import LEARNED
from evaluation.figures.axes import Results
from evaluation.style import HEURISTIC_COLOUR, MUTED, PAPER, WIDTH_IN, method_colour


def learning_curve(results: Results) -> Figure:
    """Offline checkpoints by gradient step, online episodes by update, and the final comparison."""
    curve = results["learning_curve"]
    algorithms = {phase: results["settings"][phase]["algorithm"] for phase in ("offline", "online")}
    figure = Figure(figsize=(WIDTH_IN, 3.9))
    offline, online, final = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1.7, 0.55))
    colour = method_colour("offline-only", LEARNED)
    for point in curve["offline"]:
        offline.plot([point["step"]] * len(point["episodes"]), point["episodes"], ".", color=colour, alpha=0.3)
    steps = [point["step"] for point in curve["offline"]]
    if steps:
        means = [point["mean"] for point in curve["offline"]]
        offline.plot(steps, means, "-o", color=colour, linewidth=2, markersize=5, label="offline checkpoints")
    if collected := curve["collected"]:
        label = f"{collected['method']} (source of the logs)"
        offline.axhline(collected["mean"], color=HEURISTIC_COLOUR, linewidth=1.5, linestyle=":", label=label)
    offline.set_xlim(0, max(steps, default=1) * 1.06)
    offline.set_xlabel("gradient steps")
    offline.set_ylabel("success rate")
    offline.set_title(f"Offline: {algorithms['offline']}")

    if curve["offline_level"] is not None:
        online.axhline(curve["offline_level"], color=colour, linewidth=1.5, linestyle="--", label="offline level")
    for method, points in curve["online"].items():
        own = method_colour(method, LEARNED)
        x = np.array([point["episode"] for point in points])
        y = np.array([point["success_rate"] for point in points])
        update = np.array([point["update"] for point in points])
        online.plot(x, y, ".", color=own, alpha=0.3, markersize=5)
        centres = [x[update == number].mean() for number in np.unique(update)]
        means = [y[update == number].mean() for number in np.unique(update)]
        online.plot(centres, means, "-o", color=own, linewidth=2, markersize=5, label=method)
    online.set_xlabel("online episodes (bold: mean of the episodes of one update)")
    online.set_title(f"Online: {algorithms['online']}")
    online.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    if not curve["online"]:
        online.annotate("no online episodes yet", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)

    _final_standing(final, results)
    offline.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper left", ncols=5, handlelength=2, columnspacing=1.4)
    return figure


def _final_standing(axes: Axes, results: Results) -> None:
    """Draw the third panel of the learning curve: the comparison's means with intervals."""
    learned = [(name, values) for name, values in results["methods"].items() if values["kind"] == LEARNED]
    best = results["best_heuristic"]
    shown = learned + ([(best, results["methods"][best])] if best else [])
    for place, (method, values) in enumerate(shown):
        colour = method_colour(method, values["kind"])
        if values["interval"]:
            axes.plot([place, place], values["interval"], color=colour, linewidth=2.6)
        axes.plot(place, values["mean"], "o", color=colour, markersize=7, markeredgecolor=PAPER)
    axes.set_xticks(range(len(shown)), [method for method, _ in shown], rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, max(len(shown), 1) - 0.4)
    axes.set_title("Evaluated")
    axes.grid(axis="x", visible=False)
    if not shown:
        axes.annotate("not yet", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
