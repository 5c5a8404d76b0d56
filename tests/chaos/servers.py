"""Real servers that may be stopped, frozen and killed, each with its data in a folder of its own.

`OFFLOAD_TEST_SERVERS` names a folder of scripts `mariadb`, `hdfs`, `nacos`: `SCRIPT start DIR PORT` starts the server, or brings
back what is not running of it, waits until it works and prints `NAME=url`; `SCRIPT stop DIR` ends it; `DIR/*.pid` hold the ids of its
processes. The database's URL is of an account with all rights. `DATANODES` is the number of HDFS' data nodes.
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
    """A server of one script. Raises RuntimeError with its words when it does not start."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self._script = Path(os.environ[SCRIPTS]).resolve() / name
        self._folder, self._port = folder / name, port
        self.url = ""

    def start(self) -> None:
        """Start it, or what of it is not running."""
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
        """End it, however it is."""
        subprocess.run([self._script, "stop", self._folder], check=True, capture_output=True)

    def signal(self, number: int, process: str) -> None:
        """Send a signal to one of its processes, by the name of its pid file."""
        os.kill(int((self._folder / f"{process}.pid").read_text()), number)


class Servers:
    """MariaDB, HDFS with two data nodes, and Nacos, started. Use as a context manager. `place`: among those that start at once."""

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
        """Everything is thawed and runs."""
        for server in self._all:
            for pid_file in server._folder.glob("*.pid"):
                with suppress(ProcessLookupError, ValueError):
                    os.kill(int(pid_file.read_text()), signal.SIGCONT)
            server.start()


def grant_all(engine: sa.Engine, user: str, database: str) -> None:
    """Give a user all rights in one database, by an account that has all rights but not that of granting them."""
    with engine.connect() as connection:
        columns = connection.exec_driver_sql("SHOW COLUMNS FROM mysql.db LIKE '%%_priv'").scalars().all()
        rights = ", ".join("'Y'" for _ in columns)
        connection.exec_driver_sql(
            f"INSERT INTO mysql.db (Host, Db, User, {', '.join(columns)}) VALUES ('%%', '{database}', '{user}', {rights})"
        )
        connection.exec_driver_sql("FLUSH PRIVILEGES")


def free_ports(place: int) -> int:
    """The first of `_PORTS` ports in a row that are free now, as well as those a thousand above (Nacos has one there)."""
    for first in range(21000 + place * 1200, 31000, 100):
        taken = False
        for port in (*range(first, first + _PORTS), first + _PORTS + 999):
            with socket.socket() as probe:
                taken |= probe.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            return first
    raise RuntimeError("no free ports")
