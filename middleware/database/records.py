"""Delivery of the edge nodes' records: insert-or-ignore in one transaction, refused where the episode is not open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite

from middleware.database.engine import Database
from middleware.database.schema import decisions, episodes, outcomes

_TABLES = {"decisions": decisions, "outcomes": outcomes}


def write_records(db: Database, run_number: int, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Write decisions and outcomes; returns those that were refused because their episode does not take records any more.

    Each record has "table" ("decisions" or "outcomes") and the table's columns without `run`. A record that is there
    already is left as it is: a delivery may be repeated. Refused ones are counted in the episode's `refused_records`.
    """
    if not records:
        return []
    with db.transaction() as connection:
        numbers = sorted({int(record["episode"]) for record in records})
        states = connection.execute(
            sa.select(episodes.c.episode, episodes.c.status)
            .where(episodes.c.run == run_number, episodes.c.episode.in_(numbers))
            .with_for_update(read=True)
        )
        taking = {row.episode for row in states if row.status == "open"}
        refused = [record for record in records if record["episode"] not in taking]
        for name, table in _TABLES.items():
            rows = [
                {**{key: value for key, value in record.items() if key != "table"}, "run": run_number}
                for record in records
                if record["table"] == name and record["episode"] in taking
            ]
            if rows:
                connection.execute(_insert_or_ignore(db, table), rows)
        for number, count in Counter(record["episode"] for record in refused).items():
            connection.execute(
                sa.update(episodes)
                .where(episodes.c.run == run_number, episodes.c.episode == number)
                .values(refused_records=episodes.c.refused_records + count)
            )
    return refused


def _insert_or_ignore(db: Database, table: sa.Table) -> Any:
    if db.is_sqlite:
        return sqlite.insert(table).on_conflict_do_nothing()
    # Not INSERT IGNORE: that would swallow other errors too. A no-op update leaves the row as it was.
    statement = mysql.insert(table)
    return statement.on_duplicate_key_update(run=statement.inserted.run)
