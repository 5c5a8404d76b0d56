"""Waiting for a service that cannot work for a while, or going on without it. Its adapter logs the outage.

Concurrency: any thread may call `bear`; `_lock` guards what has been logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.errors import ServiceError, ServiceUnavailable

PATIENCE_S = 120.0
"""How long a service that is unavailable is waited for, in real seconds. Then the error is raised."""
_RETRY_S = 0.2
_AGAIN_S = 600.0
"""What goes on is logged again after this long."""

_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_logged: dict[str, float] = {}


def bear(error: ServiceError, doing: str) -> None:
    """Go on without a service, whatever it answered: for threads that report, and for what is tried again anyway.

    What no adapter logs as an outage is logged here, once in ten minutes.
    """
    if isinstance(error, ServiceUnavailable):
        return
    words = f"{doing}: {error}; going on without"
    with _lock:
        now = time.monotonic()
        if now - _logged.get(words, -_AGAIN_S) >= _AGAIN_S:
            _logged[words] = now
            _logger.warning("%s", words)


def patiently(
    call: Callable[[], _Result], patience_s: float = PATIENCE_S, stopping: threading.Event | None = None
) -> _Result:
    """The result of a repeatable call, tried again while a service is away.

    Raises the last ServiceUnavailable when that has gone on for `patience_s` real seconds, or when `stopping` is set.
    """
    until = time.monotonic() + patience_s
    ending = stopping or threading.Event()
    while True:
        try:
            return call()
        except ServiceUnavailable:
            if time.monotonic() >= until or ending.wait(_RETRY_S):
                raise
