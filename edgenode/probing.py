"""Probes: asking other nodes for their reports of a slot, all at once, over connections that are kept.

Concurrency: a `Prober` belongs to the decider thread alone. No thread per probe: all requests are sent first, then the
answers are taken as they become readable.
"""

from __future__ import annotations

import json
import select
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgenode.wire import NotConnected, Wire
from middleware.access import OPEN, Access
from middleware.addressee import MISDIRECTED
from offload.protocols import Choice
from offload.state import LocalState, Reports, report_of

_COLUMNS = ("capacity_hz", "failure_rate", "execution_queue_length", "execution_backlog_s", "receiving_work_s")
_REST_S = 0.5
"""A node that could not be reached is not asked again for so many real seconds: connecting in vain delays the others."""


@dataclass(frozen=True)
class Answer:
    """A report as the other node gave it, and after how many real seconds."""

    report: Mapping[str, Any]
    after_s: float


class Prober:
    """Asks the peers of one node.

    address_of: where a node answers now; that it has moved is found out by the messages to it (`peers.py`)
    to: whom a probe of a node is for (`middleware/addressee.py`)
    """

    def __init__(
        self, address_of: Callable[[int], str], to: Callable[[int], str], timeout_s: float, access: Access = OPEN
    ) -> None:
        self._address_of = address_of
        self._to = to
        self._access = access
        self._timeout_s = timeout_s
        self._wires: dict[int, Wire] = {}
        self._owed: set[int] = set()
        self._resting: dict[int, float] = {}

    def connect(self, nodes: Sequence[int]) -> None:
        """Connect ahead of the first question; a node that cannot be reached now is tried again when it is asked."""
        for node in nodes:
            with suppress(NotConnected):
                self._wire(node).connect()

    def ask(self, nodes: Sequence[int], episode: int, slot: int, enough: int | None) -> dict[int, Answer]:
        """The answers of the nodes that gave one within the time-out, or of the first `enough` of them."""
        path = f"/v1/reports?episode={episode}&slot={slot}"
        began = time.monotonic()
        until = began + self._timeout_s
        wanted = len(nodes) if enough is None else min(enough, len(nodes))
        answers: dict[int, Answer] = {}
        with selectors.DefaultSelector() as selector:
            asked: set[int] = set()
            for node in nodes:
                if self._send(node, path, until):
                    selector.register(self._wires[node].fileno(), selectors.EVENT_READ, node)
                    asked.add(node)
            while asked and len(answers) < wanted:
                left = until - time.monotonic()
                ready = selector.select(left) if left > 0 else []
                if not ready:
                    break
                for key, _ in ready:
                    node = key.data
                    selector.unregister(key.fileobj)
                    asked.discard(node)
                    report = self._receive(node)
                    if report is not None:
                        answers[node] = Answer(report, time.monotonic() - began)
        self._owed |= asked
        return answers

    def close(self) -> None:
        """Close all connections."""
        for wire in self._wires.values():
            wire.close()

    def _wire(self, node: int) -> Wire:
        address = self._address_of(node)
        wire = self._wires.get(node)
        if wire is None or wire.address != address:
            if wire is not None:
                wire.close()
            wire = self._wires[node] = Wire(address, self._to(node), self._timeout_s, self._access)
        return wire

    def _send(self, node: int, path: str, until: float) -> bool:
        if time.monotonic() < self._resting.get(node, 0.0):
            return False
        wire = self._wire(node)
        self._take_owed_answer(node, wire)
        kept = wire.is_connected
        for _ in range(2 if kept else 1):
            left = until - time.monotonic()
            if left <= 0:
                return False
            try:
                wire.connect(left)
                wire.send("GET", path)
            except NotConnected:
                self._resting[node] = time.monotonic() + _REST_S
                return False
            except OSError:
                continue  # a kept connection may have been closed by the other side: once more on a new one
            return True
        return False

    def _take_owed_answer(self, node: int, wire: Wire) -> None:
        """An answer that nobody waited for must not be taken for the next one; a node that still owes it is reconnected."""
        if node not in self._owed:
            return
        self._owed.discard(node)
        if wire.is_connected:
            if select.select([wire], [], [], 0)[0]:
                self._receive(node)
            else:
                wire.close()

    def _receive(self, node: int) -> Mapping[str, Any] | None:
        try:
            status, content = self._wires[node].receive()
            if status == MISDIRECTED:
                self._resting[node] = time.monotonic() + _REST_S
            if status != 200:
                return None
            report: Mapping[str, Any] = json.loads(content)
        except (OSError, ValueError):
            self._wires[node].close()
            return None
        return report


def reports_from(probed: Sequence[int], answers: Mapping[int, Answer], states: LocalState) -> Reports:
    """The answers as `Reports` (B = 1), in the order of the probes; the deciding node's own comes from its snapshot."""
    own = int(states.node[0])
    reports = Reports.none(1, len(probed))
    mine = report_of(states)
    for column, node in enumerate(probed):
        reports.node[0, column] = node
        if node == own:
            reports.answered[0, column] = True
            reports.answered_after_s[0, column] = 0.0
            for name in _COLUMNS:
                getattr(reports, name)[0, column] = getattr(mine, name)[0, 0]
        elif node in answers:
            reports.answered[0, column] = True
            reports.answered_after_s[0, column] = answers[node].after_s
            for name in _COLUMNS:
                getattr(reports, name)[0, column] = answers[node].report[name]
    return reports


def chosen_node(choice: Choice, nodes: int) -> int:
    """The destination of one decision. Raises ValueError where that is not a node."""
    destination = int(choice.destination[0])
    if not 0 <= destination < nodes:
        raise ValueError(f"it chose node {destination}; there are 0 to {nodes - 1}")
    return destination


def probed_nodes(probes: NDArray[np.int64]) -> list[int]:
    """The nodes of one decision's row of `Scheduler.probes`, without the −1 that mean none."""
    return [int(node) for node in probes[0] if node >= 0]
