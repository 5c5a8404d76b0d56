"""A handle on the database: connecting, transactions, schema versions, and the log of its outages.

Concurrency: a `Database` may be shared by the threads of a process (SQLAlchemy's pool gives each its own connection),
and by any number of processes. SQLite runs in WAL mode; a writing transaction takes the write lock at its beginning, so
that two of them wait for each other instead of failing half-way.

Errors: `transaction` and `reading` raise those of the database as `middleware.errors.ServiceError`, from connecting to
the commit. SQLAlchemy's event `handle_error` only logs outages. It could not translate all errors: SQLAlchemy does not
call it when the pool has no free connection, and its pre-ping expects errors of SQLAlchemy's own.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from middleware.database.errors import is_contention, is_unavailable, reason, service_errors, still_answers
from middleware.database.location import is_read_only, read_only_url, sqlite_file
from middleware.outages import OutageLog
from offload.settings import SettingsError, redacted

_BUSY_TIMEOUT_S = 20
_WAL_RETRY_S = 0.02
_MYSQL_TIMEOUTS_S = {"connect_timeout": 5, "read_timeout": 60, "write_timeout": 60}

_logger = logging.getLogger(__name__)
# The pool would log a traceback for each connection that breaks on its way back: it is replaced, and an outage is logged by its next use.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


class Database:
    """A connected database. Use `connect`; it does not create tables (`migrate` does)."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self._outage = OutageLog(_logger, f"the database {redacted(url)}")
        _tell_outages(engine, self._outage)

    @classmethod
    def connect(cls, url: str) -> Database:
        """Prepare an engine for `sqlite:///PATH` (its folder is made) or `mysql+pymysql://…`. No connection is made yet.

        A relative path is relative to the working directory. A file that may not be written is opened for reading. Raises
        SettingsError for a URL that cannot be used.
        """
        parsed, path = sa.make_url(url), sqlite_file(url)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            read_only = is_read_only(path)
            parsed = read_only_url(path) if read_only else parsed.set(database=str(path))
            engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_TIMEOUT_S}, json_serializer=_to_json)
            event.listen(engine, "connect", _prepare_reader if read_only else _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        else:
            try:
                engine = sa.create_engine(
                    parsed,
                    pool_pre_ping=True,
                    pool_recycle=1800,
                    isolation_level="READ COMMITTED",
                    connect_args={**_MYSQL_TIMEOUTS_S, "charset": "utf8mb4"},
                    json_serializer=_to_json,
                )
            except ModuleNotFoundError as missing:
                raise SettingsError(
                    f"services.database: MySQL needs the package {missing.name}: pip install 'offload-testbed[mysql]'"
                ) from missing
        return cls(url, engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    def ping(self) -> None:
        """Ask the database something that costs nothing. Raises ServiceError."""
        with self.reading() as connection:
            connection.execute(sa.select(1))

    def version(self) -> str:
        """As the server says it itself; for people. Raises ServiceError."""
        question = "SELECT sqlite_version()" if self.is_sqlite else "SELECT VERSION()"
        with self.reading() as connection:
            said = str(connection.execute(sa.text(question)).scalar_one())
        if self.is_sqlite:
            return f"SQLite {said}"
        return f"MariaDB {said.partition('-')[0]}" if "mariadb" in said.lower() else f"MySQL {said}"

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The instant at which the database runs the statement, in Unix seconds by its own clock."""
        if self.is_sqlite:
            return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Double)
        # Of UTC: NOW() is ambiguous in the hour that a time zone plays twice.
        return sa.literal_column("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6", sa.Double)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A writing transaction: committed at the end of the block, rolled back when it raises. Raises ServiceError."""
        with (
            service_errors(),
            self._connected() as connection,
            connection.execution_options(offload_writes=True).begin(),
        ):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from; takes no write lock. Raises ServiceError."""
        with service_errors(), self._connected() as connection:
            yield connection

    def _connected(self) -> Connection:
        """A connection of the pool, which asks a kept one whether it still works: that is where a frozen server is noticed."""
        began = time.monotonic()
        connection = self.engine.connect()
        self._outage.answered_after(time.monotonic() - began)
        return connection

    def migrate(self) -> None:
        """Create the tables, or bring older ones to this version. Raises SchemaError for a newer or a foreign database."""
        from middleware.database import migrations

        migrations.upgrade(self)

    def check_schema(self) -> None:
        """Raise SchemaError unless the tables are of this version."""
        from middleware.database import migrations

        migrations.check(self)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __repr__(self) -> str:
        return f"Database({redacted(self.url)})"


def _tell_outages(engine: Engine, outage: OutageLog) -> None:
    """Log the database's outages, each once, whatever the engine is used for."""

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        error = context.sqlalchemy_exception
        # A connection that broke while nobody used it is replaced by the pool without anybody noticing.
        if error is not None and not context.is_pre_ping and is_unavailable(error) and not is_contention(error):
            asked_s = None if context.connection is None else context.connection.info.get("offload_asked_s")
            outage.failed(reason(error), since_s=asked_s, answers=still_answers(error))

    @event.listens_for(engine, "before_cursor_execute")
    def asked(connection: Connection, *_: Any) -> None:
        connection.info["offload_asked_s"] = time.monotonic()

    @event.listens_for(engine, "after_cursor_execute")
    def answered(connection: Connection, *_: Any) -> None:
        outage.answered_after(time.monotonic() - connection.info["offload_asked_s"])


# NaN is not JSON: MySQL refuses it, and SQLite shall too.
_to_json = partial(json.dumps, allow_nan=False)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Of two processes that make a database at once, SQLite refuses one here at once, whatever its busy time-out."""
    until = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(_WAL_RETRY_S)


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # SQLAlchemy begins transactions itself (see _begin_sqlite); the driver must not.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -16384")


def _prepare_reader(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_S * 1000}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("offload_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
