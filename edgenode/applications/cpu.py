"""`cpu`: occupies a core for cycles/F seconds, so that nodes that share a machine feel each other.

Concurrency: the executor's thread hashes; a thread of this execution sleeps until the planned end and then tells it to
stop. Hashing a block of this size releases the interpreter's lock, so the node's other threads go on.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

_BLOCK = bytes(16 * 1024)


class CPU:
    """Hashes until the planned end. How much is hashed says nothing: what counts is that a core is busy for so long."""

    def execute(self, cycles: float, duration_s: float, wait_until: Callable[[float], None]) -> None:
        """Return at the planned end, having computed all the while.

        The end is the plan's, not `duration_s` after the call: an execution that began late must not make the next
        ones later still.
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
