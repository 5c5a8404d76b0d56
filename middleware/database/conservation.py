"""Checks the conservation law: every generated task has exactly one outcome, and every outcome has a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.runs import Run
from middleware.database.schema import episodes, outcomes, tasks
from offload.episodes import EpisodeStatus

SAME_TASK = sa.and_(
    tasks.c.run == outcomes.c.run,
    tasks.c.episode == outcomes.c.episode,
    tasks.c.slot == outcomes.c.slot,
    tasks.c.source == outcomes.c.source,
)
"""Joins a task with its outcome."""


class ConservationError(RuntimeError):
    """The conservation law is broken: a task without an outcome, or an outcome without a task."""


@dataclass(frozen=True)
class Conservation:
    """The counts of the conservation law over all closed episodes of a run."""

    episodes: int
    tasks: int
    outcomes: int
    matched: int
    refused_records: int

    @property
    def conserved(self) -> bool:
        """Whether every task has exactly one outcome, and every outcome has a task."""
        return self.tasks == self.outcomes == self.matched


def count_conservation(db: Database, run: Run) -> Conservation:
    """Count tasks and outcomes of all closed episodes."""
    here = episodes.c.run == run.number, episodes.c.status == EpisodeStatus.CLOSED
    closed = sa.select(episodes.c.episode).where(*here)

    def count(table: Any, key: sa.Table) -> Any:
        chosen = sa.select(sa.func.count()).select_from(table)
        return chosen.where(key.c.run == run.number, key.c.episode.in_(closed))

    with db.reading() as connection:
        number, refused = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(episodes.c.refused_records), 0)).where(*here)
        ).one()
        generated = connection.execute(count(tasks, tasks)).scalar_one()
        ended = connection.execute(count(outcomes, outcomes)).scalar_one()
        matched = connection.execute(count(tasks.join(outcomes, SAME_TASK), tasks)).scalar_one()
    return Conservation(int(number), int(generated), int(ended), int(matched), int(refused))


def check_conservation(connection: Connection, run: Run, episode: int) -> None:
    """Raise ConservationError unless each task of the episode has exactly one outcome, and each outcome a task."""
    counts = []
    for table in (tasks, outcomes):
        here = table.c.run == run.number, table.c.episode == episode
        counts.append(connection.execute(sa.select(sa.func.count()).select_from(table).where(*here)).scalar_one())
    both = connection.execute(
        sa.select(sa.func.count())
        .select_from(tasks.join(outcomes, SAME_TASK))
        .where(tasks.c.run == run.number, tasks.c.episode == episode)
    ).scalar_one()
    if not counts[0] == counts[1] == both:
        raise ConservationError(
            f"episode {episode} of run '{run.name}': {counts[0]} tasks, {counts[1]} outcomes, {both} of them match"
        )
