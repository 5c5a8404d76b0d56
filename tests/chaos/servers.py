"""Starts real servers that tests may stop, freeze and kill, each with its data in a separate folder.

`OFFLOAD_TEST_SERVERS` names a folder of scripts `mariadb`, `hdfs`, `nacos`. `SCRIPT start DIR PORT` starts the server,
or those of its processes that are not running, waits until it works, and prints `NAME=url`. `SCRIPT stop DIR` ends it.
`DIR/*.pid` have the ids of its processes. The database's URL has an account with all rights. `DATANODES` is the number
of HDFS data nodes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

SCRIPTS = "OFFLOAD_TEST_SERVERS"
_PORTS = 64


class RealServer:
    """A server that a script starts. Raises RuntimeError with the script's output if it does not start."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self._script = Path(os.environ[SCRIPTS]).resolve() / name
        self._folder, self._port = folder / name, port
        self.url = ""

    def start(self) -> None:
        """Start the server, or those of its processes that are not running."""
        self._folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [self._script, "start", self._folder, str(self._port)],
            env={**os.environ, "DATANODES": "2"},
            capture_output=True,
            text=True,
        )
        if done.returncode or "=" not in done.stdout:
            raise RuntimeError(f"{self._script.name} did not start: {done.stderr or done.stdout}")
        self.url = done.stdout.strip().partition("=")[2]

    def stop(self) -> None:
        """End the server, even if it is frozen or partly stopped."""
        subprocess.run([self._script, "stop", self._folder], check=True, capture_output=True)

    def signal(self, number: int, process: str) -> None:
        """Send a signal to one of its processes, selected by the name of its pid file."""
        os.kill(int((self._folder / f"{process}.pid").read_text()), number)


class Servers:
    """MariaDB, HDFS with two data nodes, and Nacos, started. Use as a context manager.

    place: the index of this set of servers among those that start at the same time
    """

    def __init__(self, folder: Path, place: int = 0) -> None:
        folder.chmod(0o755)
        first = free_ports(place)
        self.mariadb = RealServer("mariadb", folder, first)
        self.hdfs = RealServer("hdfs", folder, first + 1)
        self.nacos = RealServer("nacos", folder, first + _PORTS - 1)
        self._all = (self.mariadb, self.hdfs, self.nacos)

    def __enter__(self) -> Servers:
        try:
            self.restore()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._all:
            with suppress(subprocess.CalledProcessError):
                server.stop()

    def restore(self) -> None:
        """Continue frozen processes and start stopped ones."""
        for server in self._all:
            for pid_file in server._folder.glob("*.pid"):
                with suppress(ProcessLookupError, ValueError):
                    os.kill(int(pid_file.read_text()), signal.SIGCONT)
            server.start()


def grant_all(engine: sa.Engine, user: str, database: str) -> None:
    """Give a user all rights in one database, from an account that has all rights but cannot grant them."""
    with engine.connect() as connection:
        columns = connection.exec_driver_sql("SHOW COLUMNS FROM mysql.db LIKE '%%_priv'").scalars().all()
        rights = ", ".join("'Y'" for _ in columns)
        connection.exec_driver_sql(
            f"INSERT INTO mysql.db (Host, Db, User, {', '.join(columns)}) "
            f"VALUES ('%%', '{database}', '{user}', {rights})"
        )
        connection.exec_driver_sql("FLUSH PRIVILEGES")


def free_ports(place: int) -> int:
    """The first of `_PORTS` consecutive free ports. Those a thousand above are free as well: Nacos uses one of them."""
    for first in range(21000 + place * 1200, 31000, 100):
        taken = False
        for port in (*range(first, first + _PORTS), first + _PORTS + 999):
            with socket.socket() as probe:
                taken |= probe.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            return first
    raise RuntimeError("no free ports")
