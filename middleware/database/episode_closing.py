"""Ends episodes: closes them with a verdict once every task has its one outcome, aborts them, or deletes them.

An episode accepts records while its status is `open`. `close_episode` and `write_records` lock the episode's row, so
that a record is either counted in the close or refused, never both.

Each function takes the caller's `lease`. If another process controls the run now, the function changes nothing and
raises LeaseLost. None means that the caller is the run's only writer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.conservation import check_conservation
from middleware.database.engine import Database
from middleware.database.episode_summaries import EpisodeSummary, find_episodes
from middleware.database.episode_verdicts import find_verdict
from middleware.database.leases import Lease, fenced
from middleware.database.records import row_of
from middleware.database.runs import Run
from middleware.database.schema import decisions, episodes, outcomes, refusals, tasks
from middleware.database.traces import read_tasks_of
from offload.episodes import EpisodeStatus
from offload.records import OutcomeRecord

_ALL = 2**31 - 1  # MySQL knows no offset without a limit
_REASON_LENGTH = 512
_MOST_AT_ONCE = 20


def close_episode(
    db: Database,
    run: Run,
    episode: int,
    *,
    down: Mapping[int, Sequence[int]] | None = None,
    late_slots: int = 0,
    mixed: str | None = None,
    recorded: Mapping[int, int] | None = None,
    lease: Lease | None = None,
) -> EpisodeSummary:
    """Close an episode in one transaction: write `lost` for tasks without an outcome, check conservation, set verdict.

    An episode that is not open stays as it is.

    down: the slots in which each node was down
    mixed: why several schedulers decided; None if only one did. An episode with a failed decision is also mixed,
        because the task stayed at its node without the scheduler's choice.
    recorded: how many outcomes each node reports as recorded. An episode with fewer, or with refused records, is
        incomplete.
    Raises ConservationError, and then changes nothing.
    """
    down = down or {}
    with fenced(db, lease) as connection:
        row = _locked(connection, run, episode)
        if row.status == EpisodeStatus.OPEN:
            _write_lost(connection, run, episode, row.uid)
            check_conservation(connection, run, episode)
            verdict, reason = find_verdict(connection, run, episode, down, mixed, recorded or {}, row.refused_records)
            connection.execute(
                sa.update(episodes)
                .where(episodes.c.run == run.number, episodes.c.episode == episode)
                .values(
                    status=EpisodeStatus.CLOSED,
                    verdict=verdict,
                    reason=None if reason is None else reason[:_REASON_LENGTH],
                    down={str(node): [int(slot) for slot in slots] for node, slots in down.items()},
                    late_slots=late_slots,
                    closed_at=time.time(),
                )
            )
    return find_episodes(db, run, episode=episode, status=None)[0]


def forget_episodes(db: Database, run: Run, phase: str, keep: int, *, lease: Lease | None = None) -> int:
    """Delete the oldest ended episodes of a phase with all their records, so that `keep` stay. Returns how many.

    Deletes at most `_MOST_AT_ONCE`, so that the transaction stays short. A call after each episode keeps up.
    """
    with fenced(db, lease) as connection:
        old = (
            connection.execute(
                sa.select(episodes.c.episode)
                .where(episodes.c.run == run.number, episodes.c.phase == phase, episodes.c.status != EpisodeStatus.OPEN)
                .order_by(episodes.c.episode.desc())
                .offset(keep)
                .limit(_ALL)
            )
            .scalars()
            .all()
        )[::-1][:_MOST_AT_ONCE]
        for table in (outcomes, decisions, refusals, tasks, episodes) if old else ():
            connection.execute(sa.delete(table).where(table.c.run == run.number, table.c.episode.in_(old)))
    return len(old)


def abort_episode(db: Database, run: Run, episode: int, reason: str, *, lease: Lease | None = None) -> None:
    """End an open episode without a verdict. It takes no more records, and no evaluation counts it."""
    with fenced(db, lease) as connection:
        connection.execute(
            sa.update(episodes)
            .where(episodes.c.run == run.number, episodes.c.episode == episode, episodes.c.status == EpisodeStatus.OPEN)
            .values(status=EpisodeStatus.ABORTED, reason=reason[:_REASON_LENGTH], closed_at=time.time())
        )


def _locked(connection: Connection, run: Run, episode: int) -> Any:
    statement = sa.select(episodes).where(episodes.c.run == run.number, episodes.c.episode == episode)
    row = connection.execute(statement.with_for_update()).one_or_none()
    if row is None:
        raise LookupError(f"run '{run.name}' has no episode {episode}")
    return row


def _write_lost(connection: Connection, run: Run, episode: int, uid: str) -> None:
    have = sa.select(outcomes.c.slot, outcomes.c.source).where(
        outcomes.c.run == run.number, outcomes.c.episode == episode
    )
    done = {(row.slot, row.source) for row in connection.execute(have)}
    slot_s, slots = run.settings.time.slot_s, run.settings.time.slots
    lost = [
        OutcomeRecord.lost(task, episode=episode, episode_uid=uid, slot_s=slot_s, slots=slots)
        for task in read_tasks_of(connection, run, episode)
        if (task.slot, task.source) not in done
    ]
    if lost:
        connection.execute(sa.insert(outcomes), [row_of(record, run.number) for record in lost])
