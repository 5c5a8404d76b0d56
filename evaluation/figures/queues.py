"""Figures of the nodes' load: the share of tasks per destination, and the queue lengths over time."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.figures.axes import Results, by_success_rate, make_panels
from evaluation.style import QUEUE_COLOURS, ink_on

_MOST_NUMBERED_NODES = 12


def offloading(results: Results) -> Figure:
    """Per method, the share of each node's tasks by destination."""
    ordered = by_success_rate(results)
    nodes, load = results["network"]["nodes"], results["network"]["load"]
    n = len(nodes)
    numbered = n <= _MOST_NUMBERED_NODES
    size = 8 if n <= 6 else 6 if numbered else 5
    norm = PowerNorm(0.65, vmin=0, vmax=1)  # with many nodes most shares are small; this makes them distinguishable
    figure, panels = make_panels(len(ordered), line_in=0.42 + (0.27 if n <= 6 else 0.2) * n if numbered else 2.6)
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
        axes.set_title(f"{method}: {values['offloaded_share']:.0%} offloaded", fontsize=9)
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
    """Per method, the queue lengths over time: means over nodes and episodes at each slot's tick."""
    ordered = by_success_rate(results)
    time = results["settings"]["time"]
    figure, panels = make_panels(len(ordered), line_in=1.5)
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
