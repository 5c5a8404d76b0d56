"""Requests to the edge nodes: to all of them at once, over connections that are kept.

Concurrency: a `NodeClients` is used by one thread at a time, which never waits for a single node: connecting, sending
and receiving go on as a selector finds the nodes ready, so that an unreachable, slow or dead one delays nobody.
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
from middleware.http.exchange import Exchange, NotConnected, Watch

UNREACHABLE: Final = (0, MISDIRECTED)
"""Statuses of an answer that is not the node's: nobody answers at its address, or another node does."""
_ACCEPT_S = 1.0
"""A node of this machine or cluster that does not accept a connection for so many real seconds is down."""
_KEPT_S = 20.0
"""A connection that was idle for longer is not used again: servers close theirs after a while."""


@dataclass(frozen=True)
class NodeAnswer:
    """A node's answer: its status and parsed body.

    Status 0: nobody can be reached there, or it is no node that answers. Status 504: it was reached, and did not answer
    in time. `body["detail"]` says more.
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


@dataclass
class _Asked:
    """A request that is on its way. Instants of the monotonic clock."""

    what: str
    patience_s: float
    connected_until_s: float
    until_s: float


class NodeClients:
    """The nodes of a run at `addresses` (`http://host:port`, by index).

    epoch: of our lease, None where nothing is asked that changes them
    """

    def __init__(
        self, addresses: Mapping[int, str], run_uid: str, access: Access = OPEN, epoch: int | None = None
    ) -> None:
        self.addresses = dict(addresses)
        self.run_uid = run_uid
        self.access = access
        self.epoch = epoch
        self._exchanges: dict[int, Exchange] = {}
        self._used_s: dict[int, float] = {}
        self._asked: dict[int, _Asked] = {}
        self._failed: dict[int, NodeAnswer] = {}
        self._watch: Watch[int] = Watch()

    def ask(
        self,
        method: str,
        path: str,
        bodies: Mapping[int, Mapping[str, Any] | None],
        timeout_s: float,
    ) -> dict[int, NodeAnswer]:
        """Send every node its body (None: none) and take the answers that come within the time-out (real seconds)."""
        for node, body in bodies.items():
            self.start(node, method, path, body, timeout_s)
        answers: dict[int, NodeAnswer] = {}
        while not answers.keys() >= bodies.keys():
            answers.update(self.finished(timeout_s))
        return {node: answers[node] for node in bodies}

    def start(self, node: int, method: str, path: str, body: Mapping[str, Any] | None, patience_s: float) -> None:
        """Send a node a request, whose answer `finished` returns, after `patience_s` real seconds at the latest."""
        now = time.monotonic()
        self._forget(node)
        exchange = self._exchanges.get(node)
        if exchange is None or exchange.address != self.addresses[node]:
            self.drop(node)
            exchange = self._exchanges[node] = Exchange(self.addresses[node], self.access, self._headers(node))
        elif now - self._used_s[node] > _KEPT_S:
            exchange.close()
        self._used_s[node] = now
        asked = _Asked(f"{method} {path}", patience_s, now + min(patience_s, _ACCEPT_S), now + patience_s)
        content, headers = b"", ""
        if body is not None:
            content, headers = json.dumps(body).encode(), "Content-Type: application/json\r\n"
        try:
            exchange.start(method, path, content, headers)
        except OSError as error:
            self._failed[node] = self._failure(node, error)
            return
        self._asked[node] = asked
        self._watch.see(node, exchange)

    def finished(self, wait_s: float) -> dict[int, NodeAnswer]:
        """The answers that are there, by node, waiting at most so long for the first; a failure is an answer, too."""
        answers, self._failed = self._failed, {}
        now = time.monotonic()
        limits = [self._limit_s(node) - now for node in self._asked]
        for node in self._watch.ready(0.0 if answers else min([wait_s, *limits])):
            if (answer := self._go_on(node)) is not None:
                answers[node] = answer
        now = time.monotonic()
        for node in [node for node in self._asked if now >= self._limit_s(node)]:
            answers[node] = self._given_up(node)
        return answers

    def close(self) -> None:
        """Close all connections, for good."""
        for node in list(self._exchanges):
            self.drop(node)
        self._watch.close()

    def drop(self, node: int) -> None:
        """Close the connection to a node, whose answer is awaited no longer; the next request makes a new one."""
        self._forget(node)
        exchange = self._exchanges.pop(node, None)
        if exchange is not None:
            exchange.close()

    def _headers(self, node: int) -> dict[str, str]:
        """Of every request to a node."""
        found = {HEADER: addressee(self.run_uid, node)}
        if self.epoch is not None:
            found[epochs.HEADER] = str(self.epoch)
        return found

    def _limit_s(self, node: int) -> float:
        asked = self._asked[node]
        return asked.connected_until_s if self._exchanges[node].is_connecting else asked.until_s

    def _go_on(self, node: int) -> NodeAnswer | None:
        exchange, asked = self._exchanges[node], self._asked[node]
        try:
            answer = exchange.go_on()
        except OSError as error:
            self._forget(node)
            return self._failure(node, error)
        if answer is None:
            self._watch.see(node, exchange)
            return None
        self._forget(node)
        return self._parsed(node, asked.what, *answer)

    def _parsed(self, node: int, what: str, status: int, content: bytes) -> NodeAnswer:
        try:
            body = json.loads(content) if content else {}
        except ValueError:
            body = None
        if isinstance(body, dict):
            return NodeAnswer(status, body)
        self.drop(node)
        where = f"node {node} at {self.addresses[node]}"
        return NodeAnswer(0, {"detail": f"{where}: malformed answer to {what}, status {status}: {content[:100]!r}"})

    def _failure(self, node: int, error: OSError) -> NodeAnswer:
        if isinstance(error, NotConnected):
            return NodeAnswer(0, {"detail": f"node {node} cannot be reached at {self.addresses[node]}: {error}"})
        return NodeAnswer(0, {"detail": f"node {node} at {self.addresses[node]} broke off its answer: {error!r}"})

    def _given_up(self, node: int) -> NodeAnswer:
        asked, connecting = self._asked[node], self._exchanges[node].is_connecting
        self.drop(node)
        if connecting:
            return self._failure(node, NotConnected("it does not accept connections"))
        return NodeAnswer(504, {"detail": f"node {node} did not answer within {asked.patience_s:g} s"})

    def _forget(self, node: int) -> None:
        """Wait no longer for a node's answer."""
        self._failed.pop(node, None)
        self._asked.pop(node, None)
        self._watch.forget(node)
