"""Defines a node's state when it decides (`LocalState`), and the answers of probed nodes (`Reports`).

Both have an array per quantity, in SI units, with a leading batch dimension B: 1 in a node, thousands in a simulator.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LocalState:
    """Snapshots of B deciding nodes at their ticks, before tasks of the slot are queued.

    node, slot: (B,) index of the deciding node; the slot
    has_task: (B,); size_bits, cycles, deadline_s: (B,), 0 where there is no task
    arrival_probability, failure_rate, capacity_hz: (B,) λ_i, α_i, F_i
    peer_capacity_hz, peer_failure_rate: (B, N) F_j, α_j of every node, itself included
    rate_bps: (B, N) r_i·, infinite to itself; link_failure_rate: (B, N) β_i·, 0 to itself
    execution_queue_length: (B,) l_i, the running task included
    execution_backlog_s: (B,) seconds until the executor is free of what is in its queue now
    sending_queue_length, sending_backlog_s: (B, N), 0 to itself
    receiving_queue_length: (B, N) l_ij^r, tasks of j that are being sent to this node
    receiving_work_s: (B,) execution seconds of these tasks
    overloaded: (B, N) overload bits as last received; the node's own bit at its own index
    """

    node: IntArray
    slot: IntArray
    has_task: BoolArray
    size_bits: FloatArray
    cycles: FloatArray
    deadline_s: FloatArray
    arrival_probability: FloatArray
    failure_rate: FloatArray
    capacity_hz: FloatArray
    peer_capacity_hz: FloatArray
    peer_failure_rate: FloatArray
    rate_bps: FloatArray
    link_failure_rate: FloatArray
    execution_queue_length: IntArray
    execution_backlog_s: FloatArray
    sending_queue_length: IntArray
    sending_backlog_s: FloatArray
    receiving_queue_length: IntArray
    receiving_work_s: FloatArray
    overloaded: BoolArray

    @property
    def batch(self) -> int:
        """B, the number of decisions."""
        return len(self.node)

    @property
    def nodes(self) -> int:
        """N, the number of nodes of the network."""
        return int(self.rate_bps.shape[1])

    def take(self, rows: IntArray | BoolArray) -> Self:
        """The decisions of some rows."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Reports:
    """Answers to the probes of B decisions, d columns each, aligned with what `Scheduler.probes` returned.

    node: (B, d) the probed node, −1 where none was asked
    answered: (B, d); where this is False, the values in the other arrays mean nothing
    answered_after_s: (B, d) seconds until the answer arrived; use only the order of these values
    capacity_hz, failure_rate: (B, d) F_j, α_j
    execution_queue_length: (B, d) the running task included
    execution_backlog_s: (B, d) execution seconds left of the running task and of the queue
    receiving_work_s: (B, d) execution seconds of announced tasks that are being sent to the node
    pending_cycles: (B, d) cycles of the node's own task of this slot, 0 without one. It decides on this task now.
    asked_work_s, asked_count: (B, d) execution seconds at the node, and number, of the tasks of this slot whose
        probes it answered before. Only probes with a reservation count (`Scheduler.reservations`).
    """

    node: IntArray
    answered: BoolArray
    answered_after_s: FloatArray
    capacity_hz: FloatArray
    failure_rate: FloatArray
    execution_queue_length: IntArray
    execution_backlog_s: FloatArray
    receiving_work_s: FloatArray
    pending_cycles: FloatArray
    asked_work_s: FloatArray
    asked_count: IntArray

    @classmethod
    def none(cls, batch: int, columns: int = 0) -> Self:
        """Reports of no probed node."""
        shape = batch, columns
        return cls(
            node=np.full(shape, -1),
            answered=np.zeros(shape, dtype=bool),
            answered_after_s=np.full(shape, np.inf),
            capacity_hz=np.zeros(shape),
            failure_rate=np.zeros(shape),
            execution_queue_length=np.zeros(shape, dtype=np.int64),
            execution_backlog_s=np.zeros(shape),
            receiving_work_s=np.zeros(shape),
            pending_cycles=np.zeros(shape),
            asked_work_s=np.zeros(shape),
            asked_count=np.zeros(shape, dtype=np.int64),
        )

    def take(self, rows: IntArray | BoolArray) -> Self:
        """The answers to the decisions of some rows."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def report_of(states: LocalState) -> Reports:
    """The reports of the deciding nodes about themselves, shape (B, 1), before they have answered a probe."""

    def column(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values[:, None]

    return Reports(
        node=column(states.node),  # type: ignore[arg-type]
        answered=np.ones((states.batch, 1), dtype=bool),
        answered_after_s=np.zeros((states.batch, 1)),
        capacity_hz=column(states.capacity_hz),  # type: ignore[arg-type]
        failure_rate=column(states.failure_rate),  # type: ignore[arg-type]
        execution_queue_length=column(states.execution_queue_length),  # type: ignore[arg-type]
        execution_backlog_s=column(states.execution_backlog_s),  # type: ignore[arg-type]
        receiving_work_s=column(states.receiving_work_s),  # type: ignore[arg-type]
        pending_cycles=column(states.cycles),  # type: ignore[arg-type]
        asked_work_s=np.zeros((states.batch, 1)),
        asked_count=np.zeros((states.batch, 1), dtype=np.int64),
    )
