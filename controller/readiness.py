"""Which nodes are ready, waiting for all of them, and the fallback scheduler for live settings that nodes refuse.

Concurrency: `Readiness.wait` runs in the main thread, before the player starts. `Readiness.addresses` may be called by
any thread and keeps nothing. The state of `Fallback` is one reference: the main thread writes it while it waits for the
nodes, the player thread afterwards; request threads clear it (`forget`) and read it (`reason`).
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
from middleware.patience import patiently
from middleware.registry import clock_words
from offload.scheduler_choice import SchedulerChoice

FALLBACK: Final = "fallback"
"""The author of a revision that sets the fallback scheduler."""
READY_TIMEOUT_S = 120.0
_NODES_S = 0.25

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Fallback:
    """The scheduler of `fallback_scheduler`, for live settings that nodes refuse.

    holder: of the run's lease, confirmed before anything is written; stopping: ends waiting for a service
    """

    def __init__(self, services: RunServices, holder: LeaseHolder, stopping: threading.Event) -> None:
        self._services = services
        self._holder = holder
        self._stopping = stopping
        self._why: str | None = None

    def recall(self, record: LiveSettings) -> None:
        """Learn from the live settings at the start whether an earlier controller set the fallback scheduler."""
        if record.written_by == FALLBACK:
            self._why = "nodes refused it before this controller was started"

    def take_over(self, why: str) -> bool:
        """Have the fallback scheduler decide from now on; False when it is what was refused."""
        run, configuration = self._services.run, self._services.configuration
        wanted = SchedulerChoice(run.settings.fallback_scheduler)
        record = self._patiently(lambda: configuration.read(run.name))
        if record is not None and record.scheduler == wanted:
            return False
        self._patiently(self._holder.confirm)
        record = self._patiently(lambda: configuration.change(run.name, {"scheduler": wanted.to_json()}, FALLBACK))
        self._why = why
        _logger.error("%s; %s decides instead, revision %d", why, wanted.name, record.revision)
        return True

    def forget(self) -> None:
        """Somebody changes the live settings: whatever decides now was chosen."""
        self._why = None

    def reason(self, record: LiveSettings | None) -> str | None:
        """Why the fallback scheduler decides; None when it does not, or was chosen."""
        why = self._why
        if record is None or why is None:
            return None
        choice = record.scheduler
        if choice.name != self._services.run.settings.fallback_scheduler or choice.model:
            return None
        return why

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        return patiently(call, stopping=self._stopping)


class Readiness:
    """The nodes that are ready.

    fleet: the nodes as processes that this controller starts; None: others start them
    pods: the nodes as Kubernetes sees them; None outside Kubernetes
    strictly: a local fleet that is not ready in time is an error at once, without the fallback scheduler
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
        """Where the nodes answer that are ready now."""
        if self._fleet is not None:
            return self._fleet.ready()
        found = self._services.registered_nodes()
        ready = {int(one.instance): one.address for one in found if one.alive() and one.metadata.get("ready")}
        leaving = set() if self._pods is None else {node for node, pod in self._pods.seen().items() if pod.leaving}
        return {node: address for node, address in ready.items() if node not in leaving}

    def wait(self) -> None:
        """Wait until all nodes are ready, or the controller stops.

        There is no time limit for nodes that others start. Raises FleetError for a local fleet that takes too long.
        """
        if self._fleet is not None and self._strictly:
            self._fleet.addresses()
            return
        logged, until = "", time.monotonic() + READY_TIMEOUT_S
        nodes = self._services.network.nodes
        while not self._stopping.is_set():
            ready = set(self._patiently(self.addresses))
            missing = sorted(set(range(nodes)) - ready)
            if not missing:
                self._log_clocks()
                return
            refused = self._patiently(self._refused)
            if refused is not None and self._fallback.take_over(refused):
                refused = None
            if self._fleet is not None and time.monotonic() > until:
                self._fleet.addresses(0)  # raises FleetError, which names the nodes and their logs
            why = f"; {refused}" if refused else ""
            words = f"{len(ready)} of {nodes} edge nodes are ready{self._words_of_pods(missing)}{why}"
            if words != logged:
                _logger.info("%s", words)
                logged = words
            self._stopping.wait(_NODES_S)

    def _refused(self) -> str | None:
        """Why a node does not start with the live settings as they are now; None when no node refuses them."""
        record = self._services.configuration.read(self._services.run.name)
        for one in self._services.registered_nodes():
            if record is not None and one.metadata.get("refused") == record.revision and one.alive():
                return f"node {one.instance} refuses: {one.metadata.get('problem')}"
        return None

    def _words_of_pods(self, nodes: Sequence[int]) -> str:
        """What keeps the pods of nodes from working, in Kubernetes' words."""
        pods = {} if self._pods is None else self._pods.seen()
        reasons = [f"{pods[node].name}: {pods[node].reason}" for node in nodes if node in pods and pods[node].reason]
        return f" ({'; '.join(reasons)})" if reasons else ""

    def _log_clocks(self) -> None:
        for one in self._patiently(self._services.registered_nodes):
            if words := clock_words(one):
                _logger.warning("%s", words)

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        return patiently(call, stopping=self._stopping)
