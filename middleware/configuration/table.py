"""Stores the live settings in the database's `configuration` table (`file:`). A watched file is one of the writers.

Concurrency: `watch` polls in one thread per watcher (`watching.py`). A change locks the row. Of two concurrent
writers, the second therefore starts from the record of the first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.configuration.live_settings import changed, edited
from middleware.configuration.port import LiveSettings, NoLiveSettings
from middleware.configuration.watching import watch_record
from middleware.database.engine import Database
from middleware.database.errors import ConstraintRefused
from middleware.database.schema import configuration

_WRITER_LENGTH = 64

_logger = logging.getLogger(__name__)


class TableConfiguration:
    """One row per run, `live/<run>`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def read(self, run_name: str) -> LiveSettings | None:
        """See `Configuration.read`."""
        with self._db.reading() as connection:
            row = connection.execute(
                sa.select(configuration).where(configuration.c.key == _key(run_name))
            ).one_or_none()
        return None if row is None else _record(row)

    def create(self, run_name: str, values: Mapping[str, Any], by: str) -> LiveSettings:
        """See `Configuration.create`."""
        there = self.read(run_name)
        if there is not None:
            return there
        try:
            with self._db.transaction() as connection:
                connection.execute(
                    sa.insert(configuration).values(
                        key=_key(run_name),
                        revision=1,
                        content=dict(values),
                        origins={},
                        written_by=_shortened(by),
                        written_at=time.time(),
                    )
                )
        except ConstraintRefused:
            _logger.info("the live settings of %s were created by another process", run_name)
        record = self.read(run_name)
        assert record is not None
        return record

    def change(self, run_name: str, changes: Mapping[str, Any], by: str) -> LiveSettings:
        """See `Configuration.change`."""
        with self._db.transaction() as connection:
            row = _locked(connection, run_name)
            return _write(connection, row, changed(row.content, changes), by, {})

    def adopt(self, run_name: str, values: Mapping[str, Any], origin: str) -> LiveSettings | None:
        """See `Configuration.adopt`."""
        with self._db.transaction() as connection:
            row = _locked(connection, run_name)
            last = row.origins.get(origin)
            edits = {} if last is None else edited(last, values)
            record = _write(connection, row, changed(row.content, edits), origin, {origin: dict(values)})
        return record if record.revision > row.revision else None

    def watch(
        self, run_name: str, callback: Callable[[LiveSettings], None], interval_s: float = 1.0
    ) -> Callable[[], None]:
        """See `Configuration.watch`."""
        return watch_record(lambda: self.read(run_name), callback, interval_s)


def _key(run_name: str) -> str:
    return f"live/{run_name}"


def _shortened(by: str) -> str:
    """A writer's name, shortened to the column's length: the beginning and the end of a path."""
    return by if len(by) <= _WRITER_LENGTH else f"{by[:10]}…{by[11 - _WRITER_LENGTH :]}"


def _record(row: Any) -> LiveSettings:
    return LiveSettings(row.revision, row.content, row.written_by, row.written_at, row.origins)


def _locked(connection: Connection, run_name: str) -> Any:
    statement = sa.select(configuration).where(configuration.c.key == _key(run_name)).with_for_update()
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NoLiveSettings(f"the live settings of run '{run_name}' do not exist yet; the controller creates them")
    return row


def _write(
    connection: Connection, row: Any, values: dict[str, Any], by: str, origins: Mapping[str, Any]
) -> LiveSettings:
    origins = {**row.origins, **origins}
    record = replace(_record(row), origins=origins)
    if values != row.content:
        record = LiveSettings(row.revision + 1, values, _shortened(by), time.time(), origins)
    elif origins == row.origins:
        return record
    connection.execute(
        sa.update(configuration)
        .where(configuration.c.key == row.key)
        .values(
            revision=record.revision,
            content=values,
            origins=record.origins,
            written_by=record.written_by,
            written_at=record.written_at,
        )
    )
    return record
