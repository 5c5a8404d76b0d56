"""What the controller does while a service is away: it tries again, for a while, and says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.outages import is_away

OUTAGE_S = 120.0
"""For so many real seconds a service that is away is waited for."""
_RETRY_S = 0.2

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def patiently(call: Callable[[], _Result]) -> _Result:
    """The result of a repeatable call, tried again while a service is away, for at most `OUTAGE_S`."""
    until = time.monotonic() + OUTAGE_S
    told = False
    while True:
        try:
            result = call()
        except Exception as error:
            if not is_away(error) or time.monotonic() > until:
                raise
            if not told:
                _logger.warning("a service is away (%s); trying for %g s", type(error).__name__, OUTAGE_S)
                told = True
            time.sleep(_RETRY_S)
        else:
            if told:
                _logger.info("it is back")
            return result
