"""Sends requests to a pod over a kept non-blocking connection. A selector reports when to continue.

Connecting, the TLS handshake, sending and receiving each proceed as far as possible without waiting. An unreachable,
frozen or slow pod therefore delays no other pod. `fanout.py` handles many exchanges at the same time. Code that may
wait for one pod uses `client.py` or `wire.py` instead.

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
"""Real seconds before a new connection attempt. The kernel's own retries have growing pauses."""
_LATER: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket raises when an operation would block."""


class NotConnected(OSError):
    """No connection was established. Nothing of the request has left this machine."""


class WireError(OSError):
    """The connection failed, or the answer does not have the form that pods send."""


@dataclass(frozen=True)
class Head:
    """The head of an answer.

    status: HTTP status; size: bytes of the head; length: bytes of the body; closes: whether the server closes the
    connection after the answer
    """

    status: int
    size: int
    length: int
    closes: bool


def head_of(content: bytes | bytearray) -> Head | None:
    """The head at the beginning of `content`; None if it is not complete yet. Raises WireError for an invalid head."""
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
    """A kept connection to a pod's address, with one request at a time. The first request opens it.

    Call `start`, then `go_on` whenever a selector reports `fileno` ready for `events`, until it returns the answer.
    Each call may change `fileno` and `events`. Both methods raise NotConnected if no connection can be established,
    and another OSError if it fails later. The connection is then closed, and the next `start` opens a new one.

    address: with a numeric host, because the lookup of a name may block
    headers: of every request
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
        """The socket's descriptor during a request; −1 if there is no socket."""
        return -1 if self._socket is None else self._socket.fileno()

    def start(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Begin a request. headers: additional ones, each ended by CRLF

        If the previous request is still open, its answer is discarded. If that answer is not complete yet, the
        connection is closed, so that a late answer cannot be taken for the new one's.
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
            self._begin()  # the other side may have closed the kept connection: retry on a new one

    def connect(self) -> Literal[True] | None:
        """Connect before the first request: True when connected, else None. Call it repeatedly, like `go_on`."""
        try:
            if self._socket is None:
                self._request, self._sent, self._is_asked = b"", 0, False
                self._connect()
            return True if self._send() else None
        except OSError:
            self.close()
            raise

    def go_on(self) -> tuple[int, bytes] | None:
        """Continue without blocking: (status, body) of the answer, or None if it is not complete yet."""
        try:
            return self._receive() if self._send() else None
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, also during a request."""
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
            return  # the new request uses the connection that is being established
        try:
            if self._is_asked:
                if self.go_on() is None:
                    self.close()
            else:
                self._socket.recv(1)
                self.close()  # it has ended, or contains data without a request
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
        """Connect, make the TLS handshake, and send. Returns whether the whole request is sent."""
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
