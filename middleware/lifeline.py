"""How a pod's process ends when it should: with its parent, and with any of its threads."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping

from offload.settings import SettingsError

_logger = logging.getLogger(__name__)


def end_with_parent(stop: threading.Event) -> None:
    """Set `stop` when the parent, which holds the other end of our standard input, is gone, however that happened."""
    threading.Thread(target=_watch, args=(stop,), name="lifeline", daemon=True).start()


def end_with_any_thread() -> None:
    """A process that has lost a thread is better dead and restarted than half alive."""
    threading.excepthook = _die


def leaving_s(environment: Mapping[str, str]) -> float:
    """For so many seconds a pod that is told to end lets the open episode end first. Raises SettingsError."""
    text = environment.get("OFFLOAD_LEAVING_S", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 86400:
        raise SettingsError(f"OFFLOAD_LEAVING_S={text!r}: seconds are needed, 0 to a day")
    return seconds


def _watch(stop: threading.Event) -> None:
    # Not through sys.stdin: its lock would be held when the interpreter shuts down.
    while os.read(0, 1):
        pass
    stop.set()


def _die(crash: threading.ExceptHookArgs) -> None:
    name = crash.thread.name if crash.thread else "?"
    _logger.critical("thread %s failed; the process ends", name, exc_info=crash.exc_value)
    os._exit(1)
