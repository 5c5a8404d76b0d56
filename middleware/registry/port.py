"""The registry port: which instance of which service is where, and whether it is alive."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from offload.explanations import shown

MAX_AGE_S = 5.0
"""An instance whose last heartbeat is older does not count as alive."""


CONTROLLER: Final = "controller"
EDGE_NODE: Final = "edgenode"
"""The services whose instances are indexes: 0 for the controller, the node's for an edge node."""
_INDEX = re.compile(r"[0-9]{1,6}", re.ASCII)
_ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}", re.ASCII)
_LARGEST_S = 1e12
_MOST_FOREIGN = 1000


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


def checked_instance(
    service: str, instance: Any, run: Any, address: Any, metadata: Any, started_at: Any, age_s: Any = 0.0
) -> Instance:
    """An instance as a registry has it. Raises ValueError for an entry that none of our processes has written.

    Anybody who reaches the registry's server may write there, and what is read must not end who reads it.
    """
    texts = (instance, run, address)
    if not all(isinstance(text, str) for text in texts) or not isinstance(metadata, Mapping):
        raise ValueError("instance, run and address are texts, metadata is an object")
    if service in (CONTROLLER, EDGE_NODE) and not _INDEX.fullmatch(instance):
        raise ValueError(f"{shown(instance)} is not an index")
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"{shown(address)} is not the address of a pod")
    return Instance(service, instance, run, address, metadata, checked_seconds(started_at), checked_seconds(age_s))


def checked_seconds(value: Any) -> float:
    """A number of seconds that was read. Raises ValueError."""
    if type(value) not in (int, float) or not abs(value) < _LARGEST_S:
        raise ValueError(f"{shown(value)} is not a number of seconds")
    return float(value)


def clock_words(instance: Instance) -> str | None:
    """What is wrong with the clock of an instance's machine, and what helps; None while nothing is known to be."""
    off_s = instance.clock_off_s
    if off_s is None or abs(off_s) <= MAX_AGE_S:
        return None
    return (
        f"the clock of {instance.service} {instance.instance}'s machine is at least {abs(off_s):.0f} s "
        f"{'ahead of' if off_s > 0 else 'behind'} the clock here: synchronise the clocks of all machines (chrony, NTP)"
    )


class ForeignEntries:
    """Logs each entry that is none of ours once."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: set[str] = set()

    def log(self, entry: str, wrong: Exception) -> None:
        """`entry`: which one, in words."""
        if entry not in self._seen and len(self._seen) < _MOST_FOREIGN:
            self._seen.add(entry)
            self._logger.warning("the registry's entry %s is ignored: %s", entry, wrong)


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
