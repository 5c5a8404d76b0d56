"""Creates states and reports that are small enough to compute by hand: 3 or 4 nodes, one decision, round numbers.

The task has 1e6 bits, 1e9 cycles and a deadline of 1 s. Node 0 decides. It has 1e9 cycles/s, and every link has
10e6 bit/s: the transmission takes 0.1 s and the execution at node 0 takes 1 s, unless a test sets other values.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from offload import Draws, LocalState, Reports
from offload.conformance import random_states


def state(nodes: int = 4, **changes: Any) -> LocalState:
    """One decision of node 0; `changes` are given as plain numbers or lists."""
    plain: dict[str, Any] = {
        "node": 0,
        "slot": 3,
        "has_task": True,
        "size_bits": 1e6,
        "cycles": 1e9,
        "deadline_s": 1.0,
        "arrival_probability": 0.5,
        "failure_rate": 0.0,
        "capacity_hz": 1e9,
        "peer_capacity_hz": [1e9] * nodes,
        "peer_failure_rate": [0.0] * nodes,
        "rate_bps": [np.inf] + [10e6] * (nodes - 1),
        "link_failure_rate": [0.0] * nodes,
        "execution_queue_length": 0,
        "execution_backlog_s": 0.0,
        "sending_queue_length": [0] * nodes,
        "sending_backlog_s": [0.0] * nodes,
        "receiving_queue_length": [0] * nodes,
        "receiving_work_s": 0.0,
        "overloaded": [False] * nodes,
    }
    assert not set(changes) - set(plain)
    like = random_states(np.random.default_rng(0), nodes, 1)
    return dataclasses.replace(
        like,
        **{name: np.array([value], dtype=getattr(like, name).dtype) for name, value in (plain | changes).items()},
    )


def answers(*rows: dict[str, Any]) -> Reports:
    """Reports of one decision. Each row: `node`, and the differences from an idle node with 2e9 cycles/s."""
    usual = {
        "answered": True,
        "answered_after_s": 0.01,
        "capacity_hz": 2e9,
        "failure_rate": 0.0,
        "execution_queue_length": 0,
        "execution_backlog_s": 0.0,
        "receiving_work_s": 0.0,
        "pending_cycles": 0.0,
        "asked_work_s": 0.0,
        "asked_count": 0,
    }
    for row in rows:
        assert not set(row) - {"node", *usual}
    filled = [usual | row for row in rows]
    kinds = {"node": np.int64, "answered": bool, "execution_queue_length": np.int64, "asked_count": np.int64}
    names = ["node", *usual]
    return Reports(**{name: np.array([[row[name] for row in filled]], kinds.get(name, float)) for name in names})


def silent(*nodes: int) -> Reports:
    """Unanswered probes of these nodes."""
    return dataclasses.replace(Reports.none(1, len(nodes)), node=np.array([nodes]))


DRAWS = Draws.single(1, 0, 3, 0)


def many(one: LocalState, batch: int) -> tuple[LocalState, Draws]:
    """The same decision many times, each with different draws."""
    return one.take(np.zeros(batch, dtype=np.int64)), Draws(
        1, np.arange(batch), np.full(batch, one.slot[0]), np.full(batch, one.node[0])
    )
