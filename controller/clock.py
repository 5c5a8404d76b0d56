"""Computes when slots begin: slot t at start + t·Δ / time_scale on this machine's monotonic clock."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class SlotClock:
    """The instants of an episode's slots.

    start_s: start of slot 0 on the monotonic clock, in real seconds
    slot_s: Δ in model seconds
    time_scale: model seconds per real second
    """

    start_s: float
    slot_s: float
    time_scale: float

    def instant_s(self, slot: int) -> float:
        """When a slot begins: real seconds on the monotonic clock."""
        return self.start_s + slot * self.slot_s / self.time_scale

    def late_s(self, slot: int) -> float:
        """Model seconds since the slot began; negative before it begins."""
        return (time.monotonic() - self.instant_s(slot)) * self.time_scale
