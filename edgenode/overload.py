"""When a node sends its overload bit to the others.

Once a slot, `PUSH_LEAD` of a slot before the next tick, which is where the others use it. What the bit was in between
interests nobody, and a message for each of its changes would be most of the node's traffic.

Concurrency: belongs to the loop thread.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from edgenode.core import NodeCore
from offload.fidelity import PUSH_LEAD


@dataclass(frozen=True)
class OverloadBit:
    """A node's overload bit. Of two of one node, that with the larger sequence number is the later one."""

    overloaded: bool
    sequence: int


class OverloadPush:
    """Says when the bit is due, and which bit is sent: one that has changed, or was not sent for `refresh_s`."""

    def __init__(self, core: NodeCore, refresh_s: float) -> None:
        self._core = core
        self._refresh_s = refresh_s
        self._repeat_at_s = 0.0
        self._sent = False
        self._sequence = 0
        self.due_s = (1 - PUSH_LEAD) * core.facts.slot_s
        """The model instant at which `take` has to be called next."""

    def take(self, now: float) -> OverloadBit | None:
        """The bit that has to be sent at `now`; None where nothing has to be."""
        facts = self._core.facts
        self.due_s = (math.floor(now / facts.slot_s + PUSH_LEAD + 1e-9) + 1 - PUSH_LEAD) * facts.slot_s
        if self._core.last_slot >= facts.slots:
            self.due_s = math.inf  # the last tick is over: nobody decides any more
            return None
        overloaded = self._core.overloaded(now)
        if overloaded == self._sent and now < self._repeat_at_s:
            return None
        self._sent, self._repeat_at_s = overloaded, now + self._refresh_s
        # Not from 0: the others would ignore a restarted node until it had sent as many as before.
        self._sequence = max(self._sequence + 1, time.time_ns())
        return OverloadBit(overloaded, self._sequence)
