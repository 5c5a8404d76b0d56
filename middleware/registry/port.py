"""Defines the registry port: the addresses of the instances of each service, and whether they are alive."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from offload.explanations import shown

MAX_AGE_S = 5.0
"""An instance with an older last heartbeat, in real seconds, does not count as alive."""


CONTROLLER: Final = "controller"
EDGE_NODE: Final = "edgenode"
"""Services whose instance names are indexes: 0 for the controller, the node's index for an edge node."""
_INDEX = re.compile(r"[0-9]{1,6}", re.ASCII)
_ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}", re.ASCII)
_LARGEST_S = 1e12
_MOST_FOREIGN = 1000


@dataclass(frozen=True)
class Instance:
    """One process of a service.

    instance: a node's index, or 0
    address: `http://host:port` or `https://host:port`
    started_at: Unix seconds by the process's own clock; with the address, it identifies the process
    age_s: real seconds between its last heartbeat and the read
    clock_off_s: minimum by which the process's clock is ahead of the reader's (negative: behind), in seconds; None if
        it is unknown or irrelevant
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
        """Whether its last heartbeat was recent when the entry was read."""
        return self.age_s <= max_age_s

    def is_process(self, other: Instance) -> bool:
        """Whether both are entries of the same process, and not of a process and its replacement."""
        return (self.address, self.started_at) == (other.address, other.started_at)


def checked_instance(
    service: str, instance: Any, run: Any, address: Any, metadata: Any, started_at: Any, age_s: Any = 0.0
) -> Instance:
    """The instance in a registry's entry. Raises ValueError for an entry that this testbed did not write.

    Other programs may write to the registry's server, and their entries must not crash the reader.
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
    """A number of seconds from a registry's entry. Raises ValueError if it is none."""
    if type(value) not in (int, float) or not abs(value) < _LARGEST_S:
        raise ValueError(f"{shown(value)} is not a number of seconds")
    return float(value)


def clock_message(instance: Instance) -> str | None:
    """What is wrong with the clock of an instance's machine, and what to do. None if no error is known."""
    off_s = instance.clock_off_s
    if off_s is None or abs(off_s) <= MAX_AGE_S:
        return None
    return (
        f"the clock of {instance.service} {instance.instance}'s machine is at least {abs(off_s):.0f} s "
        f"{'ahead of' if off_s > 0 else 'behind'} the clock here: synchronise the clocks of all machines (chrony, NTP)"
    )


class ForeignEntries:
    """Logs each invalid entry of a registry once."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: set[str] = set()

    def log(self, entry: str, wrong: Exception) -> None:
        """Log an invalid entry. entry: its name, for people; wrong: why it is invalid"""
        if entry not in self._seen and len(self._seen) < _MOST_FOREIGN:
            self._seen.add(entry)
            self._logger.warning("the registry's entry %s is ignored: %s", entry, wrong)


class Registry(Protocol):
    """Stores instances, which register, send heartbeats with their metadata, and deregister when they end.

    Each name (service, instance, run) has one entry: that of the process that registered last. Heartbeats and
    deregistrations of other processes with that name do not change it.
    """

    def register(self, instance: Instance) -> None:
        """Add an instance. It replaces an entry of the same name, as after a restart of the process."""
        ...

    def heartbeat(self, instance: Instance) -> bool:
        """Report that the instance is alive, with its metadata.

        Returns False if another running process has registered under this name since. Raises LookupError if the name
        has no entry, or the entry of another process that is dead.
        """
        ...

    def deregister(self, instance: Instance) -> None:
        """Remove the process's own entry. Does nothing if there is none, or if it belongs to another process."""
        ...

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """The registered instances of a service, of one run or of all, sorted by name, alive or not."""
        ...
