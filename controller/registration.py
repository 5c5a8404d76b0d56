"""Registers the controller in the registry, sends heartbeats, and deregisters it.

Concurrency: the main thread registers, starts the heartbeat thread, and deregisters. The heartbeat thread sends a
heartbeat each second until `stopping` is set. Both call `metadata`, which must be thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from middleware.errors import ServiceError
from middleware.registry import CONTROLLER, Instance, Registry, keep_registered
from middleware.retrying import log_refusal, retry_while_unavailable

_HEARTBEAT_S = 1.0
_ENDING_S = 5.0


class Registration:
    """The controller's entry in the registry.

    address: the controller's address
    metadata: returns the entry's current metadata
    stopping: ends the heartbeats
    """

    def __init__(
        self,
        registry: Registry,
        run_name: str,
        address: str,
        metadata: Callable[[], Mapping[str, Any]],
        stopping: threading.Event,
    ) -> None:
        self._registry = registry
        self._run_name = run_name
        self._address = address
        self._metadata = metadata
        self._stopping = stopping
        self._started_at = time.time()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def register(self) -> None:
        """Add the entry. Waits while the registry is unavailable."""
        retry_while_unavailable(lambda: self._registry.register(self._instance()), stopping=self._stopping)

    def start(self) -> None:
        """Start the heartbeat thread."""
        self._thread.start()

    def heartbeat(self) -> None:
        """Send one heartbeat now, with the current metadata."""
        keep_registered(self._registry, self._instance())

    def join(self) -> None:
        """Wait for the end of the heartbeat thread. `stopping` must be set before."""
        if self._thread.is_alive():
            self._thread.join(timeout=_ENDING_S)

    def deregister(self) -> None:
        """Remove the entry. If the registry is unavailable, the entry expires."""
        try:
            self._registry.deregister(self._instance())
        except ServiceError as error:  # the process ends anyway
            log_refusal(error, "leaving the registry")

    def _instance(self) -> Instance:
        return Instance(CONTROLLER, "0", self._run_name, self._address, self._metadata(), self._started_at)

    def _beat(self) -> None:
        while not self._stopping.wait(_HEARTBEAT_S):
            self.heartbeat()
