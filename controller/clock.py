"""The slot clock: slot t of an episode begins at start + t·Δ / time_scale on this machine's monotonic clock."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class SlotClock:
    """start_s: monotonic, real seconds; slot_s: Δ in model seconds; time_scale: model seconds per real second."""

    start_s: float
    slot_s: float
    time_scale: float

    def instant_s(self, slot: int) -> float:
        """When a slot begins, on the monotonic clock."""
        return self.start_s + slot * self.slot_s / self.time_scale

    def late_s(self, slot: int) -> float:
        """How late it is for a slot now, in model seconds; negative before it."""
        return (time.monotonic() - self.instant_s(slot)) * self.time_scale
