"""Sends messages and tasks to one other node.

Concurrency: a `Peer` has two sender threads. Any thread may fill their queues. They report through the callbacks that
come with the work.

* The message thread (`messages-N`) sends control messages one after the other. So an announcement arrives before its
  handover, and a handover before the withdrawal of a later task.
* The payload thread (`payloads-N`) exists with payload transfers only. It sends tasks' bytes in the order of the link.

The message thread also waits for the answers to the tasks' bytes. Meanwhile the payload thread can send the next task
on another connection. Waiting for an answer never occupies the modelled link: the core determines its timing.

`stop` has both threads end, and nobody waits for them. A wait for a message's answer ends at once. A connection attempt
and a wait for a task's answer end within the time-out, and the pacing of bytes ends at its next instant. What they have
not delivered stays undelivered.

Threads share three things. The message thread owns `_wire`, and replaces it when the address changes; other threads
read its address, and `stop` cuts it. The payload thread sets `_sending`, the link that it uses; `stop` cuts it. Both
threads put links into `_idle`, a queue; the payload thread takes them, and the message thread closes what is left.

A `Fanout` (`middleware/http/fanout.py`) over all peers would not do. The messages to one peer have an order, a handover
is repeated until it is settled, and bytes are paced. A thread per peer that may block is the simplest solution.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from edgenode.facts import Settlement
from edgenode.links import Link
from middleware.http.access import OPEN, Access
from middleware.http.addressee import MISDIRECTED
from middleware.http.exchange import NotConnected
from middleware.http.wire import Wire

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
_JSON: Final = "Content-Type: application/json\r\n"
_WRONG_EPISODE: Final = 409
_LINKS_AHEAD = 2  # one for the next task while the answer to the last one has not arrived


@dataclass(frozen=True)
class Message:
    """A control message.

    settled: the callback of a handover, which is repeated until `give_up_s`; None for other messages
    give_up_s: an instant of this machine's monotonic clock
    """

    path: str
    body: Mapping[str, Any]
    settled: Callable[[Settlement], None] | None = None
    give_up_s: float = 0.0


@dataclass(frozen=True)
class Payload:
    """A task's bytes, to send from `start_s` to `end_s` of this machine's monotonic clock. `message`: its handover."""

    size_bytes: int
    start_s: float
    end_s: float
    message: Message


@dataclass(frozen=True)
class _Acknowledgement:
    link: Link
    message: Message


class Peer:
    """Another node.

    to: the addressee in requests
    resolve: looks up the node's address, when it does not answer at the old one
    link_of: (episode, own node) of the links for tasks' bytes; None with emulated transfers
    """

    def __init__(
        self,
        node: int,
        address: str,
        to: str,
        timeout_s: float,
        resolve: Callable[[], str | None],
        link_of: tuple[int, int] | None = None,
        access: Access = OPEN,
    ) -> None:
        self.node = node
        self._to = to
        self._timeout_s = timeout_s
        self._access = access
        self._resolve = resolve
        self._link_of = link_of
        self._messages: queue.SimpleQueue[Message | _Acknowledgement | None] = queue.SimpleQueue()
        self._payloads: queue.SimpleQueue[Payload | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._wire = Wire(address, to, timeout_s, access)
        self._idle: queue.SimpleQueue[Link] = queue.SimpleQueue()
        self._sending: Link | None = None
        threading.Thread(target=self._deliver_messages, name=f"messages-{node}", daemon=True).start()
        if link_of is not None:
            threading.Thread(target=self._send_payloads, name=f"payloads-{node}", daemon=True).start()

    @property
    def address(self) -> str:
        """The node's address, as far as it is known."""
        return self._wire.address

    def send(self, message: Message) -> None:
        """Queue a control message."""
        self._messages.put(message)

    def send_payload(self, payload: Payload) -> None:
        """Queue a task's bytes. Requires links."""
        self._payloads.put(payload)

    def stop(self) -> None:
        """Have the threads end, even while they wait for an answer. Does not wait for them."""
        self._stopping.set()
        self._messages.put(None)
        self._payloads.put(None)
        self._wire.cut()
        if self._sending is not None:
            self._sending.cut()

    # --- message thread -----------------------------------------------------------------------------------------

    def _deliver_messages(self) -> None:
        with suppress(NotConnected):
            self._wire.connect()  # before the first message, which tries again after a failure
        while (message := self._messages.get()) is not None and not self._stopping.is_set():
            if isinstance(message, _Acknowledgement):
                self._await_acknowledgement(message)
            elif message.settled is None:
                self._post_once(message)
            else:
                self._hand_over(message, doubt=False)
        self._wire.close()
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _post_once(self, message: Message) -> None:
        """Send an announcement, withdrawal or overload bit. It would be useless later, so there are few attempts.

        A kept connection may have been closed, so there is a second attempt. It also follows a time-out, unlike in
        `JsonClient`: a kept connection to a machine that has vanished gives no answer. The node may receive the message
        twice. Only a failed new connection shows that the address may have changed.
        """
        for _ in range(2 if self._wire.is_connected else 1):
            try:
                status, answer = self._post(message)
            except NotConnected:
                self._look_up()
                return
            except OSError:
                continue
            if status == MISDIRECTED:
                self._look_up()
            elif status >= 400 and status != _WRONG_EPISODE:
                _logger.warning("node %d refuses %s: %r", self.node, message.path, answer[:300])
            return

    def _hand_over(self, message: Message, doubt: bool) -> None:
        """Repeat a handover until it is settled or too late. `doubt`: an earlier attempt may have been accepted.

        A restarted node answers "another episode", until the controller has opened this episode there again.
        """
        assert message.settled is not None
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                status, answer = self._post(message)
            except NotConnected:
                self._look_up()
            except OSError:
                doubt = True
            else:
                if status == 200:
                    message.settled("accepted")
                    return
                if status >= 500:
                    doubt = True
                elif status == MISDIRECTED:
                    self._look_up()  # this attempt was certainly not accepted
                elif status != _WRONG_EPISODE:
                    _logger.warning("node %d refuses a handover: %r", self.node, answer[:300])
                    message.settled("doubt" if doubt else "refused")
                    return
            if time.monotonic() + pause > message.give_up_s:
                message.settled("doubt" if doubt else "refused")
                return
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _post(self, message: Message) -> tuple[int, bytes]:
        content = json.dumps(message.body, separators=(",", ":")).encode("ascii")
        self._wire.send("POST", message.path, content, _JSON)
        return self._wire.receive()

    def _look_up(self) -> None:
        """Look up the node's address: a restarted node may have another one."""
        address = self._resolve()
        if address is not None and address != self._wire.address:
            self._wire.close()
            self._wire = Wire(address, self._to, self._timeout_s, self._access)

    def _await_acknowledgement(self, waiting: _Acknowledgement) -> None:
        assert waiting.message.settled is not None
        try:
            status = waiting.link.answer()
        except OSError:
            self._hand_over(waiting.message, doubt=True)
            return
        if status == 200:
            self._idle.put(waiting.link)
            waiting.message.settled("accepted")
        else:
            waiting.link.close()
            self._hand_over(waiting.message, doubt=status >= 500)

    # --- payload thread -----------------------------------------------------------------------------------------

    def _send_payloads(self) -> None:
        for _ in range(_LINKS_AHEAD):
            link = self._new_link()
            with suppress(OSError):  # the first task tries again
                link.open()
                self._idle.put(link)
        while (payload := self._payloads.get()) is not None and not self._stopping.is_set():
            link = self._sending = self._idle_link()
            try:
                link.open()
                self._wait_until(payload.start_s)
                # A transmission that starts late also ends late: its duration does not change.
                link.send(payload.message.body, payload.size_bytes, payload.end_s - payload.start_s, self._wait_until)
            except OSError as trouble:
                if self._stopping.is_set():
                    return
                # Not all bytes were sent, so the task was certainly not accepted. Now its description is sent alone.
                _logger.warning("sending a task's bytes to node %d failed (%s)", self.node, trouble)
                link.close()
                self._messages.put(payload.message)
            else:
                self._messages.put(_Acknowledgement(link, payload.message))

    def _idle_link(self) -> Link:
        while not self._idle.empty():
            link = self._idle.get_nowait()
            if link.address == self.address and link.is_open:
                return link
            link.close()
        return self._new_link()

    def _new_link(self) -> Link:
        assert self._link_of is not None
        return Link(self.address, self._to, *self._link_of, self._timeout_s, self._access)

    def _wait_until(self, instant_s: float) -> None:
        left = instant_s - time.monotonic()
        if left > 0:
            time.sleep(left)
        if self._stopping.is_set():
            raise InterruptedError("the node is ending the episode")
