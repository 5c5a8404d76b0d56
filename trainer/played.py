"""Finds the planned episodes that the database already has, so that none is played twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

from middleware.database import Database, Run, find_episodes
from middleware.patience import patiently
from offload.episodes import EpisodePlan, EpisodeStatus, Verdict

Key = tuple[str, str, int, str, str | None, str]


def played(db: Database, run: Run, plans: Iterable[EpisodePlan]) -> dict[Key, int]:
    """The numbers of the complete episodes in the plans' phases, by plan; the first episode of each plan."""
    numbers: dict[Key, int] = {}
    for phase in sorted({plan.phase for plan in plans}):
        query = partial(find_episodes, db, run, phase=phase, status=EpisodeStatus.CLOSED, verdict=Verdict.COMPLETE)
        for summary in patiently(query):
            numbers.setdefault(key_of(summary.plan), summary.episode)
    return numbers


def completed(db: Database, run: Run, plan: EpisodePlan) -> int | None:
    """The number of this plan's complete episode; None when there is none."""
    query = partial(
        find_episodes,
        db,
        run,
        phase=plan.phase,
        method=plan.method,
        trace=plan.trace,
        status=EpisodeStatus.CLOSED,
        verdict=Verdict.COMPLETE,
    )
    return next((summary.episode for summary in patiently(query) if key_of(summary.plan) == key_of(plan)), None)


def key_of(plan: EpisodePlan) -> Key:
    """The key of a plan. Two plans with the same key are the same episode."""
    parameters = json.dumps(dict(plan.parameters), sort_keys=True)
    return plan.phase, plan.method, plan.trace, plan.scheduler, plan.model, parameters
