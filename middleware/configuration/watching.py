"""Watches the live settings by polling the record, once a second by default.

Concurrency: one polling thread per watch, which also runs the callbacks. The function that `watch_record` returns
stops it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from middleware.configuration.port import LiveSettings
from middleware.errors import ServiceError, ServiceUnavailable
from middleware.retrying import log_refusal

_logger = logging.getLogger(__name__)


def watch_record(
    read: Callable[[], LiveSettings | None], callback: Callable[[LiveSettings], None], interval_s: float
) -> Callable[[], None]:
    """See `Configuration.watch`."""
    stopping = threading.Event()

    def poll() -> None:
        seen, logged = 0, ""
        while not stopping.is_set():
            try:
                record = read()
                logged = ""
                if record is not None and record.revision > seen:
                    before, seen = seen, record.revision
                    try:
                        callback(record)
                    except ServiceUnavailable:
                        seen = before  # the callback needs another service: pass this revision again
                        raise
            except ServiceUnavailable:
                pass  # the adapter logs the outage; the last good live settings stay in force
            except ServiceError as error:  # the message is enough, a traceback does not help
                log_refusal(error, f"reading or applying the live settings after revision {seen}")
            except Exception as error:  # the watch continues after any error: the next revision may be valid
                if repr(error) != logged:
                    logged = repr(error)
                    _logger.exception("the live settings after revision %d cannot be read or applied", seen)
            stopping.wait(interval_s)

    thread = threading.Thread(target=poll, name="configuration-watch", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        if threading.current_thread() is not thread:
            thread.join(timeout=5)

    return stop
