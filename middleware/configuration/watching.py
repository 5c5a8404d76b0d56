"""Watching the record of hot keys by reading it again and again: once a second is quick enough, and misses nothing.

Concurrency: one polling thread per watch, stopped by the function that `watch_record` returns; callbacks run in it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from middleware.configuration.port import HotRecord
from middleware.outages import OutageLog, is_away

_logger = logging.getLogger(__name__)


def watch_record(
    read: Callable[[], HotRecord | None], callback: Callable[[HotRecord], None], interval_s: float
) -> Callable[[], None]:
    """See `Configuration.watch`."""
    stopping = threading.Event()

    def poll() -> None:
        seen = 0
        outage = OutageLog(_logger, "the hot keys cannot be read, the last good ones stay")
        while not stopping.is_set():
            try:
                record = read()
                outage.answered()
                if record is not None and record.revision > seen:
                    seen = record.revision
                    callback(record)
            except Exception as error:
                if is_away(error):
                    outage.failed(error)
                else:
                    # The watch outlives what a revision provokes: the next one may be right.
                    _logger.exception("the hot keys at revision %d could not be applied", seen)
            stopping.wait(interval_s)

    thread = threading.Thread(target=poll, name="configuration-watch", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        if threading.current_thread() is not thread:
            thread.join(timeout=5)

    return stop
