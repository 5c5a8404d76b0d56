"""Stores the live settings in the database's `configuration` table (`file:`). A watched file is one of the writers.

Another program may write a row that this version does not understand. Such a row changes nothing: `_Records` answers
the last good record instead, and logs one warning. The next change overwrites the row.

Concurrency: `watch` polls in one thread per watcher (`watching.py`). A change locks the row. Of two concurrent
writers, the second therefore starts from the record of the first. `_Records` has a lock; any thread may use it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from middleware.configuration.live_settings import changed, edited, stored_record
from middleware.configuration.port import LARGEST_REVISION, LiveSettings, NoLiveSettings
from middleware.configuration.watching import watch_record
from middleware.database.engine import Database
from middleware.database.errors import ConstraintRefused
from middleware.database.schema import configuration
from middleware.errors import ServiceRefused
from offload.settings import SettingsError

_WRITER_LENGTH = 64

_logger = logging.getLogger(__name__)


class _Records:
    """Validates rows, and keeps the last good record of each run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._good: dict[str, tuple[Any, LiveSettings]] = {}
        self._complained: dict[str, Any] = {}

    def of(self, run_name: str, row: Any) -> tuple[LiveSettings, bool]:
        """The row's record, and True. For a wrong row: the last good record, and False.

        Raises ServiceRefused for a wrong row if this process has read no good one.
        """
        raw = tuple(row)
        with self._lock:
            known, good = self._good.get(run_name, (None, None))
            if good is not None and raw == known:
                return good, True
            try:
                record = _record(row)
            except (SettingsError, RecursionError) as error:
                wrong = f"table configuration, key {_key(run_name)}: {'; '.join(str(error).splitlines())}"
            else:
                self._good[run_name] = raw, record
                self._complained.pop(run_name, None)
                return record, True
            if good is None:
                raise ServiceRefused(
                    f"the live settings of run '{run_name}' cannot be used: {wrong}; correct the row, "
                    "or delete it and restart the controller, which creates it"
                ) from None
            if self._complained.get(run_name) != raw:
                self._complained[run_name] = raw
                _logger.warning("%s; the last good live settings, revision %d, stay", wrong, good.revision)
            return good, False

    def keep(self, run_name: str, record: LiveSettings) -> None:
        """Keep a record that this process has written."""
        with self._lock:
            self._good[run_name] = None, record


class TableConfiguration:
    """One row per run, `live/<run>`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._records = _Records()

    def read(self, run_name: str) -> LiveSettings | None:
        """See `Configuration.read`."""
        with self._db.reading() as connection:
            row = connection.execute(_row(run_name)).one_or_none()
        return None if row is None else self._records.of(run_name, row)[0]

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
        return self._write(run_name, lambda record: changed(record.values, changes), by, {})[1]

    def adopt(self, run_name: str, values: Mapping[str, Any], origin: str) -> LiveSettings | None:
        """See `Configuration.adopt`."""

        def wanted(record: LiveSettings) -> dict[str, Any]:
            last = record.origins.get(origin)
            return changed(record.values, {} if last is None else edited(last, values))

        before, after = self._write(run_name, wanted, origin, {origin: dict(values)})
        return after if after.revision > before.revision else None

    def watch(
        self, run_name: str, callback: Callable[[LiveSettings], None], interval_s: float = 1.0
    ) -> Callable[[], None]:
        """See `Configuration.watch`."""
        return watch_record(lambda: self.read(run_name), callback, interval_s)

    def _write(
        self,
        run_name: str,
        wanted: Callable[[LiveSettings], dict[str, Any]],
        by: str,
        origins: Mapping[str, Any],
    ) -> tuple[LiveSettings, LiveSettings]:
        """Write the wanted values and the origins, if they differ. Returns the records before and after."""
        with self._db.transaction() as connection:
            row = connection.execute(_row(run_name).with_for_update()).one_or_none()
            if row is None:
                raise NoLiveSettings(
                    f"the live settings of run '{run_name}' do not exist yet; the controller creates them"
                )
            before, valid = self._records.of(run_name, row)
            values = wanted(before)
            after = replace(before, origins={**before.origins, **origins})
            if values != before.values or not valid:
                revision = _next_revision(before.revision, row.revision)
                after = LiveSettings(revision, values, _shortened(by), time.time(), after.origins)
            elif after == before:
                return before, before
            connection.execute(
                sa.update(configuration)
                .where(configuration.c.key == _key(run_name))
                .values(
                    revision=after.revision,
                    content=values,
                    origins=after.origins,
                    written_by=after.written_by,
                    written_at=after.written_at,
                )
            )
        self._records.keep(run_name, after)
        return before, after


def _key(run_name: str) -> str:
    return f"live/{run_name}"


def _shortened(by: str) -> str:
    """A writer's name, shortened to the column's length: the beginning and the end of a path."""
    return by if len(by) <= _WRITER_LENGTH else f"{by[:10]}…{by[11 - _WRITER_LENGTH :]}"


def _row(run_name: str) -> sa.Select[Any]:
    """Selects a run's row. The JSON columns are texts, because another program may have written something else."""
    columns = configuration.c
    return sa.select(
        columns.revision,
        sa.type_coerce(columns.content, sa.Text).label("content"),
        columns.written_by,
        columns.written_at,
        sa.type_coerce(columns.origins, sa.Text).label("origins"),
    ).where(columns.key == _key(run_name))


def _record(row: Any) -> LiveSettings:
    """The record in a row. Raises SettingsError for a wrong one."""
    content, origins = _parsed("content", row.content), _parsed("origins", row.origins)
    return stored_record(row.revision, content, row.written_by, row.written_at, origins)


def _parsed(column: str, text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise SettingsError(f"{column}: is not JSON ({error})") from None


def _next_revision(good: int, row: Any) -> int:
    """The revision after the last good one and after that of the row, which may be wrong."""
    last = max(good, row) if type(row) is int and row < LARGEST_REVISION else good
    if last >= LARGEST_REVISION:
        raise ServiceRefused(f"the live settings have reached revision {last}, the last one that the database stores")
    return last + 1
