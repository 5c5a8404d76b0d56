"""Opens a run in its services, and runs its controller as a supervised child process on this machine.

Concurrency: one supervisor thread waits for the child. It restarts a child that ended unexpectedly, unless the exit
code says that a restarted one would end as well. A restarted child acquires the run's lease at once, because it has the
same holder name. The supervisor starts no child after the main thread has set `_stopping`; `_starting` guards this. The
child's standard input is a pipe from this process. The child ends when the pipe closes, so it ends with this process,
also if that is killed.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from commands.naming import check_name, name_for
from commands.pods import OVERTAKEN, WRONG_START
from controller.fleet import last_line
from middleware.database import (
    FOLDER,
    PLAYED_BY,
    TWIN,
    Database,
    LeaseHolder,
    Run,
    RunConflict,
    UnknownRun,
    create_run,
    load_run,
    new_holder,
)
from middleware.errors import ServiceError
from middleware.outages import FULL_DISK
from middleware.registry import CONTROLLER, Registry, open_registry
from middleware.retrying import log_refusal, retry_while_unavailable
from middleware.storage import Storage, open_storage
from offload import Settings, draw_network
from offload.errors import UserError
from offload.settings import ServiceSettings

DATA_DIR = Path(".offload")
_MOST_RESTARTS = 5
_START_TIMEOUT_S = 120.0
_PROGRAM = "offload-controller: "
"""Prefix of the line in which a controller logs why it ends (`pods.py`)."""
_WAIT_FOR_DISK_S = 0.5

_logger = logging.getLogger(__name__)


class ControllerFailed(UserError):
    """The controller could not be started, or ended too often. The message names its log file."""


@dataclass(frozen=True)
class OpenRun:
    """A run, and the services in which it is stored."""

    run: Run
    settings: Settings
    database: Database
    storage: Storage
    registry: Registry


def versions() -> dict[str, str]:
    """The versions of the testbed, Python and the main libraries, and a description of the machine."""
    found = {
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {_memory_gib():.0f} GiB, {platform.system()} {platform.release()}",
    }
    for distribution in ("offload-testbed", "numpy", "torch", "onnxruntime", "sqlalchemy"):
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2**30


def open_run(settings: Settings, name: str | None, by_twin: bool = False, folder: Path | None = None) -> OpenRun:
    """Open the run `name`. Creates the run, its network and the database schema if they do not exist yet.

    folder: where its results are written; if `name` is None, the name follows from the folder (`commands/naming.py`)
    Raises RunConflict when a run of this name has other settings, or belongs to the twin and not to the testbed (or
    the reverse); SchemaError for a database of another application; SettingsError for a service without an adapter.
    """
    database = Database.connect(settings.services.database)
    storage = open_storage(settings.services.storage, database)
    registry = open_registry(settings.services.registry, database)
    database.migrate()
    if name is None:
        assert folder is not None
        name = name_for(database, folder, settings)
    try:
        load_run(database, name)
    except UnknownRun:
        check_name(name)
    network = draw_network(settings.network, settings.seed, settings.network.index)
    made_with = versions() | ({PLAYED_BY: TWIN} if by_twin else {})
    made_with |= {} if folder is None else {FOLDER: str(folder.resolve())}
    run = create_run(database, name, settings, network, made_with)
    if run.by_twin != by_twin:
        there, here = ("twin", "testbed") if run.by_twin else ("testbed", "twin")
        raise RunConflict(
            f"run '{name}' belongs to the {there}, this command uses the {here}; "
            "choose another name with --out or --run"
        )
    return OpenRun(run, settings, database, storage, registry)


@contextmanager
def holding(opened: OpenRun) -> Iterator[LeaseHolder]:
    """Hold the run's lease, so that only this process plays the run. Raises LeaseHeld, LeaseLost."""
    holder = LeaseHolder(
        opened.database, opened.run, new_holder(), threading.Event(), lambda lost: _logger.error("%s", lost)
    )
    retry_while_unavailable(holder.acquire)
    try:
        yield holder
    finally:
        holder.release()


def pod_environment(run: str, services: ServiceSettings, data_dir: Path) -> dict[str, str]:
    """The environment variables of a pod's process: its run, its data folder, and the URLs of the services."""
    return {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "OFFLOAD_LIFELINE": "1",
        "OFFLOAD_RUN": run,
        "OFFLOAD_DATA_DIR": str(data_dir),
        **{f"OFFLOAD_SERVICES__{key.upper()}": value for key, value in services.model_dump().items()},
    }


class LocalController:
    """The controller of a run with its local fleet, as a child process. It is restarted when it dies.

    continuously: it starts with continuous arrivals, also after a restart
    Use as a context manager. `address` is available after `__enter__`.
    """

    takes_over = False
    """Whether the controller may be playing continuous arrivals, which the pipeline must end first."""

    def __init__(
        self,
        opened: OpenRun,
        data_dir: Path,
        environment: Mapping[str, str] | None = None,
        continuously: bool = False,
    ) -> None:
        self._options = ["--serve"] if continuously else []
        self._opened = opened
        self._data_dir = data_dir
        self._environment = {
            **pod_environment(opened.run.name, opened.settings.services, data_dir),
            **(environment or {}),
            "OFFLOAD_HOLDER": new_holder(),
        }
        self.log_file = data_dir / "logs" / "controller.log"
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: str | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="controller-supervisor", daemon=True)

    @property
    def pid(self) -> int:
        """Process id of the current controller."""
        assert self._process is not None
        return self._process.pid

    @property
    def failure(self) -> str | None:
        """Why the controller is not restarted any more; None while it runs or is being restarted."""
        return self._failure

    def address(self) -> str:
        """The current address of the controller, which changes with each restart. Waits until it is ready.

        Raises ControllerFailed, or ServiceError if the registry is unavailable until the time-out.
        """
        until = time.monotonic() + _START_TIMEOUT_S
        unavailable: ServiceError | None = None
        while time.monotonic() < until:
            if self._failure:
                raise ControllerFailed(self._failure)
            try:
                registered = self._opened.registry.instances(CONTROLLER, self._opened.run.name)
                unavailable = None
            except ServiceError as error:
                log_refusal(error, "looking for the controller")
                registered, unavailable = [], error
            for instance in registered:
                who = self._process is not None and (self._process.pid, self._environment["OFFLOAD_HOLDER"])
                ours = who == (instance.metadata.get("pid"), instance.metadata.get("holder"))
                if ours and instance.metadata.get("ready"):
                    return instance.address
            time.sleep(0.05)
        if unavailable is not None:
            raise unavailable
        raise ControllerFailed(f"the controller did not become ready in {_START_TIMEOUT_S:.0f} s; see {self.log_file}")

    def _start(self) -> subprocess.Popen[bytes]:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "commands.controller", "--fleet", "local", *self._options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def _supervise(self) -> None:
        deaths: list[float] = []
        while True:
            assert self._process is not None
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if code in (WRONG_START, OVERTAKEN):
                self._failure = last_line(self.log_file, _PROGRAM).removeprefix(_PROGRAM)
                return
            deaths = [at for at in deaths if time.monotonic() - at < 60] + [time.monotonic()]
            if len(deaths) > _MOST_RESTARTS:
                self._failure = (
                    f"the controller died {len(deaths)} times in a minute (exit code {code}); the last line of "
                    f"{self.log_file}: {last_line(self.log_file)}"
                )
                return
            if self._process.stdin is not None:
                self._process.stdin.close()
            if not self._start_again():
                return

    def _start_again(self) -> bool:
        """Start the controller. If the disk is too full for its log, wait for space.

        False if waiting does not help, or the controller was stopped meanwhile.
        """
        logged = False
        while True:
            try:
                with self._starting:
                    if self._stopping.is_set():
                        return False
                    self._process = self._start()
                return True
            except OSError as error:
                if error.errno not in FULL_DISK:
                    self._failure = f"the controller cannot be started again: {error}"
                    return False
                if not logged:
                    _logger.error("the controller cannot be started now: %s", error)
                logged = True
            if self._stopping.wait(_WAIT_FOR_DISK_S):
                return False

    def __enter__(self) -> Self:
        self._process = self._start()
        self._supervisor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._starting:
            self._stopping.set()
        process = self._process  # the last one
        if process is not None and process.poll() is None:
            if process.stdin is not None:
                process.stdin.close()
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._supervisor.join(timeout=5)
