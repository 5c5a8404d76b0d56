"""Waiting for a service that cannot work for a while, or going on without it. Its adapter logs the outage.

Concurrency: any thread may call `bear`; `_lock` guards what has been logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.database.errors import in_words, is_databases, is_unavailable
from middleware.outages import ServiceAway

PATIENCE_S = 120.0
"""For so many real seconds a service that is away is waited for. Then the error is raised: whoever started the process decides."""
_RETRY_S = 0.2
_AGAIN_S = 600.0
"""What goes on is logged again after this long."""

_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_logged: dict[str, float] = {}


def is_away(error: BaseException) -> bool:
    """Whether the database or another service is away or busy, as against a request that is wrong."""
    return isinstance(error, ServiceAway) or is_unavailable(error)


def is_services(error: BaseException) -> bool:
    """Whether a service has answered this, or has not answered: the error is not one of this program."""
    return isinstance(error, ServiceAway | PermissionError) or is_databases(error)


def bear(error: Exception, doing: str) -> None:
    """Go on without a service, whatever it answered: for threads that report, and for what is tried again anyway.

    Raises the error when it is none of a service. What no adapter logs as an outage is logged here, once in ten
    minutes.
    """
    if not is_services(error):
        raise error
    if is_databases(error) and not is_unavailable(error):
        words = f"{doing}: {in_words(error)}; going on without"
        with _lock:
            now = time.monotonic()
            if now - _logged.get(words, -_AGAIN_S) >= _AGAIN_S:
                _logged[words] = now
                _logger.warning("%s", words)


def patiently(
    call: Callable[[], _Result], patience_s: float = PATIENCE_S, stopping: threading.Event | None = None
) -> _Result:
    """The result of a repeatable call, tried again while a service is away.

    Raises what the call raised last when that has gone on for `patience_s` real seconds, or when `stopping` is set.
    """
    until = time.monotonic() + patience_s
    ending = stopping or threading.Event()
    while True:
        try:
            return call()
        except Exception as error:
            if not is_away(error) or time.monotonic() >= until or ending.wait(_RETRY_S):
                raise
