"""One node's clock of an episode: model seconds since the episode's start, from this machine's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_ROUND_TRIPS = 5


@dataclass(frozen=True)
class EpisodeClock:
    """Converts between model seconds of an episode and this machine's monotonic clock.

    start_s: the episode's start on the monotonic clock, real seconds
    time_scale: model seconds per real second
    """

    start_s: float
    time_scale: float

    def now(self) -> float:
        """Model seconds since the episode's start; negative before it."""
        return (time.monotonic() - self.start_s) * self.time_scale

    def real_delay_s(self, instant: float) -> float:
        """Real seconds until a model instant; 0 if it has passed."""
        return max(0.0, self.start_s + instant / self.time_scale - time.monotonic())


def offset_to(remote_monotonic: Callable[[], float]) -> tuple[float, float]:
    """Measure the offset of a remote clock: (offset, error) in real seconds, with remote clock = own clock + offset.

    The fastest of several round trips counts. The error is half of it, because the remote clock may have been read at
    any instant within the round trip.
    """
    fastest, offset = float("inf"), 0.0
    for _ in range(_ROUND_TRIPS):
        before = time.monotonic()
        remote = remote_monotonic()
        after = time.monotonic()
        if after - before < fastest:
            fastest, offset = after - before, remote - (before + after) / 2
    return offset, fastest / 2
