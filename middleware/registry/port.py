"""The registry port: which instance of which service is where, and whether it is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

MAX_AGE_S = 5.0
"""An instance whose last heartbeat is older does not count as alive."""


@dataclass(frozen=True)
class Instance:
    """One process of a service: a node's index, or 0; `address` is `http://host:port`.

    started_at: Unix seconds by the process's own clock; with the address, what tells one process from another of its name
    age_s: real seconds since its last heartbeat, when it was read
    clock_off_s: by how many seconds, at least, the process's clock is ahead of the reader's; None where that is not known or does not matter
    """

    service: str
    instance: str
    run: str
    address: str
    metadata: Mapping[str, Any]
    started_at: float
    age_s: float = 0.0
    clock_off_s: float | None = None

    def alive(self, max_age_s: float = MAX_AGE_S) -> bool:
        """Whether it had been heard of lately, when it was read."""
        return self.age_s <= max_age_s

    def is_process(self, other: Instance) -> bool:
        """Whether both are entries of the same process, not of one process and its successor."""
        return (self.address, self.started_at) == (other.address, other.started_at)


def clock_words(instance: Instance) -> str | None:
    """What is wrong with the clock of an instance's machine, and what helps; None while nothing is known to be."""
    off_s = instance.clock_off_s
    if off_s is None or abs(off_s) <= MAX_AGE_S:
        return None
    return (
        f"the clock of {instance.service} {instance.instance}'s machine is at least {abs(off_s):.0f} s "
        f"{'ahead of' if off_s > 0 else 'behind'} the clock here: synchronise the clocks of all machines (chrony, NTP)"
    )


class Registry(Protocol):
    """Instances register, send heartbeats with what has changed of them, and deregister when they end.

    A name (service, instance, run) has one entry: of the process that registered last. Heartbeats and deregistrations of
    another process of that name leave it alone.
    """

    def register(self, instance: Instance) -> None:
        """Enter an instance; one of the same name is replaced: the process was restarted."""
        ...

    def heartbeat(self, instance: Instance) -> bool:
        """Say that it is alive, and its metadata. False: another process of this name has registered since, and lives.

        Raises LookupError when the name has no entry (any more), or that of another process that is dead.
        """
        ...

    def deregister(self, instance: Instance) -> None:
        """Take the process's own entry out; none, or another process's, is left as it is."""
        ...

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """The registered instances of a service (of one run), by name, alive or not."""
        ...
