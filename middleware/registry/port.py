"""The registry port: which instance of which service is where, and whether it is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_AGE_S = 5.0
"""An instance whose last heartbeat is older does not count as alive."""


@dataclass(frozen=True)
class Instance:
    """One process of a service: a node's index, or 0; `address` is `http://host:port`; instants are Unix seconds."""

    service: str
    instance: str
    run: str
    address: str
    metadata: Mapping[str, Any]
    started_at: float
    heartbeat_at: float

    def alive(self, now: float, max_age_s: float = MAX_AGE_S) -> bool:
        """Whether it has been heard of lately; `now` in Unix seconds."""
        return now - self.heartbeat_at <= max_age_s


class Registry(Protocol):
    """Instances register, send heartbeats with what has changed of them, and deregister when they end."""

    def register(self, instance: Instance) -> None:
        """Enter an instance; one of the same name is replaced: the process was restarted."""
        ...

    def heartbeat(self, service: str, instance: str, run: str, metadata: Mapping[str, Any]) -> None:
        """Say that it is alive, and its metadata. Raises LookupError when it is not registered (any more)."""
        ...

    def deregister(self, service: str, instance: str, run: str) -> None:
        """Take it out; one that is not there is fine."""
        ...

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """The registered instances of a service (of one run), by name, alive or not."""
        ...
