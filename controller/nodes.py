"""Sends requests to all edge nodes at the same time, over persistent connections.

Concurrency: one thread at a time uses a `NodeClients`. It never waits for a single node: a selector finds the sockets
that can connect, send or receive. So an unreachable, slow or dead node does not delay the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from middleware.http import epoch as epochs
from middleware.http.access import OPEN, Access
from middleware.http.addressee import HEADER, MISDIRECTED, addressee
from middleware.http.answers import JsonAnswer, MalformedAnswer, json_object
from middleware.http.exchange import NotConnected
from middleware.http.fanout import Fanout, Outcome
from middleware.http.limits import ACCEPT_S, KEPT_S

UNREACHABLE: Final = (0, MISDIRECTED)
"""Statuses that mean the node was not reached: its address does not answer, or another node answers there."""


class NodeAnswer(JsonAnswer):
    """A node's answer, or the failure of the request.

    Status 0: the address cannot be reached, or no node answers there. Status 504: the node was reached, but did not
    answer in time. `body["detail"]` has the reason.
    """


@dataclass
class _Asked:
    """A request without an answer yet. `…until_s` are instants of the monotonic clock."""

    what: str
    patience_s: float
    connected_until_s: float
    until_s: float


class NodeClients:
    """Clients of a run's nodes.

    addresses: `http://host:port`, by node index
    epoch: the epoch of the controller's lease; None if no request changes a node's state
    """

    def __init__(
        self, addresses: Mapping[int, str], run_uid: str, access: Access = OPEN, epoch: int | None = None
    ) -> None:
        self.addresses = dict(addresses)
        self.run_uid = run_uid
        self.access = access
        self.epoch = epoch
        self._fanout: Fanout[int] = Fanout(self._headers, access, KEPT_S)
        self._asked: dict[int, _Asked] = {}

    def ask(
        self,
        method: str,
        path: str,
        bodies: Mapping[int, Mapping[str, Any] | None],
        timeout_s: float,
    ) -> dict[int, NodeAnswer]:
        """Send each node of `bodies` its body (None: no body). Return one answer per node.

        Waits `timeout_s` real seconds at most. A node without an answer gets one with status 0 or 504.
        """
        for node, body in bodies.items():
            self.start(node, method, path, body, timeout_s)
        answers: dict[int, NodeAnswer] = {}
        while not answers.keys() >= bodies.keys():
            answers.update(self.finished(timeout_s))
        return {node: answers[node] for node in bodies}

    def start(self, node: int, method: str, path: str, body: Mapping[str, Any] | None, patience_s: float) -> None:
        """Send a request to a node. `finished` returns its answer, after `patience_s` real seconds at most."""
        now = time.monotonic()
        asked = _Asked(f"{method} {path}", patience_s, now + min(patience_s, ACCEPT_S), now + patience_s)
        content, headers = b"", ""
        if body is not None:
            content, headers = json.dumps(body).encode(), "Content-Type: application/json\r\n"
        self._fanout.start(node, self.addresses[node], method, path, content, headers)
        self._asked[node] = asked

    def finished(self, wait_s: float) -> dict[int, NodeAnswer]:
        """The answers so far, by node. Waits up to `wait_s` for the first. A failure counts as an answer."""
        now = time.monotonic()
        limits = [self._limit_s(node) - now for node in self._asked]
        answers = {node: self._answer(node, outcome) for node, outcome in self._fanout.finished(min([wait_s, *limits]))}
        now = time.monotonic()
        for node in [node for node in self._asked if now >= self._limit_s(node)]:
            answers[node] = self._given_up(node)
        return answers

    def close(self) -> None:
        """Close all connections. The object cannot be used afterwards."""
        self._asked.clear()
        self._fanout.close()

    def drop(self, node: int) -> None:
        """Close the connection to a node, and forget its pending request. The next request opens a new connection."""
        self._asked.pop(node, None)
        self._fanout.drop(node)

    def _headers(self, node: int) -> dict[str, str]:
        """The headers of every request to a node."""
        found = {HEADER: addressee(self.run_uid, node)}
        if self.epoch is not None:
            found[epochs.HEADER] = str(self.epoch)
        return found

    def _limit_s(self, node: int) -> float:
        asked = self._asked[node]
        return asked.connected_until_s if self._fanout.is_connecting(node) else asked.until_s

    def _answer(self, node: int, outcome: Outcome) -> NodeAnswer:
        asked = self._asked.pop(node)
        if isinstance(outcome, OSError):
            return self._failure(node, outcome)
        status, content = outcome
        try:
            return NodeAnswer(status, json_object(content))
        except MalformedAnswer:
            self.drop(node)
            where = f"node {node} at {self.addresses[node]}"
            detail = f"{where}: malformed answer to {asked.what}, status {status}: {content[:100]!r}"
            return NodeAnswer(0, {"detail": detail})

    def _failure(self, node: int, error: OSError) -> NodeAnswer:
        if isinstance(error, NotConnected):
            return NodeAnswer(0, {"detail": f"node {node} cannot be reached at {self.addresses[node]}: {error}"})
        return NodeAnswer(0, {"detail": f"node {node} at {self.addresses[node]} sent no complete answer: {error!r}"})

    def _given_up(self, node: int) -> NodeAnswer:
        asked, connecting = self._asked[node], self._fanout.is_connecting(node)
        self.drop(node)
        if connecting:
            return self._failure(node, NotConnected("it does not accept connections"))
        return NodeAnswer(504, {"detail": f"node {node} did not answer within {asked.patience_s:g} s"})
