"""Builds the table that `offload run` and `offload report` print when they finish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from evaluation.comparison import LEARNED
from evaluation.wording import (
    conservation_verdict,
    fidelity_verdict,
    headline,
    milliseconds,
    parity_verdict,
    plus_minus,
    points,
)
from offload.outcomes import Outcome


def results_table(results: Mapping[str, Any]) -> RenderableType:
    """The comparison (best method first) and its result, then a line each on fidelity, parity, conservation, gaps."""
    parts: list[RenderableType] = []
    if results["methods"]:
        parts.append(_comparison(results))
    parts.append(Text(headline(results)))
    scale = results["settings"]["time"]["time_scale"]
    parts += [Text(fidelity_verdict(transfer, values, scale)) for transfer, values in results["fidelity"].items()]
    parity = results.get("parity") or {}
    parts += [Text(parity_verdict(transfer, values)) for transfer, values in parity.items()]
    parts.append(Text(conservation_verdict(results["conservation"])))
    parts += [Text(f"Missing: {line}", style="yellow") for line in results["missing"]]
    return Group(*parts)


def _comparison(results: Mapping[str, Any]) -> Table:
    """The table of the comparison; at most 80 characters wide."""
    table = Table(
        title=f"{escape(results['run'])}: success rates on the same {len(results['traces'])} traces",
        caption=f"percent of the tasks; ± half the {results['confidence']:.0%} interval over traces, "
        "paired for differences;\nfailed: in execution or transmission; p99: of a decision, real time",
        box=SIMPLE,
    )
    table.add_column("method", no_wrap=True)
    for name in ("success %", f"vs {escape(results['best_heuristic'] or '–')}", "dropped", "failed", "lost", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for method, values in sorted(results["methods"].items(), key=lambda entry: -entry[1]["mean"]):
        counts, total = values["outcomes"], values["tasks"]
        failed = counts[Outcome.EXECUTION_FAILURE] + counts[Outcome.TRANSMISSION_FAILURE]
        difference = results["differences"].get(method)
        table.add_row(
            escape(method),
            f"{values['mean'] * 100:.1f}{plus_minus(values)}",
            f"{points(difference['mean'])}{plus_minus(difference)}" if difference else "",
            *(f"{count / total * 100:.1f}" for count in (counts[Outcome.DROPPED], failed, counts[Outcome.LOST])),
            milliseconds(values["decision_real_s"]["p99"]),
            style="bold" if values["kind"] == LEARNED else None,
        )
    return table
