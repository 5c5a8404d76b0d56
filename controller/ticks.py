"""The ticks of one episode to all nodes: to each in order, the next when the one before is answered, so that a slow
node gets its ticks late but gets them, and neither a slow nor a dead one delays the others.

Concurrency: `Ticks` is used by the player thread only, which sends, and between the slots takes answers as they become
readable (`serve_until`). It never waits for a single node, not even to connect (`nodes.py`); a thread per node would
cost ten times the processor time. A node that has gone is opened again by a helper thread, which hands the node's new
address over through `_returned` and ends with the episode.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.nodes import NodeAnswer, NodeClients

_PATIENCE_S = 2.0
"""A node that has not answered a tick for so many real seconds is down in that slot, and gets the next one."""
_LATE = 504
"""The status of a node that was reached and did not answer in time: it may be frozen, or slow."""
_IMPOSSIBLE = (400, 413, 422)
"""Statuses of a node that cannot take this tick, and would not after a restart either."""
_RETRY_S = 0.2

_logger = logging.getLogger(__name__)


@dataclass
class _Line:
    """What is on its way to one node. asked: the slot whose answer is awaited; gone: being opened again."""

    waiting: deque[tuple[int, Mapping[str, Any]]] = field(default_factory=deque)
    unanswered: set[int] = field(default_factory=set)
    asked: int | None = None
    gone: bool = False


class Ticks:
    """Ticks to the nodes of `clients`, whose addresses follow those of restarted nodes.

    address_now: where a node answers (None: it is not ready); opening: the body that opens the running episode on a
    node that answers at this address
    """

    def __init__(
        self,
        clients: NodeClients,
        address_now: Callable[[int], str | None],
        opening: Callable[[int, str], Mapping[str, Any]],
    ) -> None:
        self._clients = clients
        self._address_now = address_now
        self._opening = opening
        self._lines = {node: _Line() for node in clients.addresses}
        self.refused: str | None = None
        """Why a node cannot take a tick, in words: the episode cannot be played then."""
        self._returned: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._over = threading.Event()
        self._rejoins: list[threading.Thread] = []

    def put(self, slot: int, bodies: Mapping[int, Mapping[str, Any]]) -> None:
        """Send the ticks of a slot, to a node that has not answered the one before as soon as it has."""
        self._welcome()
        for node, body in bodies.items():
            line = self._lines[node]
            line.unanswered.add(slot)
            if not line.gone:
                line.waiting.append((slot, body))
                self._send(node, line)

    def serve_until(self, instant_s: float, stop: threading.Event | None = None) -> None:
        """Take answers, and send what waited for them, until an instant of the monotonic clock or `stop` is set."""
        while not (stop and stop.is_set()) and (left := instant_s - time.monotonic()) > 0:
            self._step(min(left, _RETRY_S))

    def finish(self, timeout_s: float) -> dict[int, list[int]]:
        """Wait for the last answers, at most so long; the slots in which nodes were down, of those that were."""
        until = time.monotonic() + timeout_s
        while any(line.asked is not None for line in self._lines.values()) and time.monotonic() < until:
            self._step(until - time.monotonic())
        self._over.set()
        until = time.monotonic() + 2 * _PATIENCE_S
        for rejoin in self._rejoins:
            # This episode must not be opened on a node after the next one was.
            rejoin.join(max(0.0, until - time.monotonic()))
        self._welcome()
        for node, line in self._lines.items():
            if line.asked is not None:
                self._clients.drop(node)  # a late answer must not be taken for the next one's
        return {node: sorted(line.unanswered) for node, line in self._lines.items() if line.unanswered}

    def _step(self, timeout_s: float) -> None:
        for node, answer in self._clients.finished(timeout_s).items():
            self._answered(node, self._lines[node], answer)
        self._welcome()

    def _send(self, node: int, line: _Line) -> None:
        if line.asked is None and line.waiting:
            line.asked, body = line.waiting.popleft()
            self._clients.start(node, "POST", "/v1/ticks", body, _PATIENCE_S)

    def _answered(self, node: int, line: _Line, answer: NodeAnswer) -> None:
        assert line.asked is not None
        slot, line.asked = line.asked, None
        if answer.ok:
            line.unanswered.discard(slot)
        else:
            _logger.warning("slot %d: %s", slot, answer.detail)
        if answer.status in _IMPOSSIBLE:
            self.refused = self.refused or f"slot {slot}: {answer.detail}"
        elif answer.ok or answer.status == _LATE:
            self._send(node, line)
        else:
            self._lost(node, line)

    def _lost(self, node: int, line: _Line) -> None:
        """Have a helper thread bring the node back."""
        line.gone = True
        line.waiting.clear()
        rejoin = threading.Thread(target=self._bring_back, args=(node,), name=f"rejoin-{node}", daemon=True)
        self._rejoins.append(rejoin)
        rejoin.start()

    def _bring_back(self, node: int) -> None:
        """Open the episode again on a restarted node, as soon as it is ready; slots that pass meanwhile are down."""
        while not self._over.is_set():
            address = self._address_now(node)
            if address is not None and not self._over.is_set():
                clients = self._clients
                client = NodeClients({node: address}, clients.run_uid, clients.access, clients.epoch)
                body = self._opening(node, address)
                answer = client.ask("POST", "/v1/episodes", {node: body}, _PATIENCE_S)[node]
                client.close()
                if answer.ok:
                    self._returned.put((node, address))
                    return
                _logger.warning("opening again: %s", answer.detail)
            self._over.wait(_RETRY_S)

    def _welcome(self) -> None:
        """Nodes that are back get ticks again."""
        while not self._returned.empty():
            node, address = self._returned.get()
            _logger.info("node %d is back", node)
            self._clients.drop(node)
            self._clients.addresses[node] = address
            self._lines[node].gone = False
