"""Waits for an unavailable service, or continues without it. The service's adapter logs the outage.

Concurrency: any thread may call `bear`; `_lock` guards the log of logged messages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.errors import ServiceError, ServiceUnavailable

PATIENCE_S = 120.0
"""Real seconds to wait for an unavailable service before the error is raised."""
_RETRY_S = 0.2
_AGAIN_S = 600.0
"""Real seconds after which a continuing problem is logged again."""

_Result = TypeVar("_Result")
_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_logged: dict[str, float] = {}


def bear(error: ServiceError, doing: str) -> None:
    """Continue after a service's error. Use this in reporting threads, and for work that is repeated anyway.

    Logs a refusal at most once in ten minutes. Does not log an outage, because the adapter does.
    """
    if isinstance(error, ServiceUnavailable):
        return
    words = f"{doing}: {error}; continuing without it"
    with _lock:
        now = time.monotonic()
        if now - _logged.get(words, -_AGAIN_S) >= _AGAIN_S:
            _logged[words] = now
            _logger.warning("%s", words)


def patiently(
    call: Callable[[], _Result], patience_s: float = PATIENCE_S, stopping: threading.Event | None = None
) -> _Result:
    """The result of a repeatable call, which is retried while a service is unavailable.

    Raises the last ServiceUnavailable after `patience_s` real seconds, or when `stopping` is set.
    """
    until = time.monotonic() + patience_s
    ending = stopping or threading.Event()
    while True:
        try:
            return call()
        except ServiceUnavailable:
            if time.monotonic() >= until or ending.wait(_RETRY_S):
                raise
