"""`emulated`: the executor is occupied for cycles/F, and nothing is computed."""

from __future__ import annotations

from collections.abc import Callable


class Emulated:
    """Waits for the modelled duration."""

    def execute(self, cycles: float, duration_s: float, wait_until: Callable[[float], None]) -> None:
        """Return at the planned end."""
        wait_until(1.0)
