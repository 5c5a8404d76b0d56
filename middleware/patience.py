"""Waiting for a service that is away for a while. That it is away is told by its adapter (`outages.py`), not here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from middleware.database.engine import is_unavailable
from middleware.outages import ServiceAway

PATIENCE_S = 120.0
"""For so many real seconds a service that is away is waited for. Then the error is raised: whoever started the process decides."""
_RETRY_S = 0.2

_Result = TypeVar("_Result")


def is_away(error: BaseException) -> bool:
    """Whether the database or another service is away or busy, as against a request that is wrong."""
    return isinstance(error, ServiceAway) or is_unavailable(error)


def is_away_or_refuses(error: BaseException) -> bool:
    """Whether a service is away or refuses us, so that a process that runs already goes on without it."""
    return is_away(error) or isinstance(error, PermissionError)


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
