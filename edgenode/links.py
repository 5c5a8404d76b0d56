"""Sends and receives tasks as real bytes over links, at the link's rate.

A link is a connection for one episode. A connection becomes a link by HTTP's upgrade (`GET /v1/link`, `Upgrade:
offload-link`). From then on it carries one task after the other:

1. The sender sends a line of JSON (the handover of docs/contracts.md), then ⌈size/8⌉ bytes.
2. The receiver answers with a line of JSON that has a `status`.
3. The sender sends the next task after that answer. To send it earlier, it uses another connection.

The receiver measures the transmission's duration, from the arrival of the first byte to that of the last. On Linux it
uses the kernel's timestamps, so that a thread that wakes late does not shorten a transmission. With TLS there are no
timestamps, and the first byte counts as arrived when its whole TLS record has arrived.
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
"""Takes the real seconds in which all bytes of a task arrived; returns the answer."""
Expect = Callable[[bytes], tuple[int, Accept]]
"""A task's line → how many bytes follow, and the function to call when they have arrived. Raises to reject the task."""


def payload_bytes(size_bits: float) -> int:
    """The number of bytes of a task of this size, at least one: the arrival of the last byte ends the transmission."""
    return max(1, math.ceil(size_bits / 8))


class Link:
    """The sending end of a link, of node `source` in `episode`.

    Concurrency: one thread at a time may use it. Only `cut` may be called by another thread.
    """

    def __init__(
        self, address: str, to: str, episode: int, source: int, timeout_s: float, access: Access = OPEN
    ) -> None:
        self.address = address
        self._path = f"/v1/link?episode={episode}&source={source}"
        self._wire = Wire(address, to, timeout_s, access)

    @property
    def is_open(self) -> bool:
        """Whether this end is connected. The other end may have closed the connection."""
        return self._wire.is_connected

    def open(self) -> None:
        """Connect, if that is not done yet. Raises OSError."""
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
        """Send a task: its line and first byte now, the last byte after `duration_s` real seconds, the others evenly.

        `wait_until` sleeps until an instant of the monotonic clock. An exception from it ends the sending. Raises
        OSError.
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
        """Wait for the answer to the last task, and return its status. Raises OSError."""
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
        """Interrupt the thread that waits on this link."""
        self._wire.cut()


def receive_tasks(connection: socket.socket, expect: Expect, refusal: Callable[[Exception], Mapping[str, Any]]) -> None:
    """Receive tasks until the sender closes or breaks the connection, or until a task's line is rejected.

    refusal: translates an error into the answer for it, which has a `status`
    """
    connection.settimeout(None)  # a link may be idle for long; the kernel's keepalive probes find a vanished sender
    reader = _StampedReader(connection)
    while reader.wait():
        first_s = reader.arrival_s
        line = reader.line()
        answer: Mapping[str, Any]
        try:
            size_bytes, accept = expect(line)
        except Exception as error:  # every error is answered, as `refusal` explains it
            connection.sendall(_line(refusal(error)))
            return  # the start of the next task is unknown
        reader.skip(size_bytes)
        try:
            answer = {"status": 200, **accept(reader.arrival_s - first_s)}
        except Exception as error:  # as above
            answer = refusal(error)
        connection.sendall(_line(answer))


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"


class _StampedReader:
    """Reads from a connection, and keeps the arrival time of what it read last, on this machine's monotonic clock."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(_CHUNK_BYTES)
        self._rest = b""  # read together with a line, but follows it
        self.arrival_s = 0.0
        self._peeked = b""  # with TLS, which cannot peek
        if _SO_TIMESTAMPNS is not None and not isinstance(connection, ssl.SSLSocket):
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def wait(self) -> bool:
        """Wait for the next task's first byte. Returns False if the sender closed the connection or vanished."""
        try:
            if isinstance(self._connection, ssl.SSLSocket):
                self._peeked = self._connection.recv(1)
                self.arrival_s = time.monotonic()
                return bool(self._peeked)
            return self._receive(1, socket.MSG_PEEK) > 0
        except OSError:
            return False

    def line(self) -> bytes:
        """Read a line, without its end. Raises WireError if it is too long."""
        content = b""
        while (end := content.find(b"\n")) < 0:
            if len(content) > _LONGEST_LINE:
                raise WireError("a task's line does not end")
            content += self._some(_LONGEST_LINE)
        self._rest = content[end + 1 :]
        return content[:end]

    def skip(self, count: int) -> None:
        """Read and discard `count` bytes."""
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
                # How long the bytes waited to be read. A jump of the wall clock gives a wrong value, which is ignored.
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
