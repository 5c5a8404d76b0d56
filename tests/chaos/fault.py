"""What a fault is, for the modules that define some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scene import Scene


@dataclass(frozen=True)
class Fault:
    """words: for people; service: the one that is unavailable, None where one of our own processes is hurt
    inject: does it, in the middle of an episode; it is over when `inject` returns. prepare: what has to be there before the run starts
    unharmed: no task may be lost, no record refused and no process restarted because of it, as where a service is unavailable
    repeated: the service is unavailable more than once
    small_disk: the processes' own files are on a small disk, which the fault may fill
    network: needs a network namespace of its own, since it drops or redirects packets
    """

    name: str
    words: str
    service: str | None
    inject: Callable[[Scene, Random], None]
    prepare: Callable[[Scene], None] | None = None
    unharmed: bool = False
    network: bool = False
    repeated: bool = False
    small_disk: bool = False

    @property
    def spares_episodes(self) -> bool:
        """Whether the episode in which it happens must be complete all the same, and no process may be restarted."""
        return self.unharmed or self.service is not None
