"""Runs the controller process: reads its environment, makes and starts all parts, and stops them on a signal.

Concurrency:

* The main thread makes all parts, starts them, waits until `Lifecycle.stopping` is set, and stops them in reverse
  order. The signal handlers also run in it.
* The other threads belong to the parts: the player (`player.py`), the heartbeat (`registration.py`), the lease
  (`middleware/database/leases.py`), the fleet (`fleet.py`), the pods (`pods.py`), failure injection (`killings.py`),
  the server's workers (`http/`), and the watchers of the live settings (`middleware/configuration/`).
* A part that cannot continue reports to `Lifecycle`. Any thread may do that. After its constructor, `Process` changes
  only `Lifecycle.begun`, in the main thread.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

from controller.control import CheckChoice, Control
from controller.episode_runtime import Episodes
from controller.fleet import FleetError, LocalFleet
from controller.holding import take_control
from controller.http.app import controller_server, make_app
from controller.killings import Killings, killings_per_hour
from controller.lifecycle import Lifecycle
from controller.metrics import Metrics
from controller.player import Player
from controller.pods import NodePods
from controller.readiness import Fallback, Readiness
from controller.registration import Registration
from controller.run_services import RunServices
from middleware.configuration import LiveSettings, watch_file, watched_file
from middleware.database import LeaseHolder, LeaseLost, holder_of, record_pod_event
from middleware.descriptors import descriptors_of_controller, descriptors_of_node, provide_descriptors
from middleware.errors import ServiceError
from middleware.http.address import loopback_beside
from middleware.lifeline import end_with_any_thread, end_with_parent, leaving_s
from middleware.registry import CONTROLLER
from middleware.retrying import log_refusal, retry_while_unavailable
from offload.settings import Settings, SettingsError

_SWITCH_S: Final = 0.0005
_WATCH_S: Final = 0.5
"""Real seconds between two reads of the live settings, half of the nodes' interval. An edit in a console first becomes
a revision here. It reaches all nodes within two seconds."""
_POLL_S: Final = 0.25

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def serve(
    environment: Mapping[str, str],
    fleet: str,
    node_command: Sequence[str],
    check_choice: CheckChoice,
    continuously: bool = False,
) -> None:
    """Run a controller until SIGTERM, SIGINT, or the end of the lifeline.

    environment: the variables of docs/contracts.md
    fleet: `local` starts the nodes here with `node_command`; `none` finds them in the registry; `kubernetes` finds them
        in the registry and watches their pods
    check_choice: raises SettingsError for a choice that no node of a run with these settings could apply
    continuously: begin with continuous arrivals

    Raises UserError for a wrong configuration, ServiceError if a service refuses a request or stays unavailable,
    FleetError if nodes cannot be kept running, and ClosingError. LeaseHeld and LeaseLost are UserErrors: another
    process controls the run.
    """
    sys.setswitchinterval(_SWITCH_S)
    end_with_any_thread()
    process = Process(environment, fleet, node_command, check_choice, continuously)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.lifecycle.end())
    if "OFFLOAD_LIFELINE" in environment:
        end_with_parent(process.lifecycle.stopping)
    process.serve()


class Process:
    """The parts of one controller process, made from its environment. See `serve` for the arguments."""

    def __init__(
        self,
        environment: Mapping[str, str],
        fleet: str,
        node_command: Sequence[str],
        check_choice: CheckChoice,
        continuously: bool,
    ) -> None:
        self._check_choice = check_choice
        self._services = services = RunServices.open(environment)
        run, network = services.run, services.network
        _provide_descriptors(run.settings, network.nodes, fleet)
        self._metrics = Metrics()
        self._metrics.nodes.set(network.nodes)
        self.lifecycle = lifecycle = Lifecycle(leaving_s(environment))
        self._holder = LeaseHolder(services.database, run, holder_of(environment), lifecycle.stopping, self._lose)
        self._pods = NodePods.of_cluster(environment) if fleet == "kubernetes" else None
        self._killings = self._killings_of(environment)
        self._fleet = _local_fleet(services, environment, node_command, lifecycle) if fleet == "local" else None
        self._server = controller_server(_bind(environment), services.access)
        self._fallback = Fallback(services, self._holder, lifecycle.stopping)
        self._readiness = Readiness(
            services, self._fleet, self._pods, self._fallback, not continuously, lifecycle.stopping
        )
        self._episodes = Episodes(
            services.database,
            run,
            self._holder,
            network,
            services.configuration,
            self._readiness.addresses,
            self._server.address,
            self._metrics,
            services.access,
            lifecycle.stopping,
        )
        self._player = Player(services, self._holder, self._episodes, self._fallback, lifecycle, continuously)
        self._registration = Registration(
            services.registry, run.name, self._server.address, self._registered_metadata, lifecycle.stopping
        )
        self._control = Control(
            services,
            self._holder,
            self._episodes,
            self._player,
            self._fallback,
            self._pods,
            lifecycle,
            self._metrics,
            check_choice,
        )

    def serve(self) -> None:
        """Run until `Lifecycle.stopping` is set. Raises the errors of the function `serve`."""
        services, stopping = self._services, self.lifecycle.stopping
        with ExitStack() as ending:
            ending.callback(services.database.close)
            ending.callback(self._server.stop)
            self._retry_while_unavailable(lambda: take_control(self._holder, services.registry, services.run.name))
            ending.callback(self._holder.release)
            self._check_choice(services.run.settings, services.run.settings.scheduler.choice)
            self._player.resume()
            self._create_live_settings()
            self._server.start(make_app(self._control))
            ending.callback(self._registration.deregister)
            self._registration.register()
            self._start_nodes(ending)
            ending.callback(self._end_threads)
            self._registration.start()
            self._watch_live_settings(ending)
            self._readiness.wait()
            self._player.start()
            self.lifecycle.begun = True
            if self._player.continuously:
                self._player.set_serving(True)
            self._registration.heartbeat()
            _logger.info("controller of run %s answers at %s", services.run.name, self._server.address)
            if self._killings is not None:
                ending.callback(self._killings.stop)
                self._killings.start()
            while not stopping.wait(_POLL_S):
                if self.lifecycle.leaving.is_set():
                    self._leave()
        self.lifecycle.raise_reason()

    # --- beginning ----------------------------------------------------------------------------------------------

    def _create_live_settings(self) -> None:
        run, configuration = self._services.run, self._services.configuration
        record = self._retry_while_unavailable(lambda: configuration.create(run.name, run.settings.live(), CONTROLLER))
        _logger.info("live settings are at revision %d, written by %s", record.revision, record.written_by)
        self._fallback.recall(record)

    def _start_nodes(self, ending: ExitStack) -> None:
        if self._pods is not None:
            ending.callback(self._pods.stop)
            self._pods.start()
        if self._fleet is not None:
            ending.callback(self._fleet.stop)
            self._fleet.start(self._holder.lease.epoch)

    def _watch_live_settings(self, ending: ExitStack) -> None:
        services = self._services
        if file := watched_file(services.addresses.configuration):
            ending.callback(watch_file(services.configuration, services.run.name, file))
        ending.callback(services.configuration.watch(services.run.name, _apply_log_level, _WATCH_S))

    def _killings_of(self, environment: Mapping[str, str]) -> Killings | None:
        """The failure injection that the environment configures; None without one. Raises SettingsError."""
        per_hour = killings_per_hour(environment)
        if not per_hour:
            return None
        if self._pods is None:
            raise SettingsError("OFFLOAD_KILLINGS_PER_HOUR needs --fleet kubernetes: only pods can be killed")
        seed = self._services.run.settings.seed
        return Killings(self._pods, self._services.network.nodes, per_hour, seed, self._record_killing)

    def _registered_metadata(self) -> Mapping[str, Any]:
        return {
            "pid": os.getpid(),
            "holder": self._holder.holder,
            "ready": self.lifecycle.begun,
            "serving": self._player.serving,
        }

    # --- end ----------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Wait for the end of the current episode, for `leaving_s` at most, and then stop."""
        until = time.monotonic() + self.lifecycle.leaving_s
        self._player.set_serving(False, self.lifecycle.leaving_s)
        state = self._episodes.state
        if state is not None:
            _logger.info("the controller stops when episode %d has ended", state.episode)
            state.ended.wait(max(0.0, until - time.monotonic()))
        self.lifecycle.stopping.set()

    def _lose(self, lost: LeaseLost) -> None:
        """Stop, because another process controls the run. The lease's thread calls this."""
        self.lifecycle.lose(lost)
        self._episodes.abort(str(lost))

    def _end_threads(self) -> None:
        self.lifecycle.stopping.set()
        self._player.stop()
        self._registration.join()

    def _record_killing(self, node: int, pod: str) -> None:
        """Count and record a killed pod. The thread of the failure injection calls this."""
        self._metrics.pods_killed.inc()
        state = self._episodes.state
        episode, slot = (None, None) if state is None else (state.episode, state.slot)
        database, run = self._services.database, self._services.run
        try:
            record_pod_event(database, run, node, pod, "killed", "failure injection", episode, slot)
        except ServiceError as error:  # the injection continues
            log_refusal(error, "recording a failure injection")
            _logger.warning("could not record that pod %s was killed", pod)

    def _retry_while_unavailable(self, call: Callable[[], _Result]) -> _Result:
        return retry_while_unavailable(call, stopping=self.lifecycle.stopping)


def _bind(environment: Mapping[str, str]) -> str:
    return environment.get("OFFLOAD_BIND", "127.0.0.1:0")


def _local_fleet(
    services: RunServices, environment: Mapping[str, str], node_command: Sequence[str], lifecycle: Lifecycle
) -> LocalFleet:
    return LocalFleet(
        services.network.nodes,
        services.run.name,
        services.run.uid,
        node_command,
        {**environment, "OFFLOAD_BIND": loopback_beside(_bind(environment))},
        Path(environment.get("OFFLOAD_DATA_DIR", ".offload/pod")) / "logs",
        services.registry,
        lifecycle.stopping,
        lambda reason: lifecycle.fail(FleetError(reason)),
        services.access,
    )


def _provide_descriptors(settings: Settings, nodes: int, fleet: str) -> None:
    """Raise the limit of file descriptors as needed. Raises SettingsError if it stays too low.

    The nodes of a local fleet have the same limit, so it is checked here for them too.
    """
    if fleet == "local":
        transfer = settings.node.transfer
        provide_descriptors(descriptors_of_node(nodes, transfer), f"an edge node with node.transfer: {transfer}", nodes)
    provide_descriptors(descriptors_of_controller(nodes), "the controller", nodes)


def _apply_log_level(record: LiveSettings) -> None:
    logging.getLogger().setLevel(record.values["log_level"])
