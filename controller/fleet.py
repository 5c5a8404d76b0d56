"""The edge nodes as processes of this machine: started, watched, restarted, stopped.

Concurrency: one watcher thread notices deaths and restarts; it alone starts processes after `start`. `stop` ends it before
the processes. Each child holds the read end of its standard input as a lifeline and ends when this process does, however
that happens.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from middleware.registry import Registry

SERVICE = "edgenode"
_READY_TIMEOUT_S = 120.0
_MOST_RESTARTS = 5
_DEATHS_WITHIN_S = 60.0
_ENDING_S = 10.0
_WATCH_S = 0.05

_logger = logging.getLogger(__name__)


class FleetError(RuntimeError):
    """Nodes that cannot be started, or die again and again; the message names the node and its log."""


class LocalFleet:
    """N node processes of a run.

    command: how a node is started; environment: of all nodes (`OFFLOAD_NODE` is added)
    stopping: set by whoever wants everything to end; a wait for the nodes ends then
    failed: called with the reason when a node cannot be kept running
    """

    def __init__(
        self,
        nodes: int,
        run_name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_dir: Path,
        registry: Registry,
        stopping: threading.Event,
        failed: Callable[[str], None],
    ) -> None:
        self._nodes = nodes
        self._run_name = run_name
        self._command = list(command)
        self._environment = {**environment, "PYTHONSAFEPATH": "1", "OFFLOAD_LIFELINE": "1"}
        self._log_dir = log_dir
        self._registry = registry
        self._failed = failed
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._deaths: dict[int, list[float]] = {node: [] for node in range(nodes)}
        self._stopping = stopping
        self._watcher = threading.Thread(target=self._watch, name="fleet-watch", daemon=True)

    def start(self) -> None:
        """Start all nodes, and the watch."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for node in range(self._nodes):
            self._start(node)
        self._watcher.start()

    def addresses(self, timeout_s: float = _READY_TIMEOUT_S) -> dict[int, str]:
        """Where the nodes answer, once all of them are ready; none when told to stop before. Raises FleetError."""
        until = time.monotonic() + timeout_s
        while True:
            ready = self.ready()
            if len(ready) == self._nodes:
                return ready
            if self._stopping.wait(0.05):
                return {}
            if time.monotonic() > until:
                missing = sorted(set(range(self._nodes)) - set(ready))
                raise FleetError(f"nodes {missing} are not ready after {timeout_s:g} s; see {self._log_dir}")

    def ready(self) -> dict[int, str]:
        """The addresses of the nodes that are ready now: of this fleet's processes, not of an earlier one's."""
        found = {}
        for instance in self._registry.instances(SERVICE, self._run_name):
            node = int(instance.instance)
            process = self._processes.get(node)
            if process and process.pid == instance.metadata.get("pid") and instance.metadata.get("ready"):
                found[node] = instance.address
        return found

    def pids(self) -> dict[int, int]:
        """The process ids by node."""
        return {node: process.pid for node, process in self._processes.items()}

    def stop(self) -> None:
        """End all nodes: told to, then after some seconds killed."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
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
                env={**self._environment, "OFFLOAD_NODE": str(node)},
            )

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            for node, process in list(self._processes.items()):
                code = process.poll()
                if code is None or self._stopping.is_set():
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
                _logger.warning("node %d ended with code %d; it is started again (its log: %s)", node, code, log)
                try:
                    self._start(node)
                except OSError as error:
                    self._failed(f"node {node} cannot be started again: {error}")
                    return


def last_line(log: Path) -> str:
    """The end of a log, for a message that says why its process ended."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "(empty)")


def _cut_lifeline(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
