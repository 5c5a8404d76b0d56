"""Ends a pod's process when its parent ends, or when one of its threads fails."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping

from offload.settings import SettingsError

_logger = logging.getLogger(__name__)


def end_with_parent(stop: threading.Event) -> None:
    """Set `stop` when the parent process ends for any reason. It must hold this process's standard input open."""
    threading.Thread(target=_watch, args=(stop,), name="lifeline", daemon=True).start()


def end_with_any_thread() -> None:
    """End the process with code 1 when a thread fails. A restart is better than running without the thread."""
    threading.excepthook = _die


def leaving_s(environment: Mapping[str, str]) -> float:
    """How many seconds a terminating pod waits for the open episode to end. Raises SettingsError."""
    text = environment.get("OFFLOAD_LEAVING_S", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86400:
        raise SettingsError(f"OFFLOAD_LEAVING_S={text!r}: must be a number of seconds, from 0 to less than 86400")
    return seconds


def _watch(stop: threading.Event) -> None:
    # Reading sys.stdin would hold its lock when the interpreter shuts down.
    while os.read(0, 1):
        pass
    stop.set()


def _die(crash: threading.ExceptHookArgs) -> None:
    name = crash.thread.name if crash.thread else "?"
    _logger.critical("thread %s failed; the process ends", name, exc_info=crash.exc_value)
    os._exit(1)
