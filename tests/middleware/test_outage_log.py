"""Tests that each outage of a service is logged once, with its duration, by the first thread that noticed it."""

from __future__ import annotations

import logging
import threading
import time

import pytest
import sqlalchemy as sa
from forwarder import Forwarder

from middleware.database import Database
from middleware.errors import ServiceUnavailable
from middleware.outages import OutageLog


def test_outage_is_logged_once_and_its_end_with_the_duration(caplog: pytest.LogCaptureFixture) -> None:
    outage = OutageLog(logging.getLogger("t"), "the storage")
    outage.answered()
    assert caplog.text == ""
    threads = [threading.Thread(target=outage.failed, args=("refused", time.monotonic() - 3.0)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outage.answered()
    outage.answered()
    logged = [record.getMessage() for record in caplog.records]
    assert logged[0] == "the storage: unavailable (refused)"
    assert logged[1].startswith("the storage: available again after 3.")
    assert len(logged) == 2


def test_service_that_refuses_some_calls_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only database answers every read: each would end the outage, and the next write would start a new one."""
    monkeypatch.setattr("middleware.outages._QUIET_S", 0.3)
    outage = OutageLog(logging.getLogger("t"), "the database")
    for _ in range(4):
        outage.failed("1290", answers=True)
        outage.answered_after(0.01)
    assert [record.getMessage() for record in caplog.records] == ["the database: unavailable (1290)"]
    time.sleep(0.35)
    outage.answered_after(0.01)
    assert caplog.records[-1].getMessage() == "the database: available again after 0.0 s"
    assert len(caplog.records) == 2


def test_one_of_several_waiting_threads_logs(caplog: pytest.LogCaptureFixture) -> None:
    outage = OutageLog(logging.getLogger("t"), "the database")
    for _ in range(3):
        outage.answered_after(9.0)
    outage.failed("timed out", since_s=time.monotonic() - 5.0)  # it began to wait before the others were answered
    outage.answered_after(0.01)
    assert [record.getMessage() for record in caplog.records] == ["the database: answered after 9.0 s"]


@pytest.mark.mysql
def test_database_outage_is_logged_once_for_all_uses(mysql_url: str, caplog: pytest.LogCaptureFixture) -> None:
    server = sa.make_url(mysql_url)
    forwarder = Forwarder(server.host, server.port)
    database = Database.connect(server.set(port=forwarder.port).render_as_string(hide_password=False))

    def ask() -> None:
        with database.reading() as connection:
            connection.execute(sa.text("SELECT 1"))

    ask()
    forwarder.cut()
    for _ in range(4):
        with pytest.raises(ServiceUnavailable):
            ask()
    forwarder.restore()
    ask()
    ask()
    lines = [record.getMessage() for record in caplog.records if "the database" in record.getMessage()]
    assert len(lines) == 2, lines
    assert "unavailable (OperationalError 20" in lines[0]
    assert "available again after" in lines[1]
    assert "offload:***@" in lines[0]
    database.close()
    forwarder.cut()


@pytest.mark.mysql
def test_lock_wait_timeout_is_not_logged_as_an_outage(mysql_url: str, caplog: pytest.LogCaptureFixture) -> None:
    database = Database.connect(mysql_url)
    with database.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INT PRIMARY KEY, b INT)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1, 1)")

    def update_briefly() -> None:
        with database.reading() as second:
            second.exec_driver_sql("SET innodb_lock_wait_timeout = 1")
            second.exec_driver_sql("UPDATE t SET b = 3")

    with database.transaction() as first:
        first.exec_driver_sql("UPDATE t SET b = 2")
        with pytest.raises(ServiceUnavailable) as met:
            update_briefly()
    assert "Lock wait timeout" in met.value.service_message, "it is tried again"
    assert "unavailable" not in caplog.text
    database.close()
