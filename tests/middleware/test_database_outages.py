"""Tests which database errors are retried: a wrong classification retries for ever, or loses what could be written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_disk import small_disk

from middleware.database import Database, Run, is_unavailable, list_runs
from middleware.database.errors import in_words, refuses_value, still_answers
from middleware.database.schema import blobs


def test_a_server_that_is_not_there_is_unavailable() -> None:
    db = Database.connect("mysql+pymysql://offload:x@127.0.0.1:1/offload")
    with pytest.raises(sa.exc.OperationalError) as away:
        list_runs(db)
    assert is_unavailable(away.value)


def test_a_locked_file_is_unavailable_and_usable_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "offload.db"
    db = Database.connect(f"sqlite:///{path}")
    db.migrate()
    # The engine waits 20 s for a lock; this test uses a shorter time.
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
                "INSERT INTO runs (name, settings, services, versions, created_at) "
                "VALUES ('small', '{}', '{}', '{}', 0)"
            )
        )
    assert not is_unavailable(twice.value)
    assert not is_unavailable(ValueError("something else"))


def _of_server(code: int, words: str) -> sa.exc.DBAPIError:
    """The driver's error for an answer of the server."""
    err = pytest.importorskip("pymysql.err")
    with pytest.raises(err.Error) as raised:
        err.raise_mysql_exception(b"\xff" + code.to_bytes(2, "little") + b"#HY000" + words.encode())
    made: sa.exc.DBAPIError = sa.exc.DBAPIError.instance("INSERT secret", {}, raised.value, err.Error)
    return made


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1021, "Disk full"),
        (1040, "Too many connections"),
        (1047, "WSREP has not yet prepared node for application use"),
        (1114, "The table is full"),
        (1129, "Host is blocked because of many connection errors"),
        (1203, "User already has more than 'max_user_connections'"),
        (1205, "Lock wait timeout exceeded"),
        (1213, "Deadlock found"),
        (1226, "User has exceeded the 'max_queries_per_hour' resource"),
        (1290, "The server is running with the --read-only option"),
        (1317, "Query execution was interrupted"),
        (1836, "Running in read-only mode"),
        (1969, "Query execution was interrupted (max_statement_time exceeded)"),
        (3024, "maximum statement execution time exceeded"),
        (3100, "Error on observer while running replication hook"),
        (9999, "what the next version may say"),
    ],
)
def test_what_a_server_cannot_do_now_is_tried_again(code: int, words: str) -> None:
    """Each of these errors ended all nodes and the controller, even if it lasted a moment."""
    error = _of_server(code, words)
    assert is_unavailable(error) and not refuses_value(error)
    assert still_answers(error), "reads that succeed meanwhile would be logged as the end of it, again and again"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1044, "Access denied to database"),
        (1045, "Access denied (using password: YES)"),
        (1049, "Unknown database"),
        (1054, "Unknown column"),
        (1142, "INSERT command denied"),
        (1146, "Table doesn't exist"),
        (1227, "Access denied; you need the SUPER privilege"),
    ],
)
def test_what_trying_again_does_not_help_against_is_said_at_once(code: int, words: str) -> None:
    error = _of_server(code, words)
    assert not is_unavailable(error)
    assert not refuses_value(error), "every record would be set aside, one after the other"
    assert str(code) in in_words(error) and "secret" not in in_words(error)


@pytest.mark.parametrize("code", [1048, 1062, 1153, 1264, 1366, 1406, 1452, 4025])
def test_a_value_that_is_refused_is_neither_an_outage_nor_a_wrong_statement(code: int) -> None:
    error = _of_server(code, "of a value")
    assert refuses_value(error) and not is_unavailable(error)


@pytest.mark.mysql
def test_an_infinity_is_a_refused_value(mysql_url: str) -> None:
    db = Database.connect(mysql_url)
    with pytest.raises(sa.exc.DBAPIError) as refused, db.reading() as connection:
        connection.execute(sa.select(sa.literal(float("-inf"))))
    assert refuses_value(refused.value) and not is_unavailable(refused.value)


def test_a_full_disk_is_an_outage_and_the_database_is_usable_afterwards(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2000) as disk:
        db = Database.connect(f"sqlite:///{disk.folder}/offload.db")
        db.migrate()
        disk.fill()
        with pytest.raises(sa.exc.OperationalError) as full, db.transaction() as connection:
            connection.execute(sa.insert(blobs).values(path="large", part=0, content=bytes(1_000_000)))
        assert is_unavailable(full.value) and still_answers(full.value)
        assert "SQLITE_FULL" in in_words(full.value)
        assert list_runs(db) == [], "it is still read"
        disk.empty()
        with db.transaction() as connection:
            connection.execute(sa.insert(blobs).values(path="small", part=0, content=b"1"))
        db.close()


def test_a_file_that_may_only_be_read_is_an_outage(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite:///{tmp_path}/offload.db")
    db.migrate()
    sa.event.listen(db.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA query_only = ON"))
    with pytest.raises(sa.exc.OperationalError) as refused, db.transaction() as connection:
        connection.execute(sa.insert(blobs).values(path="small", part=0, content=b"1"))
    assert is_unavailable(refused.value)


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
