"""Watches a settings file, and writes each edit of its live settings to the running system.

Concurrency: one polling thread per watch. The function that `watch_file` returns stops it. The thread compares the
content, not the modification time, because a mounted ConfigMap replaces a symbolic link.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from middleware.configuration.layers import settings_in
from middleware.configuration.port import Configuration, NoLiveSettings
from middleware.errors import ServiceError
from middleware.retrying import log_refusal
from offload.settings import SettingsError

_logger = logging.getLogger(__name__)


def watch_file(configuration: Configuration, run_name: str, path: Path, interval_s: float = 1.0) -> Callable[[], None]:
    """Watch `path`. A wrong file is logged and changes nothing. Returns a function that stops the watch."""
    stopping = threading.Event()
    origin = f"file:{path}"

    def poll() -> None:
        seen: bytes | None = None
        readable = True
        while not stopping.is_set():
            try:
                content = path.read_bytes()
                readable = True
                if content != seen:
                    record = configuration.adopt(run_name, settings_in(content, str(path)).live(), origin)
                    seen = content
                    if record is not None:
                        _logger.info("%s was edited: the live settings are at revision %d", path, record.revision)
            except OSError as error:
                if readable:
                    _logger.warning("%s cannot be read (%s); the last good configuration stays", path, error.strerror)
                readable = False
            except SettingsError as wrong:
                seen = content
                _logger.error("%s is wrong; the last good configuration stays:\n%s", path, wrong)
            except NoLiveSettings as absent:
                _logger.warning("an edit of %s is not applied yet: %s", path, absent)
            except ServiceError as error:
                log_refusal(error, f"an edit of {path} is not applied yet")
            stopping.wait(interval_s)

    thread = threading.Thread(target=poll, name="file-watch", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        thread.join(timeout=5)

    return stop
