"""The receiving ends of links: one thread for each, and at most `MOST_PER_PEER` for a peer.

Concurrency: a request thread hands over a connection that has become a link (`take`). From then on the connection has
its own thread. So a peer that vanishes or stops sending, even within a task, occupies no request thread. Any thread may
call `take`, `end` and `end_all`. `_lock` guards the data that they share, and connections are closed under it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from middleware.http.sockets import shut_down

MOST_PER_PEER: Final = 4
"""How many links of one peer may be open here. A peer uses two, and a third one while an answer is late."""

_logger = logging.getLogger(__name__)


class Connection(Protocol):
    """The part of the server's connection that a link needs."""

    socket: socket.socket

    def end(self) -> None:
        """Close it."""


@dataclass(frozen=True, eq=False)
class _Receiver:
    source: int
    episode: int
    connection: Connection


class Receivers:
    """The open links at a node.

    A peer that has `MOST_PER_PEER` links and opens another one loses its oldest one. This bounds the connections that
    are left behind when peers vanish and return. The sender of a task on a closed link hands over the task's
    description.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Receiver] = []
        self._ended = 0

    def take(self, connection: Connection, source: int, episode: int, receive: Callable[[socket.socket], None]) -> None:
        """Run `receive` for a link from node `source` in a thread, then close the link.

        The thread ends when `receive` returns or raises OSError.
        """
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
        except RuntimeError:  # the system cannot start a thread
            self._forget(receiver)
            raise

    def has_ended(self, episode: int) -> bool:
        """Whether the node accepts no more links of this episode."""
        return episode <= self._ended

    def end(self, episode: int) -> None:
        """Close the links of this episode and of earlier ones."""
        with self._lock:
            self._ended = max(self._ended, episode)
            for receiver in self._open:
                if self.has_ended(receiver.episode):
                    _cut(receiver)

    def end_all(self) -> None:
        """Close all links, and take links of any episode: another controller may use lower episode numbers."""
        with self._lock:
            self._ended = 0
            for receiver in self._open:
                _cut(receiver)

    def _run(self, receiver: _Receiver, receive: Callable[[socket.socket], None]) -> None:
        try:
            receive(receiver.connection.socket)
        except OSError as trouble:
            _logger.warning("a link from node %d failed: %s", receiver.source, trouble)
        finally:
            self._forget(receiver)

    def _forget(self, receiver: _Receiver) -> None:
        with self._lock:
            self._open.remove(receiver)
            receiver.connection.end()


def _cut(receiver: _Receiver) -> None:
    """Interrupt the thread that waits on this link."""
    shut_down(receiver.connection.socket, socket.SHUT_RDWR)
