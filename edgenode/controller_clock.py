"""Maps the controller's monotonic clock to this machine's."""

from __future__ import annotations

import math

from edgenode.clock import offset_to
from middleware.http.access import Access
from middleware.http.client import JsonClient


class ControllerClock:
    """The controller's monotonic clock, mapped to this machine's each time an episode is opened."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._offset_s = 0.0

    def map(self, controller: str, timeout_s: float) -> float:
        """Measure the offset to the controller's clock. Returns the greatest possible error in real seconds.

        controller: the controller's address, which is asked several times

        Raises OSError if it does not answer, and LookupError, TypeError or ValueError if the answer has no instant.
        """
        with JsonClient(controller, self._access, timeout_s) as client:

            def remote() -> float:
                instant = float(client.ask("GET", "/v1/clock").body["monotonic_s"])
                if not math.isfinite(instant):
                    raise ValueError(f"monotonic_s: {instant}")
                return instant

            self._offset_s, error = offset_to(remote)
        return error

    def here(self, controller_s: float) -> float:
        """Convert an instant of the controller's clock to this machine's clock; real seconds."""
        return controller_s - self._offset_s
