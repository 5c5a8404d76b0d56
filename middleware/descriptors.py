"""Computes how many open files (descriptors) a pod needs for its connections, and raises the process's limit.

Each node keeps these connections to each other node: one for messages, one for probes, and with
`node.transfer: payload` two for the tasks' bytes. At an episode's start, the previous episode's may still be closing.
"""

from __future__ import annotations

import resource
from typing import Final

from offload.settings import SettingsError

_OTHERS: Final = 64
"""For database, log, registry, storage, a kubelet's probes, and users."""
_OTHERS_OF_CONTROLLER: Final = 128
_CONTROLLER_PER_NODE: Final = 18
"""Descriptors of the controller per node: ticks, a reopened connection, clock reading, liveness check, lifeline, the
connection of a dead node, and twelve concurrent status requests."""


def descriptors_of_node(nodes: int, transfer: str) -> int:
    """How many descriptors an edge node needs. nodes: `network.nodes`; transfer: `node.transfer`"""
    kept = 4 if transfer == "payload" else 2
    return 2 * 2 * kept * (nodes - 1) + _OTHERS


def descriptors_of_controller(nodes: int) -> int:
    """How many descriptors the controller needs. nodes: `network.nodes`"""
    return _CONTROLLER_PER_NODE * nodes + _OTHERS_OF_CONTROLLER


def provide_descriptors(needed: int, whose: str, nodes: int) -> None:
    """Raise the soft limit of this process, and of the processes that it starts later, to `needed` descriptors.

    whose: the kind of process, for the message
    nodes: `network.nodes`
    Raises SettingsError if the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SettingsError(
            f"network.nodes: {nodes} needs {needed} open files in {whose}, and the limit is {hard} (`ulimit -Hn`): "
            "raise the limit, or use fewer nodes"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
