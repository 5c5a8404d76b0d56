"""A link to another node: a connection on which tasks come as real bytes, paced to the link's rate.

A connection becomes a link of one episode by HTTP's upgrade (`GET /v1/link`, `Upgrade: offload-link`). From then on, task after task:
a line of JSON (the handover of docs/contracts.md), ⌈size/8⌉ bytes, and back a line of JSON with a `status`. The next task
is sent after that answer; a sender that will not wait for it takes another connection.

What a transmission took is measured by the receiver, from the first byte's arrival to the last one's. Where the kernel
stamps what arrives (Linux), its stamps count: a thread that is woken late does not make a transmission shorter. Behind TLS
there are no stamps, and the first byte counts when its whole record has come.
"""

from __future__ import annotations

import json
import math
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from middleware.http.access import OPEN, Access
from middleware.http.exchange import WireError
from middleware.http.wire import Wire

PROTOCOL: Final = "offload-link"
_CHUNK_BYTES = 64 * 1024
_CHUNK_S = 0.004
_LONGEST_LINE = 4096
_CONTENT: Final = memoryview(bytes(_CHUNK_BYTES))
_SO_TIMESTAMPNS: Final = 35 if sys.platform == "linux" else None
_STAMP: Final = struct.Struct("@qq")

Accept = Callable[[float], Mapping[str, Any]]
"""Takes the real seconds that all bytes of a task took to arrive; returns the answer."""
Expect = Callable[[bytes], tuple[int, Accept]]
"""A task's line → how many bytes come, and what to do when they have come. Raises for a task that is refused."""


def payload_bytes(size_bits: float) -> int:
    """The bytes of a task of this size; at least one, since the last one's arrival is the transmission's end."""
    return max(1, math.ceil(size_bits / 8))


class Link:
    """The sending end, of node `source` in `episode`. Belongs to one thread at a time; only `cut` may be called by another."""

    def __init__(
        self, address: str, to: str, episode: int, source: int, timeout_s: float, access: Access = OPEN
    ) -> None:
        self.address = address
        self._path = f"/v1/link?episode={episode}&source={source}"
        self._wire = Wire(address, to, timeout_s, access)

    @property
    def is_open(self) -> bool:
        """Whether tasks can be sent; the other side may have closed it all the same."""
        return self._wire.is_connected

    def open(self) -> None:
        """Connect where that is not so yet. Raises OSError."""
        if self._wire.is_connected:
            return
        self._wire.connect().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _CHUNK_BYTES)
        self._wire.send("GET", self._path, headers=f"Connection: Upgrade\r\nUpgrade: {PROTOCOL}\r\n")
        status, _ = self._wire.receive()
        if status != 101:
            self._wire.close()
            raise WireError(f"{self.address} has no link for tasks' bytes: it answers {status}")

    def send(
        self, task: Mapping[str, Any], size_bytes: int, duration_s: float, wait_until: Callable[[float], None]
    ) -> None:
        """The task's line and first byte now, its last byte after `duration_s`, the others evenly between.

        `wait_until` sleeps to an instant of the monotonic clock; what it raises ends the sending. Raises OSError.
        """
        start_s, rate = time.monotonic(), size_bytes / max(duration_s, 1e-9)
        chunk = max(1, min(_CHUNK_BYTES, math.ceil(rate * _CHUNK_S)))
        self._wire.send_raw(json.dumps(task, separators=(",", ":")).encode("ascii") + b"\n" + bytes(1))
        sent = 1
        while sent < size_bytes:
            count = min(chunk, size_bytes - sent)
            wait_until(start_s + (sent + count) / rate)
            self._wire.send_raw(_CONTENT[:count])
            sent += count

    def answer(self) -> int:
        """The status of the task that was sent last. Raises OSError."""
        line = self._wire.receive_line()
        try:
            return int(json.loads(line)["status"])
        except (ValueError, KeyError, TypeError) as error:
            self._wire.close()
            raise WireError(f"{self.address}: {line[:300]!r} is not an answer to a task") from error

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    def cut(self) -> None:
        """End whatever wait the link's thread is in."""
        self._wire.cut()


def receive_tasks(connection: socket.socket, expect: Expect, refusal: Callable[[Exception], Mapping[str, Any]]) -> None:
    """The receiving end: returns when the sender closes the connection or breaks off, or after a task's line was refused.

    `refusal`: an error as the answer that is given for it, with its `status`.
    """
    connection.settimeout(None)  # a link may be idle for long; a sender that is gone is found by the kernel's probes
    reader = _StampedReader(connection)
    while reader.wait():
        first_s = reader.arrival_s
        line = reader.line()
        answer: Mapping[str, Any]
        try:
            size_bytes, accept = expect(line)
        except Exception as error:  # every error is answered, as `refusal` explains it
            connection.sendall(_line(refusal(error)))
            return  # where the next task would begin cannot be known
        reader.skip(size_bytes)
        try:
            answer = {"status": 200, **accept(reader.arrival_s - first_s)}
        except Exception as error:  # as above
            answer = refusal(error)
        connection.sendall(_line(answer))


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"


class _StampedReader:
    """Reads from a connection and knows when what it read last had arrived, on the own monotonic clock."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(_CHUNK_BYTES)
        self._rest = b""  # read together with a line, but behind it
        self.arrival_s = 0.0
        self._peeked = b""  # behind TLS, which cannot peek
        if _SO_TIMESTAMPNS is not None and not isinstance(connection, ssl.SSLSocket):
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def wait(self) -> bool:
        """Wait for the next task's first byte; False where the sender has closed the connection or is gone."""
        try:
            if isinstance(self._connection, ssl.SSLSocket):
                self._peeked = self._connection.recv(1)
                self.arrival_s = time.monotonic()
                return bool(self._peeked)
            return self._receive(1, socket.MSG_PEEK) > 0
        except OSError:
            return False

    def line(self) -> bytes:
        """A line, without its end. Raises WireError for one that does not end."""
        content = b""
        while (end := content.find(b"\n")) < 0:
            if len(content) > _LONGEST_LINE:
                raise WireError("a task's line does not end")
            content += self._some(_LONGEST_LINE)
        self._rest = content[end + 1 :]
        return content[:end]

    def skip(self, count: int) -> None:
        """Read and forget so many bytes."""
        if len(self._rest) > count:
            raise WireError("more bytes came than the task has")
        left = count - len(self._rest)
        self._rest = b""
        while left:
            left -= len(self._some(left))

    def _some(self, count: int) -> memoryview:
        received = self._receive(min(count, _CHUNK_BYTES), 0)
        if not received:
            raise WireError("the connection was closed within a task")
        return memoryview(self._buffer)[:received]

    def _receive(self, count: int, flags: int) -> int:
        if isinstance(self._connection, ssl.SSLSocket):
            return self._receive_secured(count)
        room = socket.CMSG_SPACE(_STAMP.size)
        received, ancillary, _, _ = self._connection.recvmsg_into([memoryview(self._buffer)[:count]], room, flags)
        now = time.monotonic()
        for level, kind, stamp in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(stamp) == _STAMP.size:
                seconds, nanoseconds = _STAMP.unpack(stamp)
                # How long it has lain there; a wall clock that is set in that moment is not believed.
                lain_s = time.time() - (seconds + nanoseconds * 1e-9)
                now -= lain_s if 0.0 <= lain_s < 1.0 else 0.0
        self.arrival_s = now
        return received

    def _receive_secured(self, count: int) -> int:
        if self._peeked:
            self._buffer[:1], self._peeked = self._peeked, b""
            return 1
        received = self._connection.recv_into(memoryview(self._buffer)[:count])
        self.arrival_s = time.monotonic()
        return received
