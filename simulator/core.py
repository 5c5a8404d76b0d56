"""The edge network in virtual time, compiled: B episodes side by side, with exact event times.

Nothing is polled and there is no event queue. A link is first in, first out, and a node sends at most one task per slot, so a
task's whole way over its link is known when it is decided. It is then put into its executor's list by its arrival there; as
soon as no task can arrive any more before an instant (`_resolve`), everything up to it is known for the executor, too.

Instants are seconds since the episode's start. A task's index is `slot · N + source`; its record is a row of `tasks`, whose
columns are the constants below. No episode reads another's data, so the result does not depend on how many there are.

The functions take plain arrays of one episode: passing a tuple of arrays would cost more than the work.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from offload.outcomes import TIME_TOLERANCE_S
from simulator.compiling import compiled
from simulator.draws import fill_failure_uniforms

# What is given of a task; the deadline as an instant.
SIZE_BITS, CYCLES, DUE_S = 0, 1, 2
# What becomes of it; durations are 0 for stages that were not reached, END_S is an instant.
TRANSMISSION_WAITING_S, TRANSMISSION_S, EXECUTION_WAITING_S, EXECUTION_S, END_S = 3, 4, 5, 6, 7
# How the queues know it: instants at which it starts on its link and leaves it (arrives, fails or is dropped), arrives at its
# executor, starts there and leaves it; the executor's modelled duration; the uniform that draws its failure there.
LINK_START_S, LINK_LEAVE_S, ARRIVAL_S, EXECUTOR_START_S, EXECUTOR_LEAVE_S, DURATION_S, UNIFORM = (
    8,
    9,
    10,
    11,
    12,
    13,
    14,
)
COLUMNS = 16

UNDECIDED, SUCCESS, DROPPED, EXECUTION_FAILURE, TRANSMISSION_FAILURE = 0, 1, 2, 3, 4
"""Outcome codes."""

# An executor's tasks are a list in the order of arrival: FIRST is the oldest that has not left, RESOLVED the last one whose
# outcome is known, UNRESOLVED the one after it, LAST the newest.
FIRST, RESOLVED, UNRESOLVED, LAST = 0, 1, 2, 3
NONE = -1


class Rules(NamedTuple):
    """slot_s: Δ; at_event: failures show, and free their resource, when they happen, not at the end; failures: whether there
    are any; seed: keys their draws."""

    slot_s: float
    at_event: bool
    failures: bool
    seed: int


class Networks(NamedTuple):
    """K networks: capacity_hz, failure_rate (K, N); rate_bps, link_failure_rate (K, N, N). `of` (B,): which one an episode has."""

    capacity_hz: NDArray[np.float64]
    failure_rate: NDArray[np.float64]
    rate_bps: NDArray[np.float64]
    link_failure_rate: NDArray[np.float64]
    of: NDArray[np.int64]


class Episodes(NamedTuple):
    """The state of B episodes, and at the end their result.

    number (B,): keys the draws; has_task, deadline_s (B, T, N); tasks (B, T·N, COLUMNS); outcome (B, T·N)
    following (B, T·N), ends (B, N, 4): the executors' lists
    link_free_s (B, N, N), executor_free_s (B, N): when the resource is free of what it holds
    team_reward (B, T): the feedback of the tasks that end in a slot, as far as their ends are known
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


@njit(inline="always")
def _failure_s(u, rate):
    """−ln(u)/rate: when the first failure comes (eq. 3–5)."""
    return -np.log(u) / rate if rate > 0.0 else np.inf


@njit(inline="always")
def nanoseconds(instant_s):
    """Instants are compared so: 0.1 + 0.2 and 0.3 are at once, whatever binary fractions make of them."""
    return np.floor(instant_s * 1e9 + 0.5)


@njit(inline="always")
def _goes_before(tasks, nodes, one, other):
    """Order at an executor: arrival (to the nanosecond), then the lower source, then the earlier slot."""
    a, z = nanoseconds(tasks[one, ARRIVAL_S]), nanoseconds(tasks[other, ARRIVAL_S])
    i, j = one % nodes, other % nodes
    return a < z or (a == z and (i < j or (i == j and one < other)))


@njit(inline="always")
def _enqueue(tasks, following, ends, nodes, task):
    """Put a task into an executor's list (`ends`, four numbers), by its arrival there."""
    last = ends[LAST]
    if ends[UNRESOLVED] == NONE:
        if last != NONE:
            following[last] = task
        if ends[FIRST] == NONE:
            ends[FIRST] = task
        ends[UNRESOLVED] = task
        ends[LAST] = task
        following[task] = NONE
    elif not _goes_before(tasks, nodes, task, last):
        following[last] = task
        ends[LAST] = task
        following[task] = NONE
    else:
        before, after = NONE, ends[UNRESOLVED]
        while not _goes_before(tasks, nodes, task, after):
            before, after = after, following[after]
        following[task] = after
        if before != NONE:
            following[before] = task
        else:
            ends[UNRESOLVED] = task
            if ends[RESOLVED] != NONE:
                following[ends[RESOLVED]] = task
            if ends[FIRST] == after:
                ends[FIRST] = task


@njit(inline="always")
def _admit(rules, capacity, rate, beta, tasks, outcome, following, ends, link_free, begin, nodes, task, i, j, u):
    """Task `task` of node i, of the slot that begins at `begin`, goes to node j; `u` draws its transmission's failure."""
    own = tasks[task]
    own[DURATION_S] = own[CYCLES] / capacity[j]
    arrives = True
    if i == j:
        own[ARRIVAL_S] = begin
    else:
        duration = own[SIZE_BITS] / rate[i, j]
        start = max(begin, link_free[i, j])
        own[LINK_START_S] = start
        own[TRANSMISSION_WAITING_S] = start - begin
        if start + duration > own[DUE_S] + TIME_TOLERANCE_S:
            outcome[task] = DROPPED
            own[LINK_LEAVE_S] = start
            own[END_S] = start
            arrives = False
        else:
            failure = _failure_s(u, beta[i, j]) if rules.failures else np.inf
            held = min(duration, failure) if rules.at_event else duration
            end = start + held
            link_free[i, j] = end
            own[TRANSMISSION_S] = held
            own[LINK_LEAVE_S] = end
            own[ARRIVAL_S] = end
            if failure < duration:
                outcome[task] = TRANSMISSION_FAILURE
                own[END_S] = end
                arrives = False
    if arrives:
        _enqueue(tasks, following, ends[j], nodes, task)


@njit(inline="always")
def _resolve(rules, alpha, tasks, outcome, following, ends, free, until_s):
    """Settle an executor's tasks that arrive before `until_s`; nothing can arrive before that any more.

    `free` is when it is free; returns when it is free then.
    """
    task = ends[UNRESOLVED]
    while task != NONE and nanoseconds(tasks[task, ARRIVAL_S]) < nanoseconds(until_s):
        own = tasks[task]
        start = max(own[ARRIVAL_S], free)
        own[EXECUTOR_START_S] = start
        own[EXECUTION_WAITING_S] = start - own[ARRIVAL_S]
        duration = own[DURATION_S]
        if start + duration > own[DUE_S] + TIME_TOLERANCE_S:
            outcome[task] = DROPPED
            own[EXECUTOR_LEAVE_S] = start
            own[END_S] = start
        else:
            failure = _failure_s(own[UNIFORM], alpha) if rules.failures else np.inf
            held = min(duration, failure) if rules.at_event else duration
            free = start + held
            own[EXECUTION_S] = held
            own[EXECUTOR_LEAVE_S] = free
            outcome[task] = EXECUTION_FAILURE if failure < duration else SUCCESS
            own[END_S] = free
        ends[RESOLVED] = task
        task = following[task]
        ends[UNRESOLVED] = task
    return free


@njit
def _play_one(
    rules, number, capacity, alpha, rate, beta, has_task, tasks, outcome, following, ends, link_free, free, destinations
):  # fmt: skip
    """`play_given` of one episode."""
    slots, nodes = has_task.shape
    transmission, execution = np.empty(nodes), np.empty(nodes)
    for t in range(slots):
        if rules.failures:
            fill_failure_uniforms(rules.seed, number, t, destinations[t], transmission, execution)
        begin = t * rules.slot_s
        for i in range(nodes):
            if has_task[t, i]:
                task = t * nodes + i
                tasks[task, UNIFORM] = execution[i]
                _admit(
                    rules, capacity, rate, beta, tasks, outcome, following, ends, link_free,
                    begin, nodes, task, i, destinations[t, i], transmission[i],
                )  # fmt: skip
        until_s = (t + 1) * rules.slot_s
        for j in range(nodes):
            free[j] = _resolve(rules, alpha[j], tasks, outcome, following, ends[j], free[j], until_s)
    for j in range(nodes):
        free[j] = _resolve(rules, alpha[j], tasks, outcome, following, ends[j], free[j], np.inf)


@compiled
def take(has_task, given, taken):
    """Copy destinations (B, …, N), as −1 where there is no task.

    Returns the place (in the flattened array) of the first task that goes to no node 0 … N−1; −1 if there is none.
    """
    nodes, wrong = has_task.shape[-1], -1
    flags, source, target = has_task.ravel(), given.ravel(), taken.ravel()
    for place in range(len(flags) - 1, -1, -1):
        if not flags[place]:
            target[place] = -1
        else:
            target[place] = source[place]
            if not 0 <= source[place] < nodes:
                wrong = place
    return wrong


@compiled
def play_given(rules, networks, episodes, destinations):
    """All slots of all episodes under given decisions (B, T, N): no node's state is ever looked at."""
    for b in range(len(episodes.number)):
        k = networks.of[b]
        _play_one(
            rules, episodes.number[b], networks.capacity_hz[k], networks.failure_rate[k], networks.rate_bps[k],
            networks.link_failure_rate[k], episodes.has_task[b], episodes.tasks[b], episodes.outcome[b],
            episodes.following[b], episodes.ends[b], episodes.link_free_s[b], episodes.executor_free_s[b], destinations[b],
        )  # fmt: skip


# --- what nodes know --------------------------------------------------------------------------------------------------


class Knowledge(NamedTuple):
    """What nodes know of themselves and of each other at a tick, before anything of the slot is queued; as in `LocalState`.

    execution_length, execution_backlog_s, receiving_work_s (B, N); sending_length, sending_backlog_s (B, N, N) [from, to];
    receiving_length (B, N, N) [at, from]; overloaded (B, N): each node's bit as the others have heard it
    sent (B, N, A), sent_count (B, N): a node's tasks that have not left its sending queues, as slot · N + destination
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


@njit(inline="always")
def _backlog(tasks, outcome, following, ends, now):
    """(length, seconds until an executor is free) of the tasks that have arrived by `now`. Forgets those that have left.

    A task that its deadline will drop at the head counts in the length only. A running one counts with its whole duration:
    nobody knows yet that it will fail early.
    """
    task, unresolved, by = ends[FIRST], ends[UNRESOLVED], now + TIME_TOLERANCE_S
    while task != unresolved and tasks[task, EXECUTOR_LEAVE_S] <= by:
        task = following[task]
    ends[FIRST] = task
    length, free, resolved = 0, now, True
    while task != NONE and tasks[task, ARRIVAL_S] <= by:
        own = tasks[task]
        resolved = resolved and task != unresolved
        length += 1
        if resolved and outcome[task] != DROPPED and own[EXECUTOR_START_S] <= by:
            free = max(now, own[EXECUTOR_START_S] + own[DURATION_S])
        else:
            start = max(free, own[ARRIVAL_S])
            if start + own[DURATION_S] <= own[DUE_S] + TIME_TOLERANCE_S:
                free = start + own[DURATION_S]
            elif start <= by:
                length -= 1  # at the head at this very instant: dropped
        task = following[task]
    return length, max(0.0, free - now)


@njit(inline="always")
def _forget(sending_length, sending_backlog, receiving_length, receiving_work, sent, sent_count):
    """Zero what the tasks in the sending queues made of these arrays; everything else in them is zero already."""
    for i in range(len(sent_count)):
        receiving_work[i] = 0.0
        for place in range(sent_count[i]):
            j = sent[i, place] % len(sent_count)
            sending_length[i, j] = 0
            sending_backlog[i, j] = 0.0
            receiving_length[j, i] = 0


@njit(inline="always")
def _look_at_links(
    rate, tasks, now, sending_length, sending_backlog, receiving_length, receiving_work, sent, sent_count
):  # fmt: skip
    """What the tasks mean that have not left their sending queues by `now`; those that have are taken off `sent`."""
    nodes = len(sent_count)
    for i in range(nodes):
        kept = 0
        for place in range(sent_count[i]):
            packed = sent[i, place]  # slot · N + destination
            j = packed % nodes
            own = tasks[packed - j + i]
            if own[LINK_LEAVE_S] <= now + TIME_TOLERANCE_S:
                continue
            sent[i, kept] = packed
            kept += 1
            sending_length[i, j] += 1
            if own[DUE_S] > now + TIME_TOLERANCE_S:
                receiving_length[j, i] += 1
                receiving_work[j] += own[DURATION_S]
            duration = own[SIZE_BITS] / rate[i, j]
            if own[LINK_START_S] <= now + TIME_TOLERANCE_S:
                free = max(now, own[LINK_START_S] + duration)
            else:
                free = now + sending_backlog[i, j]
                start = max(free, own[LINK_START_S] - own[TRANSMISSION_WAITING_S])
                if start + duration <= own[DUE_S] + TIME_TOLERANCE_S:
                    free = start + duration
            sending_backlog[i, j] = free - now
        sent_count[i] = kept


@njit
def _decide_one(
    rules, number, capacity, alpha, rate, beta, has_task, tasks, outcome, following, ends, link_free, free,
    execution_length, execution_backlog, receiving_work, sending_length, sending_backlog, receiving_length, overloaded, sent,
    sent_count, transmission, execution, threshold_s, push_lead, slot, destinations,
):  # fmt: skip
    _slots, nodes = has_task.shape
    begin, end = slot * rules.slot_s, (slot + 1) * rules.slot_s
    push_at_s = (slot + 1 - push_lead) * rules.slot_s
    if rules.failures:
        fill_failure_uniforms(rules.seed, number, slot, destinations, transmission, execution)
    _forget(sending_length, sending_backlog, receiving_length, receiving_work, sent, sent_count)
    for i in range(nodes):
        if has_task[slot, i]:
            task, j = slot * nodes + i, destinations[i]
            tasks[task, UNIFORM] = execution[i]
            _admit(
                rules, capacity, rate, beta, tasks, outcome, following, ends, link_free,
                begin, nodes, task, i, j, transmission[i],
            )  # fmt: skip
            if i != j and tasks[task, LINK_LEAVE_S] > begin:
                sent[i, sent_count[i]] = slot * nodes + j
                sent_count[i] += 1
    for j in range(nodes):
        free[j] = _resolve(rules, alpha[j], tasks, outcome, following, ends[j], free[j], end)
        _, backlog = _backlog(tasks, outcome, following, ends[j], push_at_s)
        overloaded[j] = backlog > threshold_s
        execution_length[j], execution_backlog[j] = _backlog(tasks, outcome, following, ends[j], end)
    _look_at_links(
        rate, tasks, end, sending_length, sending_backlog, receiving_length, receiving_work, sent, sent_count
    )


@compiled
def decide(rules, networks, episodes, knowledge, threshold_s, push_lead, slot, destinations):
    """The tasks of a slot go to `destinations` (B, N), then time passes until the next tick: `knowledge` is that of it.

    Shortly before that tick, `push_lead` of a slot, the nodes tell the others whether their backlog is above `threshold_s`.
    """
    nodes = episodes.has_task.shape[2]
    transmission, execution = np.empty(nodes), np.empty(nodes)
    for b in range(len(episodes.number)):
        k = networks.of[b]
        _decide_one(
            rules, episodes.number[b], networks.capacity_hz[k], networks.failure_rate[k], networks.rate_bps[k],
            networks.link_failure_rate[k], episodes.has_task[b], episodes.tasks[b], episodes.outcome[b],
            episodes.following[b], episodes.ends[b], episodes.link_free_s[b], episodes.executor_free_s[b],
            knowledge.execution_length[b], knowledge.execution_backlog_s[b],
            knowledge.receiving_work_s[b], knowledge.sending_length[b], knowledge.sending_backlog_s[b],
            knowledge.receiving_length[b], knowledge.overloaded[b], knowledge.sent[b], knowledge.sent_count[b],
            transmission, execution, threshold_s, push_lead, slot, destinations[b],
        )  # fmt: skip


@compiled
def finish(rules, networks, episodes):
    """After the last slot: let all tasks end."""
    for b in range(len(episodes.number)):
        alpha = networks.failure_rate[networks.of[b]]
        tasks, outcome, following = episodes.tasks[b], episodes.outcome[b], episodes.following[b]
        for j in range(len(alpha)):
            episodes.executor_free_s[b, j] = _resolve(
                rules, alpha[j], tasks, outcome, following, episodes.ends[b, j], episodes.executor_free_s[b, j], np.inf
            )


@compiled
def add_rewards(rules, episodes, longest_slots, first, end):
    """Fill `team_reward` of the slots first … end−1: +1 for each success that ends in a slot, −1 for any other end (eq. 9).

    A task ends at most `longest_slots` after its own slot.
    """
    slots, nodes = episodes.has_task.shape[1:]
    for b in range(len(episodes.number)):
        tasks, outcome, reward = episodes.tasks[b], episodes.outcome[b], episodes.team_reward[b]
        for task in range(max(0, first - longest_slots) * nodes, end * nodes):
            if outcome[task] != UNDECIDED:
                slot = min(int(tasks[task, END_S] / rules.slot_s + TIME_TOLERANCE_S), slots - 1)
                if first <= slot < end:
                    reward[slot] += 1.0 if outcome[task] == SUCCESS else -1.0
