"""Services that are away: which errors mean that, and how it is logged (once, and once more when it is over)."""

from __future__ import annotations

import logging
import time

from middleware.database.engine import is_unavailable


class ServiceAway(OSError):
    """A service does not answer, or cannot work now: the same call may succeed later. The message names the service."""


def is_away(error: BaseException) -> bool:
    """Whether the database or another service is away or busy, as against a request that is wrong."""
    return isinstance(error, ServiceAway) or is_unavailable(error)


class OutageLog:
    """Tells of a service's absence once, and when it is back, for how long it was away. One thread at a time."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger, self._what = logger, what
        self._since: float | None = None

    def failed(self, error: BaseException) -> None:
        """It did not answer. Only the kind of a driver's error is told: its text may hold a password."""
        if self._since is None:
            self._since = time.monotonic()
            why = str(error) if isinstance(error, ServiceAway) else type(error).__name__
            self._logger.warning("%s: away (%s)", self._what, why)

    def answered(self) -> None:
        """It did answer."""
        if self._since is not None:
            self._logger.warning("%s: back after %.1f s", self._what, time.monotonic() - self._since)
            self._since = None
