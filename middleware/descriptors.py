"""How many open files (descriptors) a pod needs for its connections, and the limit that the system sets to them.

A node keeps to each other node, and each other node to it: one connection for messages, one for probes, and with
`node.transfer: payload` two links for tasks' bytes. At an episode's begin those of the one before may still be closing.
"""

from __future__ import annotations

import resource
from typing import Final

from offload.settings import SettingsError

_OTHERS: Final = 64
"""Database, log, registry, storage, probes of a kubelet, people."""
_OTHERS_OF_CONTROLLER: Final = 128
_CONTROLLER_PER_NODE: Final = 18
"""Of the controller, per node: ticks, one that is opened again, its clock's reading, whether it lives, its lifeline, a dead one's
connection; and one for each of twelve requests for the status."""


def descriptors_of_node(nodes: int, transfer: str) -> int:
    """How many an edge node among so many needs. `transfer`: of the settings."""
    kept = 4 if transfer == "payload" else 2
    return 2 * 2 * kept * (nodes - 1) + _OTHERS


def descriptors_of_controller(nodes: int) -> int:
    """How many the controller of so many nodes needs."""
    return _CONTROLLER_PER_NODE * nodes + _OTHERS_OF_CONTROLLER


def provide_descriptors(needed: int, whose: str, nodes: int) -> None:
    """Raise this process's soft limit to what it needs; processes that it starts have it as well.

    whose: the kind of process, for the message; nodes: `network.nodes`
    Raises SettingsError where the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SettingsError(
            f"network.nodes: {nodes} needs {needed} open files in {whose}, and the limit is {hard} (`ulimit -Hn`): "
            "raise that limit, or take fewer nodes"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
