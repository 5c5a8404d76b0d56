"""The controller as a process: the run's record, its fleet, the player of episodes, REST.

Concurrency: the main thread waits for the end. The player thread plays one episode after the other, those that were asked
for, or, while serving, continuous arrivals. Request threads only read state, queue one episode, and wait for its end.
A heartbeat thread keeps the registration fresh.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from controller.episodes import Episodes, EpisodeState
from controller.fleet import FleetError, LocalFleet
from controller.http import ControllerServer, make_app
from controller.metrics import Metrics
from middleware.configuration import HotRecord, load_settings, open_configuration, watch_file, watched_file
from middleware.database import Database, abort_episode, find_episodes, find_models, load_network, load_run
from middleware.registry import Instance, open_registry
from middleware.storage import open_storage
from offload.episodes import CONTINUOUS_TRACES, EpisodePlan
from offload.tasks import Trace

SERVICE = "controller"
_HEARTBEAT_S = 1.0
_logger = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """Another episode is being played."""


class Controller:
    """What the REST interface works on."""

    def __init__(self, environment: Mapping[str, str], fleet: str, node_command: Sequence[str]) -> None:
        self.run_name = environment.get("OFFLOAD_RUN", "")
        if not self.run_name:
            raise ValueError("OFFLOAD_RUN is not set; the controller needs the run's name")
        data_dir = Path(environment.get("OFFLOAD_DATA_DIR", ".offload/pod"))
        self.services = load_settings(environment=environment).services
        self.database = Database.connect(self.services.database)
        self.database.check_schema()
        self.run = load_run(self.database, self.run_name)
        self.network = load_network(self.database, self.run)
        self.storage = open_storage(self.services.storage, self.database)
        self.registry = open_registry(self.services.registry, self.database)
        self.configuration = open_configuration(self.services.configuration, self.database)
        self.metrics = Metrics()
        self.failure: str | None = None
        self.stopping = threading.Event()
        self._fleet: LocalFleet | None = None
        if fleet == "local":
            self._fleet = LocalFleet(
                self.network.nodes,
                self.run_name,
                node_command,
                {**environment, "OFFLOAD_BIND": "127.0.0.1:0"},
                data_dir / "logs",
                self.registry,
                self._fail,
            )
        self.server = ControllerServer(environment.get("OFFLOAD_BIND", "127.0.0.1:0"))
        self.episodes = Episodes(
            self.database,
            self.run,
            self.network,
            self.configuration,
            self.node_addresses,
            self.server.address,
            self.metrics,
        )
        self._asked: queue.SimpleQueue[EpisodeState | None] = queue.SimpleQueue()
        self._opening = threading.Lock()
        self._busy = threading.Event()
        self._serving = threading.Event()
        self._ready = False
        self._started_at = time.time()

    # --- life ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run until told to stop. Raises FleetError when the nodes cannot be kept running."""
        self._abort_left_over()
        record = self.configuration.create(self.run_name, self.run.settings.hot(), SERVICE)
        _logger.info("hot keys are at revision %d, written by %s", record.revision, record.written_by)
        file = watched_file(self.services.configuration)
        stop_watching = watch_file(self.configuration, self.run_name, file) if file else lambda: None
        self.server.start(make_app(self))
        self._register()
        threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("player", self._play_all), ("heartbeat", self._beat))
        ]
        try:
            if self._fleet is not None:
                self._fleet.start()
                self._fleet.addresses()
            for thread in threads:
                thread.start()
            self._ready = True
            self._heartbeat()
            _logger.info("controller of run %s answers at %s", self.run_name, self.server.address)
            self.stopping.wait()
        finally:
            self.stopping.set()
            self._asked.put(None)
            stop_watching()
            if self.episodes.state is not None:
                self.episodes.state.aborting = "the controller was stopped"
            for thread in threads:
                if thread.is_alive():
                    thread.join(timeout=5)
            if self._fleet is not None:
                self._fleet.stop()
            self._deregister()
            self.server.stop()
            self.database.close()
        if self.failure:
            raise FleetError(self.failure)

    def _fail(self, reason: str) -> None:
        _logger.error("%s", reason)
        self.failure = reason
        self.stopping.set()

    def _abort_left_over(self) -> None:
        """Episodes that a dead predecessor left open will not be finished by anybody."""
        for episode in find_episodes(self.database, self.run, status="open"):
            abort_episode(self.database, self.run, episode.episode, "its controller died")
            _logger.warning("episode %d was left open by a controller that died; it is aborted", episode.episode)

    # --- what REST asks for -------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether episodes can be played."""
        return self._ready and not self.stopping.is_set()

    def node_addresses(self) -> Mapping[int, str]:
        """Where the nodes answer that are ready now."""
        if self._fleet is not None:
            return self._fleet.ready()
        now = time.time()
        found = self.registry.instances("edgenode", self.run_name)
        return {int(one.instance): one.address for one in found if one.alive(now) and one.metadata.get("ready")}

    def ask_for(self, plan: EpisodePlan, recorded: Trace | None = None) -> int:
        """Open an episode and have it played; its number. Raises BusyError, OpeningError, SettingsError."""
        with self._opening:
            if self._busy.is_set() or self._serving.is_set():
                raise BusyError("another episode is being played")
            state = self.episodes.open(plan, recorded)
            self._busy.set()
            self._asked.put(state)
            return state.episode

    def wait_for(self, episode: int, timeout_s: float) -> None:
        """Return when the episode is over, or after the time-out."""
        state = self.episodes.state
        if state is not None and state.episode == episode:
            state.ended.wait(timeout_s)

    def abort(self, episode: int, reason: str) -> bool:
        """End the episode that is being played; False when it is another one."""
        state = self.episodes.state
        if state is None or state.episode != episode:
            return False
        state.aborting = reason
        return True

    def set_serving(self, serving: bool) -> None:
        """Begin or end continuous arrivals."""
        if serving:
            self._serving.set()
            self._asked.put(None)
        else:
            self._serving.clear()

    @property
    def serving(self) -> bool:
        """Whether arrivals are continuous."""
        return self._serving.is_set()

    def activate(self, version: str) -> HotRecord:
        """Make a version the active model. Raises LookupError when there is no such version."""
        versions = [row.version for row in find_models(self.database, self.run)]
        if version not in versions:
            raise LookupError(f"there is no model '{version}'; there are: {', '.join(versions) or 'none yet'}")
        return self.configuration.change(self.run_name, {"scheduler.model": version}, "activate")

    # --- threads ------------------------------------------------------------------------------------------------

    def _play_all(self) -> None:
        while not self.stopping.is_set():
            try:
                state = self._asked.get(timeout=0.05) if self._serving.is_set() else self._asked.get()
            except queue.Empty:
                state = None
            try:
                if state is not None:
                    self.episodes.play(state)
                elif self._serving.is_set() and not self.stopping.is_set():
                    self._play_continuously()
            except Exception as error:
                _logger.exception("the episode failed")
                self._fail(f"the player failed: {error}")
            finally:
                self._busy.clear()

    def _play_continuously(self) -> None:
        """One more episode with whatever scheduler is set now."""
        with self._opening:
            record = self.configuration.read(self.run_name)
            assert record is not None
            chosen = record.hot["scheduler"]
            played = find_episodes(self.database, self.run, phase="serve", status=None)
            trace = CONTINUOUS_TRACES + len(played)
            plan = EpisodePlan(
                "serve", chosen["name"], trace, chosen["name"], parameters=chosen["parameters"], model=chosen["model"]
            )
            self._busy.set()
            state = self.episodes.open(plan)
        self.episodes.play(state)

    def _metadata(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "ready": self._ready, "serving": self.serving}

    def _register(self) -> None:
        now = time.time()
        self.registry.register(
            Instance(SERVICE, "0", self.run_name, self.server.address, self._metadata(), self._started_at, now)
        )

    def _heartbeat(self) -> None:
        try:
            self.registry.heartbeat(SERVICE, "0", self.run_name, self._metadata())
        except LookupError:
            self._register()
        except SQLAlchemyError as error:
            _logger.warning("the registry does not take the heartbeat (%s)", type(error).__name__)

    def _deregister(self) -> None:
        try:
            self.registry.deregister(SERVICE, "0", self.run_name)
        except SQLAlchemyError as error:
            _logger.warning("could not deregister (%s)", type(error).__name__)

    def _beat(self) -> None:
        while not self.stopping.wait(_HEARTBEAT_S):
            self._heartbeat()


def serve(environment: Mapping[str, str], fleet: str, node_command: Sequence[str]) -> None:
    """Run a controller until SIGTERM, SIGINT, or the end of the lifeline."""
    sys.setswitchinterval(0.0005)
    controller = Controller(environment, fleet, node_command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: controller.stopping.set())
    if "OFFLOAD_LIFELINE" in environment:
        threading.Thread(target=_watch_lifeline, args=(controller.stopping,), name="lifeline", daemon=True).start()
    controller.serve()


def _watch_lifeline(stopping: threading.Event) -> None:
    """The parent holds the other end of our standard input: when it is gone, however that happened, so are we."""
    # Not through sys.stdin: its lock would be held when the interpreter shuts down.
    while os.read(0, 1):
        pass
    stopping.set()
