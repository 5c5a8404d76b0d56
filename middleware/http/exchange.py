"""Requests to a pod over a kept connection, by a thread that never waits for them: a selector says when to go on.

Connecting, the TLS handshake, sending and receiving are steps that go as far as they can at once. An unreachable,
frozen or slow pod therefore delays nobody but itself. Many of them at once: `fanout.py`. What asks one pod at a time
and may wait uses `client.py` or `wire.py` instead.

Concurrency: an `Exchange` belongs to one thread.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from middleware.http.access import OPEN, Access
from middleware.http.limits import LONGEST_BODY, LONGEST_HEAD
from middleware.http.sockets import end_with_the_other

_READ_BYTES: Final = 64 * 1024
_LONGEST_CONNECTING_S: Final = 3.0
"""The kernel asks again after ever longer pauses: a pod that can be reached again is not to wait for those."""
_LATER: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises that would have to wait."""


class NotConnected(OSError):
    """No connection came about: nothing of the request has left this machine."""


class WireError(OSError):
    """The connection broke off, or the answer is none that a pod gives."""


@dataclass(frozen=True)
class Head:
    """The head of an answer: status, its own size and its body's in bytes, whether the connection ends with it."""

    status: int
    size: int
    length: int
    closes: bool


def head_of(content: bytes | bytearray) -> Head | None:
    """The head with which `content` begins; None where more of it is to come. Raises WireError for what is none."""
    end = content.find(b"\r\n\r\n")
    if end < 0:
        if len(content) > LONGEST_HEAD:
            raise WireError("the answer's head does not end")
        return None
    head = bytes(content[:end]).lower()
    try:
        status, length = int(head[9:12]), 0
        if status not in (101, 204, 304):
            found = head.find(b"\r\ncontent-length:")
            if found < 0:
                raise WireError("an answer without Content-Length")
            length = int(head[found + 17 :].partition(b"\r\n")[0])
            if not 0 <= length <= LONGEST_BODY:
                raise WireError(f"an answer of {length} bytes")
    except ValueError as error:
        raise WireError(f"{head[:80]!r} does not begin an answer of HTTP") from error
    return Head(status, end + 4, length, b"\r\nconnection: close" in head)


class Exchange:
    """A connection to a pod's address, made at the first request and kept; one request at a time.

    `start`, then `go_on` whenever a selector finds `fileno` ready for `events`, until that returns the answer; both may
    have changed after either. Both raise NotConnected where no connection comes about, another OSError where it breaks
    off; the connection is closed then, and the next `start` makes a new one. The address is numeric: a name would be
    looked up, which may wait. headers: of every request
    """

    def __init__(self, address: str, access: Access = OPEN, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(address)
        self.address = address
        self._access = access
        self._host, self._port = parts.hostname or "", parts.port or 80
        always = {"Host": parts.netloc, **(headers or {}), **access.headers()}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in always.items())
        self._socket: socket.socket | None = None
        self._place: tuple[Any, ...] = ()
        self._handshakes = False
        self._connecting_until_s = 0.0
        self._request = b""
        self._sent = 0
        self._received = bytearray()
        self._head: Head | None = None
        self._is_asked = False
        self.is_connecting = False
        self.events = selectors.EVENT_READ

    def fileno(self) -> int:
        """Of the socket, while a request is on its way; −1 where there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def start(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Begin a request. `headers`: further ones, each ended by CRLF.

        The answer to the request before must not be taken for this one's: it is dropped where it is there by now, else
        the connection is given up.
        """
        self._settle()
        length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
        self._request = f"{method} {path} HTTP/1.1\r\n{self._headers}{headers}{length}\r\n".encode("ascii") + body
        kept = self._socket is not None and not self.is_connecting
        try:
            self._begin()
        except OSError:
            if not kept:
                raise
            self._begin()  # the other side may have closed a kept connection: once more on a new one

    def connect(self) -> Literal[True] | None:
        """Go on with connecting ahead of a request: True when that is done. To be called as `go_on`."""
        try:
            if self._socket is None:
                self._request, self._sent, self._is_asked = b"", 0, False
                self._connect()
            return True if self._send() else None
        except OSError:
            self.close()
            raise

    def go_on(self) -> tuple[int, bytes] | None:
        """Go on as far as that is possible now: (status, body) of the answer, or None where it is not complete yet."""
        try:
            return self._receive() if self._send() else None
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, also amid a request."""
        self.is_connecting = self._handshakes = self._is_asked = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _settle(self) -> None:
        if self._socket is None:
            return
        if self.is_connecting or self._handshakes:
            if time.monotonic() > self._connecting_until_s:
                self.close()
            return  # a connection that is being made serves this request as well
        try:
            if self._is_asked:
                if self.go_on() is None:
                    self.close()
            else:
                self._socket.recv(1)
                self.close()  # it has ended, or gives what nobody asked for
        except _LATER:
            return
        except OSError:
            self.close()

    def _begin(self) -> None:
        self._sent, self._head, self._is_asked = 0, None, True
        self._received.clear()
        try:
            if self._socket is None:
                self._connect()
            self._send()
        except OSError:
            self.close()
            raise

    def _connect(self) -> None:
        try:
            family, kind, protocol, _, self._place = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )[0]
        except OSError as unknown:
            raise NotConnected(str(unknown)) from unknown
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end_with_the_other(self._socket)
        self.is_connecting, self._connecting_until_s = True, time.monotonic() + _LONGEST_CONNECTING_S

    def _send(self) -> bool:
        """Connect, make the handshake, send; whether all of the request is sent."""
        assert self._socket is not None
        self.events = selectors.EVENT_WRITE
        if self.is_connecting and not self._has_connected(self._socket):
            return False
        try:
            if self._handshakes:
                self._shake_hands()
            while self._sent < len(self._request):
                self._sent += self._socket.send(memoryview(self._request)[self._sent :])
        except (BlockingIOError, ssl.SSLWantWriteError):
            return False
        except ssl.SSLWantReadError:
            self.events = selectors.EVENT_READ
            return False
        self.events = selectors.EVENT_READ
        return True

    def _has_connected(self, made: socket.socket) -> bool:
        code = made.connect_ex(self._place)
        if code in (errno.EINPROGRESS, errno.EALREADY):
            return False
        if code not in (0, errno.EISCONN):
            raise NotConnected(code, os.strerror(code))
        self.is_connecting = False
        if self._access.tls is not None:
            self._socket = self._access.tls.client.wrap_socket(made, do_handshake_on_connect=False)
            self._handshakes = True
        return True

    def _shake_hands(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except _LATER:
            raise
        except OSError as refused:
            raise NotConnected(f"TLS: {refused}") from refused
        self._handshakes = False

    def _receive(self) -> tuple[int, bytes] | None:
        assert self._socket is not None
        while True:
            try:
                part = self._socket.recv(_READ_BYTES)
            except _LATER:
                return None
            if not part:
                raise WireError("the connection was closed before the answer")
            self._received += part
            self._head = self._head or head_of(self._received)
            if self._head is not None and len(self._received) >= self._head.size + self._head.length:
                break
        head = self._head
        self._is_asked = False
        body = bytes(self._received[head.size : head.size + head.length])
        if head.closes or len(self._received) > head.size + head.length:
            self.close()
        return head.status, body
