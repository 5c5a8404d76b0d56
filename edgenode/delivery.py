"""Sends messages and tasks to all other nodes: turns the core's effects into requests.

Concurrency: the loop thread calls the methods; the decider thread also calls `withdraw`. Each peer has its own threads
(`peers.py`). One of them reports the result of a handover.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from edgenode.clock import EpisodeClock
from edgenode.effects import Announce, HandOver, Transmit, Withdraw
from edgenode.facts import EpisodeFacts, Key, NodeTask, Settlement
from edgenode.identity import NodeIdentity
from edgenode.interface import TASK_FIELDS
from edgenode.links import payload_bytes
from edgenode.overload import OverloadBit
from edgenode.peers import Message, Payload, Peer

_HANDOVER_MARGIN_S = 1.0
"""A task's handover is retried until this many real seconds after its deadline."""


class Delivery:
    """The peers of one episode. `settled` is called when the result of a handover is known."""

    def __init__(
        self,
        facts: EpisodeFacts,
        identity: NodeIdentity,
        addresses: Sequence[str],
        settled: Callable[[Key, Settlement], None],
    ) -> None:
        self._facts = facts
        self._settled = settled
        link_of = (facts.episode, facts.node) if facts.transfer == "payload" else None
        timeout_s = identity.settings.node.request_timeout_s
        self._peers = {
            j: Peer(
                j, address, identity.addressee(j), timeout_s, partial(identity.resolve, j), link_of, identity.access
            )
            for j, address in enumerate(addresses)
            if j != facts.node
        }

    @property
    def nodes(self) -> list[int]:
        """The indices of the other nodes."""
        return list(self._peers)

    def address_of(self, node: int) -> str:
        """Another node's address, as far as it is known."""
        return self._peers[node].address

    def announce(self, effect: Announce) -> None:
        """Announce a task to its destination."""
        body = {
            "episode": self._facts.episode,
            "slot": effect.task.slot,
            "source": effect.task.source,
            "cycles": effect.task.cycles,
            "forget_after_s": effect.forget_after_s,
        }
        self._peers[effect.destination].send(Message("/v1/announcements", body))

    def withdraw(self, effect: Withdraw) -> None:
        """Withdraw an announced task, which will not arrive."""
        body = {"episode": self._facts.episode, "slot": effect.slot, "source": self._facts.node}
        self._peers[effect.destination].send(Message("/v1/withdrawals", body))

    def transmit(self, effect: Transmit, clock: EpisodeClock) -> None:
        """With payload transfers: send a task's bytes. The handover follows them on the same link."""
        if self._facts.transfer != "payload":
            return
        task, start_s, end_s = effect.task, effect.start_s, effect.end_s
        elapsed = start_s - task.slot * self._facts.slot_s
        message = self._handover(task, elapsed, end_s - start_s, clock)
        start, end = (clock.start_s + instant / clock.time_scale for instant in (start_s, end_s))
        self._peers[effect.destination].send_payload(Payload(payload_bytes(task.size_bits), start, end, message))

    def hand_over(self, effect: HandOver, clock: EpisodeClock) -> None:
        """With emulated transfers: hand a task over."""
        if self._facts.transfer == "emulated":
            task = effect.task
            message = self._handover(task, effect.elapsed_at_start_s, task.transmission_s, clock)
            self._peers[effect.destination].send(message)

    def send_overload(self, bit: OverloadBit) -> None:
        """Send this node's overload bit to all other nodes."""
        body = {"node": self._facts.node, "overloaded": bit.overloaded, "sequence": bit.sequence}
        for peer in self._peers.values():
            peer.send(Message("/v1/overload", body))

    def stop(self) -> None:
        """Have the peers' threads end. What they have not delivered stays undelivered."""
        for peer in self._peers.values():
            peer.stop()

    def _handover(
        self, task: NodeTask, elapsed_at_start_s: float, transmission_s: float, clock: EpisodeClock
    ) -> Message:
        facts, key = self._facts, task.key
        body = {
            "episode": facts.episode,
            "episode_uid": facts.episode_uid,
            **{name: getattr(task, name) for name in TASK_FIELDS},
            "elapsed_at_start_s": elapsed_at_start_s,
            "transmission_s": transmission_s,
        }
        due = task.slot * facts.slot_s + task.deadline_s
        give_up_s = clock.start_s + due / clock.time_scale + _HANDOVER_MARGIN_S
        return Message("/v1/handovers", body, lambda result: self._settled(key, result), give_up_s)
