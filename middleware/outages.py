"""Which errors of the middleware mean that a service is away: the same call may succeed later."""

from __future__ import annotations

from middleware.database.engine import is_unavailable
from middleware.storage.port import StorageAway


def is_away(error: BaseException) -> bool:
    """Whether the database or the storage is away or busy, as against a request that is wrong."""
    return isinstance(error, StorageAway) or is_unavailable(error)
