"""An edge node as a process: finds its services, says who it is, serves, and ends when told or when its parent is gone.

Concurrency: the main thread waits for the end. A heartbeat thread keeps the registration fresh and acknowledges the
applied revision; a watcher thread of the configuration applies new ones; a lifeline thread notices the parent's death.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from edgenode.activation import Activation, ActivationError, ModelUnavailable
from edgenode.applications import create_application
from edgenode.clock import offset_to
from edgenode.fencing import Fence, end_with_controller
from edgenode.folder import own_folder
from edgenode.http import NodeApp, node_server
from edgenode.identity import NodeIdentity
from edgenode.interface import OpenEpisode
from edgenode.metrics import Metrics
from edgenode.node import EdgeNode
from edgenode.outbox import Outbox, most_records
from edgenode.stimuli import VARIABLE
from middleware.configuration import HotRecord, load_settings, open_configuration
from middleware.database import Database, Run, current_epoch, deliver_records, load_network, load_run
from middleware.descriptors import descriptors_of_node, provide_descriptors
from middleware.errors import ServiceError, ServiceUnavailable
from middleware.http.access import Access
from middleware.lifeline import end_with_any_thread, end_with_parent, leaving_s
from middleware.patience import bear, patiently
from middleware.registry import EDGE_NODE, Instance, Registry, keep_registered, open_registry
from middleware.storage import open_storage
from offload.profiles import make_profile
from offload.settings import SettingsError

_HEARTBEAT_S = 1.5
_REGISTER_S = 0.2
_WATCH_S = 1.0
_LEAVING_POLL_S = 0.1
_SWITCH_INTERVAL_S = 0.005
"""Threads that wait for the interpreter get it after this long: timers matter more here than throughput."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeEnvironment:
    """Who this pod is, from its environment variables (docs/contracts.md).

    epoch: of the controller that started it, for a node of a local fleet
    stimulus_log: the folder of its stimulus logs, if it writes any
    """

    run: str
    node: int
    bind: str
    data_dir: Path
    leaving_s: float = 0.0
    epoch: int | None = None
    stimulus_log: Path | None = None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> NodeEnvironment:
        """Raises SettingsError naming the variable that is missing or wrong."""
        for name in ("OFFLOAD_RUN", "OFFLOAD_NODE"):
            if not environment.get(name):
                raise SettingsError(f"{name} is not set; a node needs the run's name and its own index")
        node = environment["OFFLOAD_NODE"]
        if not node.isdigit():
            raise SettingsError(f"OFFLOAD_NODE={node!r}: an index is needed, 0 or more")
        epoch = environment.get("OFFLOAD_EPOCH")
        if epoch is not None and not epoch.isdigit():
            raise SettingsError(f"OFFLOAD_EPOCH={epoch!r}: the number of the controller's lease is needed")
        return cls(
            run=environment["OFFLOAD_RUN"],
            node=int(node),
            bind=environment.get("OFFLOAD_BIND", "127.0.0.1:0"),
            data_dir=Path(environment.get("OFFLOAD_DATA_DIR", ".offload/pod")),
            leaving_s=leaving_s(environment),
            epoch=None if epoch is None else int(epoch),
            stimulus_log=Path(folder) if (folder := environment.get(VARIABLE)) else None,
        )


def serve(environment: Mapping[str, str]) -> None:
    """Run a node until SIGTERM, SIGINT, or the lifeline's end. Raises UserError for a wrong start, ServiceError."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    end_with_any_thread()
    who = NodeEnvironment.read(environment)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if "OFFLOAD_LIFELINE" in environment:
        end_with_parent(stop)

    access = Access.read(environment)
    services = load_settings(environment=environment).services
    database = Database.connect(services.database)
    patiently(database.check_schema, stopping=stop)
    run = patiently(lambda: load_run(database, who.run), stopping=stop)
    network = patiently(lambda: load_network(database, run), stopping=stop)

    def epoch_now() -> int:
        return current_epoch(database, run)

    overtaken = threading.Event()
    if who.epoch is not None:
        started_by = who.epoch
        overtaken = patiently(lambda: end_with_controller(started_by, epoch_now, stop), stopping=stop)
    if who.node >= network.nodes:
        raise SettingsError(
            f"OFFLOAD_NODE={who.node}: run '{run.name}' has {network.nodes} nodes, 0 to {network.nodes - 1}"
        )
    settings, profile = run.settings, make_profile(run.settings)
    transfer = settings.node.transfer
    needed = descriptors_of_node(network.nodes, transfer)
    provide_descriptors(needed, f"an edge node with node.transfer: {transfer}", network.nodes)
    storage = open_storage(services.storage, database)
    configuration = open_configuration(services.configuration, database)
    registration = _Registration(open_registry(services.registry, database), who)

    metrics = Metrics()
    folder = _outbox_folder(who, run)
    owned = own_folder(folder, stop)
    outbox = Outbox(
        folder,
        lambda records: deliver_records(database, run.number, records),
        settings.node.write_interval_s,
        most_records(network.nodes, settings.time.slots),
    )
    identity = NodeIdentity(
        run.name, run.uid, who.node, network, settings, profile, registration.address_of, access, who.stimulus_log
    )
    activation = Activation(identity, storage, registration.soon)
    application = create_application(settings.node.application)
    node = EdgeNode(identity, activation, outbox, application, metrics)
    # A peer may wait for a report and hand a task over at once.
    server = node_server(who.bind, 2 * network.nodes + 8, access)

    def apply(record: HotRecord) -> None:
        try:
            activation.apply(record)
        except ActivationError:
            registration.soon()  # told in the log and in the status; the one before stays
        except ModelUnavailable:
            registration.soon()
            raise  # the watch brings it again

    clock = _ControllerClock(access)

    def open_episode(body: OpenEpisode) -> dict[str, Any]:
        if stop.is_set() and body.episode != node.status()["episode"]:
            raise ServiceUnavailable(f"node {who.node} is leaving")
        active = activation.catch_up(
            lambda: configuration.read(run.name), body.revision, settings.node.request_timeout_s
        )
        try:
            error = clock.map(body.controller, settings.node.request_timeout_s)
        except (OSError, HTTPException, LookupError, TypeError, ValueError) as trouble:
            raise ServiceUnavailable(
                f"the controller's clock at {body.controller} does not answer: {trouble!r}"
            ) from None
        node.open_episode(body.episode, body.episode_uid, body.trace, body.peers)
        if body.start_s is not None:
            node.start_episode(body.episode, clock.here(body.start_s))
        return {"revision": active.revision, "model": active.model, "offset_error_s": error}

    stop_watching = configuration.watch(run.name, apply, _WATCH_S)
    outbox.start()
    server.start(NodeApp(node, open_episode, clock.here, metrics, Fence(epoch_now, node.change_controller)))
    gc.freeze()  # what is loaded by now stays: no collection has to look through it
    registration.begin(server.address, lambda: _acknowledgement(activation, stop.is_set(), who.epoch))
    _logger.info("node %d of run %s answers at %s", who.node, run.name, server.address)
    stop.wait()
    if who.leaving_s and node.is_playing() and not overtaken.is_set():
        _logger.info("node %d leaves when episode %d is over", who.node, node.status()["episode"])
        registration.soon()
        until = time.monotonic() + who.leaving_s
        while node.is_playing() and time.monotonic() < until and not overtaken.is_set():
            time.sleep(_LEAVING_POLL_S)
    _logger.info("node %d ends", who.node)
    with ExitStack() as ending:
        # The last one first, each whatever the ones before raise: a server that is not stopped keeps the process alive.
        if owned is not None:
            ending.callback(owned.close)
        for stopped in (database.close, server.stop, outbox.stop, node.end_episode, stop_watching, registration.end):
            ending.callback(stopped)


def _outbox_folder(who: NodeEnvironment, run: Run) -> Path:
    """Of this node in this run of this database: what another run left on the disk waits for that run."""
    outboxes = who.data_dir / f"node-{who.node}" / "outbox"
    if old := list(outboxes.glob("*.jsonl")):
        _logger.warning(
            "%d files of records in %s are of an older version: they do not name their run and are not delivered",
            len(old), outboxes,
        )  # fmt: skip
    return outboxes / run.uid


def _acknowledgement(activation: Activation, leaving: bool, epoch: int | None) -> dict[str, Any]:
    active = activation.current
    return {
        "pid": os.getpid(),
        "epoch": epoch,
        "ready": active is not None and not leaving,
        "revision": active.revision if active else 0,
        "scheduler": active.name if active else None,
        "model": active.model if active else None,
        "problem": activation.problem,
        "refused": activation.refused,
    }


class _ControllerClock:
    """The controller's monotonic clock on this machine's."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._offset_s = 0.0

    def map(self, controller: str, timeout_s: float) -> float:
        """Ask several times; returns the greatest possible error in real seconds. Raises OSError."""
        import json

        connection = self._access.connection(controller, timeout_s)

        def remote() -> float:
            connection.request("GET", "/v1/clock", headers=self._access.headers())
            instant = float(json.loads(connection.getresponse().read())["monotonic_s"])
            if not math.isfinite(instant):
                raise ValueError(f"monotonic_s: {instant}")
            return instant

        try:
            self._offset_s, error = offset_to(remote)
        finally:
            connection.close()
        return error

    def here(self, controller_s: float) -> float:
        """An instant of the controller's clock on this machine's."""
        return controller_s - self._offset_s


class _Registration:
    """The node's entry in the registry, kept fresh by a thread; and where the other nodes are."""

    def __init__(self, registry: Registry, who: NodeEnvironment) -> None:
        self._registry = registry
        self._who = who
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._looked_up: dict[int, float] = {}
        self._started_at = time.time()

    def begin(self, address: str, metadata: Any) -> None:
        self._address, self._metadata = address, metadata
        self._thread.start()

    def soon(self) -> None:
        """Acknowledge now, not at the next heartbeat."""
        self._wake.set()

    def end(self) -> None:
        self._ending.set()
        self._wake.set()
        self._thread.join(timeout=5)
        try:
            self._registry.deregister(self._instance())
        except ServiceError as error:
            bear(error, "leaving the registry")

    def address_of(self, node: int) -> str | None:
        """Where another node is registered now; asked at most twice a second per node."""
        now = time.monotonic()
        if now - self._looked_up.get(node, -1.0) < 0.5:
            return None
        self._looked_up[node] = now
        try:
            found = self._registry.instances(EDGE_NODE, self._who.run)
        except ServiceError as error:
            bear(error, f"looking for node {node}")
            return None
        return next((one.address for one in found if one.instance == str(node)), None)

    def _instance(self) -> Instance:
        who = self._who
        return Instance(EDGE_NODE, str(who.node), who.run, self._address, self._metadata(), self._started_at)

    def _beat(self) -> None:
        # A heartbeat alone would leave a predecessor's address there. It ends with the process, not with patience: a node
        # that is not registered is not ready, and whoever waits for it decides how long.
        while not self._ending.is_set():
            try:
                self._registry.register(self._instance())
                break
            except ServiceError as error:
                bear(error, "registering")
            self._ending.wait(_REGISTER_S)
        ours = True
        while not self._ending.is_set():
            self._wake.wait(timeout=_HEARTBEAT_S)
            self._wake.clear()
            if self._ending.is_set():
                return
            before, ours = ours, keep_registered(self._registry, self._instance())
            if before and not ours:
                _logger.warning(
                    "another process has registered as node %d; this one is not asked any more", self._who.node
                )
