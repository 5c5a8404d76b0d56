"""Waiting for a database or a storage that is away for a while: the trainer goes on when it is back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.outages import is_away
from middleware.storage import StorageAway

OUTAGE_S = 120.0
"""For so long the trainer waits for a service; then the error is raised, and a restarted run goes on from there."""

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def patiently(call: Callable[[], _Result], outage_s: float = OUTAGE_S) -> _Result:
    """The result of `call`, which must be repeatable, tried again every second while the database or the storage is away.

    Raises what `call` raised last when it has been away for `outage_s` real seconds.
    """
    give_up = time.monotonic() + outage_s
    while True:
        try:
            return call()
        except Exception as error:
            if not is_away(error) or time.monotonic() >= give_up:
                raise
            # The text of a driver's error may hold the URL with its password: only its kind is logged.
            service = "storage" if isinstance(error, StorageAway) else "database"
            _logger.warning("the %s is away (%s); trying again", service, type(error).__name__)
            time.sleep(1.0)
