"""Renders the figures as SVG and PNG bytes, and as SVG for use inside a page. The same results give the same bytes.

Concurrency: matplotlib's settings belong to the whole process, so one thread draws at a time (`_drawing`).
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

from evaluation.figures import FIGURES, FigureKind
from evaluation.style import GRID, INK, MUTED, PAPER, RC

_INLINE_COLOURS = {PAPER: "var(--paper)", INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"}

_drawing = threading.Lock()


@dataclass(frozen=True)
class DrawnFigure:
    """A figure in both formats."""

    kind: FigureKind
    svg: bytes
    png: bytes

    def inline(self) -> str:
        """The SVG for use inside a page: without a fixed size, in the page's colours, with ids that are unique."""
        return _inline(self.svg.decode(), self.kind.name, self.kind.title)


def draw_figures(results: Mapping[str, Any]) -> list[DrawnFigure]:
    """All figures that the results have data for, in the report's order."""
    drawn = []
    parameters: Any = dict(mpl.rcParamsDefault)  # the defaults, not the user's matplotlibrc
    parameters.pop("backend", None)
    parameters.update(RC)
    with _drawing, mpl.rc_context(parameters):
        for kind in FIGURES:
            if kind.available(results):
                figure = kind.draw(results)
                formats = {}
                for name in ("svg", "png"):
                    content = io.BytesIO()
                    # Without dates and versions, the same results give the same file.
                    metadata = {"Date": None, "Creator": None} if name == "svg" else {"Software": None}
                    figure.savefig(content, format=name, metadata=metadata)
                    formats[name] = content.getvalue()
                    figure.set_layout_engine("none")  # the layout is done; the next format must not change it
                drawn.append(DrawnFigure(kind, formats["svg"], formats["png"]))
    return drawn


def _inline(svg: str, prefix: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for colour, variable in _INLINE_COLOURS.items():
        svg = svg.replace(colour, variable)
    opening = re.sub(r' (?:width|height)="[^"]*pt"', "", svg[: svg.index(">")])
    return f'{opening} role="img" aria-label="{title}"{svg[svg.index(">") :]}'
