"""Waits until all nodes are ready, and sets the fallback scheduler if nodes refuse the live settings.

Concurrency: `Readiness.wait` runs in the main thread, before the player starts. Any thread may call
`Readiness.addresses`, which keeps no state. The state of `Fallback` is one reference. The main thread writes it during
the wait for the nodes, and the player thread afterwards. Request threads clear it (`forget`) and read it (`reason`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from controller.fleet import LocalFleet
from controller.pods import NodePods
from controller.run_services import RunServices
from middleware.configuration import LiveSettings
from middleware.database import LeaseHolder
from middleware.registry import clock_message
from middleware.retrying import retry_while_unavailable
from offload.scheduler_choice import SchedulerChoice

FALLBACK: Final = "fallback"
"""The author of revisions that set the fallback scheduler."""
READY_TIMEOUT_S = 120.0
_NODES_S = 0.25

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Fallback:
    """Sets the scheduler of the setting `fallback_scheduler` if nodes refuse the live settings.

    holder: holds the run's lease, which is confirmed before each write
    stopping: ends waiting for a service
    """

    def __init__(self, services: RunServices, holder: LeaseHolder, stopping: threading.Event) -> None:
        self._services = services
        self._holder = holder
        self._stopping = stopping
        self._taken_over: tuple[int, str] | None = None  # revision, reason

    def recall(self, record: LiveSettings) -> None:
        """Find out, at the start, whether an earlier controller set the fallback scheduler."""
        if record.written_by == FALLBACK:
            self._taken_over = record.revision, "nodes refused the scheduler before this controller started"

    def take_over(self, why: str) -> bool:
        """Set the fallback scheduler. False if it is already set, so it is what the nodes refused."""
        run, configuration = self._services.run, self._services.configuration
        wanted = SchedulerChoice(run.settings.fallback_scheduler)
        record = self._retry_while_unavailable(lambda: configuration.read(run.name))
        if record is not None and record.scheduler == wanted:
            return False
        self._retry_while_unavailable(self._holder.confirm)
        record = self._retry_while_unavailable(
            lambda: configuration.change(run.name, {"scheduler": wanted.to_json()}, FALLBACK)
        )
        self._taken_over = record.revision, why
        _logger.error("%s; the fallback scheduler %s is set instead, in revision %d", why, wanted.name, record.revision)
        return True

    def forget(self, revision: int) -> None:
        """Clear the reason, because a client has set the scheduler in this revision: it is the client's choice.

        A later fallback stays: the nodes may have refused the client's choice already.
        """
        if self._taken_over is not None and self._taken_over[0] <= revision:
            self._taken_over = None

    def reason(self, record: LiveSettings | None) -> str | None:
        """Why the fallback scheduler decides; None if it does not, or if a client chose it."""
        taken_over = self._taken_over
        if record is None or taken_over is None:
            return None
        choice = record.scheduler
        if choice.name != self._services.run.settings.fallback_scheduler or choice.model:
            return None
        return taken_over[1]

    def _retry_while_unavailable(self, call: Callable[[], _Result]) -> _Result:
        return retry_while_unavailable(call, stopping=self._stopping)


class Readiness:
    """The nodes that are ready.

    fleet: the node processes that this controller starts; None if others start the nodes
    pods: the nodes' pods; None outside Kubernetes
    strictly: a local fleet that is not ready in time is an error; the fallback scheduler is not tried
    """

    def __init__(
        self,
        services: RunServices,
        fleet: LocalFleet | None,
        pods: NodePods | None,
        fallback: Fallback,
        strictly: bool,
        stopping: threading.Event,
    ) -> None:
        self._services = services
        self._fleet = fleet
        self._pods = pods
        self._fallback = fallback
        self._strictly = strictly
        self._stopping = stopping

    def addresses(self) -> Mapping[int, str]:
        """The addresses of the nodes that are ready now, by node index."""
        if self._fleet is not None:
            return self._fleet.ready()
        found = self._services.registered_nodes()
        ready = {int(one.instance): one.address for one in found if one.alive() and one.metadata.get("ready")}
        leaving = set() if self._pods is None else {node for node, pod in self._pods.seen().items() if pod.leaving}
        return {node: address for node, address in ready.items() if node not in leaving}

    def wait(self) -> None:
        """Wait until all nodes are ready, or the controller stops.

        There is no time limit for nodes that others start. Raises FleetError if a local fleet is not ready in time.
        """
        if self._fleet is not None and self._strictly:
            self._fleet.addresses()
            return
        logged, until = "", time.monotonic() + READY_TIMEOUT_S
        nodes = self._services.network.nodes
        while not self._stopping.is_set():
            ready = set(self._retry_while_unavailable(self.addresses))
            missing = sorted(set(range(nodes)) - ready)
            if not missing:
                self._log_clocks()
                return
            refused = self._retry_while_unavailable(self._refused)
            if refused is not None and self._fallback.take_over(refused):
                refused = None
            if self._fleet is not None and time.monotonic() > until:
                self._fleet.addresses(0)  # raises FleetError, which names the nodes and their logs
            why = f"; {refused}" if refused else ""
            message = f"{len(ready)} of {nodes} edge nodes are ready{self._pod_reasons(missing)}{why}"
            if message != logged:
                _logger.info("%s", message)
                logged = message
            self._stopping.wait(_NODES_S)

    def _refused(self) -> str | None:
        """Why a node refuses the current live settings; None if no node refuses them."""
        record = self._services.configuration.read(self._services.run.name)
        for one in self._services.registered_nodes():
            if record is not None and one.metadata.get("refused") == record.revision and one.alive():
                return f"node {one.instance} refuses: {one.metadata.get('problem')}"
        return None

    def _pod_reasons(self, nodes: Sequence[int]) -> str:
        """Why the pods of these nodes do not work, as Kubernetes reports it; empty if nothing is known."""
        pods = {} if self._pods is None else self._pods.seen()
        reasons = [f"{pods[node].name}: {pods[node].reason}" for node in nodes if node in pods and pods[node].reason]
        return f" ({'; '.join(reasons)})" if reasons else ""

    def _log_clocks(self) -> None:
        for one in self._retry_while_unavailable(self._services.registered_nodes):
            if message := clock_message(one):
                _logger.warning("%s", message)

    def _retry_while_unavailable(self, call: Callable[[], _Result]) -> _Result:
        return retry_while_unavailable(call, stopping=self._stopping)
