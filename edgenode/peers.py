"""Messages and tasks to one other node.

Concurrency: a `Peer` has a courier thread, which sends control messages one after the other (so an announcement comes
before its handover, and that before a withdrawal of a later task), and, with payload transfers, a carrier thread, which
sends the tasks' bytes in the order of the link. Both take their work from queues that any thread may fill, and report
through the callbacks given with it. A courier that waits for an answer holds no link: the link's timing is the core's.
`stop` ends both; what was not delivered by then stays undelivered.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from edgenode.core import Settlement

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
_CHUNK_BYTES = 64 * 1024
_CHUNK_S = 0.004
_CONTENT: Final = memoryview(bytes(_CHUNK_BYTES))
TASK_HEADER = "X-Offload-Task"
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Message:
    """A control message. `settled`: given for a handover, which is repeated until `give_up_s` (own monotonic clock)."""

    path: str
    body: Mapping[str, Any]
    settled: Callable[[Settlement], None] | None = None
    give_up_s: float = 0.0


@dataclass(frozen=True)
class Payload:
    """A task's bytes, to be sent from `start_s` to `end_s` (own monotonic clock); then as a handover `message`."""

    size_bytes: int
    start_s: float
    end_s: float
    message: Message


@dataclass(frozen=True)
class _Acknowledgement:
    connection: HTTPConnection
    message: Message


class Peer:
    """Another node. `resolve` looks its address up when nobody answers at the old one."""

    def __init__(self, node: int, address: str, timeout_s: float, resolve: Callable[[], str | None]) -> None:
        self.node = node
        self._address = address
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._messages: queue.SimpleQueue[Message | _Acknowledgement | None] = queue.SimpleQueue()
        self._payloads: queue.SimpleQueue[Payload | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._connection: HTTPConnection | None = None
        self._idle: queue.SimpleQueue[HTTPConnection] = queue.SimpleQueue()
        self._courier = threading.Thread(target=self._deliver_messages, name=f"courier-{node}", daemon=True)
        self._carrier: threading.Thread | None = None
        self._courier.start()

    def send(self, message: Message) -> None:
        """Queue a control message."""
        self._messages.put(message)

    def carry(self, payload: Payload) -> None:
        """Queue a task's bytes."""
        if self._carrier is None:
            self._carrier = threading.Thread(target=self._carry_payloads, name=f"carrier-{self.node}", daemon=True)
            self._carrier.start()
        self._payloads.put(payload)

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        self._messages.put(None)
        self._payloads.put(None)

    # --- courier ------------------------------------------------------------------------------------------------

    def _deliver_messages(self) -> None:
        while (message := self._messages.get()) is not None and not self._stopping.is_set():
            if isinstance(message, _Acknowledgement):
                self._await_acknowledgement(message)
            elif message.settled is None:
                self._post_once(message)
            else:
                self._hand_over(message, doubt=False)
        if self._connection is not None:
            self._connection.close()

    def _post_once(self, message: Message) -> None:
        """Announcements, withdrawals and overload bits: useful now or never; a kept connection may have been closed."""
        for _ in range(2):
            try:
                self._post(message)
            except ConnectionRefusedError:
                return
            except (OSError, HTTPException):
                continue
            else:
                return

    def _hand_over(self, message: Message, doubt: bool) -> None:
        """Repeat a handover until it is settled or too late. `doubt`: an earlier attempt may have been accepted."""
        assert message.settled is not None
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                status, answer = self._post(message)
            except ConnectionRefusedError:
                self._look_up()
            except (OSError, HTTPException):
                doubt = True
            else:
                if status == 200:
                    message.settled("accepted")
                    return
                if status < 500:
                    _logger.warning("node %d refuses a handover: %s", self.node, answer[:300])
                    message.settled("doubt" if doubt else "refused")
                    return
            if time.monotonic() + pause > message.give_up_s:
                message.settled("doubt" if doubt else "refused")
                return
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _post(self, message: Message) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.request("POST", message.path, json.dumps(message.body), _JSON)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self._connection.close()
            self._connection = None
            raise

    def _connect(self) -> HTTPConnection:
        return HTTPConnection(urlsplit(self._address).netloc, timeout=self._timeout_s)

    def _look_up(self) -> None:
        """A node that was restarted may answer elsewhere."""
        address = self._resolve()
        if address is not None:
            self._address = address

    # --- carrier ------------------------------------------------------------------------------------------------

    def _carry_payloads(self) -> None:
        while (payload := self._payloads.get()) is not None and not self._stopping.is_set():
            connection = None
            try:
                connection = self._idle_connection()
                self._send_paced(connection, payload)
            except (OSError, HTTPException) as trouble:
                # Not all bytes were sent, so it cannot have been accepted: the description alone is sent from now on.
                _logger.warning("sending a task's bytes to node %d broke off (%s)", self.node, type(trouble).__name__)
                if connection is not None:
                    connection.close()
                self._messages.put(payload.message)
            else:
                self._messages.put(_Acknowledgement(connection, payload.message))

    def _idle_connection(self) -> HTTPConnection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._connect()

    def _send_paced(self, connection: HTTPConnection, payload: Payload) -> None:
        """The request's head and first byte at the start, the last byte at the end, the others evenly between."""
        rate = payload.size_bytes / max(payload.end_s - payload.start_s, 1e-9)
        chunk = max(1, min(_CHUNK_BYTES, math.ceil(rate * _CHUNK_S)))
        if connection.sock is None:
            connection.connect()
            assert connection.sock is not None
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _CHUNK_BYTES)
        _wait_until(payload.start_s)
        connection.putrequest("POST", payload.message.path, skip_accept_encoding=True)
        connection.putheader("Content-Type", "application/octet-stream")
        connection.putheader("Content-Length", str(payload.size_bytes))
        connection.putheader(TASK_HEADER, json.dumps(payload.message.body, separators=(",", ":")))
        connection.endheaders()
        sent = min(1, payload.size_bytes)
        connection.send(_CONTENT[:sent])
        while sent < payload.size_bytes:
            count = min(chunk, payload.size_bytes - sent)
            _wait_until(payload.start_s + (sent + count) / rate)
            connection.send(_CONTENT[:count])
            sent += count

    def _await_acknowledgement(self, waiting: _Acknowledgement) -> None:
        assert waiting.message.settled is not None
        try:
            response = waiting.connection.getresponse()
            response.read()
            accepted = response.status == 200
        except (OSError, HTTPException):
            waiting.connection.close()
            self._hand_over(waiting.message, doubt=True)
            return
        self._idle.put(waiting.connection)
        if accepted:
            waiting.message.settled("accepted")
        else:
            self._hand_over(waiting.message, doubt=False)


def _wait_until(instant_s: float) -> None:
    left = instant_s - time.monotonic()
    if left > 0:
        time.sleep(left)
