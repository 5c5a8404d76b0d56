"""The receiving ends of links: a thread for each, and a bound on how many a peer has.

Concurrency: a request thread hands over a connection that has become a link (`take`); from then on it belongs to a thread of its
own, which ends with it. A peer that vanishes or falls silent, also amid a task, therefore holds none of the threads that answer
requests. Any thread may call `take` and `end`; what they share is under the lock, and a connection is closed under it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

MOST_PER_PEER: Final = 4
"""Links of one peer that are open here. It uses two, a third one while an answer to a task is late."""

_logger = logging.getLogger(__name__)


class Connection(Protocol):
    """What a link needs of the server's connection."""

    socket: socket.socket

    def end(self) -> None:
        """Close it."""


@dataclass(frozen=True, eq=False)
class _Receiver:
    source: int
    episode: int
    connection: Connection


class Receivers:
    """The links that are open at a node.

    A peer's new link closes its oldest one where it has `MOST_PER_PEER`: one that vanished without a word and has come back does not
    leave more than that behind. The sender of a task on a link that was closed hands it over by its description.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Receiver] = []
        self._ended = 0

    def take(self, connection: Connection, source: int, episode: int, receive: Callable[[socket.socket], None]) -> None:
        """Have a thread of its own `receive` from node `source` until that returns or raises OSError, then close the link."""
        receiver = _Receiver(source, episode, connection)
        with self._lock:
            self._open.append(receiver)
            if self.has_ended(episode):
                _cut(receiver)
            of_peer = [one for one in self._open if one.source == source]
            for oldest in of_peer[:-MOST_PER_PEER]:
                _cut(oldest)
        try:
            threading.Thread(target=self._run, args=(receiver, receive), name=f"link-{source}", daemon=True).start()
        except RuntimeError:  # the system gives no thread
            self._forget(receiver)
            raise

    def has_ended(self, episode: int) -> bool:
        """Whether links of this episode are no longer taken."""
        return episode <= self._ended

    def end(self, episode: int) -> None:
        """Close the links of this episode and of those before."""
        with self._lock:
            self._ended = max(self._ended, episode)
            for receiver in self._open:
                if self.has_ended(receiver.episode):
                    _cut(receiver)

    def end_all(self) -> None:
        """Close all links: another controller may count its episodes from a lower number."""
        with self._lock:
            self._ended = 0
            for receiver in self._open:
                _cut(receiver)

    def _run(self, receiver: _Receiver, receive: Callable[[socket.socket], None]) -> None:
        try:
            receive(receiver.connection.socket)
        except OSError as trouble:
            _logger.warning("a link from node %d broke off: %s", receiver.source, trouble)
        finally:
            self._forget(receiver)

    def _forget(self, receiver: _Receiver) -> None:
        with self._lock:
            self._open.remove(receiver)
            receiver.connection.end()


def _cut(receiver: _Receiver) -> None:
    """End whatever wait the link's thread is in."""
    with suppress(OSError):
        # Not the method of an SSLSocket, which takes the other thread's TLS away.
        socket.socket.shutdown(receiver.connection.socket, socket.SHUT_RDWR)
