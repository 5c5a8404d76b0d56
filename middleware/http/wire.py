"""Implements a kept HTTP/1.1 connection to another pod, with minimal work per request.

Nodes exchange some hundred small requests per slot, and answer each in a few dozen microseconds. `http.client` needs
more than that to parse the headers of one answer. This module reads only the status, the length and the body.

Concurrency: a `Wire` belongs to one thread. Only `cut` may be called by another thread.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from middleware.http.access import OPEN, Access
from middleware.http.addressee import HEADER
from middleware.http.exchange import NotConnected, WireError, head_of
from middleware.http.sockets import end_with_the_other, shut_down

_READ_BYTES = 64 * 1024
_LONGEST_LINE = 64 * 1024


class Wire:
    """A kept connection to a node's address. The first request opens it.

    to: the target node (`middleware/http/addressee.py`)
    timeout_s: limit in real seconds for each wait
    """

    def __init__(self, address: str, to: str, timeout_s: float, access: Access = OPEN) -> None:
        parts = urlsplit(address)
        self.address = address
        self._access = access
        self._host, self._port = parts.hostname or "", parts.port or 80
        always = {"Host": parts.netloc, HEADER: to, **access.headers()}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in always.items())
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def connect(self) -> socket.socket:
        """The connected socket; connects if necessary. Raises NotConnected."""
        if self._socket is None:
            try:
                made = socket.create_connection((self._host, self._port), self._timeout_s)
                end_with_the_other(made)
                made = self._access.secured(made)
            except OSError as error:
                raise NotConnected(f"{self.address}: {error}") from error
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(self._timeout_s)
            self._socket = made
        return self._socket

    @property
    def is_connected(self) -> bool:
        """Whether a connection is kept. The other side may nevertheless have closed it."""
        return self._socket is not None

    def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        """Send a request with its whole body. Raises OSError. headers: additional ones, each ended by CRLF"""
        length = f"Content-Length: {len(body)}\r\n" if method != "GET" else ""
        self.send_raw(self.head(method, path, headers + length) + body)

    def head(self, method: str, path: str, headers: str) -> bytes:
        """The head of a request. headers: additional ones, each ended by CRLF"""
        return f"{method} {path} HTTP/1.1\r\n{self._headers}{headers}\r\n".encode("ascii")

    def send_raw(self, content: bytes | memoryview) -> None:
        """Send bytes unchanged. Raises OSError, and then closes the connection."""
        made = self.connect()
        try:
            made.sendall(content)
        except OSError:
            self.close()
            raise

    def receive(self) -> tuple[int, bytes]:
        """(status, body) of the answer. Raises OSError, and then closes the connection."""
        try:
            return self._receive()
        except OSError:
            self.close()
            raise

    def receive_line(self) -> bytes:
        """A line without its line break, on a connection after an upgrade from HTTP.

        Raises OSError, and then closes the connection.
        """
        content = b""
        try:
            if self._socket is None:
                raise WireError(f"{self.address}: there is no open request")
            while not content.endswith(b"\n"):
                if len(content) > _LONGEST_LINE:
                    raise WireError(f"{self.address}: the line does not end")
                content += self._read(self._socket, _READ_BYTES)
        except OSError:
            self.close()
            raise
        return content[:-1]

    def close(self) -> None:
        """Close the connection. The next request opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def cut(self) -> None:
        """End the current wait of the connection's thread. Any thread may call this."""
        made = self._socket
        if made is not None:
            shut_down(made, socket.SHUT_RDWR)

    def _receive(self) -> tuple[int, bytes]:
        made = self._socket
        if made is None:
            raise WireError(f"{self.address}: there is no open request")
        content = b""
        while (head := head_of(content)) is None:
            content += self._read(made, _READ_BYTES)
        body = content[head.size :]
        while len(body) < head.length:
            body += self._read(made, head.length - len(body))
        if head.closes:
            self.close()
        return head.status, body

    def _read(self, made: socket.socket, count: int) -> bytes:
        part = made.recv(count)
        if not part:
            raise WireError(f"{self.address}: the connection was closed before the answer")
        return part
