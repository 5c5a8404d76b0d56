"""Creates and upgrades the tables, with Alembic and the scripts in `versions/`, on the engine of a `Database`.

To change a table, edit `schema.py`, write `versions/NNNN_what.py` with the next revision, and add it to `KNOWN`. A test
compares the tables that the scripts create with `schema.py`, except for comments, which only `schema.py` has.

Two processes that upgrade at the same time wait for each other. SQLite uses its write lock: Alembic reads the version
again in the transaction. MySQL uses a named lock, because it creates each table outside the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.errors import SchemaError
from middleware.database.schema import metadata
from offload.settings import redacted

if TYPE_CHECKING:
    from alembic.config import Config


class Migratable(Protocol):
    """The part of `Database` that this module uses."""

    url: str

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read from."""
        ...

    def transaction(self) -> AbstractContextManager[Connection]:
        """A writing transaction."""
        ...


KNOWN = ("0001", "0002", "0003", "0004")
HEAD = KNOWN[-1]
_VERSION_TABLE = "alembic_version"
_LOCK_S = 60


def current(db: Migratable) -> str | None:
    """The schema revision; None if the database has no tables.

    Raises SchemaError for tables of another program, and for several revisions.
    """
    with db.reading() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        if _VERSION_TABLE in tables:
            select = sa.text(f"SELECT version_num FROM {_VERSION_TABLE} ORDER BY version_num")  # noqa: S608
            versions = [str(version) for version in connection.execute(select).scalars()]
            if len(versions) > 1:
                raise SchemaError(
                    f"{redacted(db.url)} has several schema versions ({', '.join(versions)}) in the table "
                    f"{_VERSION_TABLE}, instead of one: delete the rows that do not describe its tables, "
                    "or use another database"
                )
            if versions:
                return versions[0]
    others = sorted(tables - {_VERSION_TABLE})
    if others:
        raise SchemaError(
            f"{redacted(db.url)} has tables without a version ({', '.join(others[:4])}, …): they belong to another "
            "program, or their creation was interrupted; use an empty database"
        )
    return None


def check(db: Migratable) -> None:
    """Raise SchemaError unless the tables have the revision that this code needs, and support transactions."""
    found = current(db)
    if found == HEAD:
        _require_transactions(db)
        return
    where = redacted(db.url)
    if found is None:
        raise SchemaError(f"{where} has no tables yet; create them with `offload database migrate`")
    if found in KNOWN:
        raise SchemaError(
            f"{where} has schema {found}, this version needs {HEAD}; upgrade it with `offload database migrate`"
        )
    raise SchemaError(
        f"{where} has schema {found}, which this version ({HEAD}) does not know; use the newer version of the testbed "
        "that made it, or another database"
    )


def upgrade(db: Migratable) -> None:
    """Create or upgrade the tables. Raises SchemaError for a newer or a foreign database."""
    if db.is_sqlite:
        _upgrade(db)
        return
    with db.reading() as holder, _named_lock(holder):
        _upgrade(db)


def _upgrade(db: Migratable) -> None:
    found = current(db)
    if found is not None:
        _require_transactions(db)
    if found == HEAD:
        return
    if found is not None and found not in KNOWN:
        check(db)
    from alembic import command

    config = _config()
    with db.transaction() as connection:
        if not db.is_sqlite:
            # Alembic's own table takes the session's default engine.
            connection.execute(sa.text("SET SESSION default_storage_engine = InnoDB"))
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)


_WITHOUT_TRANSACTIONS = """
SELECT found.TABLE_NAME, found.ENGINE FROM information_schema.TABLES found JOIN information_schema.ENGINES engine
ON engine.ENGINE = found.ENGINE WHERE found.TABLE_SCHEMA = DATABASE() AND engine.TRANSACTIONS = 'NO'
ORDER BY found.TABLE_NAME
"""


def _require_transactions(db: Migratable) -> None:
    """Raise SchemaError for tables whose engine has no transactions.

    Earlier versions created tables with the server's default engine.
    """
    if db.is_sqlite:
        return
    with db.reading() as connection:
        rows = connection.execute(sa.text(_WITHOUT_TRANSACTIONS)).all()
    found = [(name, engine) for name, engine in rows if name in {*metadata.tables, _VERSION_TABLE}]
    if found:
        names = ", ".join(name for name, _ in found)
        raise SchemaError(
            f"{redacted(db.url)} keeps {names} in {found[0][1]}, which has no transactions: convert each with "
            "`ALTER TABLE … ENGINE=InnoDB`, or use another database"
        )


@contextmanager
def _named_lock(holder: Connection) -> Iterator[None]:
    """Hold MySQL's named lock during the block. The connection `holder` owns it; closing the connection releases it."""
    name = sa.func.concat("offload-migrate-", sa.func.md5(sa.func.database()))
    if holder.execute(sa.select(sa.func.get_lock(name, _LOCK_S))).scalar() != 1:
        raise SchemaError(
            f"another process has been upgrading this database for {_LOCK_S} s; try again when it is done"
        )
    try:
        yield
    finally:
        holder.execute(sa.select(sa.func.release_lock(name)))


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "middleware.database:migrations")
    config.set_main_option("path_separator", "os")
    return config
