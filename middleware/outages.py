"""Logs outages of services: each process logs the start and the end of an outage once."""

from __future__ import annotations

import logging
import threading
import time
from errno import EDQUOT, EIO, ENOSPC, EROFS
from typing import Final

SLOW_S = 3.0
"""Real seconds within which a working service answers."""
_QUIET_S = 6.0
"""Real seconds without a refusal after which a service that refused some calls counts as available again.

This is longer than any pause between two attempts.
"""

FULL_DISK: Final = (ENOSPC, EDQUOT, EIO, EROFS)
"""The errors of a disk that accepts no writes now, but may later."""


class OutageLog:
    """Logs once that a service is unavailable, and later once that it is available again, with the duration.

    Any thread may report.

    what: the service, with its address but without its password
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger, self._what = logger, what
        self._lock = threading.Lock()
        self._since: float | None = None
        self._over = -1.0
        self._refused: float | None = None

    def failed(self, why: str, since_s: float | None = None, answers: bool = False) -> None:
        """Report a call that failed because of an outage.

        since_s: start of the outage on the monotonic clock; now by default
        answers: whether the service answers and refuses only some calls (a read-only or full database can still be
            read). Then a successful call does not end the outage, but some seconds without a refusal do.
        """
        with self._lock:
            now = time.monotonic()
            since = now if since_s is None else since_s
            # If several threads waited during an outage, another one may already have logged its end.
            if self._since is None and since >= self._over:
                self._since = since
                self._logger.warning("%s: unavailable (%s)", self._what, why)
            if self._since is not None:
                self._refused = now if answers else None

    def answered(self) -> None:
        """Report a successful call."""
        if self._since is None:  # without the lock, because every call comes here
            return
        with self._lock:
            now = time.monotonic()
            if self._since is None or (self._refused is not None and now - self._refused < _QUIET_S):
                return
            self._over = now if self._refused is None else self._refused
            self._logger.warning("%s: available again after %.1f s", self._what, self._over - self._since)
            self._since = self._refused = None

    def answered_after(self, seconds: float) -> None:
        """Report a successful call and its duration. The first waiting thread logs a call longer than `SLOW_S`."""
        self.answered()
        if seconds > SLOW_S:
            with self._lock:
                now = time.monotonic()
                if now - seconds >= self._over:
                    self._over = now
                    self._logger.warning("%s: answered after %.1f s", self._what, seconds)
