"""Compares the methods on the same traces, by the share of all generated tasks that succeeded.

The functions are pure: episode summaries in, plain data out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.statistics import estimate_mean, paired_difference
from middleware.database import EpisodeSummary
from offload.episodes import EpisodeStatus, Verdict
from offload.outcomes import Outcome
from offload.scheduler_choice import SchedulerChoice

HEURISTIC, LEARNED = "heuristic", "learned"


@dataclass(frozen=True)
class Comparison:
    """The episodes that are compared, and why others are left out.

    traces: those that every compared method has played, ascending
    episodes: per method, one episode per trace, in the order of `traces`
    missing: one line for each thing that a reader may expect but that is missing
    """

    traces: tuple[int, ...]
    episodes: Mapping[str, tuple[EpisodeSummary, ...]]
    missing: tuple[str, ...]

    @property
    def heuristics(self) -> list[str]:
        """The methods without a model."""
        return [method for method in self.episodes if self.kind(method) == HEURISTIC]

    def kind(self, method: str) -> str:
        """`LEARNED` for a method with a trained actor, otherwise `HEURISTIC`."""
        return LEARNED if self.episodes[method][0].plan.scheduler.is_learned else HEURISTIC

    def rates(self, method: str) -> dict[int, float]:
        """The success rate of each trace."""
        return {summary.plan.trace: success_rate(summary) for summary in self.episodes[method]}


def success_rate(summary: EpisodeSummary) -> float:
    """Successes per generated task of an episode that has at least one task."""
    return summary.successes / summary.tasks


def select_comparison(summaries: Sequence[EpisodeSummary], methods: Sequence[str], planned: int) -> Comparison:
    """Select the episodes that can be compared from a run's `evaluate` episodes (of any status and verdict).

    methods: those of the settings, in their order; planned: how many traces each of them should have
    Other played methods are compared too, if they have all traces that the methods of the settings share.
    """
    missing: list[str] = []
    usable: dict[str, dict[int, EpisodeSummary]] = {}
    for method in dict.fromkeys([*methods, *(summary.plan.method for summary in summaries)]):
        own = [summary for summary in summaries if summary.plan.method == method]
        usable[method], lines = _one_per_trace(method, own)
        missing += lines
        if method in methods and len(usable[method]) < planned:
            missing.append(f"{method} has {len(usable[method])} of {planned} evaluation episodes")
    asked = [set(usable[method]) for method in methods if usable[method]]
    played = [set(traces) for traces in usable.values() if traces]
    base = asked or played
    common: set[int] = set.intersection(*base) if base else set()
    if base and not common:
        missing.append("no trace has been played by all methods: nothing can be compared yet")
    for method, traces in usable.items():
        if method not in methods and asked and traces and not common <= set(traces):
            missing.append(f"{method} has not played all of the other methods' traces and is left out")
    idle = {trace for traces in usable.values() for trace in common & set(traces) if not traces[trace].tasks}
    if idle:
        missing.append(f"{len(idle)} of the {len(common)} evaluation traces have no task, so they have no success rate")
    common -= idle
    ordered = tuple(sorted(common))
    compared = {
        method: tuple(traces[trace] for trace in ordered)
        for method, traces in usable.items()
        if common and common <= set(traces)
    }
    left_out = len(set().union(*base) - common - idle) if base else 0
    if common and left_out:
        missing.append(f"{left_out} traces are left out of the comparison: some methods have not played them")
    return Comparison(ordered, compared, tuple(missing))


def compare(comparison: Comparison, confidence: float) -> tuple[dict[str, Any], str | None, dict[str, Any]]:
    """Compare the methods.

    Returns three things:

    * per method, the success rate's mean and interval, the episodes and the outcomes
    * the best heuristic, None if no heuristic was played
    * per method, the difference to the best heuristic
    """
    methods: dict[str, Any] = {}
    for method, summaries in comparison.episodes.items():
        rates = list(comparison.rates(method).values())
        methods[method] = {
            "kind": comparison.kind(method),
            "model": summaries[0].plan.scheduler.model,
            "parameters": dict(summaries[0].plan.scheduler.parameters),
            **estimate_mean(rates, confidence).to_json(),
            "episodes": [
                {
                    "episode": summary.episode,
                    "trace": summary.plan.trace,
                    "success_rate": success_rate(summary),
                    "tasks": summary.tasks,
                    "outcomes": _all_outcomes(summary.outcomes),
                }
                for summary in summaries
            ],
            "outcomes": {
                outcome: sum(summary.outcomes.get(outcome, 0) for summary in summaries) for outcome in map(str, Outcome)
            },
            "tasks": sum(summary.tasks for summary in summaries),
        }
    best = max(comparison.heuristics, key=lambda method: methods[method]["mean"], default=None)
    differences = {
        method: {
            "to": best,
            **paired_difference(comparison.rates(method), comparison.rates(best), confidence).to_json(),
        }
        for method in methods
        if best is not None and method != best
    }
    return methods, best, differences


def _one_per_trace(method: str, own: Sequence[EpisodeSummary]) -> tuple[dict[int, EpisodeSummary], list[str]]:
    """The first complete episode of each trace. Counts only the model and parameters with the most episodes.

    Returns these episodes by trace, and lines for `Comparison.missing`.
    """
    lines = []
    variants: dict[SchedulerChoice, dict[int, EpisodeSummary]] = {}
    unusable: set[int] = set()
    for summary in own:
        if summary.status != EpisodeStatus.CLOSED or summary.verdict != Verdict.COMPLETE:
            unusable.add(summary.plan.trace)
        else:
            plan = summary.plan
            variants.setdefault(plan.scheduler, {}).setdefault(plan.trace, summary)
    # A trace that was played again and completed is not missing.
    if missing := unusable - {trace for played in variants.values() for trace in played}:
        lines.append(
            f"{len(missing)} evaluation episodes of {method} are not complete (open, aborted, mixed or incomplete)"
        )
    if len(variants) > 1:
        lines.append(f"{method} was played with {len(variants)} models or parameters; only the most frequent counts")
    return max(variants.values(), key=len, default={}), lines


def _all_outcomes(counts: Mapping[str, int]) -> dict[str, int]:
    return {str(outcome): counts.get(outcome, 0) for outcome in Outcome}
