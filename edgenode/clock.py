"""The episode's clock of one node: model seconds since the episode's start, on this machine's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_ROUND_TRIPS = 5


@dataclass(frozen=True)
class EpisodeClock:
    """start_s: the start on this machine's monotonic clock, real seconds; time_scale: model seconds per real second."""

    start_s: float
    time_scale: float

    def now(self) -> float:
        """Model seconds since the episode's start; negative before it."""
        return (time.monotonic() - self.start_s) * self.time_scale

    def real_delay_s(self, instant: float) -> float:
        """Real seconds until an instant of the model, 0 when it has passed."""
        return max(0.0, self.start_s + instant / self.time_scale - time.monotonic())


def offset_to(remote_monotonic: Callable[[], float], round_trips: int = _ROUND_TRIPS) -> tuple[float, float]:
    """(offset, error) with remote clock = own clock + offset, by the fastest of several round trips (real seconds).

    The error is half the fastest round trip: the answer may have been made anywhere within it.
    """
    fastest, offset = float("inf"), 0.0
    for _ in range(round_trips):
        before = time.monotonic()
        remote = remote_monotonic()
        after = time.monotonic()
        if after - before < fastest:
            fastest, offset = after - before, remote - (before + after) / 2
    return offset, fastest / 2
