"""Runs an edge node as a process: connects to its services and serves, until it is stopped or its parent ends.

Concurrency: the main thread waits for the end. A heartbeat thread keeps the registration fresh and acknowledges the
applied revision. The configuration's watcher thread applies new revisions. A lifeline thread detects the parent's end.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from edgenode.activation import Activation, ActivationError, ModelUnavailable
from edgenode.applications import create_application
from edgenode.controller_clock import offset_of_controller
from edgenode.environment import NodeEnvironment
from edgenode.fencing import Fence, end_with_controller
from edgenode.folder import own_folder
from edgenode.http.app import NodeApp
from edgenode.http.server import node_server
from edgenode.identity import NodeIdentity
from edgenode.interface import OpenEpisode
from edgenode.metrics import Metrics
from edgenode.node import EdgeNode
from edgenode.outbox import Outbox, most_records
from edgenode.registration import Registration
from middleware.configuration import LiveSettings, load_settings, open_configuration
from middleware.database import Database, Run, current_epoch, deliver_records, load_network, load_run
from middleware.descriptors import descriptors_of_node, provide_descriptors
from middleware.errors import ServiceUnavailable
from middleware.http.access import Access
from middleware.lifeline import end_with_any_thread, end_with_parent
from middleware.registry import open_registry
from middleware.retrying import retry_while_unavailable
from middleware.storage import open_storage
from offload.network import Network
from offload.profiles import make_profile
from offload.settings import SettingsError

_WATCH_S = 1.0
_LEAVING_POLL_S = 0.1
_SWITCH_INTERVAL_S = 0.005
"""Threads that wait for the interpreter get it after this many seconds: timers matter more here than throughput."""

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def serve(environment: Mapping[str, str]) -> None:
    """Run a node until SIGTERM, SIGINT, or the end of the parent process.

    environment: the variables in docs/contracts.md

    Raises UserError if the start is wrong, and ServiceError.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    end_with_any_thread()
    who = NodeEnvironment.read(environment)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if "OFFLOAD_LIFELINE" in environment:
        end_with_parent(stop)
    Process(environment, who, stop).serve()


class Process:
    """The parts of one node process, made from its environment. It serves until `stop` is set."""

    def __init__(self, environment: Mapping[str, str], who: NodeEnvironment, stop: threading.Event) -> None:
        self._who = who
        self._stop = stop
        self._access = access = Access.read(environment)
        services = load_settings(environment=environment).services
        self._database = database = Database.connect(services.database)
        self._retry_while_unavailable(database.check_schema)
        self._run = run = self._retry_while_unavailable(lambda: load_run(database, who.run))
        network = self._retry_while_unavailable(lambda: load_network(database, run))
        self._overtaken = self._watch_controller()
        _check_place(who, run, network)
        storage = open_storage(services.storage, database)
        self._configuration = open_configuration(services.configuration, database)
        self._registration = Registration(open_registry(services.registry, database), who.run, who.node)
        self._metrics = Metrics()
        folder = _outbox_folder(who, run)
        self._owned = own_folder(folder, stop)
        self._outbox = self._open_outbox(folder, network)
        identity = NodeIdentity(
            run.name,
            run.uid,
            who.node,
            network,
            run.settings,
            make_profile(run.settings),
            self._registration.address_of,
            access,
            who.stimulus_log,
        )
        self._activation = Activation(identity, storage, self._registration.soon)
        application = create_application(run.settings.node.application)
        self._node = EdgeNode(identity, self._activation, self._outbox, application, self._metrics)
        # A peer may wait for a report and hand a task over at the same time.
        self._server = node_server(who.bind, 2 * network.nodes + 8, access)

    def serve(self) -> None:
        """Run until `stop` is set. Then run until the open episode is over, if the environment allows it."""
        who = self._who
        stop_watching = self._configuration.watch(self._run.name, self._apply, _WATCH_S)
        self._outbox.start()
        fence = Fence(self._epoch_now, self._node.change_controller)
        self._server.start(NodeApp(self._node, self._open_episode, self._metrics, fence))
        gc.freeze()  # the garbage collector then skips all objects that exist now
        self._registration.begin(
            self._server.address, lambda: _acknowledgement(self._activation, self._stop.is_set(), who.epoch)
        )
        _logger.info("node %d of run %s answers at %s", who.node, self._run.name, self._server.address)
        self._stop.wait()
        self._leave()
        _logger.info("node %d ends", who.node)
        with ExitStack() as ending:
            # In reverse order; an error in one does not prevent the others. A server that is not stopped keeps the
            # process alive.
            if self._owned is not None:
                ending.callback(self._owned.close)
            for stopped in (
                self._database.close,
                self._server.stop,
                self._outbox.stop,
                self._node.end_episode,
                stop_watching,
                self._registration.end,
            ):
                ending.callback(stopped)

    # --- start --------------------------------------------------------------------------------------------------

    def _watch_controller(self) -> threading.Event:
        """An event that is set when the controller that started this node no longer controls the run."""
        started_by = self._who.epoch
        if started_by is None:
            return threading.Event()
        return self._retry_while_unavailable(lambda: end_with_controller(started_by, self._epoch_now, self._stop))

    def _open_outbox(self, folder: Path, network: Network) -> Outbox:
        database, run = self._database, self._run
        return Outbox(
            folder,
            lambda records: deliver_records(database, run.number, records),
            run.settings.node.write_interval_s,
            most_records(network.nodes, run.settings.time.slots),
        )

    def _epoch_now(self) -> int:
        return current_epoch(self._database, self._run)

    def _retry_while_unavailable(self, call: Callable[[], _Result]) -> _Result:
        return retry_while_unavailable(call, stopping=self._stop)

    # --- callbacks ----------------------------------------------------------------------------------------------

    def _apply(self, record: LiveSettings) -> None:
        """Apply a new revision. The configuration's watcher thread calls this."""
        try:
            self._activation.apply(record)
        except ActivationError:
            self._registration.soon()  # the log and the status show the error; the revision before stays
        except ModelUnavailable:
            self._registration.soon()
            raise  # the watcher calls again

    def _open_episode(self, body: OpenEpisode, check_again: Callable[[], None]) -> dict[str, Any]:
        """Open an episode for the controller; see `Opener` in `edgenode/http/episodes.py`."""
        node = self._node
        if self._stop.is_set() and body.episode != node.status()["episode"]:
            raise ServiceUnavailable(f"node {self._who.node} is leaving")
        timeout_s = self._run.settings.node.request_timeout_s
        active = self._activation.catch_up(lambda: self._configuration.read(self._run.name), body.revision, timeout_s)
        try:
            offset_s, error = offset_of_controller(body.controller, self._access, timeout_s)
        except (OSError, LookupError, TypeError, ValueError) as trouble:
            raise ServiceUnavailable(
                f"the controller's clock at {body.controller} does not answer: {trouble!r}"
            ) from None
        node.open_episode(body.episode, body.episode_uid, body.trace, body.peers, offset_s, check_again)
        if body.start_s is not None:
            node.start_episode(body.episode, body.start_s)
        return {"revision": active.revision, "model": active.model, "offset_error_s": error}

    # --- end ----------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Wait for the open episode's end, at most `leaving_s`, and only while no other controller controls the run."""
        node, leaving_s = self._node, self._who.leaving_s
        if not leaving_s or not node.has_open_episode() or self._overtaken.is_set():
            return
        _logger.info("node %d leaves when episode %d is over", self._who.node, node.status()["episode"])
        self._registration.soon()
        until = time.monotonic() + leaving_s
        while node.has_open_episode() and time.monotonic() < until and not self._overtaken.is_set():
            time.sleep(_LEAVING_POLL_S)


def _check_place(who: NodeEnvironment, run: Run, network: Network) -> None:
    """Raises SettingsError if the run has no such node, or if the machine offers too few file descriptors."""
    if who.node >= network.nodes:
        raise SettingsError(
            f"OFFLOAD_NODE={who.node}: run '{run.name}' has {network.nodes} nodes, 0 to {network.nodes - 1}"
        )
    transfer = run.settings.node.transfer
    needed = descriptors_of_node(network.nodes, transfer)
    provide_descriptors(needed, f"an edge node with node.transfer: {transfer}", network.nodes)


def _outbox_folder(who: NodeEnvironment, run: Run) -> Path:
    """The outbox folder of this node in this run. Records of another run stay in that run's folder."""
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
        "scheduler": active.choice.name if active else None,
        "model": active.model if active else None,
        "problem": activation.problem,
        "refused": activation.refused,
    }
