"""Tests a database that rejects statements of a running testbed: threads that only report continue, and log it once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from testbed import Testbed, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_controller_ends_if_it_cannot_write_an_episode(tmp_path: Path) -> None:
    with Testbed(tmp_path, {}) as testbed:
        assert testbed.call("POST", "/v1/serve")[0] == 204
        wait_until(lambda: (testbed.call("GET", "/v1/status")[1]["episode"] or {}).get("slot") is not None)
        with testbed.opened.database.transaction() as connection:
            refused = "CREATE TRIGGER t BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'secret'); END"
            connection.exec_driver_sql(refused)
        wait_until(lambda: testbed.controller.failure is not None)
        log = (tmp_path / "pods/logs/controller.log").read_text()
        reason = "the database refuses the request (IntegrityError SQLITE_CONSTRAINT_TRIGGER)"
        assert f": no episode can be played: {reason}\n" in log
        assert testbed.controller.failure == reason, "it is not restarted: it would fail again"
        assert "Traceback" not in log and "secret" not in log, log


def test_nodes_end_while_the_database_refuses_them(tmp_path: Path) -> None:
    """Regression: a node that could not leave the registry never ended. Its server's threads kept the process alive."""
    with Testbed(tmp_path, {}) as testbed:
        nodes = list(testbed.node_processes().values())
        with testbed.opened.database.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE instances RENAME TO elsewhere")
    wait_until(lambda: not any(node.is_running() and node.status() != "zombie" for node in nodes), 30)
    for log in (tmp_path / "pods/logs").glob("node-*.log"):
        assert "ends" in log.read_text() and "Traceback" not in log.read_text()


def test_a_registry_table_that_is_gone_for_a_while_ends_no_process(tmp_path: Path) -> None:
    """Regression: a restored database or a lost privilege ended every process, because nothing retried such errors."""
    with Testbed(tmp_path, {}) as testbed:
        before = testbed.controller.pid, {node: one.pid for node, one in testbed.node_processes().items()}
        with testbed.opened.database.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE instances RENAME TO elsewhere")
        time.sleep(4.0)  # heartbeats, checks of liveness, reads of the nodes
        assert testbed.call("GET", "/metrics")[0] == 200
        with testbed.opened.database.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO instances")
        wait_until(lambda: all(node["alive"] for node in testbed.call("GET", "/v1/status")[1]["nodes"]))
        assert testbed.play()["verdict"] == "complete"
        assert before == (testbed.controller.pid, {node: one.pid for node, one in testbed.node_processes().items()})
        for log in (tmp_path / "pods/logs").glob("*.log"):
            text = log.read_text()
            assert text.count("the heartbeat of") == 1, text
            assert "refuses the request (OperationalError SQLITE_ERROR)" in text
            assert "Traceback" not in text, text
