"""Sends requests to many pods at the same time, without waiting for a single one of them.

Each pod has an `Exchange`, whose connection is kept. One selector reports which of them can continue, so that an
unreachable, frozen or slow pod delays no other pod. The caller decides when to stop waiting for an answer.

Concurrency: a `Fanout` belongs to one thread.
"""

from __future__ import annotations

import math
import selectors
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from middleware.http.access import OPEN, Access
from middleware.http.exchange import Exchange

_Key = TypeVar("_Key", bound=Hashable)
_Result = TypeVar("_Result")
Outcome = tuple[int, bytes] | OSError
"""(status, body) of an answer, or the error: NotConnected if no connection was established, another one if it failed
later."""


class Fanout(Generic[_Key]):
    """Connections to pods by key, with one request per pod at a time.

    headers: returns the headers of every request to the pod with this key
    kept_s: a connection that was idle for more real seconds is replaced before the next request
    """

    def __init__(
        self, headers: Callable[[_Key], Mapping[str, str]], access: Access = OPEN, kept_s: float = math.inf
    ) -> None:
        self._headers = headers
        self._access = access
        self._kept_s = kept_s
        self._selector = selectors.DefaultSelector()
        self._exchanges: dict[_Key, Exchange] = {}
        self._used_s: dict[_Key, float] = {}
        self._awaited: dict[_Key, tuple[int, int]] = {}  # as registered in the selector: descriptor, events
        self._failed: dict[_Key, OSError] = {}

    def __len__(self) -> int:
        """How many outcomes `finished` has not returned yet."""
        return len(self._awaited) + len(self._failed)

    def connect(self, addresses: Mapping[_Key, str], timeout_s: float) -> None:
        """Connect before the first requests, within `timeout_s` real seconds.

        The first request to a pod that is unreachable now tries again.
        """
        until = time.monotonic() + timeout_s
        for key, address in addresses.items():
            self._exchange(key, address)
        ready = list(addresses)
        while ready:
            for key in ready:
                self._step(key, self._exchanges[key].connect)
            left_s = until - time.monotonic()
            ready = self._ready(left_s) if self._awaited and left_s > 0 else []
        self.forget_all()

    def start(self, key: _Key, address: str, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Send a request to a pod. `finished` returns the outcome, and no longer that of the previous request.

        headers: additional ones, each ended by CRLF
        """
        self.forget(key)
        exchange = self._exchange(key, address)
        try:
            exchange.start(method, path, body, headers)
        except OSError as error:
            self._failed[key] = error
        else:
            self._await(key, exchange)

    def finished(self, wait_s: float) -> Iterator[tuple[_Key, Outcome]]:
        """The outcomes that are complete, with their keys. Waits at most `wait_s` real seconds for the first."""
        failed, self._failed = self._failed, {}
        yield from failed.items()
        for key in self._ready(0.0 if failed else wait_s):
            outcome = self._step(key, self._exchanges[key].go_on)
            if outcome is not None:
                yield key, outcome

    def is_connecting(self, key: _Key) -> bool:
        """Whether the pod has not accepted the connection yet."""
        return self._exchanges[key].is_connecting

    def forget(self, key: _Key) -> None:
        """Stop waiting for a pod's answer. The connection is kept if the answer arrives before the next request."""
        self._failed.pop(key, None)
        awaited = self._awaited.pop(key, None)
        if awaited is not None:
            self._selector.unregister(awaited[0])

    def forget_all(self) -> None:
        """Stop waiting for all answers; see `forget`."""
        for key in [*self._awaited, *self._failed]:
            self.forget(key)

    def drop(self, key: _Key) -> None:
        """Stop waiting for a pod's answer, and close the connection. The next request opens a new one."""
        self.forget(key)
        exchange = self._exchanges.pop(key, None)
        if exchange is not None:
            exchange.close()

    def close(self) -> None:
        """Close all connections and the selector."""
        for key in list(self._exchanges):
            self.drop(key)
        self._selector.close()

    def _exchange(self, key: _Key, address: str) -> Exchange:
        """The exchange with the pod at this address. Closes an exchange with the pod's former address."""
        now = time.monotonic()
        exchange = self._exchanges.get(key)
        if exchange is None or exchange.address != address:
            self.drop(key)
            exchange = self._exchanges[key] = Exchange(address, self._access, self._headers(key))
        elif now - self._used_s[key] > self._kept_s:
            exchange.close()
        self._used_s[key] = now
        return exchange

    def _step(self, key: _Key, step: Callable[[], _Result | None]) -> _Result | OSError | None:
        """Run a step of a pod's exchange: its result or error, or None if the exchange must continue."""
        try:
            result = step()
        except OSError as error:
            self.forget(key)
            return error
        if result is None:
            self._await(key, self._exchanges[key])
        else:
            self.forget(key)
        return result

    def _await(self, key: _Key, exchange: Exchange) -> None:
        """Register what the exchange needs to continue. Call this after each step."""
        before, wanted = self._awaited.get(key), (exchange.fileno(), exchange.events)
        if before == wanted:
            return
        if before is None:
            self._selector.register(*wanted, key)
        else:
            assert before[0] == wanted[0], "an exchange keeps its socket during a request"
            self._selector.modify(*wanted, key)
        self._awaited[key] = wanted

    def _ready(self, wait_s: float) -> list[Any]:
        """The keys of the exchanges that can continue. Waits at most `wait_s` real seconds for the first."""
        return [key.data for key, _ in self._selector.select(max(0.0, wait_s))]
