"""Finds recorded episodes by their properties, and counts their tasks by outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import episodes, outcomes, tasks
from offload.episodes import EpisodePhase, EpisodePlan, EpisodeStatus, Verdict
from offload.outcomes import Outcome


@dataclass(frozen=True)
class EpisodeSummary:
    """A recorded episode, with the number of its tasks by outcome."""

    episode: int
    plan: EpisodePlan
    status: EpisodeStatus
    verdict: Verdict | None
    reason: str | None
    revision: int
    down: Mapping[int, Sequence[int]]
    late_slots: int
    refused_records: int
    tasks: int
    outcomes: Mapping[str, int]
    opened_at: float
    closed_at: float | None

    @property
    def successes(self) -> int:
        """How many tasks succeeded."""
        return self.outcomes.get(Outcome.SUCCESS, 0)


def find_episodes(
    db: Database,
    run: Run,
    *,
    phase: EpisodePhase | None = None,
    method: str | None = None,
    model: str | None = None,
    trace: int | None = None,
    episode: int | None = None,
    status: EpisodeStatus | None = EpisodeStatus.CLOSED,
    verdict: Verdict | None = None,
) -> list[EpisodeSummary]:
    """The run's episodes with all the given properties (None: any), in the order of their opening."""
    wanted = {
        "phase": phase, "method": method, "model": model, "trace": trace,
        "episode": episode, "status": status, "verdict": verdict,
    }  # fmt: skip
    return _summaries(db, run, *(episodes.c[key] == value for key, value in wanted.items() if value is not None))


def _summaries(db: Database, run: Run, *conditions: Any) -> list[EpisodeSummary]:
    chosen = sa.select(episodes).where(episodes.c.run == run.number, *conditions).order_by(episodes.c.episode)
    numbers = sa.select(episodes.c.episode).where(episodes.c.run == run.number, *conditions)
    counted = (
        sa.select(outcomes.c.episode, outcomes.c.outcome, sa.func.count().label("count"))
        .where(outcomes.c.run == run.number, outcomes.c.episode.in_(numbers))
        .group_by(outcomes.c.episode, outcomes.c.outcome)
    )
    generated = (
        sa.select(tasks.c.episode, sa.func.count().label("count"))
        .where(tasks.c.run == run.number, tasks.c.episode.in_(numbers))
        .group_by(tasks.c.episode)
    )
    with db.reading() as connection:
        rows = connection.execute(chosen).all()
        by_outcome: dict[int, dict[str, int]] = {}
        for count in connection.execute(counted):
            by_outcome.setdefault(count.episode, {})[count.outcome] = count._mapping["count"]
        totals = {count.episode: count._mapping["count"] for count in connection.execute(generated)}
    return [
        EpisodeSummary(
            episode=row.episode,
            plan=EpisodePlan.of(row),
            status=EpisodeStatus(row.status),
            verdict=None if row.verdict is None else Verdict(row.verdict),
            reason=row.reason,
            revision=row.revision,
            down={int(node): tuple(slots) for node, slots in row.down.items()},
            late_slots=row.late_slots,
            refused_records=row.refused_records,
            tasks=totals.get(row.episode, 0),
            outcomes=by_outcome.get(row.episode, {}),
            opened_at=row.opened_at,
            closed_at=row.closed_at,
        )
        for row in rows
    ]
