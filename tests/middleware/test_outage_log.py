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


def test_an_outage_is_told_once_and_its_end_with_its_length(caplog: pytest.LogCaptureFixture) -> None:
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
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "the storage: away (refused)"
    assert told[1].startswith("the storage: back after 3.")
    assert len(told) == 2


def test_a_service_that_refuses_some_of_what_it_is_asked_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only database answers every read: each would end the outage, and the next write begin a new one."""
    monkeypatch.setattr("middleware.outages._QUIET_S", 0.3)
    outage = OutageLog(logging.getLogger("t"), "the database")
    for _ in range(4):
        outage.failed("1290", answers=True)
        outage.answered_after(0.01)
    assert [record.getMessage() for record in caplog.records] == ["the database: away (1290)"]
    time.sleep(0.35)
    outage.answered_after(0.01)
    assert caplog.records[-1].getMessage() == "the database: back after 0.0 s"
    assert len(caplog.records) == 2


def test_of_several_that_waited_one_tells(caplog: pytest.LogCaptureFixture) -> None:
    outage = OutageLog(logging.getLogger("t"), "the database")
    for _ in range(3):
        outage.answered_after(9.0)
    outage.failed("timed out", since_s=time.monotonic() - 5.0)  # it began to wait before the others were answered
    outage.answered_after(0.01)
    assert [record.getMessage() for record in caplog.records] == ["the database: answered after 9.0 s"]


@pytest.mark.mysql
def test_an_outage_of_the_database_is_logged_whichever_part_uses_it(
    mysql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
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
    words = [record.getMessage() for record in caplog.records if "the database" in record.getMessage()]
    assert len(words) == 2, words
    assert "away (OperationalError 20" in words[0]
    assert "back after" in words[1]
    assert "offload:***@" in words[0]
    database.close()
    forwarder.cut()


@pytest.mark.mysql
def test_two_transactions_that_meet_are_no_outage(mysql_url: str, caplog: pytest.LogCaptureFixture) -> None:
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
    assert "away" not in caplog.text
    database.close()
