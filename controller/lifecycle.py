"""Keeps the state of the controller process: starting, working, leaving or ended, and why it ended.

Concurrency: any thread may read everything here.

* `stopping`: any thread sets it, once. Every thread of the controller then ends soon.
* `leaving`: the main thread sets it (`end`, called by a signal handler).
* `begun`: the main thread writes it.
* `failure`, `_error`, `_lost`: the thread that finds the reason (player, fleet watcher, lease) writes them, and then
  sets `stopping`.
"""

from __future__ import annotations

import logging
import threading

from middleware.database import LeaseLost

_logger = logging.getLogger(__name__)


class Lifecycle:
    """The state of one controller process, from its start to its end.

    leaving_s: how long an open episode may continue after `end`, in real seconds; 0 aborts it immediately
    """

    def __init__(self, leaving_s: float) -> None:
        self.stopping = threading.Event()
        self.leaving = threading.Event()
        self.leaving_s = leaving_s
        self.begun = False
        self.failure: str | None = None
        self._error: Exception | None = None
        self._lost: LeaseLost | None = None

    @property
    def ready(self) -> bool:
        """Whether episodes can be played now."""
        return self.begun and not self.stopping.is_set() and not self.leaving.is_set()

    def end(self) -> None:
        """End the controller. If `leaving_s` is not 0, the current episode may end first."""
        self.leaving.set()
        if not (self.leaving_s and self.begun):
            self.stopping.set()

    def fail(self, error: Exception, reason: str | None = None) -> None:
        """End the controller, because the nodes or the player cannot continue.

        reason: what is logged and answered to clients; the error's message if it is None
        """
        self.failure = reason or str(error)
        _logger.error("%s", self.failure)
        self._error = error
        self.stopping.set()

    def lose(self, lost: LeaseLost) -> None:
        """End the controller, because another process controls the run. Database and nodes refuse pending requests."""
        _logger.error("%s", lost)
        self._lost = lost
        self.stopping.set()

    def raise_reason(self) -> None:
        """Raise the error that ended the controller, if one did. Its type says whether a restart may help."""
        if self._lost is not None:
            raise self._lost
        if self._error is not None:
            raise self._error
