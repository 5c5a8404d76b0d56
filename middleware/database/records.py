"""Delivery of the edge nodes' records: insert-or-ignore in one transaction, refused where the episode is not open.

Concurrency: the episode's status is read in the transaction that writes, under a shared lock (SQLite: the write lock),
and `close_episode` takes it for update: a record is either counted in the close or refused, never both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.schema import decisions, episodes, outcomes, refusals

Record = Mapping[str, Any]

_logger = logging.getLogger(__name__)

_TABLES = {"decisions": decisions, "outcomes": outcomes}
EPISODE_UID = "episode_uid"
"""The key of a record that says which episode it is of; not a column."""
_KEYS = {"decisions": ("slot", "node"), "outcomes": ("slot", "source", "written_by")}
"""What makes a record the one that is there: an outcome must be its owner's, not the controller's `lost`."""


def write_records(db: Database, run_number: int, records: Sequence[Record]) -> list[Record]:
    """Write decisions and outcomes; returns those that were refused, mostly because their episode takes no more.

    Each record has "table" ("decisions" or "outcomes"), the table's columns (`run` may be left out), and "episode_uid",
    the uid of its episode: it is refused where the episode of that number is another one. A record that is there
    already is left as it is, and is not refused: a delivery may be repeated. A second owner's outcome of one task is refused.
    Refused ones are counted in their own episode's `refused_records`, each once, however often it is delivered.
    Raises ValueError for a record of another table or with an unknown column; nothing is written then.
    """
    if not records:
        return []
    for record in records:
        _check(record, run_number)
    with db.transaction() as connection:
        numbers = sorted({int(record["episode"]) for record in records})
        found = connection.execute(
            sa.select(episodes.c.episode, episodes.c.uid, episodes.c.status)
            .where(episodes.c.run == run_number, episodes.c.episode.in_(numbers))
            .with_for_update(read=True)
        )
        states = {(row.episode, row.uid): row.status for row in found}
        foreign: list[Record] = []
        taken: list[Record] = []
        late: list[Record] = []
        for record in records:
            state = states.get((record["episode"], record.get(EPISODE_UID)))
            (foreign if state is None else taken if state == "open" else late).append(record)
        for name, table in _TABLES.items():
            columns = [column.name for column in table.columns]
            rows = [
                {**{column: record.get(column) for column in columns}, "run": run_number}
                for record in taken
                if record["table"] == name
            ]
            if rows:
                connection.execute(_insert_or_ignore(db, table), rows)
        refused = _not_there(connection, run_number, late) + _second_fates(connection, run_number, taken)
        if refused:
            _count(db, connection, run_number, refused)
    if foreign:
        _logger.warning("%d records are refused: their episode is not in this database", len(foreign))
    return foreign + refused


def _count(db: Database, connection: Connection, run_number: int, refused: Sequence[Record]) -> None:
    """Enter refused records where each counts once: the answer to this very transaction may be lost."""
    rows = []
    for record in refused:
        node, owner = ("node", "node") if record["table"] == "decisions" else ("source", "written_by")
        place = {"slot": record["slot"], "node": record[node], "written_by": record[owner]}
        rows.append({"run": run_number, "episode": record["episode"], "table": record["table"], **place})
    connection.execute(_insert_or_ignore(db, refusals), rows)
    for number in sorted({record["episode"] for record in refused}):
        count = sa.select(sa.func.count()).where(refusals.c.run == run_number, refusals.c.episode == number)
        connection.execute(
            sa.update(episodes)
            .where(episodes.c.run == run_number, episodes.c.episode == number)
            .values(refused_records=count.scalar_subquery())
        )


def _second_fates(connection: Connection, run_number: int, records: Sequence[Record]) -> list[Record]:
    """The outcomes of tasks that already have one by another owner. A task has one owner: this is told as the defect it is."""
    found: list[Record] = []
    for episode in sorted({record["episode"] for record in records if record["table"] == "outcomes"}):
        ours = {
            (one["slot"], one["source"]): one
            for one in records
            if one["table"] == "outcomes" and one["episode"] == episode
        }
        there = connection.execute(
            sa.select(outcomes.c.slot, outcomes.c.source, outcomes.c.written_by, outcomes.c.outcome).where(
                outcomes.c.run == run_number,
                outcomes.c.episode == episode,
                outcomes.c.slot.in_({slot for slot, _ in ours}),
            )
        )
        for slot, source, owner, outcome in there:
            second = ours.get((slot, source))
            if second is not None and second["written_by"] != owner:
                _logger.error(
                    "task of slot %d at node %d, episode %d, has two fates: %s by node %s stays, %s by node %s is refused",
                    slot, source, episode, outcome, owner, second["outcome"], second["written_by"],
                )  # fmt: skip
                found.append(second)
    return found


def _check(record: Record, run_number: int) -> None:
    table = _TABLES.get(record.get("table", ""))
    if table is None:
        raise ValueError(f"a record of table {record.get('table')!r}; there are {', '.join(_TABLES)}")
    unknown = sorted(key for key in record if key not in ("table", EPISODE_UID) and key not in table.c)
    if unknown:
        raise ValueError(f"a record of {table.name} has unknown columns: {', '.join(unknown)}")
    if record.get("run", run_number) != run_number:
        raise ValueError(f"a record of run {record['run']} in a delivery of run {run_number}")


def _not_there(connection: Connection, run_number: int, records: Sequence[Record]) -> list[Record]:
    """Those that no earlier delivery has brought: its answer may have been lost on the way."""
    there: set[tuple[Any, ...]] = set()
    for name, episode in {(record["table"], record["episode"]) for record in records}:
        table = _TABLES[name]
        found = connection.execute(
            sa.select(*(table.c[key] for key in _KEYS[name])).where(
                table.c.run == run_number, table.c.episode == episode
            )
        )
        there.update((name, episode, *row) for row in found)
    return [record for record in records if _place(record) not in there]


def _place(record: Record) -> tuple[Any, ...]:
    name = record["table"]
    return (name, record["episode"], *(record.get(key) for key in _KEYS[name]))


def _insert_or_ignore(db: Database, table: sa.Table) -> Any:
    if db.is_sqlite:
        return sqlite.insert(table).on_conflict_do_nothing()
    # Not INSERT IGNORE: that would swallow other errors too. A no-op update leaves the row as it was.
    statement = mysql.insert(table)
    return statement.on_duplicate_key_update(run=statement.inserted.run)
