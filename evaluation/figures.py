"""The report's figures. One function per figure: `results.json`'s dictionary in, a matplotlib Figure out.

Every function needs its own part of the results only, as `FIGURES` says; one without data is not drawn. No pyplot: it keeps
every figure alive in a global list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from evaluation.comparison import LEARNED
from evaluation.fidelity import LATE_BOUND, MEDIAN_BOUND, P95_BOUND
from evaluation.style import (
    FAINT,
    HEURISTIC_COLOUR,
    INK,
    MUTED,
    OUTCOME_COLOURS,
    OUTCOME_NAMES,
    PAPER,
    QUEUE_COLOURS,
    WIDTH_IN,
    ink_on,
    method_colour,
)
from offload.outcomes import Outcome

Results = Mapping[str, Any]

_ROW_IN = 0.34
_MOST_NUMBERED_NODES = 12
_DECISION_BOUNDS_S = {1e-3: "1 ms", 25e-3: "25 ms"}
_SMALLEST_LABELLED_SHARE = 0.026


@dataclass(frozen=True)
class FigureKind:
    """A figure of the report: its file's name, what it shows, how it is read, its data's presence, its function."""

    name: str
    title: str
    reading: str
    available: Callable[[Results], bool]
    draw: Callable[[Results], Figure]


def success_rates(results: Results) -> Figure:
    """Left: each method's success rate with its interval and the single traces. Right: paired to the best heuristic."""
    ordered = by_success_rate(results)
    rows = np.arange(len(ordered))[::-1]
    best, percent = results["best_heuristic"], f"{results['confidence']:.0%}"
    figure = Figure(figsize=(WIDTH_IN, 1.35 + _ROW_IN * len(ordered)))
    left, right = figure.subplots(1, 2, width_ratios=(1.55, 1), sharey=True)
    for row, (method, values) in zip(rows, ordered, strict=True):
        colour = method_colour(method, values["kind"])
        rates = [episode["success_rate"] for episode in values["episodes"]]
        left.plot(rates, np.full(len(rates), row), "|", color=colour, alpha=0.35, markersize=7, zorder=2)
        _interval(left, row, values, colour)
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
            _interval(right, row, points, colour)
            right.annotate(
                f"{points['mean']:+.1f}".replace("-", "−"), (1.01, row), xycoords=("axes fraction", "data"),
                va="center", fontsize=9,
            )  # fmt: skip
        elif method == best:
            right.annotate(
                "the reference", (0, row), xytext=(6, 0), textcoords="offset points", va="center", color=MUTED
            )
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


def learning_curve(results: Results) -> Figure:
    """Offline checkpoints by gradient step, online episodes by update, and where the methods stand in the comparison."""
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
        label = f"{collected['method']}, whose logs it learns from"
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
        online.annotate("no online episode yet", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)

    _final_standing(final, results)
    offline.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper left", ncols=5, handlelength=2, columnspacing=1.4)
    return figure


def outcome_shares(results: Results) -> Figure:
    """What became of all tasks: one bar per method."""
    ordered = by_success_rate(results)
    rows = np.arange(len(ordered))[::-1]
    figure = Figure(figsize=(WIDTH_IN, 1.1 + _ROW_IN * len(ordered)))
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
                axes.text(
                    begin + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=7.5, color=ink_on(*to_rgb(colour)),
                )  # fmt: skip
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


def offloading(results: Results) -> Figure:
    """Who sends to whom: per method, the share of each node's tasks by destination."""
    ordered = by_success_rate(results)
    nodes, load = results["network"]["nodes"], results["network"]["load"]
    n = len(nodes)
    numbered = n <= _MOST_NUMBERED_NODES
    size = 8 if n <= 6 else 6 if numbered else 5
    norm = PowerNorm(0.65, vmin=0, vmax=1)  # with many nodes most shares are small; they shall differ visibly too
    figure, panels = _panels(len(ordered), line_in=0.42 + (0.27 if n <= 6 else 0.2) * n if numbered else 2.6)
    image = None
    for axes, (method, values) in zip(panels, ordered, strict=True):
        counts = np.array(results["offloading"][method], dtype=float)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        image = axes.imshow(shares, cmap="Blues", norm=norm, aspect="auto", interpolation="nearest")
        if numbered:
            for i, j in np.ndindex(n, n):
                if shares[i, j] >= 0.005:
                    ink = ink_on(*colormaps["Blues"](norm(shares[i, j]))[:3])
                    axes.text(j, i, f"{shares[i, j] * 100:.0f}", ha="center", va="center", fontsize=size, color=ink)
        axes.set_title(f"{method}: {values['offloaded_share']:.0%} sent away", fontsize=9)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        shown = range(0, n, 1 if numbered else 5)
        axes.set_xticks(shown, [f"{j}\n{nodes[j]['capacity_hz'] / 1e9:g}" for j in shown], fontsize=size)
        axes.set_yticks(shown, [f"{i} · {load[i]:.0%}" for i in shown], fontsize=size)
    figure.supxlabel("to node (below it: its capacity in GHz)", fontsize=9)
    figure.supylabel("from node · its own tasks' load on it", fontsize=9)
    if image is not None and not numbered:
        bar = figure.colorbar(image, ax=panels, shrink=0.6, aspect=30, pad=0.01)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        bar.set_label("share of the sender's tasks")
    return figure


def queue_lengths(results: Results) -> Figure:
    """Queue lengths over time: per method, means over nodes and episodes at each slot's tick."""
    ordered = by_success_rate(results)
    time = results["settings"]["time"]
    figure, panels = _panels(len(ordered), line_in=1.5)
    styles = {"execution": "-", "sending": "--", "receiving": ":"}
    top = 0.0
    for axes, (method, _) in zip(panels, ordered, strict=True):
        for name, colour in QUEUE_COLOURS.items():
            lengths = np.array(results["queues"][method][name], dtype=float)
            top = max(top, float(np.nanmax(lengths, initial=0.0)))
            axes.plot(lengths, styles[name], color=colour, linewidth=1.8, label=f"{name} queue")
        axes.set_title(method, fontsize=9)
    panels[0].set_ylim(0, top * 1.08 or 1)
    panels[0].set_xlim(0, max(time["slots"] - 1, 1))
    panels[0].yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(f"time slot (each {time['slot_s']:g} s)", fontsize=9)
    figure.supylabel("tasks per node (mean)", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, handlelength=2.4)
    return figure


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
    """How long a decision takes in real time, probes included: median, quartiles, 1st and 99th percentile."""
    methods = [(name, values) for name, values in results["methods"].items() if values["decision_real_s"]["p50"]]
    methods.sort(key=lambda entry: entry[1]["decision_real_s"]["p50"])
    rows = np.arange(len(methods))[::-1]
    figure = Figure(figsize=(WIDTH_IN, 1.1 + _ROW_IN * len(methods)))
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


def by_success_rate(results: Results) -> list[tuple[str, Mapping[str, Any]]]:
    """The compared methods, best first."""
    return sorted(results["methods"].items(), key=lambda entry: (-entry[1]["mean"], entry[0]))


def _panels(count: int, line_in: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels with common axes, three in a line; the lowest of each column carries the labels."""
    columns = min(3, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.8 + line_in * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for column in range(columns):
        grid[(count - 1 - column) // columns, column].tick_params(labelbottom=True)
    return figure, list(grid.flat[:count])


def _interval(axes: Axes, row: float, values: Mapping[str, Any], colour: str) -> None:
    if values["interval"]:
        axes.plot(values["interval"], [row, row], color=colour, linewidth=2.6, zorder=3)
    axes.plot(values["mean"], row, "o", color=colour, markersize=7, markeredgecolor=PAPER, markeredgewidth=1, zorder=4)


def _family_key(figure: Figure, ordered: list[tuple[str, Mapping[str, Any]]]) -> None:
    if not any(values["kind"] == LEARNED for _, values in ordered):
        return
    names = [method for method, values in ordered if values["kind"] == LEARNED]
    handles = [
        Line2D([], [], marker="o", linestyle="", color=method_colour(name, LEARNED), label=name) for name in names
    ]
    heuristic = Line2D([], [], marker="o", linestyle="", color=HEURISTIC_COLOUR, label="heuristics")
    figure.legend(handles=[heuristic, *handles], loc="outside upper left", ncols=len(handles) + 1, columnspacing=1.4)


def _final_standing(axes: Axes, results: Results) -> None:
    """The third panel of the learning curve: the paired comparison's means with intervals."""
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


def _ratio_curve(axes: Axes, stage: Mapping[str, Any]) -> None:
    for bound, alpha in ((P95_BOUND, 0.25), (MEDIAN_BOUND, 0.45)):
        axes.axvspan(1 - bound, 1 + bound, color=FAINT, alpha=alpha, linewidth=0, zorder=0)
    axes.axvline(1, color=MUTED, linewidth=0.8, zorder=1)
    if not stage["count"]:
        axes.annotate("none in this run", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
        return
    ratio, share = np.array(stage["distribution"]).T
    axes.plot(ratio, share, color=HEURISTIC_COLOUR, linewidth=2, zorder=3)
    # The most extreme percent may lie far away; it would press everything else into one line.
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


FIGURES = (
    FigureKind(
        "success-rates",
        "Which method gets the most tasks done",
        "A dot is the mean success rate over the traces, its line the interval of that mean, thin ticks the single traces. "
        "On the right the same methods are compared trace by trace with the best heuristic: an interval that does not "
        "touch zero is a difference that chance does not explain.",
        lambda results: bool(results["methods"]),
        success_rates,
    ),
    FigureKind(
        "learning-curve",
        "How the learned schedulers became what they are",
        "Left: checkpoints of offline training from the heuristic's logs. Middle: episodes on the running testbed, light, and "
        "their mean per update, bold; the dashed line is where offline training ended. Right: the final comparison. Each "
        "phase has traces of its own, so a jump from panel to panel is partly theirs; within a panel the methods meet the same.",
        lambda results: bool(results["learning_curve"]["offline"] or results["learning_curve"]["online"]),
        learning_curve,
    ),
    FigureKind(
        "outcome-shares",
        "What became of the tasks",
        "Every generated task has exactly one outcome, so each bar is all tasks of a method. Dropped: the deadline could not "
        "be met any more. Lost: a node had crashed or could not be reached.",
        lambda results: bool(results["methods"]),
        outcome_shares,
    ),
    FigureKind(
        "offloading",
        "Who sends to whom",
        "Each row is a node that received tasks from users and says in percent where it sent them; on the diagonal it kept "
        "them. Beside the row's number stands how much of that node its own tasks would need (above 100 % it must send).",
        lambda results: bool(results["offloading"]),
        offloading,
    ),
    FigureKind(
        "queue-lengths",
        "Where tasks wait",
        "Mean queue lengths per node at the beginning of each slot. Execution: at the executor, the running task included. "
        "Sending: on the node's links. Receiving: announced by others, not here yet.",
        lambda results: bool(results["queues"]),
        queue_lengths,
    ),
    FigureKind(
        "fidelity",
        "Does the testbed take the time that the model says",
        "Cumulative distributions of measured / modelled durations over all tasks of the experiment: a steep step at 1 is "
        f"a faithful testbed. The promise is a median error within {MEDIAN_BOUND:.0%} and a 95th percentile within "
        f"{P95_BOUND:.0%}, with at most {LATE_BOUND:.0%} of late tasks.",
        lambda results: any(
            stage["count"]
            for values in results["fidelity"].values()
            for stage in (values["transmission"], values["execution"])
        ),
        fidelity,
    ),
    FigureKind(
        "decision-times",
        "How long a decision takes",
        "From a node's tick until it has decided, in real time, answers of probed nodes included. It is part of every task's "
        "completion time. Without probes the 99th percentile should stay below 1 ms, with probes below 25 ms.",
        lambda results: any(values["decision_real_s"]["p50"] for values in results["methods"].values()),
        decision_times,
    ),
)
"""In the report's order."""
