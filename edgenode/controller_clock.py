"""Maps the controller's monotonic clock to this machine's."""

from __future__ import annotations

import math

from edgenode.clock import offset_to
from middleware.http.access import Access
from middleware.http.client import JsonClient


def offset_of_controller(controller: str, access: Access, timeout_s: float) -> tuple[float, float]:
    """Measure the offset of the controller's clock: (offset, greatest possible error) in real seconds.

    The controller's clock is this machine's plus the offset.

    controller: the controller's address, which is asked several times

    Raises OSError if it does not answer, and LookupError, TypeError or ValueError if the answer has no instant.
    """
    with JsonClient(controller, access, timeout_s) as client:

        def remote() -> float:
            instant = float(client.ask("GET", "/v1/clock").body["monotonic_s"])
            if not math.isfinite(instant):
                raise ValueError(f"monotonic_s: {instant}")
            return instant

        return offset_to(remote)
