"""Which controller a node obeys: the one whose lease the database has (`middleware/database/leases.py`).

A request that opens, starts, ticks or closes an episode carries the epoch of its controller's lease. One of another epoch
than the last is compared with the database, and refused unless its controller is the run's. So a controller that was stopped
for a while and was replaced meanwhile is refused, and one that goes on with a restored database, which counts episodes and
epochs from lower numbers, is not.

A node of a local fleet belongs to the controller that started it, and ends when another one controls the run: also when its
own controller is frozen, and with it the pipe by which the node would notice its end.

Concurrency: request threads call `check`; those that change the epoch do so one after the other. A thread of its own watches
the lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from middleware.database import LeaseLost
from middleware.errors import ServiceError
from middleware.http.epoch import ENVIRON, HEADER
from middleware.http.openapi import LARGEST
from middleware.http.problems import HTTPProblem

_WATCH_S = 1.5
_logger = logging.getLogger(__name__)


class Fence:
    """Lets the requests of the run's controller pass.

    current: reads the epoch of the run's lease; replaced: called before the first request of another controller passes
    """

    def __init__(self, current: Callable[[], int], replaced: Callable[[], None]) -> None:
        self._current, self._replaced = current, replaced
        self._changing = threading.Lock()
        self._epoch: str | None = None

    def check(self, environ: Mapping[str, Any]) -> None:
        """Raise HTTPProblem unless the request of this WSGI environment is of the run's controller: 412; 422 without an epoch."""
        sent = environ.get(ENVIRON)
        if sent is not None and sent == self._epoch:
            return
        epoch = _parsed(sent)
        with self._changing:
            current = self._current()
            if epoch != current:
                words = f"{HEADER} is {epoch}; the controller of this run has {current}"
                raise HTTPProblem(412, "Another controller", words)
            if self._epoch != str(epoch):
                self._replaced()
                self._epoch = str(epoch)


def _parsed(sent: str | None) -> int:
    if sent is None:
        raise HTTPProblem(
            422, "Impossible value", f"the header {HEADER} is missing: the epoch of the controller's lease"
        )
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 20 and 1 <= int(sent) <= LARGEST):
        raise HTTPProblem(422, "Impossible value", f"{HEADER}: {sent[:20]!r}; an integer is needed, 1 to {LARGEST}")
    return int(sent)


def end_with_controller(epoch: int, current: Callable[[], int], stop: threading.Event) -> threading.Event:
    """Set `stop`, and the event that is returned, when the run's lease has another epoch than the controller that started us.

    Raises LeaseLost when it has already.
    """
    overtaken = threading.Event()
    if (found := current()) != epoch:
        raise LeaseLost(_words(epoch, found))

    def watch() -> None:
        while not overtaken.wait(_WATCH_S):
            try:
                found = current()
            except ServiceError:
                continue  # it is looked at again; the database's adapter logs an outage
            if found != epoch:
                _logger.warning("%s; this node ends", _words(epoch, found))
                overtaken.set()
                stop.set()

    threading.Thread(target=watch, name="controller-watch", daemon=True).start()
    return overtaken


def _words(epoch: int, found: int) -> str:
    return f"another process controls the run now (epoch {found}) than the one that started this node (epoch {epoch})"
