"""Requests to the edge nodes: to all of them at once, over connections that are kept.

Concurrency: a `NodeClients` is used by one thread at a time. No thread per node: all requests are sent first, then the
answers are taken as they become readable, so that a slow or dead node delays nobody.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from middleware.access import OPEN, Access
from middleware.addressee import HEADER, MISDIRECTED, addressee

UNREACHABLE: Final = (0, MISDIRECTED)
"""Statuses of an answer that is not the node's: nobody answers at its address, or another node does."""
_ACCEPT_S = 1.0
_KEPT_S = 20.0
"""A connection that was idle for longer is not used again: servers close theirs after a while."""


@dataclass(frozen=True)
class Answer:
    """A node's answer: its status and parsed body.

    Status 0: it cannot be reached. Status 504: it was reached, and did not answer in time. `body["detail"]` says more.
    """

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the node did what it was asked."""
        return 200 <= self.status < 300

    @property
    def detail(self) -> str:
        """A problem in the node's own words."""
        return str(self.body.get("detail") or self.body.get("title") or f"HTTP {self.status}")


class NodeClients:
    """The nodes of a run at `addresses` (`http://host:port`, by index)."""

    def __init__(self, addresses: Mapping[int, str], run_uid: str, access: Access = OPEN) -> None:
        self.addresses = dict(addresses)
        self.run_uid = run_uid
        self.access = access
        self._connections: dict[int, HTTPConnection] = {}
        self._used_s: dict[int, float] = {}

    def ask(
        self,
        method: str,
        path: str,
        bodies: Mapping[int, Mapping[str, Any] | None],
        timeout_s: float,
    ) -> dict[int, Answer]:
        """Send every node its body (None: none) and take the answers that come within the time-out (real seconds)."""
        until = time.monotonic() + timeout_s
        answers: dict[int, Answer] = {}
        with selectors.DefaultSelector() as selector:
            waiting = 0
            for node, body in bodies.items():
                problem = self.send(node, method, path, body, timeout_s)
                if problem is None:
                    selector.register(self.connection(node), selectors.EVENT_READ, node)
                    waiting += 1
                else:
                    answers[node] = Answer(0, {"detail": problem})
            while waiting:
                ready = selector.select(max(0.0, until - time.monotonic()))
                if not ready:
                    break
                for key, _ in ready:
                    selector.unregister(key.fileobj)
                    waiting -= 1
                    answers[key.data] = self.receive(key.data)
        for node in bodies:
            if node not in answers:
                self.drop(node)
                answers[node] = Answer(504, {"detail": f"node {node} did not answer within {timeout_s:g} s"})
        return answers

    def close(self) -> None:
        """Close all connections."""
        for node in list(self._connections):
            self.drop(node)

    def connection(self, node: int) -> socket.socket:
        """The socket on which a request was sent."""
        opened: socket.socket = self._connections[node].sock
        return opened

    def send(self, node: int, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> str | None:
        """Send a request; in words why it could not be sent."""
        content = None if body is None else json.dumps(body)
        headers = {HEADER: addressee(self.run_uid, node), **self.access.headers()}
        if content is not None:
            headers["Content-Type"] = "application/json"
        now = time.monotonic()
        if now - self._used_s.get(node, now) > _KEPT_S:
            self.drop(node)
        self._used_s[node] = now
        kept = node in self._connections
        problem = self._request(node, method, path, content, headers, timeout_s)
        if problem is not None and kept:
            # A kept connection may have been closed by the other side: once more on a new one.
            problem = self._request(node, method, path, content, headers, timeout_s)
        return problem

    def _request(
        self, node: int, method: str, path: str, content: str | None, headers: dict[str, str], timeout_s: float
    ) -> str | None:
        connection = self._connections.get(node)
        if connection is None:
            # A node of this machine or cluster that does not accept within a second is down.
            connection = self.access.connection(self.addresses[node], min(timeout_s, _ACCEPT_S))
            self._connections[node] = connection
        try:
            connection.request(method, path, content, headers)
        except (OSError, HTTPException) as error:
            self.drop(node)
            return f"node {node} cannot be reached at {self.addresses[node]}: {error}"
        return None

    def receive(self, node: int) -> Answer:
        """Take the answer of a request that was sent; waits for it."""
        connection = self._connections[node]
        try:
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, json.loads(content) if content else {})
        except (OSError, HTTPException, ValueError) as error:
            self.drop(node)
            return Answer(0, {"detail": f"node {node} broke off its answer: {error!r}"})

    def drop(self, node: int) -> None:
        """Close the connection to a node; the next request makes a new one."""
        connection = self._connections.pop(node, None)
        if connection is not None:
            connection.close()
