"""What several figures share: the order of the methods, panels with common axes, means with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.style import PAPER, WIDTH_IN

Results = Mapping[str, Any]
"""The content of `results.json`."""

ROW_IN = 0.34
"""The height of a method's row."""


def by_success_rate(results: Results) -> list[tuple[str, Mapping[str, Any]]]:
    """The compared methods, best first."""
    return sorted(results["methods"].items(), key=lambda entry: (-entry[1]["mean"], entry[0]))


def make_panels(count: int, line_in: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels with common axes, three per line. The lowest panel of each column has the labels."""
    columns = min(3, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(WIDTH_IN, 0.8 + line_in * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for column in range(columns):
        grid[(count - 1 - column) // columns, column].tick_params(labelbottom=True)
    return figure, list(grid.flat[:count])


def draw_interval(axes: Axes, row: float, values: Mapping[str, Any], colour: str) -> None:
    """Draw a mean as a dot, and its interval (if there is one) as a line, at the height `row`."""
    if values["interval"]:
        axes.plot(values["interval"], [row, row], color=colour, linewidth=2.6, zorder=3)
    axes.plot(values["mean"], row, "o", color=colour, markersize=7, markeredgecolor=PAPER, markeredgewidth=1, zorder=4)
