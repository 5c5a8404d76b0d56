"""Sends the ticks of one episode to all nodes.

Each node receives its ticks in order, the next one after it has answered the one before. So a slow node receives all
its ticks, but late. A slow or dead node does not delay the others.

Concurrency: only the player thread uses `Ticks`. It sends ticks, and takes answers between the slots (`serve_until`).
It never waits for a single node, not even to connect (`nodes.py`). A thread per node would need ten times the processor
time. If a node becomes unreachable, a helper thread opens the episode on it again when it returns. The helper thread
puts the node's new address into `_returned`, and ends when the episode ends.
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
"""A node that does not answer a tick within these real seconds is down in that slot. It then gets the next tick.
Longer than a node waits for the start of its episode (`edgenode/runtime.py`)."""
_LATE = 504
"""The status of a node that was reached, but did not answer in time. It may be frozen or slow."""
_IMPOSSIBLE = (400, 413, 422)
"""Statuses of a node that cannot accept this tick, even after a restart."""
_RETRY_S = 0.2

_logger = logging.getLogger(__name__)


@dataclass
class _Line:
    """The ticks of one node.

    waiting: ticks to be sent, with their slots
    unanswered: slots whose ticks the node has not answered
    asked: the slot of the tick that was sent and has no answer yet
    gone: whether the node is unreachable, and a helper thread waits for its return
    """

    waiting: deque[tuple[int, Mapping[str, Any]]] = field(default_factory=deque)
    unanswered: set[int] = field(default_factory=set)
    asked: int | None = None
    gone: bool = False


class Ticks:
    """Sends ticks to the nodes of `clients`. Sets new addresses in `clients` for restarted nodes.

    address_now: returns a node's address; None if it is not ready
    opening: returns the body that opens the running episode on the node with this address
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
        """Why a node cannot accept a tick; None if none refused one. The episode cannot be played then."""
        self._returned: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._over = threading.Event()
        self._rejoins: list[threading.Thread] = []

    def put(self, slot: int, bodies: Mapping[int, Mapping[str, Any]]) -> None:
        """Send the ticks of a slot. A node that has not answered the tick before gets its tick after that answer."""
        self._send_missed_ticks()
        for node, body in bodies.items():
            line = self._lines[node]
            line.unanswered.add(slot)
            if not line.gone:
                line.waiting.append((slot, body))
                self._send(node, line)

    def serve_until(self, instant_s: float, stop: threading.Event | None = None) -> None:
        """Take answers and send waiting ticks, until an instant of the monotonic clock, or until `stop` is set."""
        while not (stop and stop.is_set()) and (left := instant_s - time.monotonic()) > 0:
            self._step(min(left, _RETRY_S))

    def finish(self, timeout_s: float) -> dict[int, list[int]]:
        """Wait for the last answers, `timeout_s` real seconds at most. Return by node the slots in which it was down.

        A node that answered all ticks is not in the result.
        """
        until = time.monotonic() + timeout_s
        while any(line.asked is not None for line in self._lines.values()) and time.monotonic() < until:
            self._step(until - time.monotonic())
        self._over.set()
        until = time.monotonic() + 2 * _PATIENCE_S
        for rejoin in self._rejoins:
            # A node must not open this episode after the next one.
            rejoin.join(max(0.0, until - time.monotonic()))
        self._send_missed_ticks()
        for node, line in self._lines.items():
            if line.asked is not None:
                self._clients.drop(node)  # a late answer must not be taken as the answer to the next tick
        return {node: sorted(line.unanswered) for node, line in self._lines.items() if line.unanswered}

    def _step(self, timeout_s: float) -> None:
        for node, answer in self._clients.finished(timeout_s).items():
            self._answered(node, self._lines[node], answer)
        self._send_missed_ticks()

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
        """Start a helper thread that opens the episode again when the node returns."""
        line.gone = True
        line.waiting.clear()
        rejoin = threading.Thread(target=self._reopen_when_ready, args=(node,), name=f"rejoin-{node}", daemon=True)
        self._rejoins.append(rejoin)
        rejoin.start()

    def _reopen_when_ready(self, node: int) -> None:
        """Open the episode on a restarted node as soon as it is ready. The node is down in the slots until then."""
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
                _logger.warning("the episode could not be opened again: %s", answer.detail)
            self._over.wait(_RETRY_S)

    def _send_missed_ticks(self) -> None:
        """Send ticks again to the nodes that returned."""
        while not self._returned.empty():
            node, address = self._returned.get()
            _logger.info("node %d is available again", node)
            self._clients.drop(node)
            self._clients.addresses[node] = address
            self._lines[node].gone = False
