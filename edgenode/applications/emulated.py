"""`emulated`: occupies the executor for cycles/F seconds and computes nothing."""

from __future__ import annotations

from collections.abc import Callable


class Emulated:
    """Waits for the modelled duration."""

    def execute(self, cycles: float, duration_s: float, wait_until: Callable[[float], None]) -> None:
        """Return at the planned end."""
        wait_until(1.0)
