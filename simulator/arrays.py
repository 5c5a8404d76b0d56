"""The twin's data: the columns of a task's record, the outcome codes, and the arrays of B episodes.

Shapes: B episodes, K networks, T slots, N nodes. Instants are seconds since the episode's start.
The functions that fill these arrays are in `core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from offload.tasks import Trace

# A task's record is a row of `tasks`; these are its columns.
# Given: the size, the cycles, and the deadline as an instant.
SIZE_BITS, CYCLES, DUE_S = 0, 1, 2
# Results. Durations are 0 for stages that the task did not reach. END_S is an instant.
TRANSMISSION_WAITING_S, TRANSMISSION_S, EXECUTION_WAITING_S, EXECUTION_S, END_S = 3, 4, 5, 6, 7
# For the queues: when the transmission starts, and when the task leaves the link (arrives, fails or is dropped).
LINK_START_S, LINK_LEAVE_S = 8, 9
# When the task arrives at its executor, when its execution starts, and when it leaves the executor.
ARRIVAL_S, EXECUTOR_START_S, EXECUTOR_LEAVE_S = 10, 11, 12
# The modelled execution time, and the uniform that draws the execution's failure.
DURATION_S, UNIFORM = 13, 14
COLUMNS = 16

UNDECIDED, SUCCESS, DROPPED, EXECUTION_FAILURE, TRANSMISSION_FAILURE = 0, 1, 2, 3, 4
"""Outcome codes."""

# An executor's tasks are a linked list in the order of arrival.
# FIRST: the oldest task that has not left. RESOLVED: the last task whose outcome is known.
# UNRESOLVED: the task after RESOLVED. LAST: the newest task.
FIRST, RESOLVED, UNRESOLVED, LAST = 0, 1, 2, 3
NONE = -1


class Rules(NamedTuple):
    """The time rules of an experiment.

    slot_s: Δ, the slot length in seconds
    at_event: a failure ends its stage and frees the resource when it happens, not at the stage's planned end
    failures: whether transmissions and executions can fail
    seed: keys the draws of failures
    """

    slot_s: float
    at_event: bool
    failures: bool
    seed: int


class Networks(NamedTuple):
    """K networks.

    capacity_hz, failure_rate: (K, N); rate_bps, link_failure_rate: (K, N, N)
    of: (B,) the index of each episode's network
    """

    capacity_hz: NDArray[np.float64]
    failure_rate: NDArray[np.float64]
    rate_bps: NDArray[np.float64]
    link_failure_rate: NDArray[np.float64]
    of: NDArray[np.int64]


class Episodes(NamedTuple):
    """The state of B episodes, and at the end their result.

    number: (B,) keys the draws
    has_task, deadline_s: (B, T, N)
    tasks: (B, T·N, COLUMNS); outcome: (B, T·N); the index of a task is `slot · N + source`
    following: (B, T·N) and ends: (B, N, 4), the executors' linked lists
    link_free_s: (B, N, N) and executor_free_s: (B, N), when the resource becomes free
    team_reward: (B, T) sum of the feedback of the tasks that end in a slot, as far as their ends are known
    """

    number: NDArray[np.int64]
    has_task: NDArray[np.bool_]
    deadline_s: NDArray[np.float64]
    tasks: NDArray[np.float64]
    outcome: NDArray[np.int8]
    following: NDArray[np.int32]
    ends: NDArray[np.int32]
    link_free_s: NDArray[np.float64]
    executor_free_s: NDArray[np.float64]
    team_reward: NDArray[np.float64]


class Knowledge(NamedTuple):
    """What the nodes know of themselves and of each other at a tick, as in `LocalState`.

    The tick's own tasks are not in any queue yet.

    execution_length, execution_backlog_s, receiving_work_s: (B, N)
    sending_length, sending_backlog_s: (B, N, N) [from, to]; receiving_length: (B, N, N) [at, from]
    overloaded: (B, N) each node's overload bit, as the other nodes last received it
    sent: (B, N, A) a node's tasks that have not left its sending queues, each as `slot · N + destination`
    sent_count: (B, N) how many entries of `sent` are in use
    """

    execution_length: NDArray[np.int32]
    execution_backlog_s: NDArray[np.float64]
    receiving_work_s: NDArray[np.float64]
    sending_length: NDArray[np.int32]
    sending_backlog_s: NDArray[np.float64]
    receiving_length: NDArray[np.int32]
    overloaded: NDArray[np.bool_]
    sent: NDArray[np.int32]
    sent_count: NDArray[np.int32]


def undecided(traces: Sequence[Trace]) -> Episodes:
    """The episodes of these traces, before the first decision."""
    batch, (slots, nodes) = len(traces), traces[0].has_task.shape
    has_task = np.stack([trace.has_task for trace in traces])
    tasks = np.zeros((batch, slots, nodes, COLUMNS))
    deadline_s = np.stack([trace.deadline_s for trace in traces])
    tasks[..., SIZE_BITS] = np.stack([trace.size_bits for trace in traces])
    tasks[..., CYCLES] = np.stack([trace.cycles for trace in traces])
    tasks[..., DUE_S] = (np.arange(slots) * traces[0].slot_s)[:, None] + deadline_s
    return Episodes(
        number=np.array([trace.episode for trace in traces], np.int64),
        has_task=has_task,
        deadline_s=deadline_s,
        tasks=tasks.reshape(batch, slots * nodes, COLUMNS),
        outcome=np.zeros((batch, slots * nodes), np.int8),
        following=np.full((batch, slots * nodes), NONE, np.int32),
        ends=np.full((batch, nodes, 4), NONE, np.int32),
        link_free_s=np.zeros((batch, nodes, nodes)),
        executor_free_s=np.zeros((batch, nodes)),
        team_reward=np.zeros((batch, slots)),
    )


def nothing_known(batch: int, nodes: int, longest_slots: int) -> Knowledge:
    """Empty knowledge. longest_slots: for how many slots a task can stay in a sending queue."""
    one, pair = (batch, nodes), (batch, nodes, nodes)
    return Knowledge(
        execution_length=np.zeros(one, np.int32),
        execution_backlog_s=np.zeros(one),
        receiving_work_s=np.zeros(one),
        sending_length=np.zeros(pair, np.int32),
        sending_backlog_s=np.zeros(pair),
        receiving_length=np.zeros(pair, np.int32),
        overloaded=np.zeros(one, bool),
        sent=np.zeros((batch, nodes, longest_slots + 1), np.int32),
        sent_count=np.zeros(one, np.int32),
    )
