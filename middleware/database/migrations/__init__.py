"""Schema versions, by Alembic without a configuration file: the scripts beside this module, the engine of a `Database`.

To change a table: edit `schema.py`, then write `versions/NNNN_what.py` with the next revision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from middleware.database.engine import SchemaError
from offload.settings import redacted

if TYPE_CHECKING:
    from alembic.config import Config

    from middleware.database.engine import Database

HEAD = "0001"
_VERSION_TABLE = "alembic_version"
_KNOWN = ("0001",)


def current(db: Database) -> str | None:
    """The database's revision, None when it has no tables. Raises SchemaError when its tables are not ours."""
    with db.reading() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        if _VERSION_TABLE in tables:
            version = connection.execute(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()  # noqa: S608
            return str(version) if version is not None else None
    if tables:
        raise SchemaError(
            f"{redacted(db.url)} has tables that are not this testbed's ({', '.join(sorted(tables)[:4])}, …); "
            "give it a database of its own"
        )
    return None


def check(db: Database) -> None:
    """Raise SchemaError unless the revision is the one that this code needs."""
    found = current(db)
    if found == HEAD:
        return
    where = redacted(db.url)
    if found is None:
        raise SchemaError(f"{where} has no tables yet; make them with `offload database migrate`")
    if found in _KNOWN:
        raise SchemaError(
            f"{where} has schema {found}, this version needs {HEAD}; upgrade it with `offload database migrate`"
        )
    raise SchemaError(
        f"{where} has schema {found}, which this version ({HEAD}) does not know; use the newer version of the testbed "
        "that made it, or another database"
    )


def upgrade(db: Database) -> None:
    """Create or upgrade the tables. Raises SchemaError for a newer or a foreign database."""
    found = current(db)
    if found == HEAD:
        return
    if found is not None and found not in _KNOWN:
        check(db)
    from alembic import command

    with db.transaction() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "middleware.database:migrations")
    config.set_main_option("path_separator", "os")
    return config
