"""Writes the edge nodes' records: insert-or-ignore in one transaction. Refuses those whose episode is not open.

Concurrency: the writing transaction reads the episode's status under a shared lock (SQLite: the write lock).
`close_episode` locks it for update. A record is therefore either counted in the close or refused, never both.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.record_checks import check_record
from middleware.database.schema import episodes, metadata, outcomes, refusals, tasks
from offload.episodes import EpisodeStatus
from offload.records import EPISODE_UID, RECORDS, OutcomeRecord, Record

_logger = logging.getLogger(__name__)

_SAME = {"decisions": ("slot", "node"), "outcomes": ("slot", "source", "written_by")}
"""The columns that identify a record. An outcome of its owner differs from the controller's `lost` in `written_by`."""


@dataclass(frozen=True)
class Refused:
    """A permanently refused record: its delivered content, and the reason."""

    content: Mapping[str, Any]
    reason: str


def write_records(db: Database, run_number: int, records: Sequence[Record]) -> list[Refused]:
    """Write decisions and outcomes. Returns the refused ones.

    A record is refused in these cases:

    * its episode is not open, does not exist, or has another uid
    * it is the outcome of a task that the episode does not have
    * it is an outcome of a task that already has one from another owner

    A repeated delivery is allowed: an existing record stays as it is and is not refused. Each refused record is counted
    once in its episode's `refused_records`.
    Raises UnfitRecord (a ValueError) for a record that cannot be a row. Then nothing is written.
    """
    for record in records:
        check_record(record)
    return write_checked(db, run_number, records)


def write_checked(db: Database, run_number: int, records: Sequence[Record]) -> list[Refused]:
    """`write_records` for records that are already checked."""
    if not records:
        return []
    with db.transaction() as connection:
        numbers = sorted({record.episode for record in records})
        found = connection.execute(
            sa.select(episodes.c.episode, episodes.c.uid, episodes.c.status)
            .where(episodes.c.run == run_number, episodes.c.episode.in_(numbers))
            .with_for_update(read=True)
        )
        states = {(row.episode, row.uid): row.status for row in found}
        refused: list[Refused] = []
        taken: list[Record] = []
        late: list[Record] = []
        for record in records:
            state = states.get((record.episode, record.episode_uid))
            if state is None:
                refused.append(Refused(record.content(), "its episode is not in this database"))
            else:
                (taken if state == EpisodeStatus.OPEN else late).append(record)
        strays = _without_task(connection, run_number, taken)
        if strays:
            taken = [record for record in taken if record not in strays]
            refused += [Refused(record.content(), "the episode has no such task") for record in strays]
        for kind in RECORDS.values():
            rows = [row_of(record, run_number) for record in taken if isinstance(record, kind)]
            if rows:
                connection.execute(_insert_or_ignore(db, metadata.tables[kind.table]), rows)
        refused += _not_there(connection, run_number, late) + _second_outcomes(connection, run_number, taken)
        count_refused(db, connection, run_number, refused)
    return refused


def row_of(record: Record, run_number: int) -> dict[str, Any]:
    """A record as a row of its table."""
    row = {"run": run_number, **record.content()}
    del row["table"], row[EPISODE_UID]
    return row


def count_refused(db: Database, connection: Connection, run_number: int, refused: Sequence[Refused]) -> None:
    """Count refused records in their episodes, each once: a sender that misses the answer delivers them again.

    Records whose episode is not in this database are not counted. A record may be damaged in any way.
    """
    named = {
        (number, uid)
        for one in refused
        if type(number := one.content.get("episode")) is int
        and isinstance(uid := one.content.get(EPISODE_UID), str)
        and uid.isascii()  # a damaged text may not even be Unicode, which no database driver takes
    }
    for number, uid in sorted(named):
        if not -(2**31) <= number < 2**31:
            continue
        here = episodes.c.run == run_number, episodes.c.episode == number, episodes.c.uid == uid
        if connection.execute(sa.select(episodes.c.episode).where(*here)).one_or_none() is None:
            continue
        ours = [one.content for one in refused]
        ours = [one for one in ours if (one.get("episode"), one.get(EPISODE_UID)) == (number, uid)]
        rows = [{"run": run_number, "episode": number, "digest": _digest(one)} for one in ours]
        connection.execute(_insert_or_ignore(db, refusals), rows)
        count = sa.select(sa.func.count()).where(refusals.c.run == run_number, refusals.c.episode == number)
        connection.execute(sa.update(episodes).where(*here).values(refused_records=count.scalar_subquery()))


def _digest(content: Mapping[str, Any]) -> str:
    """A digest that identifies a record: equal for repeated deliveries, different for different records."""
    text = repr(sorted((str(key), repr(value)) for key, value in content.items()))
    return hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=16).hexdigest()


def _outcomes_by_episode(records: Sequence[Record]) -> dict[int, list[OutcomeRecord]]:
    ended: dict[int, list[OutcomeRecord]] = {}
    for record in records:
        if isinstance(record, OutcomeRecord):
            ended.setdefault(record.episode, []).append(record)
    return ended


def _without_task(connection: Connection, run_number: int, records: Sequence[Record]) -> list[OutcomeRecord]:
    """The outcomes whose task is not in their episode."""
    found: list[OutcomeRecord] = []
    for episode, ours in _outcomes_by_episode(records).items():
        rows = connection.execute(
            sa.select(tasks.c.slot, tasks.c.source).where(
                tasks.c.run == run_number,
                tasks.c.episode == episode,
                tasks.c.slot.in_({record.slot for record in ours}),
            )
        )
        known = {(slot, source) for slot, source in rows}
        found += [record for record in ours if (record.slot, record.source) not in known]
    return found


def _second_outcomes(connection: Connection, run_number: int, records: Sequence[Record]) -> list[Refused]:
    """The outcomes of tasks that have an outcome by another owner. This is a defect, and is logged as an error."""
    found: list[Refused] = []
    for episode, ours in sorted(_outcomes_by_episode(records).items()):
        by_task = {(record.slot, record.source): record for record in ours}
        there = connection.execute(
            sa.select(outcomes.c.slot, outcomes.c.source, outcomes.c.written_by, outcomes.c.outcome).where(
                outcomes.c.run == run_number,
                outcomes.c.episode == episode,
                outcomes.c.slot.in_({record.slot for record in ours}),
            )
        )
        for slot, source, owner, outcome in there:
            second = by_task.get((slot, source))
            if second is not None and second.written_by != owner:
                _logger.error(
                    "task of slot %d at node %d, episode %d, has two outcomes: "
                    "%s by node %s stays, %s by node %s is refused",
                    slot, source, episode, outcome, owner, second.outcome, second.written_by,
                )  # fmt: skip
                found.append(Refused(second.content(), f"the task has the outcome {outcome} by node {owner}"))
    return found


def _not_there(connection: Connection, run_number: int, records: Sequence[Record]) -> list[Refused]:
    """The refused records among those for closed episodes: all but the ones that an earlier delivery wrote."""
    there: set[tuple[Any, ...]] = set()
    for name, episode in {(record.table, record.episode) for record in records}:
        table = metadata.tables[name]
        found = connection.execute(
            sa.select(*(table.c[key] for key in _SAME[name])).where(
                table.c.run == run_number, table.c.episode == episode
            )
        )
        there.update((name, episode, *row) for row in found)
    new = [record for record in records if _place(record) not in there]
    return [Refused(record.content(), "its episode is not open") for record in new]


def _place(record: Record) -> tuple[Any, ...]:
    return (record.table, record.episode, *(getattr(record, key) for key in _SAME[record.table]))


def _insert_or_ignore(db: Database, table: sa.Table) -> Any:
    if db.is_sqlite:
        return sqlite.insert(table).on_conflict_do_nothing()
    # INSERT IGNORE would also ignore other errors. A no-op update leaves the existing row unchanged.
    statement = mysql.insert(table)
    return statement.on_duplicate_key_update(run=statement.inserted.run)
