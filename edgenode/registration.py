"""Registers an edge node in the registry, and looks up the other nodes' addresses there.

Concurrency: a heartbeat thread registers the node and keeps the entry fresh. Any thread may call `soon` and
`address_of`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from middleware.errors import ServiceError
from middleware.registry import EDGE_NODE, Instance, Registry, keep_registered
from middleware.retrying import log_refusal

_HEARTBEAT_S = 1.5
_REGISTER_S = 0.2

_logger = logging.getLogger(__name__)


class Registration:
    """The node's entry in the registry, which a thread keeps fresh, and the lookup of other nodes."""

    def __init__(self, registry: Registry, run: str, node: int) -> None:
        self._registry = registry
        self._run = run
        self._node = node
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._looked_up: dict[int, float] = {}
        self._started_at = time.time()

    def begin(self, address: str, metadata: Callable[[], Mapping[str, Any]]) -> None:
        """Register, and send heartbeats from then on.

        metadata: returns the entry's current content; any thread may call it
        """
        self._address, self._metadata = address, metadata
        self._thread.start()

    def soon(self) -> None:
        """Send the next heartbeat, and with it the acknowledgement, now."""
        self._wake.set()

    def end(self) -> None:
        """Stop the heartbeats and remove the entry. If the registry is unavailable, the entry expires."""
        self._ending.set()
        self._wake.set()
        self._thread.join(timeout=5)
        try:
            self._registry.deregister(self._instance())
        except ServiceError as error:
            log_refusal(error, "leaving the registry")

    def address_of(self, node: int) -> str | None:
        """Another node's registered address. None if it is unknown, or if the last lookup was less than 0.5 s ago."""
        now = time.monotonic()
        if now - self._looked_up.get(node, -1.0) < 0.5:
            return None
        self._looked_up[node] = now
        try:
            found = self._registry.instances(EDGE_NODE, self._run)
        except ServiceError as error:
            log_refusal(error, f"looking for node {node}")
            return None
        return next((one.address for one in found if one.instance == str(node)), None)

    def _instance(self) -> Instance:
        return Instance(EDGE_NODE, str(self._node), self._run, self._address, self._metadata(), self._started_at)

    def _beat(self) -> None:
        # A heartbeat alone would keep the address of this node's previous process, so registering comes first. It has
        # no time-out: a node that is not registered is not ready, and the process that waits for it has a time-out.
        while not self._ending.is_set():
            try:
                self._registry.register(self._instance())
                break
            except ServiceError as error:
                log_refusal(error, "registering")
            self._ending.wait(_REGISTER_S)
        ours = True
        while not self._ending.is_set():
            self._wake.wait(timeout=_HEARTBEAT_S)
            self._wake.clear()
            if self._ending.is_set():
                return
            before, ours = ours, keep_registered(self._registry, self._instance())
            if before and not ours:
                _logger.warning("another process has registered as node %d; this one gets no more requests", self._node)
