"""`cpu`: keeps a core busy for cycles/F seconds, so that nodes on one machine compete for its cores.

Concurrency: the executor thread hashes. A thread of this execution sleeps until the planned end and then stops it.
Hashing a block of this size releases the interpreter's lock, so the node's other threads continue.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

_BLOCK = bytes(16 * 1024)


class CPU:
    """Hashes until the planned end. The number of hashes has no meaning; only the time that a core is busy counts."""

    def execute(self, cycles: float, duration_s: float, wait_until: Callable[[float], None]) -> None:
        """Compute until the planned end, then return.

        The planned end counts, not `duration_s` after the call: an execution that began late must not delay the next
        ones.
        """
        ended = threading.Event()

        def watch() -> None:
            try:
                wait_until(1.0)
            finally:
                ended.set()

        threading.Thread(target=watch, name="cpu-application", daemon=True).start()
        while not ended.is_set():
            hashlib.sha256(_BLOCK).digest()
