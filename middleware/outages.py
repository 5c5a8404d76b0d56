"""How outages are logged: once by each process, and once more when it is over, by the adapter that noticed."""

from __future__ import annotations

import logging
import threading
import time
from errno import EDQUOT, EIO, ENOSPC, EROFS
from typing import Final

SLOW_S = 3.0
"""A service that is well answers sooner."""
_QUIET_S = 6.0
"""A service that answers, and cannot do some of what it is asked, is well again after so long without a refusal.

Longer than anything waits before it tries again.
"""

FULL_DISK: Final = (ENOSPC, EDQUOT, EIO, EROFS)
"""The errors of a disk that takes nothing now, and may later."""


class OutageLog:
    """Tells of a service's absence once, and when it is back, for how long it was away. Any thread may report.

    what: the service, with its address but without its password
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger, self._what = logger, what
        self._lock = threading.Lock()
        self._since: float | None = None
        self._over = -1.0
        self._refused: float | None = None

    def failed(self, why: str, since_s: float | None = None, answers: bool = False) -> None:
        """It could not do what it was asked. `since_s`: since when, on the monotonic clock; now by default.

        answers: it did answer, and may do other work meanwhile (a database that is read only, or full, is still read).
            Then an answer does not end the outage, but some seconds without such a refusal do
        """
        with self._lock:
            now = time.monotonic()
            since = now if since_s is None else since_s
            # Of several threads that were waiting, one has logged already how it ended.
            if self._since is None and since >= self._over:
                self._since = since
                self._logger.warning("%s: away (%s)", self._what, why)
            if self._since is not None:
                self._refused = now if answers else None

    def answered(self) -> None:
        """It did answer."""
        if self._since is None:  # read without the lock: this is asked with every call
            return
        with self._lock:
            now = time.monotonic()
            if self._since is None or (self._refused is not None and now - self._refused < _QUIET_S):
                return
            self._over = now if self._refused is None else self._refused
            self._logger.warning("%s: back after %.1f s", self._what, self._over - self._since)
            self._since = self._refused = None

    def answered_after(self, seconds: float) -> None:
        """It did answer; after so long that it may have been frozen, that is told, by the first one who was waiting."""
        self.answered()
        if seconds > SLOW_S:
            with self._lock:
                now = time.monotonic()
                if now - seconds >= self._over:
                    self._over = now
                    self._logger.warning("%s: answered after %.1f s", self._what, seconds)
