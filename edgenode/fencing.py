"""Decides which controller a node obeys: the holder of the lease in the database (`middleware/database/leases.py`).

A request that opens, starts, ticks or closes an episode carries the epoch of its controller's lease. If the epoch
differs from the last one, the node compares it with the database. It rejects the request unless the epoch is that of
the run's lease. Two cases follow:

* A controller that was paused, and was replaced meanwhile, is rejected.
* A controller that continues with a restored database is accepted. Such a database counts episodes and epochs from
  lower numbers.

A node of a local fleet belongs to the controller that started it. It ends when another controller controls the run. It
has to watch the lease for that: a frozen controller does not close the pipe that reports the controller's end.

Concurrency: request threads call `check`, and `check_again` before they act after a wait. `_changing` admits one at a
time of those that change the epoch. While the epoch changes, it is None. A separate thread watches the lease.
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
    """Admits the requests of the run's controller only.

    current: reads the epoch of the run's lease
    replaced: called before the first request of another controller is admitted
    """

    def __init__(self, current: Callable[[], int], replaced: Callable[[], None]) -> None:
        self._current, self._replaced = current, replaced
        self._changing = threading.Lock()
        self._epoch: str | None = None

    def check(self, environ: Mapping[str, Any]) -> None:
        """Check that the request of this WSGI environment comes from the run's controller.

        Raises HTTPProblem: 412 if it comes from another one, 422 if the epoch is missing or malformed.
        """
        sent = environ.get(ENVIRON)
        if sent is not None and sent == self._epoch:
            return
        epoch = _parsed(sent)
        with self._changing:
            current = self._current()
            if epoch != current:
                message = f"{HEADER} is {epoch}; the controller of this run has {current}"
                raise HTTPProblem(412, "Another controller", message)
            if self._epoch != str(epoch):
                self._epoch = None  # from here on `check_again` rejects the requests of the controller before
                self._replaced()
                self._epoch = str(epoch)

    def check_again(self, environ: Mapping[str, Any]) -> None:
        """Check that no other controller was admitted since `check` admitted this request. Takes no lock.

        Raises HTTPProblem: 412.
        """
        if str(sent := _parsed(environ.get(ENVIRON))) != self._epoch:
            words = f"{HEADER} is {sent}; another controller took over the run while the node handled the request"
            raise HTTPProblem(412, "Another controller", words)


def _parsed(sent: str | None) -> int:
    if sent is None:
        raise HTTPProblem(
            422, "Impossible value", f"the header {HEADER} is missing: the epoch of the controller's lease"
        )
    if not (sent.isascii() and sent.isdecimal() and len(sent) < 20 and 1 <= int(sent) <= LARGEST):
        raise HTTPProblem(422, "Impossible value", f"{HEADER}: {sent[:20]!r} must be an integer from 1 to {LARGEST}")
    return int(sent)


def end_with_controller(epoch: int, current: Callable[[], int], stop: threading.Event) -> threading.Event:
    """Watch the run's lease, and set `stop` when its epoch is no longer that of the controller that started this node.

    Returns an event that is set at the same time. Raises LeaseLost if the epoch differs already.
    """
    overtaken = threading.Event()
    if (found := current()) != epoch:
        raise LeaseLost(_message(epoch, found))

    def watch() -> None:
        while not overtaken.wait(_WATCH_S):
            try:
                found = current()
            except ServiceError:
                continue  # the next round reads it again; the database's adapter logs an outage
            if found != epoch:
                _logger.warning("%s; this node ends", _message(epoch, found))
                overtaken.set()
                stop.set()

    threading.Thread(target=watch, name="controller-watch", daemon=True).start()
    return overtaken


def _message(epoch: int, found: int) -> str:
    return f"another process controls the run now (epoch {found}) than the one that started this node (epoch {epoch})"
