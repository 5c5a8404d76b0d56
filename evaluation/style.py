"""Defines the style of all figures. Colour-blind readers can distinguish the colours; each has one meaning everywhere.

Nothing else uses the colours PAPER, INK, MUTED and GRID, because the page replaces them by its own (light or dark).
"""

from __future__ import annotations

from typing import Any

from evaluation.comparison import LEARNED
from offload.outcomes import Outcome

PAPER = "#fffffe"
INK = "#202124"
MUTED = "#6b7076"
GRID = "#d9dce0"
FAINT = "#aeb4ba"
WIDTH_IN = 8.6

HEURISTIC_COLOUR = "#3b7cb8"
_LEARNED_COLOURS = {
    "offline-only": "#e0a100",
    "online-only": "#b5639b",
    "o2o-drl": "#d1480a",
    "scorer": "#2f8f5b",
}
_OTHER_LEARNED = "#8c564b"

_OUTCOME_COLOURS = {
    # They also get darker from first to last, so that they differ in a greyscale print.
    Outcome.SUCCESS: "#b7dcd2",
    Outcome.DROPPED: "#e9b44c",
    Outcome.EXECUTION_FAILURE: "#c2573a",
    Outcome.TRANSMISSION_FAILURE: "#7a5195",
    Outcome.LOST: "#3f4246",
}
_OTHER_OUTCOME = "#9aa3ad"
OUTCOME_COLOURS = {outcome: _OUTCOME_COLOURS.get(outcome, _OTHER_OUTCOME) for outcome in Outcome}
OUTCOME_NAMES = {outcome: outcome.value.replace("_", " ") for outcome in Outcome} | {
    Outcome.DROPPED: "dropped (deadline)"
}
QUEUE_COLOURS = {"execution": "#3b7cb8", "sending": "#d1480a", "receiving": "#2a9d77"}

RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "path",
    "svg.hashsalt": "offload-testbed",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 160,
}


def method_colour(method: str, kind: str) -> str:
    """The colour of a method: all heuristics have the same colour, each learned method has its own."""
    return _LEARNED_COLOURS.get(method, _OTHER_LEARNED) if kind == LEARNED else HEURISTIC_COLOUR


def ink_on(red: float, green: float, blue: float) -> str:
    """The text colour, black or white, that is readable on a colour with components 0 … 1."""
    return "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "#ffffff"
