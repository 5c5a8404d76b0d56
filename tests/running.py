"""Runs the real command with real processes, with settings small enough for a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import sqlalchemy as sa

from middleware.database import Database, load_run
from middleware.database.schema import episodes, outcomes, tasks
from middleware.errors import ServiceError

SMALL = """
seed: 5
network: {nodes: 3, cores: [4, 8, 16], arrival_probability: [0.5, 0.9]}
time: {slot_s: 100 ms, slots: 10, time_scale: 2}
node: {write_interval_s: 0.2}
learner: {hidden: [16]}
offline: {episodes: 3, steps: 30, batch_slots: 16, checkpoints: 1, checkpoint_episodes: 1}
online: {episodes: 4, episodes_per_update: 2}
evaluation: {episodes: 2, methods: [local, ratc, offline-only, online-only, o2o-drl]}
"""


class Workplace:
    """A folder with a database, a storage and small settings, in which `offload` is run."""

    def __init__(self, folder: Path, database_url: str | None = None, settings: str = SMALL) -> None:
        self.folder = folder
        self.database_url = database_url or f"sqlite:///{folder}/offload.db"
        (folder / "small.yaml").write_text(settings)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("OFFLOAD_")},
            "OFFLOAD_SERVICES__DATABASE": self.database_url,
            "OFFLOAD_SERVICES__STORAGE": f"file:{folder}/storage",
            "OFFLOAD_TEST_WORKPLACE": str(folder),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `offload ARGUMENTS` in the folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "commands.main", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def run(self, *arguments: str, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
        """Run `offload ARGUMENTS` in the folder to its end."""
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
        return subprocess.CompletedProcess(arguments, process.returncode, output)

    def processes(self, module: str = "commands") -> list[psutil.Process]:
        """The running processes of this folder's runs that execute a module such as `commands.node`."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("OFFLOAD_TEST_WORKPLACE") == str(self.folder)
                if ours and any(module in part for part in process.cmdline()) and process.status() != "zombie":
                    found.append(process)
        return found

    def closed_episodes(self, phase: str) -> int:
        """The number of closed episodes of a phase; 0 before there is a database."""
        try:
            database = Database.connect(self.database_url)
            with database.reading() as connection:
                return connection.execute(
                    sa.select(sa.func.count()).where(episodes.c.phase == phase, episodes.c.status == "closed")
                ).scalar_one()
        except ServiceError:
            return 0

    def accounts(self, run: str) -> dict[str, int]:
        """Tasks, outcomes, and tasks with exactly one outcome, of all closed episodes of a run."""
        database = Database.connect(self.database_url)
        number = load_run(database, run).number
        closed = sa.select(episodes.c.episode).where(episodes.c.run == number, episodes.c.status == "closed")
        with database.reading() as connection:
            counts = {
                table.name: connection.execute(
                    sa.select(sa.func.count())
                    .select_from(table)
                    .where(table.c.run == number, table.c.episode.in_(closed))
                ).scalar_one()
                for table in (tasks, outcomes)
            }
            counts["matched"] = connection.execute(
                sa.select(sa.func.count())
                .select_from(tasks)
                .join(
                    outcomes,
                    sa.and_(*(tasks.c[key] == outcomes.c[key] for key in ("run", "episode", "slot", "source"))),
                )
                .where(tasks.c.run == number, tasks.c.episode.in_(closed))
            ).scalar_one()
        database.close()
        return counts


def wait_until(true: Callable[[], bool], timeout_s: float = 90) -> None:
    """Wait until `true` returns a true value, or fail."""
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"did not happen within {timeout_s:g} s"
        time.sleep(0.05)


def kill(process: psutil.Process | subprocess.Popen[str]) -> None:
    """`kill -9`."""
    os.kill(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(workplace: Workplace, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`offload ARGUMENTS`; killed at the end of the block if it still runs."""
    process = workplace.start(*arguments)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
