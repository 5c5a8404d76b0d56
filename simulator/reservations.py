"""Computes what probed nodes know about the probes of the same slot: the reservations that they answered before.

A slot's decisions have an order, drawn anew for each slot. A node answers the probes of earlier decisions first. On
real nodes the order is that of the probes' arrival.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from offload.state import IntArray
from simulator.compiling import compiled


def ranks(episode: IntArray, order: NDArray[np.float64]) -> IntArray:
    """(R,) the place of each decision in its episode's order: 0, 1, …"""
    rows = np.lexsort((order, episode))
    first = np.searchsorted(episode[rows], episode[rows])
    found = np.empty(len(rows), np.int64)
    found[rows] = np.arange(len(rows)) - first
    return found


def asked_before(
    episode: IntArray,
    node: IntArray,
    probed: IntArray,
    work_s: NDArray[np.float64],
    order: NDArray[np.float64],
) -> tuple[NDArray[np.float64], IntArray]:
    """Work (R, d) in execution seconds, and number (R, d), of the tasks whose probes each probed node answered before.

    episode, node: (R,) of the decisions of one slot; probed: (R, d) the nodes that they probe, −1 for none
    work_s: (R, d) the decision's task at the probed node; order: (R,) earlier decisions have smaller numbers
    A node's probe of itself reserves nothing and has 0 in its answer, which comes from its snapshot.
    """
    work = np.zeros(probed.shape)
    count = np.zeros(probed.shape, np.int64)
    if probed.size:
        nodes = max(int(probed.max()), int(node.max())) + 1
        rows = np.lexsort((order, episode))
        _add_up(rows, episode, node, probed, work_s, np.zeros(nodes), np.zeros(nodes, np.int64), work, count)
    return work, count


@compiled
def _add_up(rows, episode, node, probed, work_s, node_work, node_count, work, count):
    current = -1
    for row in rows:
        if episode[row] != current:
            current = episode[row]
            node_work[:] = 0.0
            node_count[:] = 0
        for column in range(probed.shape[1]):
            j = probed[row, column]
            if j >= 0 and j != node[row]:
                work[row, column] = node_work[j]
                count[row, column] = node_count[j]
                node_work[j] += work_s[row, column]
                node_count[j] += 1
