"""Defines the description of a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scene import Scene


@dataclass(frozen=True)
class Fault:
    """A fault that a run must survive.

    description: what the fault does, for the table
    service: the service that is unavailable, None if the fault affects a process of the testbed
    inject: injects the fault during an episode; the fault has ended when it returns
    prepare: what must exist before the run starts
    unharmed: the fault may not cause a lost task, a refused record or a restart (for example an unavailable service)
    repeated: the service is unavailable more than once
    small_disk: the processes' files are on a small disk, which the fault may fill
    network: needs its own network namespace, because it drops or redirects packets
    """

    name: str
    description: str
    service: str | None
    inject: Callable[[Scene, Random], None]
    prepare: Callable[[Scene], None] | None = None
    unharmed: bool = False
    network: bool = False
    repeated: bool = False
    small_disk: bool = False

    @property
    def spares_episodes(self) -> bool:
        """Whether the episode in which it occurs must be complete, and no process may be restarted."""
        return self.unharmed or self.service is not None
