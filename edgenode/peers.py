"""Messages and tasks to one other node.

Concurrency: a `Peer` has a courier thread, which sends control messages one after the other (so an announcement comes
before its handover, and that before a withdrawal of a later task), and, with payload transfers, a carrier thread, which
sends the tasks' bytes in the order of the link. Both take their work from queues that any thread may fill, and report
through the callbacks given with it. A courier that waits for an answer holds no link: the link's timing is the core's, and the
answer to a task's bytes is awaited by the courier, so that the carrier can go on with the next task on another connection.
`stop` ends both; what was not delivered by then stays undelivered.

There is no `Fanout` (`middleware/http/fanout.py`) over all peers: the messages to one peer wait for one another, a
handover is repeated until it is settled, and bytes are paced. Each peer has a sequence of its own, and a thread that
may wait is the simplest form of one.
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
_LINKS_AHEAD = 2  # one for the next task while the answer to the last one is on its way


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
    link: Link
    message: Message


class Peer:
    """Another node, `to` in requests. `resolve` looks its address up when it does not answer at the old one.

    link_of: (episode, own node) of the links on which tasks' bytes are sent; None where only messages are
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
        self._carrying: Link | None = None
        self._courier = threading.Thread(target=self._deliver_messages, name=f"courier-{node}", daemon=True)
        self._courier.start()
        self._carrier = threading.Thread(target=self._carry_payloads, name=f"carrier-{node}", daemon=True)
        if link_of is not None:
            self._carrier.start()

    @property
    def address(self) -> str:
        """Where the node answers, as far as is known."""
        return self._wire.address

    def send(self, message: Message) -> None:
        """Queue a control message."""
        self._messages.put(message)

    def carry(self, payload: Payload) -> None:
        """Queue a task's bytes; for a peer with links."""
        self._payloads.put(payload)

    def stop(self) -> None:
        """End the threads, also where they wait for an answer; `join` waits for that."""
        self._stopping.set()
        self._messages.put(None)
        self._payloads.put(None)
        self._wire.cut()
        if self._carrying is not None:
            self._carrying.cut()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads' end."""
        for thread in (self._courier, self._carrier):
            if thread.is_alive():
                thread.join(timeout_s)

    # --- courier ------------------------------------------------------------------------------------------------

    def _deliver_messages(self) -> None:
        with suppress(NotConnected):
            self._wire.connect()  # ahead of the first message; who cannot be reached now is tried again with it
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
        """Announcements, withdrawals and overload bits: useful now or never; a kept connection may have been closed.

        They may be heard twice. A second attempt follows a time-out, too, unlike in `JsonClient`: a kept connection to
        a machine that has vanished just stays silent. Only a new connection shows that the address has changed.
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

        A node that was restarted says that it plays another episode, until the controller has opened this one there again.
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
                    self._look_up()  # as where nobody answers: this attempt was certainly not accepted
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
        """A node that was restarted may answer elsewhere."""
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

    # --- carrier ------------------------------------------------------------------------------------------------

    def _carry_payloads(self) -> None:
        for _ in range(_LINKS_AHEAD):
            link = self._new_link()
            with suppress(OSError):  # who cannot be reached now is tried again with a task
                link.open()
                self._idle.put(link)
        while (payload := self._payloads.get()) is not None and not self._stopping.is_set():
            link = self._carrying = self._idle_link()
            try:
                link.open()
                self._wait_until(payload.start_s)
                # One that starts late, because this thread did, ends as much later: it takes its time whenever it begins.
                link.send(payload.message.body, payload.size_bytes, payload.end_s - payload.start_s, self._wait_until)
            except OSError as trouble:
                if self._stopping.is_set():
                    return
                # Not all bytes were sent, so it cannot have been accepted: the description alone is sent from now on.
                _logger.warning("sending a task's bytes to node %d broke off (%s)", self.node, trouble)
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
