"""Locks a node's folder for one process: two processes would write and delete each other's records."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import IO

from middleware.outages import FULL_DISK
from offload.errors import UserError

_PATIENCE_S = 15.0
"""Real seconds to wait for a process that is ending: it delivers its records in that time."""
_RETRY_S = 0.1
_LOCK = "lock"

_logger = logging.getLogger(__name__)


class FolderInUse(UserError):
    """Another process uses the folder. The message names the folder and the process."""


def own_folder(folder: Path, stopping: threading.Event) -> IO[str] | None:
    """Make the folder, and lock it until the returned file is closed or this process ends, even by a crash.

    Waits for the process that holds the lock, up to `_PATIENCE_S` real seconds or until `stopping` is set. Returns None
    if the disk is too full for a lock file: the node then keeps its records in memory (`outbox.py`). Raises
    FolderInUse.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+", encoding="ascii")
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        _logger.warning("%s cannot be locked (%s): do not start a second process of this node", folder, error)
        return None
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < until and not stopping.wait(_RETRY_S):
                continue
            file.seek(0)
            other = file.read(20).strip() or "unknown"
            file.close()
            raise FolderInUse(
                f"OFFLOAD_DATA_DIR: {folder} is used by another process of this node (process {other}); "
                "end that one, or choose another folder"
            ) from None
        except OSError as error:
            # Some network file systems have no locks: another process cannot be kept out there.
            _logger.warning("%s cannot be locked (%s): do not start a second process of this node", folder, error)
            break
    try:
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"{os.getpid()}\n".encode("ascii"))
    except OSError as error:  # the lock is held; only the process number in the file is missing
        if error.errno not in FULL_DISK:
            raise
    return file
