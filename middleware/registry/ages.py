"""How long ago instances were heard of, where each heartbeat carries an instant of its sender's clock.

A sender whose heartbeats change is alive, whatever its clock says: its age counts from the change, by this process's clock.
Only of one that was seen once, the sender's clock has to be believed.

Concurrency: any thread may ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from middleware.registry.port import MAX_AGE_S


@dataclass(frozen=True)
class Age:
    """Real seconds since the last heartbeat; by how many the sender's clock is ahead at least, None where that is not known."""

    age_s: float
    clock_off_s: float | None


@dataclass(frozen=True)
class _Seen:
    """The newest heartbeat of a sender, by its clock; since when it is there, by ours, None where nobody saw it come."""

    heartbeat_at: float
    since_s: float | None
    clock_off_s: float | None


class Ages:
    """What was seen of the instances of each service. `clock`: Unix time, `timer`: a clock that only goes forward, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._timer = clock, timer
        self._lock = threading.Lock()
        self._seen: dict[str, Mapping[Hashable, _Seen]] = {}
        self._looked_s: dict[str, float] = {}

    def look(self, service: str, heartbeats: Mapping[Hashable, float]) -> dict[Hashable, Age]:
        """The ages of all instances of a service. heartbeats: the newest of each process, by its own clock."""
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
    if heartbeat_at <= before.heartbeat_at:  # an old answer may come after a newer one
        return before
    # It came between the last look and this one. When that one was long ago, nobody knows how long this one is there.
    since_s = now if gap_s <= MAX_AGE_S else None
    least, most = heartbeat_at - unix, heartbeat_at - unix + gap_s
    return _Seen(heartbeat_at, since_s, least if least > 0 else most if most < 0 else 0.0)


def _age_s(seen: _Seen, now: float, unix: float) -> float:
    if seen.since_s is not None:
        return now - seen.since_s
    # A heartbeat of the future is as little to be believed as one of the past.
    return abs(unix + (seen.clock_off_s or 0.0) - seen.heartbeat_at)
