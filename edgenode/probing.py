"""Probes: asking other nodes for their reports of a slot, all at once, over connections that are kept.

Concurrency: a `Prober` belongs to the decider thread alone. No thread per probe: all requests are sent first, then the
answers are taken as they become readable.
"""

from __future__ import annotations

import json
import select
import selectors
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from offload.state import LocalState, Reports, report_of


@dataclass(frozen=True)
class Answer:
    """A report as the other node gave it, and after how many real seconds."""

    report: Mapping[str, Any]
    after_s: float


class Prober:
    """Asks the peers of one node. `addresses`: `http://host:port` by node."""

    def __init__(self, addresses: Mapping[int, str], timeout_s: float) -> None:
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._connections: dict[int, HTTPConnection] = {}
        self._owed: set[int] = set()

    def ask(self, nodes: Sequence[int], episode: int, slot: int, enough: int | None) -> dict[int, Answer]:
        """The answers of the nodes that gave one within the time-out, or of the first `enough` of them."""
        path = f"/v1/reports?episode={episode}&slot={slot}"
        began = time.monotonic()
        wanted = len(nodes) if enough is None else min(enough, len(nodes))
        answers: dict[int, Answer] = {}
        with selectors.DefaultSelector() as selector:
            asked: set[int] = set()
            for node in nodes:
                connection = self._send(node, path)
                if connection is not None:
                    selector.register(connection.sock, selectors.EVENT_READ, node)
                    asked.add(node)
            while asked and len(answers) < wanted:
                left = began + self._timeout_s - time.monotonic()
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
        for node in list(self._connections):
            self._close(node)

    def _send(self, node: int, path: str) -> HTTPConnection | None:
        self._take_owed_answer(node)
        for fresh in (False, True):
            connection = self._connections.get(node)
            if connection is None:
                connection = HTTPConnection(urlsplit(self._addresses[node]).netloc, timeout=self._timeout_s)
                self._connections[node] = connection
            try:
                connection.request("GET", path)
            except (OSError, HTTPException):
                # A kept connection may have been closed by the other side: once more on a new one.
                self._close(node)
                if fresh:
                    return None
            else:
                return connection
        return None

    def _take_owed_answer(self, node: int) -> None:
        """An answer that nobody waited for must not be taken for the next one; a node that still owes it is reconnected."""
        if node not in self._owed:
            return
        self._owed.discard(node)
        connection = self._connections.get(node)
        if connection is None or connection.sock is None:
            return
        if select.select([connection.sock], [], [], 0)[0]:
            self._receive(node)
        else:
            self._close(node)

    def _receive(self, node: int) -> Mapping[str, Any] | None:
        try:
            response = self._connections[node].getresponse()
            content = response.read()
            if response.status != 200:
                return None
            report: Mapping[str, Any] = json.loads(content)
        except (OSError, HTTPException, ValueError):
            self._close(node)
            return None
        return report

    def _close(self, node: int) -> None:
        connection = self._connections.pop(node, None)
        if connection is not None:
            connection.close()


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


_COLUMNS = ("capacity_hz", "failure_rate", "execution_queue_length", "execution_backlog_s", "receiving_work_s")


def probed_nodes(probes: np.ndarray[Any, Any]) -> list[int]:
    """The nodes of one decision's row of `Scheduler.probes`, without the −1 that mean none."""
    return [int(node) for node in probes[0] if node >= 0]
