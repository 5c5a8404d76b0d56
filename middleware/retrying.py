"""Waits for an unavailable service, or continues without it. The service's adapter logs the outage.

Concurrency: any thread may call `log_refusal`; `_lock` guards the log of logged messages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.errors import ServiceError, ServiceUnavailable

RETRY_LIMIT_S = 120.0
"""Real seconds to wait for an unavailable service before the error is raised."""
_RETRY_S = 0.2
_AGAIN_S = 600.0
"""Real seconds after which a continuing problem is logged again."""

_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_logged: dict[str, float] = {}


def log_refusal(error: ServiceError, doing: str) -> None:
    """Log a refusal, at most once in ten minutes. Does not log an outage, because the service's adapter does.

    Use this in reporting threads, and for work that is repeated anyway: the caller continues after the error.
    """
    if isinstance(error, ServiceUnavailable):
        return
    message = f"{doing}: {error}; continuing without it"
    with _lock:
        now = time.monotonic()
        if now - _logged.get(message, -_AGAIN_S) >= _AGAIN_S:
            _logged[message] = now
            _logger.warning("%s", message)


def retry_while_unavailable(
    call: Callable[[], _Result], limit_s: float = RETRY_LIMIT_S, stopping: threading.Event | None = None
) -> _Result:
    """The result of a repeatable call, which is retried while a service is unavailable.

    Raises the last ServiceUnavailable after `limit_s` real seconds, or when `stopping` is set.
    """
    until = time.monotonic() + limit_s
    ending = stopping or threading.Event()
    while True:
        try:
            return call()
        except ServiceUnavailable:
            if time.monotonic() >= until or ending.wait(_RETRY_S):
                raise
