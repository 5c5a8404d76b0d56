"""Computes the learning curve: offline checkpoints by gradient step, then online episodes by update.

The functions are pure: episode summaries and model rows in, plain data out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.comparison import success_rate
from evaluation.statistics import estimate_mean
from middleware.database import EpisodeSummary, ModelRow
from offload.episodes import EpisodePhase


def learning_curve(
    summaries: Sequence[EpisodeSummary], models: Sequence[ModelRow], heuristic: str, confidence: float
) -> dict[str, Any]:
    """The curve in the form of `results.json`, from a run's complete episodes of all phases.

    heuristic: the method whose logs the offline phase learned from

    Each phase has its own traces. So a change between phases comes partly from the traces, not from learning. Use the
    comparison to compare methods.
    """
    played = [summary for summary in summaries if summary.tasks]
    offline = [point for row in models if row.phase == "offline" if (point := _offline_point(played, row, confidence))]
    last = max((row for row in models if row.phase == "offline"), key=lambda row: row.number, default=None)
    level = next((point["mean"] for point in offline if last and point["model"] == last.version), None)
    collected = [
        success_rate(summary)
        for summary in played
        if summary.plan.phase == EpisodePhase.COLLECT and summary.plan.method == heuristic
    ]
    return {
        "collected": None
        if not collected
        else {"method": heuristic, **estimate_mean(collected, confidence).to_json(), "episodes": len(collected)},
        "offline": sorted(offline, key=lambda point: int(point["step"])),
        "online": _online(played),
        "offline_level": level,
    }


def _offline_point(played: Sequence[EpisodeSummary], row: ModelRow, confidence: float) -> dict[str, Any] | None:
    """The success rate of a version, from its checkpoint episodes, else its evaluation, else its online episodes."""
    own = [summary for summary in played if summary.plan.scheduler.model == row.version]
    for phase in (EpisodePhase.CHECKPOINT, EpisodePhase.EVALUATE, EpisodePhase.ONLINE):
        rates = [success_rate(summary) for summary in own if summary.plan.phase == phase]
        if rates:
            estimate = estimate_mean(rates, confidence).to_json()
            return {"step": row.number, "model": row.version, "phase": phase, **estimate, "episodes": rates}
    return None


def _online(played: Sequence[EpisodeSummary]) -> dict[str, list[dict[str, Any]]]:
    """Per method, its episodes in the order of their traces; `update` is the update that learns from the episode."""
    curves: dict[str, dict[int, EpisodeSummary]] = {}
    for summary in played:
        if summary.plan.phase == EpisodePhase.ONLINE:
            curves.setdefault(summary.plan.method, {}).setdefault(summary.plan.trace, summary)
    found = {}
    for method, by_trace in curves.items():
        episodes = [by_trace[trace] for trace in sorted(by_trace)]
        versions = list(dict.fromkeys(summary.plan.scheduler.model for summary in episodes))
        found[method] = [
            {
                "episode": place,
                "trace": summary.plan.trace,
                "success_rate": success_rate(summary),
                "model": summary.plan.scheduler.model,
                "update": versions.index(summary.plan.scheduler.model) + 1,
            }
            for place, summary in enumerate(episodes, start=1)
        ]
    return found
