"""Formats the report's numbers and verdicts as text, for the page and the terminal. The functions are pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.comparison import LEARNED
from evaluation.fidelity import LATE_BOUND, MEDIAN_BOUND, P95_BOUND
from evaluation.parity import ABSOLUTE_BOUND_S, RELATIVE_BOUND, SAME_OUTCOME_BOUND

Results = Mapping[str, Any]


def percent(share: float | None, digits: int = 1) -> str:
    """A share as percent; a dash for None."""
    return "–" if share is None else f"{share * 100:.{digits}f}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{difference * 100:+.1f}".replace("-", "−")


def interval_text(interval: list[float] | None, *, signed: bool = False) -> str:
    """`93.0 … 97.4`, in percent or signed points; a dash for None."""
    if interval is None:
        return "–"
    low, high = ((points(bound) if signed else f"{bound * 100:.1f}") for bound in interval)
    return f"{low} … {high}"


def plus_minus(estimate: Mapping[str, Any]) -> str:
    """`± 2.2` percentage points: half of an estimate's interval; empty if there is no interval."""
    return "" if estimate["interval"] is None else f" ± {(estimate['interval'][1] - estimate['mean']) * 100:.1f}"


def milliseconds(seconds: float | None) -> str:
    """A duration in milliseconds; a dash for None."""
    return "–" if seconds is None else f"{seconds * 1e3:.2f}" if seconds < 0.01 else f"{seconds * 1e3:.1f}"


def headline(results: Results) -> str:
    """The result of the comparison, in one to three sentences."""
    methods = results["methods"]
    if not methods and results["conservation"]["episodes"] and not results["conservation"]["tasks"]:
        return "There is nothing to compare: no episode had a task."
    if not methods:
        return "There is nothing to compare yet: no trace has been played by all methods."
    best = max(methods, key=lambda method: methods[method]["mean"])
    heuristic = results["best_heuristic"]
    count = len(results["traces"])
    traces = "one trace" if count == 1 else f"{count} traces"
    text = (
        f"On {traces} that every method played, {best} had the highest success rate: "
        f"{percent(methods[best]['mean'])}{_within(results, methods[best]['interval'])}."
    )
    if heuristic is None:
        return f"{text} No heuristic was played to compare it with."
    learned = [method for method in methods if methods[method]["kind"] == LEARNED]
    if not learned:
        return f"{text} No learned scheduler was played."
    rival = max(learned, key=lambda method: methods[method]["mean"])
    if rival == best:
        text += f" The best heuristic, {heuristic}, reached {percent(methods[heuristic]['mean'])}."
    else:
        text += f" The best learned scheduler, {rival}, reached {percent(methods[rival]['mean'])}."
    return f"{text} {_against(rival, heuristic, results)}"


def _against(rival: str, heuristic: str, results: Results) -> str:
    difference = results["differences"][rival]
    above = "above" if difference["mean"] >= 0 else "below"
    text = f"Paired by trace, {rival} is {abs(difference['mean']) * 100:.1f} points {above} {heuristic}"
    if difference["interval"] is None:
        return f"{text} (a single trace: no interval)."
    low, high = difference["interval"]
    bounds = f"{results['confidence']:.0%} interval {interval_text([low, high], signed=True)}"
    return f"{text} ({bounds}); the difference is {'' if low > 0 or high < 0 else 'not '}statistically significant."


def _within(results: Results, interval: list[float] | None) -> str:
    return "" if interval is None else f" ({results['confidence']:.0%} interval {interval_text(interval)})"


def fidelity_verdict(transfer: str, values: Mapping[str, Any], time_scale: float) -> str:
    """Whether measured durations match the modelled ones, in one sentence."""
    speed = "real speed" if time_scale == 1 else f"{time_scale:g} times real speed"
    how = f"({transfer} transfers, {speed})"
    if values["held"] is None:
        return f"Fidelity {how}: nothing was transmitted or executed, so there is nothing to measure."
    limits = (
        f"median error within {MEDIAN_BOUND:.0%}, 95th percentile within {P95_BOUND:.0%}, at most {LATE_BOUND:.0%} late"
    )
    stages = [
        f"{stage} errors {percent(values[stage]['median'], 2)} (median) and "
        f"{percent(values[stage]['p95'], 2)} (95th percentile)"
        for stage in ("transmission", "execution")
        if values[stage]["count"]
    ]
    measured = f"{', '.join(stages)}, {percent(values['late_share'], 2)} of the tasks late"
    verdict = "held" if values["held"] else "NOT held"
    return f"Fidelity {how} is {verdict}: {measured}. Required: {limits}."


def parity_verdict(transfer: str, values: Mapping[str, Any]) -> str:
    """Whether the testbed's tasks ended as in the numeric twin, in one paragraph."""
    verdict = "held" if values["held"] else "NOT held"
    stages = " and ".join(
        f"{name} {percent(values[key]['p95'], 2)}"
        for name, key in (("transmissions", "transmission_s"), ("executions", "execution_s"))
        if values[key]["count"]
    )
    waits = ", ".join(
        f"{name} {milliseconds(values[key]['p95'])} ms ({percent(values[key]['of_bound'], 0)} of the limit)"
        for name, key in (
            ("waiting for links", "transmission_waiting_s"),
            ("waiting for executors", "execution_waiting_s"),
            ("completion", "completion_s"),
        )
    )
    return (
        f"Parity with the numeric twin ({transfer} transfers) is {verdict}: "
        f"{percent(values['same_outcome'], 2)} of {values['tasks']:,} tasks have the same outcome. "
        f"95th percentiles of the differences: {stages}, {waits}. "
        f"Required: {percent(SAME_OUTCOME_BOUND, 0)} of the outcomes, durations within {RELATIVE_BOUND:.0%}, "
        f"waiting and completion within {RELATIVE_BOUND:.0%} or {ABSOLUTE_BOUND_S * 1e3:.0f} ms."
    )


def conservation_verdict(conservation: Mapping[str, Any]) -> str:
    """Whether every task has exactly one outcome."""
    if not conservation["episodes"]:
        return "Conservation: no episode has been closed yet."
    late = conservation["refused_records"]
    refused = (
        f" {late:,} records were refused: they were damaged, or arrived after the episode was closed." if late else ""
    )
    here = f"in {conservation['episodes']:,} closed episodes"
    if conservation["conserved"]:
        return f"Conservation: each of the {conservation['tasks']:,} tasks {here} has exactly one outcome.{refused}"
    return (
        f"Conservation is BROKEN: {conservation['tasks']:,} tasks and {conservation['outcomes']:,} outcomes {here}; "
        f"{conservation['matched']:,} of them match.{refused}"
    )
