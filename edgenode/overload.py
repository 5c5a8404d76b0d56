"""Decides when a node sends its overload bit to the others.

The bit is due once a slot, `PUSH_LEAD` of a slot before the next tick, at which the others use it. Between two ticks no
other node uses it. One message per change would be most of the node's traffic.

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
    """A node's overload bit. Of two bits of one node, the one with the larger sequence number is newer."""

    overloaded: bool
    sequence: int


class OverloadPush:
    """Decides when the bit is due. It is sent only if it has changed, or was not sent for `refresh_s` model seconds."""

    def __init__(self, core: NodeCore, refresh_s: float) -> None:
        self._core = core
        self._refresh_s = refresh_s
        self._repeat_at_s = 0.0
        self._sent = False
        self._sequence = 0
        self.due_s = (1 - PUSH_LEAD) * core.facts.slot_s
        """The model instant at which `take` has to be called next."""

    def take(self, now: float) -> OverloadBit | None:
        """The bit to send at `now`; None if no bit has to be sent."""
        facts = self._core.facts
        self.due_s = (math.floor(now / facts.slot_s + PUSH_LEAD + 1e-9) + 1 - PUSH_LEAD) * facts.slot_s
        if self._core.last_slot >= facts.slots:
            self.due_s = math.inf  # the last tick is over: there are no more decisions
            return None
        overloaded = self._core.overloaded(now)
        if overloaded == self._sent and now < self._repeat_at_s:
            return None
        self._sent, self._repeat_at_s = overloaded, now + self._refresh_s
        # Starts at the current time, not at 0: otherwise the others would ignore a restarted node's first bits.
        self._sequence = max(self._sequence + 1, time.time_ns())
        return OverloadBit(overloaded, self._sequence)
