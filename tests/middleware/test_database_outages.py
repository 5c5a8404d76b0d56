"""Which errors mean "try again later": what is taken for one that is not would be retried for ever, and the reverse lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from middleware.database import Database, Run, is_unavailable, list_runs


def test_a_server_that_is_not_there_is_unavailable() -> None:
    db = Database.connect("mysql+pymysql://offload:x@127.0.0.1:1/offload")
    with pytest.raises(sa.exc.OperationalError) as away:
        list_runs(db)
    assert is_unavailable(away.value)


def test_a_locked_file_is_unavailable_and_usable_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "offload.db"
    db = Database.connect(f"sqlite:///{path}")
    db.migrate()
    # The engine waits 20 s for a lock; this test need not.
    sa.event.listen(db.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sa.exc.OperationalError) as busy, db.transaction():
        pass
    assert is_unavailable(busy.value)
    other.execute("ROLLBACK")
    with db.transaction():
        pass


def test_a_wrong_statement_is_not_an_outage(db: Database, run: Run) -> None:
    with pytest.raises(sa.exc.DBAPIError) as wrong, db.transaction() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    assert not is_unavailable(wrong.value)
    with pytest.raises(sa.exc.IntegrityError) as twice, db.transaction() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO runs (name, settings, services, versions, created_at) VALUES ('small', '{}', '{}', '{}', 0)"
            )
        )
    assert not is_unavailable(twice.value)
    assert not is_unavailable(ValueError("something else"))


@pytest.mark.mysql
def test_a_wrong_password_is_not_an_outage(mysql_url: str) -> None:
    db = Database.connect(sa.make_url(mysql_url).set(password="wrong").render_as_string(hide_password=False))
    with pytest.raises(sa.exc.OperationalError) as refused:
        list_runs(db)
    assert not is_unavailable(refused.value)


@pytest.mark.mysql
def test_a_lost_connection_is_an_outage_and_the_next_call_has_a_new_one(mysql_url: str) -> None:
    db, other = Database.connect(mysql_url), Database.connect(mysql_url)
    db.migrate()
    with db.engine.connect() as connection:
        number = connection.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()
        with other.transaction() as killer:
            killer.execute(sa.text(f"KILL {number}"))
        with pytest.raises(sa.exc.DBAPIError) as lost:
            connection.execute(sa.text("SELECT 1"))
    assert is_unavailable(lost.value)
    assert list_runs(db) == []
