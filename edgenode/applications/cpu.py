"""`cpu`: burns a core for cycles/F seconds, so that nodes that share a machine's cores feel each other."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

_BLOCK = bytes(16 * 1024)


class CPU:
    """Hashes until the duration has passed on the wall clock; hashing leaves the interpreter to the node's other threads."""

    def execute(self, cycles: float, duration_s: float, wait_until: Callable[[float], None]) -> None:
        """Return `duration_s` real seconds after the call, having computed all the while."""
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            hashlib.sha256(_BLOCK).digest()
