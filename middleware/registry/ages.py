"""Computes the ages of heartbeats that contain a time by the sender's clock.

Clocks may differ. If a sender's heartbeat has changed, its age counts from the change, by the clock of this process.
Only for a heartbeat that was seen once does the age depend on the sender's clock.

Concurrency: any thread may call `look`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from middleware.registry.port import MAX_AGE_S


@dataclass(frozen=True)
class Age:
    """The age of a heartbeat.

    age_s: real seconds since the last heartbeat
    clock_off_s: minimum by which the sender's clock is ahead (negative: behind), in seconds; None if it is unknown
    """

    age_s: float
    clock_off_s: float | None


@dataclass(frozen=True)
class _Seen:
    """The newest heartbeat of a sender.

    heartbeat_at: by the sender's clock
    since_s: when this process first saw it, by its timer; None if that was not close to its arrival
    """

    heartbeat_at: float
    since_s: float | None
    clock_off_s: float | None


class Ages:
    """The last seen heartbeats by service. clock: Unix time in seconds; timer: a monotonic clock in seconds"""

    def __init__(self, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._timer = clock, timer
        self._lock = threading.Lock()
        self._seen: dict[str, Mapping[Hashable, _Seen]] = {}
        self._looked_s: dict[str, float] = {}

    def look(self, service: str, heartbeats: Mapping[Hashable, float]) -> dict[Hashable, Age]:
        """The ages of all instances of a service. heartbeats: the newest of each process, by its own clock"""
        with self._lock:
            now, unix = self._timer(), self._clock()
            before = self._seen.get(service, {})
            gap = now - self._looked_s.get(service, now)
            seen = {key: _seen_now(before.get(key), at, now, unix, gap) for key, at in heartbeats.items()}
            self._seen[service], self._looked_s[service] = seen, now
        return {key: Age(_age_s(one, now, unix), one.clock_off_s) for key, one in seen.items()}


def _seen_now(before: _Seen | None, heartbeat_at: float, now: float, unix: float, gap_s: float) -> _Seen:
    if before is None:
        return _Seen(heartbeat_at, None, None)
    if heartbeat_at <= before.heartbeat_at:  # an old answer may arrive after a newer one
        return before
    # The heartbeat arrived between the last call and this one. If the last call is long ago, the age is unknown.
    since_s = now if gap_s <= MAX_AGE_S else None
    least, most = heartbeat_at - unix, heartbeat_at - unix + gap_s
    return _Seen(heartbeat_at, since_s, least if least > 0 else most if most < 0 else 0.0)


def _age_s(seen: _Seen, now: float, unix: float) -> float:
    if seen.since_s is not None:
        return now - seen.since_s
    # A time in the future means as large an error of the clock as one in the past.
    return abs(unix + (seen.clock_off_s or 0.0) - seen.heartbeat_at)
