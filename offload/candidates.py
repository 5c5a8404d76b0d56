"""Encodes the candidates of a decision, a row for each: the profile `candidates`.

A candidate is a node that a task could go to: the deciding node itself, or another one. A row has numbers without a
unit, no index of a node, and the same length for every N. So an actor that was trained on some networks can be used in
every other one, and nodes can join a network without a new actor.

An actor of this profile has two outputs for a row (see `VALUE` and `PROMISE`). The first is for candidates whose report
is known, the second for candidates that could be probed. The latter's rows are made before any report is known, with
`_EXPECTED_SHARE` of the deadline as the backlog.

Symbols: x execution time of the task at the candidate, a time until it arrives there, w work that is there before it,
D its deadline; finish = max(a, w) + x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from offload.state import BoolArray, FloatArray, IntArray, LocalState, Reports

COLUMNS: Final = (
    "execution",  # x/D
    "arrival",  # a/D
    "work",  # w/D
    "finish",  # finish/D
    "slack",  # 1 − finish/D, at least 0
    "lateness",  # finish/D − 1, from 0 to 1
    "too_far",  # 1 if the task would be late without any work before it: a + x > D
    "risk",  # α x + β s/r: −ln of the probability of no failure (eq. 4 and 5)
    "failure_rate",  # α D
    "capacity",  # relative to the mean capacity of the network's nodes
    "itself",  # 1 if the candidate is the deciding node
    "overloaded",  # the overload bit as last received
    "pending",  # execution time of the candidate's own task of this slot / D; 0 for itself
    "asked_work",  # work of the tasks whose probes it has answered before, in this slot / D
    "asked_count",  # number of these tasks / 4
    "own_work",  # w/D of the deciding node
    "own_finish",  # finish/D at the deciding node
    "size",  # execution time on a node of mean capacity / D
)
"""The columns of a row. All are clipped to 0 … 2."""

VALUE, PROMISE = 0, 1
"""An actor's outputs: the value of sending the task to a candidate that answered; how much a probe would gain."""


@dataclass(frozen=True)
class CandidateProfile:
    """The profile `candidates`, as a model's manifest names it. It is the same in all networks.

    A change of the columns or of the outputs needs a new version.
    """

    name: Literal["candidates"] = "candidates"
    version: int = 1

    @property
    def size(self) -> int:
        """The length of a row."""
        return len(COLUMNS)

    @property
    def outputs(self) -> int:
        """The number of an actor's outputs."""
        return 2

    def to_json(self) -> dict[str, Any]:
        """The profile as plain data for a manifest."""
        return {"name": self.name, "version": self.version}

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """The differences to another profile's JSON, one line each; empty if an actor of that profile can be used."""
        return [
            f"{key}: the model's is {other.get(key)!r}, this testbed's is {value!r}"
            for key, value in self.to_json().items()
            if value != other.get(key)
        ]


PROFILE: Final = CandidateProfile()


@dataclass(frozen=True, eq=False)
class Decisions:
    """What R decisions among candidates saw, and what each candidate would have been worth.

    C = d+1 candidates: the deciding node itself, then the probed nodes.

    reported: (R, C, COLUMNS); answered: (R, C), the rows of other candidates are 0
    unreported: (R, d, COLUMNS) the rows of the probed nodes before the probes
    success: (R, C) e^(−risk) if the task is executed there, 0 if it is dropped
    externality: (R, C) the successes that it costs the other tasks there (`offload.difference_rewards`)
    """

    reported: NDArray[np.float32]
    answered: BoolArray
    unreported: NDArray[np.float32]
    success: FloatArray
    externality: FloatArray

    def __len__(self) -> int:
        return len(self.success)

    def take(self, rows: IntArray) -> Decisions:
        """Some of the decisions."""
        return Decisions(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Decisions]) -> Decisions:
        """The decisions of all parts, which have the same number of candidates."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})


_EXPECTED_SHARE: Final = 0.2
_LARGEST: Final = 2.0


def reported_rows(states: LocalState, reports: Reports) -> NDArray[np.float32]:
    """(B, d, COLUMNS) the rows of the nodes that were asked; rows without an answer are 0."""
    node = np.maximum(reports.node, 0)
    capacity_hz = np.where(reports.answered, reports.capacity_hz, 1.0)
    rows = _rows(
        states,
        own=reports.node == states.node[:, None],
        capacity_hz=capacity_hz,
        failure_rate=reports.failure_rate,
        rate_bps=_of(states.rate_bps, node),
        link_failure_rate=_of(states.link_failure_rate, node),
        sending_backlog_s=_of(states.sending_backlog_s, node),
        overloaded=_of(states.overloaded, node),
        work_s=reports.execution_backlog_s + reports.receiving_work_s,
        pending_s=reports.pending_cycles / capacity_hz,
        asked_work_s=reports.asked_work_s,
        asked_count=reports.asked_count,
    )
    rows[~reports.answered] = 0.0
    return rows


def unreported_rows(states: LocalState) -> NDArray[np.float32]:
    """(B, N, COLUMNS) the rows of all nodes before any of them was asked."""
    return _rows(
        states,
        own=states.node[:, None] == np.arange(states.nodes),
        capacity_hz=states.peer_capacity_hz,
        failure_rate=states.peer_failure_rate,
        rate_bps=states.rate_bps,
        link_failure_rate=states.link_failure_rate,
        sending_backlog_s=states.sending_backlog_s,
        overloaded=states.overloaded,
        work_s=(_EXPECTED_SHARE * states.deadline_s)[:, None],
        pending_s=0.0,
        asked_work_s=0.0,
        asked_count=0,
    )


def _rows(
    states: LocalState,
    own: BoolArray,
    capacity_hz: FloatArray,
    failure_rate: FloatArray,
    rate_bps: FloatArray,
    link_failure_rate: FloatArray,
    sending_backlog_s: FloatArray,
    overloaded: BoolArray,
    work_s: FloatArray,
    pending_s: FloatArray | float,
    asked_work_s: FloatArray | float,
    asked_count: IntArray | int,
) -> NDArray[np.float32]:
    """(B, C, COLUMNS) for C candidates; the arguments are (B, C), or (B, 1) and numbers for all."""
    deadline_s, cycles = states.deadline_s[:, None], states.cycles[:, None]
    transmission_s = states.size_bits[:, None] / rate_bps  # 0 to itself, where the rate is infinite
    execution_s = cycles / capacity_hz
    arrival_s = sending_backlog_s + transmission_s
    finish = (np.maximum(arrival_s, work_s) + execution_s) / deadline_s
    own_work_s = states.execution_backlog_s + states.receiving_work_s
    values = {
        "execution": execution_s / deadline_s,
        "arrival": arrival_s / deadline_s,
        "work": work_s / deadline_s,
        "finish": finish,
        "slack": 1.0 - finish,
        "lateness": np.minimum(finish - 1.0, 1.0),
        "too_far": arrival_s + execution_s > deadline_s,
        "risk": failure_rate * execution_s + link_failure_rate * transmission_s,
        "failure_rate": failure_rate * deadline_s,
        "capacity": capacity_hz / states.peer_capacity_hz.mean(axis=1, keepdims=True),
        "itself": own,
        "overloaded": overloaded,
        "pending": np.where(own, 0.0, pending_s / deadline_s),
        "asked_work": asked_work_s / deadline_s,
        "asked_count": np.divide(asked_count, 4),
        "own_work": own_work_s[:, None] / deadline_s,
        "own_finish": (own_work_s + states.cycles / states.capacity_hz)[:, None] / deadline_s,
        "size": cycles / states.peer_capacity_hz.mean(axis=1, keepdims=True) / deadline_s,
    }
    rows = np.empty((*own.shape, len(COLUMNS)), np.float32)
    for column, name in enumerate(COLUMNS):
        rows[..., column] = values[name]
    clipped: NDArray[np.float32] = rows.clip(0.0, _LARGEST, out=rows)
    return clipped


def _of(values: NDArray[Any], node: IntArray) -> NDArray[Any]:
    return np.take_along_axis(values, node, axis=1)
