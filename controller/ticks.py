"""Ticks to one node: in order, each as soon as the one before is answered, so that a slow node gets its ticks late but gets
them, and neither a slow nor a dead one delays the others.

Concurrency: a `Ticker` is one thread with a queue that the player fills. It alone speaks to its node about ticks, and opens
the episode there again when the node was restarted. `down` is read after `finish`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from controller.nodes import NodeClients

_PATIENCE_S = 2.0
"""A node that has not answered a tick for so many real seconds is down in that slot."""
_RETRY_S = 0.2

_logger = logging.getLogger(__name__)


class Ticker:
    """The ticks of one episode to one node.

    address: where the node answers; address_now: asked when it does not any more (None: it is not ready)
    opening: the body that opens the running episode again, given the node's new address
    """

    def __init__(
        self,
        node: int,
        address: str,
        address_now: Callable[[], str | None],
        opening: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self.node = node
        self.down: list[int] = []
        self._address_now = address_now
        self._opening = opening
        self._client = NodeClients({node: address})
        self._ticks: queue.SimpleQueue[tuple[int, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ticks-{node}", daemon=True)
        self._thread.start()

    def put(self, slot: int, body: Mapping[str, Any]) -> None:
        """Queue the tick of a slot."""
        self._ticks.put((slot, body))

    def finish(self, timeout_s: float) -> None:
        """Wait until all ticks are answered or given up."""
        self._finishing.set()
        self._ticks.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._ticks.get()) is not None:
            slot, body = item
            answer = self._client.ask("POST", "/v1/ticks", {self.node: body}, _PATIENCE_S)[self.node]
            if answer.ok:
                continue
            _logger.warning("slot %d: %s", slot, answer.detail)
            self.down.append(slot)
            if answer.status != 504 and not self._bring_back():
                return
        self._client.close()

    def _bring_back(self) -> bool:
        """Open the episode again on a node that was restarted; slots that pass meanwhile are down. False when it is over."""
        while True:
            address = self._address_now()
            if address is not None:
                self._client.close()
                self._client = NodeClients({self.node: address})
                body = self._opening(address)
                answer = self._client.ask("POST", "/v1/episodes", {self.node: body}, _PATIENCE_S)[self.node]
                if answer.ok:
                    _logger.info("node %d is back", self.node)
                    return True
            try:
                while True:
                    item = self._ticks.get(timeout=_RETRY_S)
                    if item is None:
                        return False
                    self.down.append(item[0])
            except queue.Empty:
                continue
