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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from controller.episodes import BusyError, Episodes, EpisodeState, OpeningError, RefusedError
from controller.fleet import FleetError, LocalFleet
from controller.http import controller_server, make_app
from controller.killings import Killings, killings_per_hour
from controller.metrics import Metrics
from controller.nodes import NodeClients
from controller.pods import NodePods
from middleware.access import Access
from middleware.configuration import HotRecord, changed, load_settings, open_configuration, watch_file, watched_file
from middleware.database import (
    Database,
    EpisodeSummary,
    abort_episode,
    find_episodes,
    find_models,
    forget_episodes,
    load_network,
    load_run,
    record_pod_event,
)
from middleware.lifeline import end_with_any_thread, end_with_parent, leaving_s
from middleware.patience import is_away, is_away_or_refuses, patiently
from middleware.registry import Instance, keep_registered, open_registry
from middleware.storage import open_storage
from offload.episodes import CONTINUOUS_TRACES, EpisodePlan
from offload.settings import Settings, SettingsError
from offload.tasks import Trace

SERVICE = "controller"
SERVE_PHASE = "serve"
LAST_EPISODES = 10
READY_TIMEOUT_S = 120.0
FALLBACK = "fallback"
_HEARTBEAT_S = 1.0
_WATCH_S = 0.5
"""Twice as often as the nodes read: an edit in a console becomes a revision here first, and is to be everywhere in two seconds."""
_REFUSED_S = 1.0
_NODES_S = 0.25
_ENDING_S = 5.0
_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class AlreadyControlled(ValueError):
    """The run has a controller that lives."""


class Controller:
    """What the REST interface works on. See `serve` for the arguments."""

    def __init__(
        self,
        environment: Mapping[str, str],
        fleet: str,
        node_command: Sequence[str],
        check_hot: Callable[[Settings, Mapping[str, Any]], None],
        continuously: bool,
    ) -> None:
        self.continuously = continuously
        self.run_name = environment.get("OFFLOAD_RUN", "")
        if not self.run_name:
            raise ValueError("OFFLOAD_RUN is not set; the controller needs the run's name")
        data_dir = Path(environment.get("OFFLOAD_DATA_DIR", ".offload/pod"))
        self.access = Access.read(environment)
        self.services = load_settings(environment=environment).services
        self.database = Database.connect(self.services.database)
        patiently(self.database.check_schema)
        self.run = patiently(lambda: load_run(self.database, self.run_name))
        self.network = patiently(lambda: load_network(self.database, self.run))
        self.storage = open_storage(self.services.storage, self.database)
        self.registry = open_registry(self.services.registry, self.database)
        self.configuration = open_configuration(self.services.configuration, self.database, owner=True)
        self.metrics = Metrics()
        self.metrics.nodes.set(self.network.nodes)
        self.last: deque[EpisodeSummary] = deque(maxlen=LAST_EPISODES)
        self.trouble: str | None = None
        self.failure: str | None = None
        self._fallen_back: tuple[int, str] | None = None
        """The revision at which the fallback scheduler took over, and why."""
        self._check_hot = check_hot
        self.stopping = threading.Event()
        self.told_to_end = threading.Event()
        self._leaving_s = leaving_s(environment)
        self.pods = NodePods.of_cluster(environment) if fleet == "kubernetes" else None
        self._killings: Killings | None = None
        if per_hour := killings_per_hour(environment):
            if self.pods is None:
                raise ValueError("OFFLOAD_KILLINGS_PER_HOUR: only pods can be killed: --fleet kubernetes is needed")
            seed = self.run.settings.seed
            self._killings = Killings(self.pods, self.network.nodes, per_hour, seed, self._record_killing)
        self._fleet: LocalFleet | None = None
        if fleet == "local":
            self._fleet = LocalFleet(
                self.network.nodes,
                self.run_name,
                self.run.uid,
                node_command,
                {**environment, "OFFLOAD_BIND": "127.0.0.1:0"},
                data_dir / "logs",
                self.registry,
                self.stopping,
                self._fail,
                self.access,
            )
        self.server = controller_server(environment.get("OFFLOAD_BIND", "127.0.0.1:0"), self.access)
        self.episodes = Episodes(
            self.database,
            self.run,
            self.network,
            self.configuration,
            self.node_addresses,
            self.server.address,
            self.metrics,
            self.access,
        )
        self._asked: queue.SimpleQueue[EpisodeState | None] = queue.SimpleQueue()
        self._opening = threading.Lock()
        self._serving = threading.Event()
        self._threads = {
            name: threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("player", self._play_all), ("heartbeat", self._beat))
        }
        self._next_trace = CONTINUOUS_TRACES
        self._ready = False
        self._started_at = time.time()

    # --- life ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run until told to stop. Raises AlreadyControlled; FleetError when the nodes cannot be kept running."""
        with ExitStack() as ending:
            ending.callback(self.database.close)
            ending.callback(self.server.stop)
            self._require_alone()
            self._check_hot(self.run.settings, self.run.settings.hot())
            self._take_over()
            hot = self.run.settings.hot()
            record = self._patiently(lambda: self.configuration.create(self.run_name, hot, SERVICE))
            _logger.info("hot keys are at revision %d, written by %s", record.revision, record.written_by)
            if record.written_by == FALLBACK:
                self._fallen_back = (record.revision, "nodes refused it before this controller was started")
            self.server.start(make_app(self))
            ending.callback(self._deregister)
            self._patiently(lambda: self.registry.register(self._instance()))
            if self.pods is not None:
                ending.callback(self.pods.stop)
                self.pods.start()
            if self._fleet is not None:
                ending.callback(self._fleet.stop)
                self._fleet.start()
            ending.callback(self._end_threads)
            self._threads["heartbeat"].start()
            if file := watched_file(self.services.configuration):
                ending.callback(watch_file(self.configuration, self.run_name, file))
            ending.callback(self.configuration.watch(self.run_name, _apply_log_level, _WATCH_S))
            self._await_nodes()
            self._threads["player"].start()
            self._ready = True
            if self.continuously:
                self.set_serving(True)
            self._heartbeat()
            _logger.info("controller of run %s answers at %s", self.run_name, self.server.address)
            if self._killings is not None and self._ready:
                ending.callback(self._killings.stop)
                self._killings.start()
            while not self.stopping.wait(_NODES_S):
                if self.told_to_end.is_set():
                    self._leave()
        if self.failure:
            raise FleetError(self.failure)

    def _await_nodes(self) -> None:
        """Wait until all nodes are ready. Those of somebody else's may come when they like; a fleet's are ours to judge."""
        if self._fleet is not None and not self.continuously:
            self._fleet.addresses()
            return
        told, until = "", time.monotonic() + READY_TIMEOUT_S
        while not self.stopping.is_set():
            ready = set(self._patiently(self.node_addresses))
            missing = sorted(set(range(self.network.nodes)) - ready)
            if not missing:
                return
            refused = self._patiently(self._refused)
            if refused is not None and self._fall_back(refused):
                refused = None
            if self._fleet is not None and time.monotonic() > until:
                self._fleet.addresses(0)  # says which are not, and where to look
            why = f"; {refused}" if refused else ""
            words = f"{len(ready)} of {self.network.nodes} edge nodes are ready{self._words_of_pods(missing)}{why}"
            if words != told:
                _logger.info("%s", words)
                told = words
            self.stopping.wait(_NODES_S)

    def _words_of_pods(self, nodes: Sequence[int]) -> str:
        """What Kubernetes says that keeps nodes from working."""
        pods = {} if self.pods is None else self.pods.seen()
        reasons = [f"{pods[node].name}: {pods[node].reason}" for node in nodes if node in pods and pods[node].reason]
        return f" ({'; '.join(reasons)})" if reasons else ""

    def _refused(self) -> str | None:
        """Why a node does not begin with the hot keys as they are now; None when none refuses them."""
        record = self.configuration.read(self.run_name)
        for one in self.registry.instances("edgenode", self.run_name):
            if record is not None and one.metadata.get("refused") == record.revision and one.alive(time.time()):
                return f"node {one.instance} refuses: {one.metadata.get('problem')}"
        return None

    def _fall_back(self, why: str) -> bool:
        """Have the fallback scheduler decide from now on; False when it is what was refused."""
        name = self.run.settings.fallback_scheduler
        wanted = {"name": name, "parameters": {}, "model": None}
        record = self._patiently(lambda: self.configuration.read(self.run_name))
        if record is not None and record.hot["scheduler"] == wanted:
            return False
        record = self._patiently(lambda: self.configuration.change(self.run_name, {"scheduler": wanted}, FALLBACK))
        self._fallen_back = (record.revision, why)
        _logger.error("%s; %s decides instead, revision %d", why, name, record.revision)
        return True

    def end(self) -> None:
        """End: at once, or, where that is allowed, when the episode that is being played is over."""
        self.told_to_end.set()
        if not (self._leaving_s and self._ready):
            self.stopping.set()

    def fallback(self, record: HotRecord) -> str | None:
        """Why the fallback scheduler decides; None when it does not, or was chosen."""
        chosen = record.hot["scheduler"]
        if self._fallen_back is None or chosen["name"] != self.run.settings.fallback_scheduler or chosen["model"]:
            return None
        return self._fallen_back[1]

    def _leave(self) -> None:
        """Told to end: let the episode that is being played end first, for as long as that is allowed."""
        self.set_serving(False)
        state = self.episodes.state
        if state is not None:
            _logger.info("the controller leaves when episode %d is over", state.episode)
            state.ended.wait(self._leaving_s)
        self.stopping.set()

    def _record_killing(self, node: int, pod: str) -> None:
        self.metrics.pods_killed.inc()
        state = self.episodes.state
        episode, slot = (None, None) if state is None else (state.episode, state.slot)
        try:
            record_pod_event(self.database, self.run, node, pod, "killed", "failure injection", episode, slot)
        except Exception as error:
            if not is_away(error):
                raise
            _logger.warning("the killing of %s could not be recorded: the database is away", pod)

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        return patiently(call, stopping=self.stopping)

    def _end_threads(self) -> None:
        self.stopping.set()
        self._asked.put(None)
        if self.episodes.state is not None:
            self.episodes.state.abort("the controller was stopped")
        for thread in self._threads.values():
            if thread.is_alive():
                thread.join(timeout=_ENDING_S)

    def _fail(self, reason: str) -> None:
        _logger.error("%s", reason)
        self.failure = reason
        self.stopping.set()

    def _require_alone(self) -> None:
        """Two controllers would abort each other's episodes. A dead one's registration may still look fresh: ask it."""
        now = time.time()
        for other in self._patiently(lambda: self.registry.instances(SERVICE, self.run_name)):
            if other.alive(now):
                client = NodeClients({0: other.address}, self.run.uid, self.access)
                answer = client.ask("GET", "/v1/status", {0: None}, 2.0)[0]
                client.close()
                # One that refuses our token lives as well.
                if answer.status == 401 or (answer.ok and answer.body.get("run") == self.run_name):
                    raise AlreadyControlled(
                        f"run '{self.run_name}' has a controller already, at {other.address} "
                        f"(process {other.metadata.get('pid')}); stop that one, or choose another name"
                    )

    def _take_over(self) -> None:
        """Learn what was played last. Episodes that a dead predecessor left open will not be finished by anybody."""
        for episode in self._patiently(lambda: find_episodes(self.database, self.run, status=None)):
            if episode.status == "open":
                self._patiently(partial(abort_episode, self.database, self.run, episode.episode, "its controller died"))
                _logger.warning("episode %d was left open by a controller that died; it is aborted", episode.episode)
            elif episode.status == "closed":
                self.last.append(episode)
            if episode.plan.phase == SERVE_PHASE:
                self._next_trace = max(self._next_trace, episode.plan.trace + 1)

    # --- what REST asks for -------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether episodes can be played."""
        return self._ready and not self.stopping.is_set() and not self.told_to_end.is_set()

    def node_addresses(self) -> Mapping[int, str]:
        """Where the nodes answer that are ready now."""
        if self._fleet is not None:
            return self._fleet.ready()
        now = time.time()
        found = self.registry.instances("edgenode", self.run_name)
        ready = {int(one.instance): one.address for one in found if one.alive(now) and one.metadata.get("ready")}
        leaving = set() if self.pods is None else {node for node, pod in self.pods.seen().items() if pod.leaving}
        return {node: address for node, address in ready.items() if node not in leaving}

    def ask_for(self, plan: EpisodePlan, recorded: Trace | None = None) -> int:
        """Open an episode and have it played; its number. Raises BusyError, OpeningError, SettingsError."""
        if self._serving.is_set():
            raise BusyError("arrivals are continuous; DELETE /v1/serve ends them")
        wanted = {"name": plan.scheduler, "parameters": dict(plan.parameters), "model": plan.model}
        self._check_hot(self.run.settings, {"scheduler": wanted})
        if not self._opening.acquire(blocking=False):
            raise BusyError("another episode is being opened")
        try:
            state = self.episodes.open(plan, recorded)
        finally:
            self._opening.release()
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
        state.abort(reason)
        return True

    def set_serving(self, serving: bool) -> None:
        """Begin or end continuous arrivals: the episode that is being played then is the last one."""
        if serving:
            self._serving.set()
            self._asked.put(None)
        else:
            self._serving.clear()
            with self._opening:
                pass  # one that was being opened is open now: the caller can see it

    @property
    def serving(self) -> bool:
        """Whether arrivals are continuous."""
        return self._serving.is_set()

    def activate(self, version: str) -> HotRecord:
        """Make a version the active model. Raises LookupError when there is no such version."""
        versions = [row.version for row in find_models(self.database, self.run)]
        if version not in versions:
            raise LookupError(f"there is no model '{version}'; there are: {', '.join(versions) or 'none yet'}")
        return self.change({"scheduler.model": version}, "activate")

    def change(self, changes: Mapping[str, Any], by: str) -> HotRecord:
        """Change hot keys. Raises SettingsError for what no node could apply: nothing is written then."""
        record = self.configuration.read(self.run_name)
        if record is not None:
            self._check_hot(self.run.settings, changed(record.hot, changes))
        self._fallen_back = None
        return self.configuration.change(self.run_name, changes, by)

    # --- threads ------------------------------------------------------------------------------------------------

    def _play_all(self) -> None:
        try:
            while not self.stopping.is_set():
                state = self._next()
                if state is not None:
                    summary = self.episodes.play(state)
                    if summary is not None:
                        self.last.append(summary)
                    if state.plan.phase == SERVE_PHASE:
                        self._forget()
        except Exception as error:
            _logger.exception("the episode failed")
            self._fail(f"the player failed: {type(error).__name__}: {error}")

    def _forget(self) -> None:
        """Keep the database from growing for as long as arrivals are continuous."""
        try:
            forget_episodes(self.database, self.run, SERVE_PHASE, self.run.settings.kept_episodes)
        except Exception as error:
            if not is_away(error):
                raise  # else it is done after the next one

    def _next(self) -> EpisodeState | None:
        """What is to be played now: what was asked for, or one more of the continuous arrivals; None: nothing yet."""
        try:
            state = self._asked.get(block=not self._serving.is_set())
        except queue.Empty:
            state = None
        if state is not None or not self._serving.is_set() or self.stopping.is_set():
            return state
        with self._opening:
            if not self._serving.is_set():
                return None
            try:
                state = self._open_continuous()
                self.trouble = None
            except BusyError:
                return None  # one that was asked for just before is in the queue now
            except RefusedError as refused:
                if not self._fall_back(str(refused)):
                    self.trouble = str(refused)
                    _logger.error("no episode can be opened: %s", refused)
            except (OpeningError, SettingsError) as refused:
                # Whoever set what the nodes refuse will set something else: serving goes on then.
                self.trouble = str(refused)
                _logger.error("no episode can be opened: %s", refused)
        if state is None:
            self.stopping.wait(_REFUSED_S)
        return state

    def _open_continuous(self) -> EpisodeState:
        """One more episode with whatever scheduler is set now."""
        chosen = self.episodes.hot_keys()["scheduler"]
        plan = EpisodePlan(
            SERVE_PHASE,
            chosen["name"],
            self._next_trace,
            chosen["name"],
            parameters=chosen["parameters"],
            model=chosen["model"],
        )
        self._next_trace += 1
        return self.episodes.open(plan)

    def _metadata(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "ready": self._ready, "serving": self.serving}

    def _instance(self) -> Instance:
        return Instance(
            SERVICE, "0", self.run_name, self.server.address, self._metadata(), self._started_at, time.time()
        )

    def _heartbeat(self) -> None:
        keep_registered(self.registry, self._instance())

    def _deregister(self) -> None:
        try:
            self.registry.deregister(SERVICE, "0", self.run_name)
        except Exception as error:
            if not is_away_or_refuses(error):
                raise

    def _beat(self) -> None:
        while not self.stopping.wait(_HEARTBEAT_S):
            self._heartbeat()


def serve(
    environment: Mapping[str, str],
    fleet: str,
    node_command: Sequence[str],
    check_hot: Callable[[Settings, Mapping[str, Any]], None],
    continuously: bool = False,
) -> None:
    """Run a controller until SIGTERM, SIGINT, or the end of the lifeline.

    environment: as docs/contracts.md has it; fleet: `local` starts the nodes here with `node_command`, `none` finds them
    in the registry, `kubernetes` does and watches their pods; check_hot: raises SettingsError for hot keys of these settings that no node could apply; continuously: begin
    with continuous arrivals
    Raises ValueError, LookupError or SchemaError for a wrong start, FleetError when nodes cannot be kept running.
    """
    sys.setswitchinterval(0.0005)
    end_with_any_thread()
    controller = Controller(environment, fleet, node_command, check_hot, continuously)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: controller.end())
    if "OFFLOAD_LIFELINE" in environment:
        end_with_parent(controller.stopping)
    controller.serve()


def _apply_log_level(record: HotRecord) -> None:
    logging.getLogger().setLevel(record.hot["log_level"])
