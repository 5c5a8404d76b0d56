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
from middleware.http.answers import JsonAnswer, MalformedAnswer, json_object
from middleware.http.exchange import NotConnected
from middleware.http.fanout import Fanout, Outcome
from middleware.http.limits import ACCEPT_S, KEPT_S

UNREACHABLE: Final = (0, MISDIRECTED)
"""Statuses of an answer that is not the node's: nobody answers at its address, or another node does."""


class NodeAnswer(JsonAnswer):
    """A node's answer, or what became of asking it.

    Status 0: nobody can be reached there, or it is no node that answers. Status 504: it was reached, and did not answer
    in time. `body["detail"]` says more.
    """


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
        self._fanout: Fanout[int] = Fanout(self._headers, access, KEPT_S)
        self._asked: dict[int, _Asked] = {}

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
        asked = _Asked(f"{method} {path}", patience_s, now + min(patience_s, ACCEPT_S), now + patience_s)
        content, headers = b"", ""
        if body is not None:
            content, headers = json.dumps(body).encode(), "Content-Type: application/json\r\n"
        self._fanout.start(node, self.addresses[node], method, path, content, headers)
        self._asked[node] = asked

    def finished(self, wait_s: float) -> dict[int, NodeAnswer]:
        """The answers that are there, by node, waiting at most so long for the first; a failure is an answer, too."""
        now = time.monotonic()
        limits = [self._limit_s(node) - now for node in self._asked]
        answers = {node: self._answer(node, outcome) for node, outcome in self._fanout.finished(min([wait_s, *limits]))}
        now = time.monotonic()
        for node in [node for node in self._asked if now >= self._limit_s(node)]:
            answers[node] = self._given_up(node)
        return answers

    def close(self) -> None:
        """Close all connections, for good."""
        self._asked.clear()
        self._fanout.close()

    def drop(self, node: int) -> None:
        """Close the connection to a node, whose answer is awaited no longer; the next request makes a new one."""
        self._asked.pop(node, None)
        self._fanout.drop(node)

    def _headers(self, node: int) -> dict[str, str]:
        """Of every request to a node."""
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
        return NodeAnswer(0, {"detail": f"node {node} at {self.addresses[node]} broke off its answer: {error!r}"})

    def _given_up(self, node: int) -> NodeAnswer:
        asked, connecting = self._asked[node], self._fanout.is_connecting(node)
        self.drop(node)
        if connecting:
            return self._failure(node, NotConnected("it does not accept connections"))
        return NodeAnswer(504, {"detail": f"node {node} did not answer within {asked.patience_s:g} s"})
