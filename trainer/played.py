"""Finds the planned episodes that the database already has, so that none is played twice."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from middleware.database import Database, Run, find_episodes
from middleware.retrying import retry_while_unavailable
from offload.episodes import EpisodePlan, EpisodeStatus, Verdict


def played(db: Database, run: Run, plans: Iterable[EpisodePlan]) -> dict[EpisodePlan, int]:
    """The numbers of the complete episodes in the plans' phases, by plan; the first episode of each plan."""
    numbers: dict[EpisodePlan, int] = {}
    for phase in sorted({plan.phase for plan in plans}):
        query = partial(find_episodes, db, run, phase=phase, status=EpisodeStatus.CLOSED, verdict=Verdict.COMPLETE)
        for summary in retry_while_unavailable(query):
            numbers.setdefault(summary.plan, summary.episode)
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
    return next((summary.episode for summary in retry_while_unavailable(query) if summary.plan == plan), None)
