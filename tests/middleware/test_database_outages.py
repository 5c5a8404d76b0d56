"""Tests which database errors are retried: a wrong classification retries for ever, or loses what could be written."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from small_disk import small_disk

from middleware.database import Database, Run, list_runs
from middleware.database.errors import ConstraintRefused, still_answers, translated
from middleware.database.schema import blobs
from middleware.errors import ServiceRefused, ServiceUnavailable, ValueRefused


def test_a_server_that_is_not_there_is_unavailable() -> None:
    db = Database.connect("mysql+pymysql://offload:x@127.0.0.1:1/offload")
    with pytest.raises(ServiceUnavailable) as unavailable:
        list_runs(db)
    assert str(unavailable.value) == "the database cannot be used now (OperationalError 2003)"
    assert "Can't connect" in unavailable.value.service_message


def test_a_locked_file_is_unavailable_and_usable_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "offload.db"
    db = Database.connect(f"sqlite:///{path}")
    db.migrate()
    # The engine waits 20 s for a lock; this test uses a shorter time.
    sa.event.listen(db.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailable), db.transaction():
        pass
    other.execute("ROLLBACK")
    with db.transaction():
        pass


def test_a_wrong_statement_is_not_an_outage(db: Database, run: Run) -> None:
    with pytest.raises(ServiceRefused) as wrong, db.transaction() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    assert not isinstance(wrong.value, ValueRefused)
    with pytest.raises(ConstraintRefused), db.transaction() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO runs (name, settings, services, versions, created_at) "
                "VALUES ('small', '{}', '{}', '{}', 0)"
            )
        )


def test_no_connection_left_in_the_pool_is_unavailable(tmp_path: Path) -> None:
    """SQLAlchemy's event for errors does not hear of it."""
    db = Database.connect(f"sqlite:///{tmp_path}/offload.db")
    db.engine.pool._timeout = 0.01
    with ExitStack() as held:
        for _ in range(15):
            held.enter_context(db.reading())
        with pytest.raises(ServiceUnavailable, match=r"\(TimeoutError\)"):
            held.enter_context(db.reading())


def test_errors_of_commits_and_streamed_results_are_translated(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite:///{tmp_path}/offload.db")
    db.migrate()
    with db.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE a (x INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE b (x INTEGER REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(ConstraintRefused), db.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO b VALUES (1)")
    second_is_wrong = "SELECT json(value) FROM (SELECT '1' AS value UNION ALL SELECT 'no JSON')"
    with pytest.raises(ServiceRefused), db.reading() as connection:
        connection.exec_driver_sql(second_is_wrong).all()


def test_an_error_shows_where_it_was_raised_and_neither_statement_nor_rows(db: Database, run: Run) -> None:
    def ask(connection: sa.Connection) -> None:
        connection.execute(sa.text("SELECT * FROM nowhere WHERE name = :name"), {"name": "a secret"})

    with pytest.raises(ServiceRefused) as wrong, db.reading() as connection:
        ask(connection)
    shown = "".join(traceback.format_exception(wrong.value))
    assert "in ask" in shown
    assert "a secret" not in shown.replace('{"name": "a secret"}', ""), "but for the line of this test"
    assert "SELECT" not in str(wrong.value)


def test_a_defect_of_ours_is_no_error_of_the_databases(db: Database, run: Run) -> None:
    with pytest.raises(sa.exc.NoResultFound), db.reading() as connection:
        connection.execute(sa.select(blobs)).one()


def _of_server(code: int, expected: str) -> sa.exc.DBAPIError:
    """The driver's error for an answer of the server."""
    err = pytest.importorskip("pymysql.err")
    with pytest.raises(err.Error) as raised:
        err.raise_mysql_exception(b"\xff" + code.to_bytes(2, "little") + b"#HY000" + expected.encode())
    made = sa.exc.DBAPIError.instance("INSERT secret", {}, raised.value, err.Error)
    assert isinstance(made, sa.exc.DBAPIError)
    return made


@pytest.mark.parametrize(
    ("code", "expected"),
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
def test_what_a_server_cannot_do_now_is_tried_again(code: int, expected: str) -> None:
    """Each of these errors ended all nodes and the controller, even if it lasted a moment."""
    error = _of_server(code, expected)
    assert isinstance(translated(error), ServiceUnavailable)
    assert still_answers(error), "reads that succeed meanwhile would be logged as the end of it, again and again"


@pytest.mark.parametrize(
    ("code", "expected"),
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
def test_permanent_database_error_is_raised_at_once(code: int, expected: str) -> None:
    error = translated(_of_server(code, expected))
    assert isinstance(error, ServiceRefused)
    assert not isinstance(error, ValueRefused), "every record would be set aside, one after the other"
    assert str(code) in str(error) and "secret" not in error.in_full and expected in error.in_full


@pytest.mark.parametrize("code", [1048, 1062, 1153, 1264, 1366, 1406, 1452, 4025])
def test_refused_value_is_a_value_refused_error(code: int) -> None:
    assert isinstance(translated(_of_server(code, "of a value")), ValueRefused)


@pytest.mark.mysql
def test_an_infinity_is_a_refused_value(mysql_url: str) -> None:
    db = Database.connect(mysql_url)
    with pytest.raises(ValueRefused), db.reading() as connection:
        connection.execute(sa.select(sa.literal(float("-inf"))))


def test_a_full_disk_is_an_outage_and_the_database_is_usable_afterwards(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2000) as disk:
        db = Database.connect(f"sqlite:///{disk.folder}/offload.db")
        db.migrate()
        disk.fill()
        with pytest.raises(ServiceUnavailable, match="SQLITE_FULL"), db.transaction() as connection:
            connection.execute(sa.insert(blobs).values(path="large", part=0, content=bytes(1_000_000)))
        assert list_runs(db) == [], "it is still read"
        disk.empty()
        with db.transaction() as connection:
            connection.execute(sa.insert(blobs).values(path="small", part=0, content=b"1"))
        db.close()


def test_a_file_that_may_only_be_read_is_an_outage(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite:///{tmp_path}/offload.db")
    db.migrate()
    sa.event.listen(db.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA query_only = ON"))
    with pytest.raises(ServiceUnavailable), db.transaction() as connection:
        connection.execute(sa.insert(blobs).values(path="small", part=0, content=b"1"))


@pytest.mark.mysql
def test_a_wrong_password_is_not_an_outage(mysql_url: str) -> None:
    db = Database.connect(sa.make_url(mysql_url).set(password="wrong").render_as_string(hide_password=False))
    with pytest.raises(ServiceRefused):
        list_runs(db)


@pytest.mark.mysql
def test_a_lost_connection_is_an_outage_and_the_next_call_has_a_new_one(mysql_url: str) -> None:
    db, other = Database.connect(mysql_url), Database.connect(mysql_url)
    db.migrate()

    def ask_when_it_is_gone() -> None:
        with db.reading() as connection:
            number = connection.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()
            with other.transaction() as killer:
                killer.execute(sa.text(f"KILL {number}"))
            connection.execute(sa.text("SELECT 1"))

    with pytest.raises(ServiceUnavailable):
        ask_when_it_is_gone()
    assert list_runs(db) == []
