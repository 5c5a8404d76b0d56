"""Executes one run of the whole pipeline with faults during its episodes, and checks the result."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import sqlalchemy as sa
from fault import Fault
from forwarder import Forwarder
from running import Workplace, wait_until
from servers import Servers, grant_all
from small_disk import SmallDisk

from middleware.database import Database, current_epoch, find_episodes, find_models, load_run
from middleware.database.schema import decisions, episodes, outcomes
from middleware.errors import ServiceRefused
from middleware.http.addressee import addressee
from middleware.registry import open_registry
from middleware.storage import fetch_model, open_storage
from offload.manifest import ACTOR_FILE, LEARNER_FILE

SETTINGS = """
network: {nodes: 3, cores: [4, 8, 16], arrival_probability: [0.5, 0.9]}
time: {slot_s: 100 ms, slots: 40, time_scale: 2}
node: {write_interval_s: 0.2}
learner: {hidden: [16]}
offline: {episodes: 2, steps: 30, batch_slots: 16, checkpoints: 0}
online: {episodes: 2, episodes_per_update: 1}
evaluation: {episodes: 1, methods: [ratc, o2o-drl]}
"""
_METHODS = {"ratc", "o2o-drl"}
_EPISODES = 6
_EPISODE_S = 2.6
_RUN = ("run", "--config", "small.yaml", "--out", "runs/chaos")
_LONGEST_S = 300.0
_OUTAGE_LOGGED_S = 15.0
"""Seconds that a run continues after a service is available again; by then the outage must have been logged."""
_UNAVAILABLE = re.compile(r"(the database|the storage|Nacos) [^\n]*: unavailable \(")
_AVAILABLE_AGAIN = re.compile(r"(the database|the storage|Nacos) [^\n]*: (?:available again|answered) after ([\d.]+) s")


@dataclass
class Findings:
    """The result of a run with faults.

    fault: the names of the faults
    hits: for each fault, the episode in which it was injected, and the seconds after the episode's opening
    wall_s: duration of the whole run
    longest_outage_s: the longest outage of a service in the logs, None if no outage was logged
    replayed: episodes that were repeated; lost: lost tasks; refused: records that arrived after the close
    problems: everything that a run must not have
    """

    fault: str
    seed: int
    hits: list[tuple[int, float]] = field(default_factory=list)
    wall_s: float = 0.0
    longest_outage_s: float | None = None
    replayed: int = 0
    lost: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The result as plain data."""
        return asdict(self)


class Scene:
    """A workplace on real servers, in `folder`. Call `play` once."""

    def __init__(self, servers: Servers, folder: Path, seed: int) -> None:
        self.servers = servers
        self._seed = seed
        self._name = f"chaos_{uuid.uuid4().hex[:12]}"
        self._server = sa.make_url(servers.mariadb.url)
        # A separate user without rights on the server: `read_only` does not apply to a user who has them.
        user = self._server.set(database=self._name, username=self._name, password=self._name)
        url = user.render_as_string(hide_password=False)
        self._workplace = Workplace(folder, url, f"seed: {seed}\n{SETTINGS}")
        nacos = f"{servers.nacos.url}?group={self._name}"
        self._storage_url = f"{servers.hdfs.url}/{self._name}"
        self._workplace.environment |= {
            "OFFLOAD_SERVICES__STORAGE": self._storage_url,
            "OFFLOAD_SERVICES__REGISTRY": nacos,
            "OFFLOAD_SERVICES__CONFIGURATION": nacos,
        }
        self._output = folder / "output.log"
        self.forwarder: Forwarder | None = None
        """The forwarder to the database, for a fault that needs one."""
        self._trainer: subprocess.Popen[bytes] | None = None
        self._problems: list[str] = []
        self._own_files = folder / ".offload/chaos"
        self.disk = SmallDisk(self._own_files, 16 * 1024)

    # --- what faults use ----------------------------------------------------------------------------------------

    def processes(self, module: str) -> list[int]:
        """The ids of the processes of the testbed that run a module."""
        wait_until(lambda: bool(self._workplace.processes(module)))
        return [process.pid for process in self._workplace.processes(module)]

    def outboxes(self) -> set[Path]:
        """The folders of the outboxes that have a segment; at least one."""
        found: set[Path] = set()

        def look() -> bool:
            found.update(path.parent for path in self._own_files.glob("**/[0-9]*.jsonl"))
            return bool(found)

        wait_until(look)
        return found

    def sql(self, statement: str) -> None:
        """Execute a statement as the user with all rights."""
        engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def kill_trainer(self) -> None:
        """Kill the trainer; its children end. Then start the same command again."""
        assert self._trainer is not None
        if self._trainer.poll() is not None:
            return  # the run ended before
        self._trainer.kill()
        self._trainer.wait()
        wait_until(lambda: self._workplace.processes() == [], 30)
        self.start()

    def start(self) -> None:
        """Start the command of the run, for the first time or again."""
        self._trainer = self.start_other(*_RUN)

    def start_other(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `offload ARGUMENTS` in the same workplace; the caller ends it."""
        with self._output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "commands.main", *arguments],
                cwd=self._workplace.folder,
                env=self._workplace.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill_all(self) -> None:
        """Kill all processes of the testbed at once."""
        for process in self._workplace.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert self._trainer is not None
        self._trainer.wait()
        wait_until(lambda: self._workplace.processes() == [], 30)

    def empty_database(self) -> None:
        """Replace the database by an empty one with the same name."""
        self.sql(f"DROP DATABASE {self._name}")
        self.sql(f"CREATE DATABASE {self._name}")

    def reach_database_at(self, port: int) -> None:
        """Let the processes reach the database at another port of this machine."""
        url = sa.make_url(self._workplace.database_url).set(host="127.0.0.1", port=port)
        self._workplace.environment["OFFLOAD_SERVICES__DATABASE"] = url.render_as_string(hide_password=False)

    def node_addresses(self) -> dict[int, str]:
        """The addresses of the edge nodes, from the registry."""
        database = Database.connect(self._workplace.database_url)
        registry = open_registry(self._workplace.environment["OFFLOAD_SERVICES__REGISTRY"], database)
        found = {int(one.instance): one.address for one in registry.instances("edgenode", "chaos")}
        database.close()
        return found

    def addressee(self, node: int) -> str:
        """The header value that addresses a request to an edge node of the run."""
        database = Database.connect(self._workplace.database_url)
        found = addressee(load_run(database, "chaos").uid, node)
        database.close()
        return found

    def open_episode(self) -> int | None:
        """The episode that is being played; waits for one. None if the run is over."""
        database = Database.connect(self._workplace.database_url)
        wait_until(lambda: self._open_episode(database) > 0 or self._is_over())
        found = self._open_episode(database)
        database.close()
        return found if found > 0 else None

    def _is_over(self) -> bool:
        return self._trainer is not None and self._trainer.poll() is not None

    def epoch(self) -> int:
        """The epoch of the run's lease: it grows when another process acquires the lease."""
        database = Database.connect(self._workplace.database_url)
        found = current_epoch(database, load_run(database, "chaos"))
        database.close()
        return found

    def start_rival(self, takes_over: bool = True) -> subprocess.Popen[bytes]:
        """Start the same command again; return the process that must end of the two.

        takes_over: the first process's controller is frozen
        """
        first = self._trainer
        assert first is not None
        second = self.start_other(*_RUN)
        self._trainer = second if takes_over else first
        return first if takes_over else second

    def expect_end(self, process: subprocess.Popen[bytes], message: str) -> None:
        """Wait for the end of a process that must leave the run to another one. Check that it logs `message`."""
        try:
            code = process.wait(120)
        except subprocess.TimeoutExpired:
            self._problems.append("the process that had to leave the run did not end within 120 s")
            return
        if code == 0 and self._trainer is not process and self._trainer is not None and self._trainer.wait(10) == 0:
            return  # the run ended before
        logged = self._output.read_text(errors="replace")
        if code != 2 or message not in logged:
            self._problems.append(
                f"the process that had to leave the run ended with code {code}: {self._last_output_lines()}"
            )

    # --- the run ------------------------------------------------------------------------------------------------

    def play(self, *faults: Fault) -> Findings:
        """Play the run with the faults, one after the other."""
        draw = Random(self._seed)
        found = Findings(", ".join(fault.name for fault in faults), self._seed)
        first = _EPISODES if len(faults) == 1 else 1
        self._make_database()
        small_disk = any(fault.small_disk for fault in faults)
        if small_disk:
            self.disk.__enter__()
        try:
            for fault in faults:
                if fault.prepare is not None:
                    fault.prepare(self)
            began = time.monotonic()
            self.start()
            for fault in faults:
                earliest = found.hits[-1][0] + 1 if found.hits else draw.randint(1, first)
                found.hits.append(self._middle_of_an_episode(draw, earliest))
                fault.inject(self, draw)
            injected_at = time.monotonic()
            code = self._end()
            found.problems += self._problems
            found.wall_s = round(time.monotonic() - began, 1)
            self._went_on_s = time.monotonic() - injected_at
            if code != 0:
                found.problems.append(f"the run ended with code {code}: {self._last_output_lines()}")
            self.servers.restore()
            self._check(faults, found)
        finally:
            if self._trainer is not None and self._trainer.poll() is None:
                self._trainer.kill()
                self._trainer.wait()
                wait_until(lambda: self._workplace.processes() == [], 30)
            self.servers.restore()
            self.sql(f"DROP DATABASE {self._name}")
            self.sql(f"DROP USER {self._name}@'%%'")
            if small_disk:
                self._leave_small_disk()
        return found

    def _make_database(self) -> None:
        self.sql(f"CREATE DATABASE {self._name}")
        self.sql(f"CREATE USER {self._name}@'%%' IDENTIFIED BY '{self._name}'")
        engine = sa.create_engine(self._server, isolation_level="AUTOCOMMIT")
        grant_all(engine, self._name, self._name)
        engine.dispose()

    def _leave_small_disk(self) -> None:
        """Copy the logs from the small disk."""
        logs, kept = self._own_files / "logs", self._workplace.folder / "logs"
        if logs.exists():
            shutil.copytree(logs, kept)
        self.disk.close()
        if kept.exists():
            shutil.move(kept, logs)

    def keep_logs(self, folder: Path) -> None:
        """Copy the logs of the processes."""
        folder.mkdir(parents=True, exist_ok=True)
        for log in [*(self._workplace.folder / ".offload/chaos/logs").glob("*.log"), self._output]:
            if log.exists():
                shutil.copy(log, folder)

    def _end(self) -> int:
        assert self._trainer is not None
        try:
            return self._trainer.wait(_LONGEST_S)
        except subprocess.TimeoutExpired:
            return -1

    def _middle_of_an_episode(self, draw: Random, number: int) -> tuple[int, float]:
        offset_s = draw.uniform(0.0, _EPISODE_S)
        database = Database.connect(self._workplace.database_url)
        wait_until(lambda: self._open_episode(database) >= number)
        hit = self._open_episode(database)
        database.close()
        time.sleep(offset_s)
        return hit, round(offset_s, 2)

    @staticmethod
    def _open_episode(database: Database) -> int:
        try:
            with database.reading() as connection:
                newest = connection.execute(sa.text("SELECT MAX(episode) FROM episodes WHERE status = 'open'"))
                return newest.scalar_one() or 0
        except ServiceRefused:
            return 0  # no tables yet

    # --- what must be true --------------------------------------------------------------------------------------

    def _check(self, faults: Sequence[Fault], found: Findings) -> None:
        database = Database.connect(self._workplace.database_url)
        try:
            self._check_records(faults, found, database)
            self._check_models(found, database)
            self._check_results(found)
            self._check_logs(faults, found)
        finally:
            database.close()

    def _check_records(self, faults: Sequence[Fault], found: Findings, database: Database) -> None:
        counts = self._workplace.accounts("chaos")
        if not counts["tasks"] == counts["outcomes"] == counts["matched"] > 0:
            found.problems.append(f"conservation: {counts}")
        contradictions = self._contradictions(database)
        if contradictions:
            found.problems.append(f"{contradictions} tasks ended at another node than their decision names")
        played = find_episodes(database, load_run(database, "chaos"), status=None)
        found.replayed = sum(one.verdict != "complete" for one in played)
        found.lost = sum(one.outcomes.get("lost", 0) for one in played if one.status == "closed")
        found.refused = sum(one.refused_records for one in played)
        if any(one.status == "open" for one in played):
            found.problems.append("an episode was left open")
        if all(fault.unharmed for fault in faults) and (found.lost or found.refused):
            found.problems.append(f"{found.lost} tasks are lost, {found.refused} records were refused")
        for fault, (number, _) in zip(faults, found.hits, strict=True):
            if not fault.spares_episodes:
                continue
            # A service's outage must not affect a running episode.
            hit = next(one for one in played if one.episode == number)
            if (hit.verdict, hit.outcomes.get("lost", 0), hit.down) != ("complete", 0, {}):
                found.problems.append(
                    f"episode {hit.episode} is {hit.status}, {hit.verdict} ({hit.reason}), {hit.outcomes}, "
                    f"down: {hit.down}"
                )

    @staticmethod
    def _contradictions(database: Database) -> int:
        """The number of tasks of complete episodes that ended at another node than their decision names."""
        place = sa.and_(
            decisions.c.run == outcomes.c.run,
            decisions.c.episode == outcomes.c.episode,
            decisions.c.slot == outcomes.c.slot,
            decisions.c.node == outcomes.c.source,
        )
        complete = sa.and_(episodes.c.run == outcomes.c.run, episodes.c.episode == outcomes.c.episode)
        counting = (
            sa.select(sa.func.count())
            .select_from(outcomes.join(decisions, place).join(episodes, complete))
            .where(episodes.c.verdict == "complete", outcomes.c.destination.is_not(None))
            .where(outcomes.c.destination != decisions.c.action)
        )
        with database.reading() as connection:
            return int(connection.execute(counting).scalar_one())

    def _check_models(self, found: Findings, database: Database) -> None:
        run = load_run(database, "chaos")
        published = {row.version for row in find_models(database, run)}
        with database.reading() as connection:
            query = sa.select(decisions.c.model).where(decisions.c.model.is_not(None)).distinct()
            used = set(connection.execute(query).scalars())
        if used - published:
            found.problems.append(f"nodes decided by models that were never published: {used - published}")
        storage = open_storage(self._storage_url, None)
        for version in published:
            fetch_model(storage, "chaos", version, names=(ACTOR_FILE, LEARNER_FILE))  # raises for a damaged model

    def _check_results(self, found: Findings) -> None:
        file = self._workplace.folder / "runs/chaos/results.json"
        results = json.loads(file.read_text()) if file.exists() else {"methods": {}, "missing": ["results.json"]}
        if results["missing"] or set(results["methods"]) != _METHODS:
            found.problems.append(f"the results lack {results['missing']}")

    def _check_logs(self, faults: Sequence[Fault], found: Findings) -> None:
        logs = sorted((self._workplace.folder / ".offload/chaos/logs").glob("*.log"))
        expected = Counter(fault.service for fault in faults if fault.service)
        outages_s: list[float] = []
        noticed = False
        for log in [*logs, self._output]:
            text = log.read_text(errors="replace")
            for sign in ("Traceback", "has two outcomes", " ERROR edgenode.activation"):
                if sign in text:
                    line = next(line for line in text.splitlines() if sign in line)
                    found.problems.append(f"{log.name}: {line.strip()}: {_after(text, sign)}")
            unavailable = [match[1] for match in _UNAVAILABLE.finditer(text)]
            ended = [(match[1], float(match[2])) for match in _AVAILABLE_AGAIN.finditer(text)]
            if all(fault.spares_episodes for fault in faults):
                if text.count(" answers at ") > 1 and log != self._output:
                    found.problems.append(f"{log.name}: its process was restarted, though no fault was to end one")
                for service, times in Counter(unavailable).items():
                    if times > expected[service] and not any(fault.repeated for fault in faults):
                        found.problems.append(f"{log.name}: logs {times} outages of {service}")
            noticed |= any(service in expected for service in unavailable)
            outages_s += [seconds for service, seconds in ended if service in expected]
        if outages_s:
            found.longest_outage_s = max(outages_s)
        elif noticed and self._went_on_s > _OUTAGE_LOGGED_S:
            found.problems.append("no log has the duration of a service's outage")

    def _last_output_lines(self) -> str:
        lines = [line for line in self._output.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:])


def _after(text: str, sign: str) -> str:
    """The last line of a traceback."""
    lines = text[text.index(sign) :].splitlines()
    return next((line for line in lines[1:] if line and not line.startswith(" ")), "")
