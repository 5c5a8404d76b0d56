"""Whether a controller starts, works, leaves or ends, and why it ends.

Concurrency: any thread may read everything here.

* `stopping`: set once, by any thread; every thread of the controller ends soon after.
* `leaving`: set by the main thread (`end`, called by a signal handler).
* `begun`: written by the main thread.
* `failure`, `_lost`: written by the thread that finds the reason (player, fleet watcher, lease), before it sets
  `stopping`.
"""

from __future__ import annotations

import logging
import threading

from controller.fleet import FleetError
from middleware.database import LeaseLost

_logger = logging.getLogger(__name__)


class Lifecycle:
    """From the start of one controller process to its end.

    leaving_s: for so many real seconds an open episode may play on after `end`; 0: it is aborted at once
    """

    def __init__(self, leaving_s: float) -> None:
        self.stopping = threading.Event()
        self.leaving = threading.Event()
        self.leaving_s = leaving_s
        self.begun = False
        self.failure: str | None = None
        self._lost: LeaseLost | None = None

    @property
    def ready(self) -> bool:
        """Whether episodes can be played."""
        return self.begun and not self.stopping.is_set() and not self.leaving.is_set()

    def end(self) -> None:
        """End: at once, or, where `leaving_s` allows it, when the episode that is being played is over."""
        self.leaving.set()
        if not (self.leaving_s and self.begun):
            self.stopping.set()

    def fail(self, reason: str) -> None:
        """End, because the nodes or the player cannot work."""
        _logger.error("%s", reason)
        self.failure = reason
        self.stopping.set()

    def lose(self, lost: LeaseLost) -> None:
        """End, because another process controls the run. The database and the nodes refuse whatever was under way."""
        _logger.error("%s", lost)
        self._lost = lost
        self.stopping.set()

    def raise_reason(self) -> None:
        """Raise LeaseLost or FleetError where that is why the controller has ended."""
        if self._lost is not None:
            raise self._lost
        if self.failure:
            raise FleetError(self.failure)
