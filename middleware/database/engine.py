"""Connects to the database, runs transactions, checks the schema version, and logs outages.

Concurrency: the threads of a process may share a `Database`; SQLAlchemy's pool gives each its own connection. Any
number of processes may use the same database. SQLite runs in WAL mode. A writing transaction takes the write lock at
its beginning, so that two of them wait for each other instead of failing half-way.

Errors: `transaction` and `reading` raise database errors as `middleware.errors.ServiceError`, from connecting to the
commit. SQLAlchemy's event `handle_error` only logs outages. It cannot translate all errors: SQLAlchemy does not call it
when the pool has no free connection, and its pre-ping expects SQLAlchemy's own errors.
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
# The pool would log a traceback for each connection that breaks when it is returned. The pool replaces it anyway, and
# the next use logs an outage.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


class Database:
    """A database with its connection pool. Create it with `connect`, and its tables with `migrate`."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self.engine = engine
        self._outage = OutageLog(_logger, f"the database {redacted(url)}")
        _log_outages(engine, self._outage)

    @classmethod
    def connect(cls, url: str) -> Database:
        """Prepare an engine for `sqlite:///PATH` or `mysql+pymysql://…`. The first use opens a connection.

        For SQLite this creates the folder. A relative path is relative to the working directory. A file without write
        permission is opened for reading. Raises SettingsError for an unusable URL.
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
                    f"services.database: MySQL needs the package {missing.name}: "
                    "run `pip install -e '.[mysql]'` in the project's folder"
                ) from missing
        return cls(url, engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    def ping(self) -> None:
        """Run a trivial query. Raises ServiceError."""
        with self.reading() as connection:
            connection.execute(sa.select(1))

    def version(self) -> str:
        """The product and version that the server reports, for people. Raises ServiceError."""
        question = "SELECT sqlite_version()" if self.is_sqlite else "SELECT VERSION()"
        with self.reading() as connection:
            reported = str(connection.execute(sa.text(question)).scalar_one())
        if self.is_sqlite:
            return f"SQLite {reported}"
        return f"MariaDB {reported.partition('-')[0]}" if "mariadb" in reported.lower() else f"MySQL {reported}"

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The time at which the database runs the statement, in Unix seconds by the database's clock."""
        if self.is_sqlite:
            return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Double)
        # In UTC: NOW() is ambiguous in the hour that repeats when daylight saving time ends.
        return sa.literal_column("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6", sa.Double)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A writing transaction: commits at the end of the block, rolls back if it raises. Raises ServiceError."""
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
        """A connection from the pool. The pool first tests a kept connection, which detects a frozen server."""
        began = time.monotonic()
        connection = self.engine.connect()
        self._outage.answered_after(time.monotonic() - began)
        return connection

    def migrate(self) -> None:
        """Create the tables, or upgrade older ones. Raises SchemaError for a newer or a foreign database."""
        from middleware.database import migrations

        migrations.upgrade(self)

    def check_schema(self) -> None:
        """Raise SchemaError unless the tables have the schema of this version."""
        from middleware.database import migrations

        migrations.check(self)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __repr__(self) -> str:
        return f"Database({redacted(self.url)})"


def _log_outages(engine: Engine, outage: OutageLog) -> None:
    """Log each outage of the database once, for all uses of the engine."""

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        error = context.sqlalchemy_exception
        # The pool silently replaces a connection that broke while it was idle.
        if error is not None and not context.is_pre_ping and is_unavailable(error) and not is_contention(error):
            asked_s = None if context.connection is None else context.connection.info.get("offload_asked_s")
            outage.failed(reason(error), since_s=asked_s, answers=still_answers(error))

    @event.listens_for(engine, "before_cursor_execute")
    def asked(connection: Connection, *_: Any) -> None:
        connection.info["offload_asked_s"] = time.monotonic()

    @event.listens_for(engine, "after_cursor_execute")
    def answered(connection: Connection, *_: Any) -> None:
        outage.answered_after(time.monotonic() - connection.info["offload_asked_s"])


# NaN is not JSON. MySQL refuses it; this makes SQLite refuse it too.
_to_json = partial(json.dumps, allow_nan=False)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode, with retries. SQLite ignores the busy timeout if two processes create a database at once."""
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
    # SQLAlchemy begins the transactions (see _begin_sqlite), so the driver must not.
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
