"""A run on this machine: its records opened, and its controller as a supervised child process.

Concurrency: one supervisor thread waits for the child and starts it again when it dies without having been asked to, unless its
exit code says that it would end again. A restarted child has its predecessor's name as a holder of the run's lease, and gets that at once. The child holds the read end of its standard input as a lifeline: it
ends when this process does, however that happens.
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
from middleware.patience import bear, patiently
from middleware.registry import CONTROLLER, Registry, open_registry
from middleware.storage import Storage, open_storage
from offload import Settings, draw_network
from offload.errors import UserError
from offload.settings import ServiceSettings

DATA_DIR = Path(".offload")
_MOST_RESTARTS = 5
_START_TIMEOUT_S = 120.0
_PROGRAM = "offload-controller: "
"""What the line begins with by which a controller says why it ends (`pods.py`)."""
_WAIT_FOR_DISK_S = 0.5

_logger = logging.getLogger(__name__)


class ControllerFailed(UserError):
    """The controller could not be started, or died again and again; the message names its log."""


@dataclass(frozen=True)
class OpenRun:
    """A run with the services that hold it."""

    run: Run
    settings: Settings
    database: Database
    storage: Storage
    registry: Registry


def versions() -> dict[str, str]:
    """What this run is made with: of the testbed, Python, the libraries that matter, and the machine."""
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
    """Open the run `name`, creating it, its network and the schema where they do not exist yet.

    folder: where its results are written; its name follows from that where `name` is None (`commands/naming.py`)
    Raises RunConflict when a run of this name has other settings, or is played by the other one of testbed and twin, SchemaError for a database that is not ours,
    SettingsError for a service that there is no adapter for.
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
            f"the run '{name}' is played by the {there}, not by the {here}. Give this one another name (--out or --run)"
        )
    return OpenRun(run, settings, database, storage, registry)


@contextmanager
def holding(opened: OpenRun) -> Iterator[LeaseHolder]:
    """This process as the only one that plays the run. Raises LeaseHeld, LeaseLost."""
    holder = LeaseHolder(
        opened.database, opened.run, new_holder(), threading.Event(), lambda lost: _logger.error("%s", lost)
    )
    patiently(holder.acquire)
    try:
        yield holder
    finally:
        holder.release()


def pod_environment(run: str, services: ServiceSettings, data_dir: Path) -> dict[str, str]:
    """The environment that tells a pod which run it belongs to and where the services are."""
    return {
        **os.environ,
        "PYTHONSAFEPATH": "1",
        "OFFLOAD_LIFELINE": "1",
        "OFFLOAD_RUN": run,
        "OFFLOAD_DATA_DIR": str(data_dir),
        **{f"OFFLOAD_SERVICES__{key.upper()}": value for key, value in services.model_dump().items()},
    }


class LocalController:
    """The controller of a run, with its local fleet, as a child process; restarted when it dies.

    continuously: it begins with continuous arrivals, also when it was restarted
    Use as a context manager; `address` is where it answers, after `__enter__`.
    """

    takes_over = False
    """Whether it may be playing continuous arrivals that others want."""

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
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: str | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="controller-supervisor", daemon=True)

    @property
    def pid(self) -> int:
        """Process id of the controller that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def failure(self) -> str | None:
        """Why the controller is not restarted any more; None while all is well."""
        return self._failure

    def address(self) -> str:
        """Where the controller answers now: a restarted one answers elsewhere. Waits for it.

        Raises ControllerFailed; ServiceError when the registry has not answered all the time.
        """
        until = time.monotonic() + _START_TIMEOUT_S
        away: ServiceError | None = None
        while time.monotonic() < until:
            if self._failure:
                raise ControllerFailed(self._failure)
            try:
                registered = self._opened.registry.instances(CONTROLLER, self._opened.run.name)
                away = None
            except ServiceError as error:
                bear(error, "looking for the controller")
                registered, away = [], error
            for instance in registered:
                who = self._process is not None and (self._process.pid, self._environment["OFFLOAD_HOLDER"])
                ours = who == (instance.metadata.get("pid"), instance.metadata.get("holder"))
                if ours and instance.metadata.get("ready"):
                    return instance.address
            time.sleep(0.05)
        if away is not None:
            raise away
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
        """Start the controller. A full disk takes no log: then it waits for space. False when waiting will not help."""
        logged = False
        while True:
            try:
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
        self._stopping.set()
        process = self._process
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
