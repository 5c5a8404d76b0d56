"""Starts, watches, restarts and stops the edge nodes as processes on this machine.

Concurrency: the watcher thread restarts nodes that ended; after `start` it alone starts processes. The liveness thread
asks the nodes whether they are alive, as a kubelet does. It kills a node that no longer answers, and the watcher then
restarts it. `stop` ends both threads before the processes. Each child's standard input is its lifeline: the child ends
when this process ends, whatever the reason.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from controller.nodes import NodeClients
from middleware.errors import ServiceError
from middleware.http.access import OPEN, Access
from middleware.outages import FULL_DISK
from middleware.registry import EDGE_NODE, Instance, Registry
from middleware.retrying import log_refusal

_READY_TIMEOUT_S = 120.0
_MOST_RESTARTS = 5
_DEATHS_WITHIN_S = 60.0
_ENDING_S = 10.0
_WATCH_S = 0.05
_LIVENESS_S = 2.0
_MOST_FAILURES = 3
"""A node that misses this many liveness checks in a row, one every `_LIVENESS_S`, is frozen."""

_logger = logging.getLogger(__name__)


class FleetError(RuntimeError):
    """A node cannot be started, or dies repeatedly. The message names the node and its log."""


class LocalFleet:
    """N node processes of a run.

    command: starts a node
    environment: the environment of all nodes; `OFFLOAD_NODE` is added
    stopping: any thread sets it to end the controller; waiting for the nodes ends then
    failed: called with the reason if a node cannot be kept running
    """

    def __init__(
        self,
        nodes: int,
        run_name: str,
        run_uid: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_dir: Path,
        registry: Registry,
        stopping: threading.Event,
        failed: Callable[[str], None],
        access: Access = OPEN,
    ) -> None:
        self._nodes = nodes
        self._run_name = run_name
        self._run_uid = run_uid
        self._command = list(command)
        self._environment = {**environment, "PYTHONSAFEPATH": "1", "OFFLOAD_LIFELINE": "1"}
        self._log_dir = log_dir
        self._registry = registry
        self._failed = failed
        self._access = access
        self._epoch: int | None = None
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._unstarted: set[int] = set()
        self._deaths: dict[int, list[float]] = {node: [] for node in range(nodes)}
        self._stopping = stopping
        self._threads = [
            threading.Thread(target=self._watch, name="fleet-watch", daemon=True),
            threading.Thread(target=self._ask_all, name="fleet-liveness", daemon=True),
        ]

    def start(self, epoch: int) -> None:
        """Start all nodes and the two threads. epoch: the epoch of the controller's lease; the nodes end with it."""
        self._epoch = epoch
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for node in range(self._nodes):
            self._start(node)
        for thread in self._threads:
            thread.start()

    def addresses(self, timeout_s: float = _READY_TIMEOUT_S) -> dict[int, str]:
        """Wait until all nodes are ready, and return their addresses; none if the controller stops before.

        Raises FleetError if they are not ready after `timeout_s` real seconds.
        """
        until = time.monotonic() + timeout_s
        while True:
            ready = self._ready_or_none()
            if len(ready) == self._nodes:
                return ready
            if self._stopping.wait(0.05):
                return {}
            if time.monotonic() > until:
                missing = sorted(set(range(self._nodes)) - set(ready))
                raise FleetError(f"nodes {missing} are not ready after {timeout_s:g} s; see {self._log_dir}")

    def ready(self) -> dict[int, str]:
        """The addresses of this fleet's nodes that are ready now."""
        return {node: one.address for node, one in self._registered().items() if one.metadata.get("ready")}

    def _registered(self) -> dict[int, Instance]:
        found = {}
        for instance in self._registry.instances(EDGE_NODE, self._run_name):
            process, theirs = self._processes.get(int(instance.instance)), instance.metadata
            # A process of another fleet, on another machine, may have the same process id.
            if process and (process.pid, self._epoch) == (theirs.get("pid"), theirs.get("epoch")):
                found[int(instance.instance)] = instance
        return found

    def _ready_or_none(self) -> dict[int, str]:
        """As `ready`; no node while the registry does not answer."""
        try:
            return self.ready()
        except ServiceError as error:  # the caller looks again
            log_refusal(error, "looking for the nodes")
            return {}

    def pids(self) -> dict[int, int]:
        """The process id of each node."""
        return {node: process.pid for node, process in self._processes.items()}

    def stop(self) -> None:
        """Terminate all nodes. Kill those that have not ended after `_ENDING_S`."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for process in self._processes.values():
            _cut_lifeline(process)
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + _ENDING_S
        for process in self._processes.values():
            try:
                process.wait(timeout=max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, node: int) -> None:
        with (self._log_dir / f"node-{node}.log").open("ab") as log:
            self._processes[node] = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**self._environment, "OFFLOAD_NODE": str(node), "OFFLOAD_EPOCH": str(self._epoch)},
            )

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            for node, process in list(self._processes.items()):
                code = process.poll()
                if code is None or self._stopping.is_set():
                    continue
                if node in self._unstarted:
                    if not self._start_again(node):
                        return
                    continue
                _cut_lifeline(process)
                now = time.monotonic()
                deaths = [at for at in self._deaths[node] if now - at < _DEATHS_WITHIN_S] + [now]
                self._deaths[node] = deaths
                log = self._log_dir / f"node-{node}.log"
                if len(deaths) > _MOST_RESTARTS:
                    self._failed(
                        f"node {node} died {len(deaths)} times within a minute (exit code {code}); the last line of "
                        f"{log}: {last_line(log)}"
                    )
                    return
                _logger.warning("node %d ended with code %d; the controller restarts it (its log: %s)", node, code, log)
                if not self._start_again(node):
                    return

    def _start_again(self, node: int) -> bool:
        """Restart a node; False if another try will not help. While a disk is full, the watcher tries again."""
        try:
            self._start(node)
        except OSError as error:
            if error.errno not in FULL_DISK:
                self._failed(f"node {node} cannot be restarted: {error}")
                return False
            if node not in self._unstarted:
                _logger.error("node %d cannot be started now: %s", node, error)
            self._unstarted.add(node)
            return True
        self._unstarted.discard(node)
        return True

    def _ask_all(self) -> None:
        """Check repeatedly whether every registered node is alive, and kill one that is frozen."""
        failures: dict[int, int] = {}  # in a row, by process id: the failures of an earlier process do not count
        while not self._stopping.wait(_LIVENESS_S):
            try:
                registered = self._registered()
            except ServiceError as error:  # the next round looks again
                log_refusal(error, "looking for the nodes")
                continue
            addresses = {node: one.address for node, one in registered.items()}
            clients = NodeClients(addresses, self._run_uid, self._access)
            answers = clients.ask("GET", "/healthz", dict.fromkeys(registered), _LIVENESS_S)
            clients.close()
            seen = failures
            failures = {}
            for node, answer in answers.items():
                pid = int(registered[node].metadata["pid"])
                failures[pid] = 0 if answer.ok else seen.get(pid, 0) + 1
                process = self._processes[node]
                if failures[pid] >= _MOST_FAILURES and process.pid == pid and process.poll() is None:
                    _logger.warning("node %d missed %d liveness checks in a row; killing it", node, failures[pid])
                    process.kill()


def last_line(log: Path, beginning: str = "") -> str:
    """The last line of a log that starts with `beginning`, else its last line; `(empty)` for an empty log.

    Error messages show it as the reason why a process ended. Two commands of one run write to the same file. So the
    last line may be from the other command.
    """
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return next((line for line in reversed(said) if line.startswith(beginning)), said[-1] if said else "(empty)")


def _cut_lifeline(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
