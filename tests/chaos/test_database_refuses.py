"""Tests that no process dies and no task is lost while a database answers but rejects statements.

They use a separate MariaDB, because `SET GLOBAL` applies to the whole server, a user to whom the limits apply, and
SQLite on a full disk.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from running import Workplace, running
from servers import SCRIPTS, RealServer, free_ports, grant_all
from small_disk import small_disk
from testbed import Testbed, wait_until

from middleware.database import Database, find_episodes, load_run

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(400)]
_FAULT_S = 3.0
_USER, _DATABASE = "limited", "refusing"


class Server:
    """A MariaDB with a user who has all rights in one database and none on the server."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        self.sql(f"CREATE DATABASE {_DATABASE}")
        self.sql(f"CREATE USER {_USER}@'%%' IDENTIFIED BY 'secret'")
        grant_all(self._engine, _USER, _DATABASE)
        made = sa.make_url(url).set(username=_USER, password="secret", database=_DATABASE)
        self.url = made.render_as_string(hide_password=False)

    def sql(self, *statements: str) -> None:
        with self._engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def cut_connections(self) -> None:
        """End the user's connections, so that settings for new connections apply."""
        with self._engine.connect() as connection:
            numbers = connection.exec_driver_sql(
                f"SELECT id FROM information_schema.processlist WHERE user = '{_USER}'"
            ).scalars()
            for number in numbers.all():
                try:
                    connection.exec_driver_sql(f"KILL {number}")
                except sa.exc.OperationalError:
                    continue  # the connection has ended

    def limit(self, what: str, on: str, off: str) -> Callable[[float], None]:
        """A fault: the user's account has a limit for N seconds."""

        def inject(seconds: float) -> None:
            self.sql(f"ALTER USER {_USER}@'%%' WITH {what} {on}")
            self.cut_connections()
            time.sleep(seconds)
            self.sql(f"ALTER USER {_USER}@'%%' WITH {what} {off}")
            self.cut_connections()

        return inject

    def read_only(self, seconds: float) -> None:
        self.sql("SET GLOBAL read_only = 1")
        time.sleep(seconds)
        self.sql("SET GLOBAL read_only = 0")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if not os.environ.get(SCRIPTS):
        pytest.skip(f"{SCRIPTS} is not set: no server whose settings may be changed")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        mariadb = RealServer("mariadb", Path(folder), free_ports(2))
        try:
            mariadb.start()
            yield Server(mariadb.url)
        finally:
            mariadb.stop()


@pytest.fixture(scope="module")
def testbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    layer = {"time": {"slots": 60, "time_scale": 1}}
    with Testbed(tmp_path_factory.mktemp("refusing"), layer, url=server.url) as made:
        yield made


def _faults(server: Server) -> dict[str, Callable[[float], None]]:
    return {
        "read only (1290)": server.read_only,
        "queries per hour (1226)": server.limit("MAX_QUERIES_PER_HOUR", "1", "0"),
        "connections at once (1226)": server.limit("MAX_USER_CONNECTIONS", "1", "0"),
        "time of a statement (1969)": server.limit("MAX_STATEMENT_TIME", "0.00001", "0"),
    }


@pytest.mark.parametrize(
    "fault",
    [
        "read only (1290)",
        "queries per hour (1226)",
        "connections at once (1226)",
        "time of a statement (1969)",
    ],
)
def test_a_server_that_refuses_for_some_seconds_costs_nothing(server: Server, testbed: Testbed, fault: str) -> None:
    pids = testbed.controller.pid, {node: process.pid for node, process in testbed.node_processes().items()}
    episode = testbed.begin()
    testbed.in_slot(20)
    _faults(server)[fault](_FAULT_S)
    testbed.finish(episode)
    record = testbed.record(episode)
    assert (record.status, record.verdict, record.reason, record.down) == ("closed", "complete", None, {})
    assert record.tasks == sum(record.outcomes.values()) > 0 and "lost" not in record.outcomes, record.outcomes
    assert testbed.play()["verdict"] == "complete"
    assert pids == (testbed.controller.pid, {node: one.pid for node, one in testbed.node_processes().items()})
    code = fault[-5:-1]
    logs = {log.name: log.read_text() for log in (testbed.folder / "pods/logs").glob("*.log")}
    assert any(code in text for text in logs.values()), f"no log has {code}: {logs}"
    for name, text in logs.items():
        assert "Traceback" not in text, (name, text)
        outages = text.count(f"unavailable (OperationalError {code})")
        assert outages <= list(_faults(server)).index(fault) + 1, (
            name,
            text,
        )


@pytest.mark.parametrize("everything", [False, True], ids=["database", "everything"])
def test_serving_survives_a_full_disk_under_sqlite(tmp_path: Path, everything: bool) -> None:
    """The database's disk is full, or the only disk of the machine, which has the outboxes and logs as well."""
    with small_disk(tmp_path / "disk", 6000) as disk:
        settings = (
            "time: {slot_s: 100 ms, slots: 15, time_scale: 2}\nnetwork: {nodes: 3}\nnode: {write_interval_s: 0.2}\n"
        )
        folder = disk.folder if everything else tmp_path
        workplace = Workplace(folder, f"sqlite:///{disk.folder}/offload.db", settings)
        with running(workplace, "serve", "--config", "small.yaml", "--run", "full") as serving:
            wait_until(lambda: workplace.closed_episodes("serve") >= 1)
            pids = sorted(process.pid for process in workplace.processes("commands."))
            disk.fill()
            time.sleep(_FAULT_S)
            disk.empty()
            played = workplace.closed_episodes("serve")
            wait_until(lambda: workplace.closed_episodes("serve") >= played + 3)
            assert serving.poll() is None
            assert sorted(process.pid for process in workplace.processes("commands.")) == pids
            logs = [log.read_text() for log in (folder / ".offload/full/logs").glob("*.log")]
            assert everything or any("SQLITE_FULL" in text for text in logs), logs
            assert not any("Traceback" in text for text in logs), logs
        counts = workplace.accounts("full")
        assert counts["tasks"] == counts["outcomes"] == counts["matched"] > 0
        database = Database.connect(workplace.database_url)
        episodes = find_episodes(database, load_run(database, "full"))
        assert all(one.verdict == "complete" and "lost" not in one.outcomes for one in episodes), episodes
        database.close()
