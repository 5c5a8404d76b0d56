"""Two references for schedulers: a planner that sees all queues (central), and an upper bound (ceiling).

Central and ceiling are not schedulers, because they use information that no node has. Neither knows the failure draws.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from offload.network import Network
from offload.outcomes import TIME_TOLERANCE_S
from offload.settings import Settings
from offload.state import IntArray
from offload.tasks import Trace
from simulator import arrays, core
from simulator.compiling import compiled
from simulator.twin import TaskOutcomes, Twin

# --- central ----------------------------------------------------------------------------------------------------------


def play_central(twin: Twin) -> TaskOutcomes:
    """Play all remaining slots with the central planner."""
    while twin.slot < twin.slots:
        twin.decide(central_choices(twin))
    return twin.task_outcomes()


def central_choices(twin: Twin) -> IntArray:
    """The central planner's destinations (B, N) of this slot's tasks; −1 where there is no task.

    The planner knows every queue. It decides node after node, 0 … N−1, and takes its earlier decisions of the slot into
    account. A task goes to the node where it finishes first; ties (to the nanosecond) go to the lower index. So a task
    misses its deadline only if it would miss it at every node.

    The finish is computed without failures, behind all tasks that were sent to that node before, even if they arrive
    there later. Counting only the tasks that arrive earlier lowers the success rate by 0.02: a task that is inserted
    delays the tasks behind it. Tasks that will be dropped at their deadline do not count.
    """
    destinations = np.full((twin.batch, twin.nodes), arrays.NONE, np.int64)
    if twin.has_task.any():
        _choose(twin.rules, twin.networks, twin.episodes, twin.knowledge, twin.slot, destinations)
    return destinations


# `coming` has a row per task that is expected at an executor. `following` links the rows of an executor in their order
# there, and `first` holds the heads. Tasks that have already arrived are in the executors' backlogs instead.
_ARRIVAL_S, _DURATION_S, _DUE_S, _SOURCE = 0, 1, 2, 3
_FACTS = 4


@njit(inline="always")
def _goes_before(coming, one, arrival_s, source):
    """Whether task `one` precedes another task at an executor, in the order of `core`.

    That order is by arrival in nanoseconds, then by source, then by slot. The other task is of the latest slot so
    far, so task `one` precedes it when both have the same arrival and source.
    """
    a, z = core.nanoseconds(coming[one, _ARRIVAL_S]), core.nanoseconds(arrival_s)
    return a < z or (a == z and coming[one, _SOURCE] <= source)


@njit(inline="always")
def _expect(coming, following, first, task, j, arrival_s, duration_s, due_s, source):
    """Make row `task` a task that is expected at node j."""
    own = coming[task]
    own[_ARRIVAL_S], own[_DURATION_S], own[_DUE_S], own[_SOURCE] = arrival_s, duration_s, due_s, source
    before, after = arrays.NONE, first[j]
    while after != arrays.NONE and _goes_before(coming, after, arrival_s, source):
        before, after = after, following[after]
    following[task] = after
    if before == arrays.NONE:
        first[j] = task
    else:
        following[before] = task


@njit(inline="always")
def _free_s(coming, following, first, free_s):
    """The instant at which an executor has finished the expected tasks too; `free_s`: the tasks that are there now."""
    one = first
    while one != arrays.NONE:
        own = coming[one]
        start_s = max(free_s, own[_ARRIVAL_S])
        if start_s + own[_DURATION_S] <= own[_DUE_S] + TIME_TOLERANCE_S:
            free_s = start_s + own[_DURATION_S]
        one = following[one]
    return free_s


@njit(inline="always")
def _expect_the_sent(now, rate, tasks, sent, sent_count, coming, following, first, link_free):
    """Expect the tasks that have not left their sending queues; returns their number.

    link_free: (N, N) the instants at which the links are free; updated here

    The planner does not know which transmissions will fail. It counts each one with its whole duration, and expects
    its task to arrive. So it reads only past starts from the records, and computes future starts itself: future starts
    in the records depend on the failure draws.
    """
    expected = 0
    for i in range(len(sent_count)):
        for place in range(sent_count[i]):
            packed = sent[i, place]  # slot · N + destination
            j = packed % len(sent_count)
            own = tasks[packed - j + i]
            under_way = own[arrays.LINK_START_S] <= now + TIME_TOLERANCE_S
            start_s = own[arrays.LINK_START_S] if under_way else link_free[i, j]
            arrival_s = start_s + own[arrays.SIZE_BITS] / rate[i, j]
            if arrival_s <= own[arrays.DUE_S] + TIME_TOLERANCE_S:
                link_free[i, j] = arrival_s
                duration_s, due_s = own[arrays.DURATION_S], own[arrays.DUE_S]
                _expect(coming, following, first, expected, j, arrival_s, duration_s, due_s, i)
                expected += 1
    return expected


@njit
def _choose_one(
    now, slot, capacity, rate, has_task, tasks, backlog, sent, sent_count,
    coming, following, first, link_free, free, destinations,
):  # fmt: skip
    nodes = len(capacity)
    first[:] = arrays.NONE
    link_free[:] = now
    _expect_the_sent(now, rate, tasks, sent, sent_count, coming, following, first, link_free)
    for j in range(nodes):
        free[j] = _free_s(coming, following, first[j], now + backlog[j])
    for i in range(nodes):
        if not has_task[slot, i]:
            continue
        own = tasks[slot * nodes + i]
        best, best_finish, best_finish_s = arrays.NONE, np.inf, np.inf
        for j in range(nodes):
            arrival_s = now if i == j else link_free[i, j] + own[arrays.SIZE_BITS] / rate[i, j]
            finish_s = max(free[j], arrival_s) + own[arrays.CYCLES] / capacity[j]
            finish = core.nanoseconds(finish_s)
            if finish < best_finish:
                best, best_finish, best_finish_s = j, finish, finish_s
        destinations[i] = best
        if best_finish_s <= own[arrays.DUE_S] + TIME_TOLERANCE_S:  # otherwise the task is dropped
            free[best] = best_finish_s


@compiled
def _choose(rules, networks, episodes, knowledge, slot, destinations):
    nodes, longest = knowledge.sent.shape[1:]
    coming = np.empty((nodes * longest, _FACTS))
    following, first = np.empty(len(coming), np.int64), np.empty(nodes, np.int64)
    link_free, free = np.empty((nodes, nodes)), np.empty(nodes)
    for b in range(len(episodes.number)):
        k = networks.of[b]
        _choose_one(
            slot * rules.slot_s, slot, networks.capacity_hz[k], networks.rate_bps[k], episodes.has_task[b],
            episodes.tasks[b], knowledge.execution_backlog_s[b], knowledge.sent[b], knowledge.sent_count[b],
            coming, following, first, link_free, free, destinations[b],
        )  # fmt: skip


# --- ceiling ----------------------------------------------------------------------------------------------------------

WINDOWS_SLOTS = (2, 5, 10, 20, 40)
"""Lengths of the windows in which executor time is counted. The whole episode is one more window."""


def ceiling(network: Network, trace: Trace, settings: Settings, *, failures: bool = True) -> float:
    """An upper bound on the success rate of every scheduler that does not know the failure draws; NaN without tasks.

    It bounds the expectation over the failure draws; a single episode can exceed it. With `failures` False nothing
    fails. Raises RuntimeError if the linear program is not solved.

    The linear program: maximise Σ p_kj x_kj over x ≥ 0 with Σ_j x_kj ≤ 1. At every node and in every window, the
    expected executor time of the tasks that arrive in the window is limited: to the time from the window's start to
    its last arrival, plus the largest deadline. p_kj is the probability that task k succeeds at node j in an idle
    network; it is 0 if the task misses its deadline there.

    Why this is a bound: for any scheduler, let q_kj be the probability that task k is executed at node j (sent there,
    not lost on the link, not dropped). Let x_kj = q_kj / P(its transmission succeeds). The scheduler does not know
    the failure draws of k, and those of other tasks are independent of them. So x_kj is at most the probability that
    k is sent to j, and Σ_j x_kj ≤ 1. An execution that starts succeeds with probability e^(−α_j c/F_j), so the
    expected number of successes is at most Σ p_kj x_kj. The expected executor time of k is q_kj times the mean
    duration of an execution. An executor runs one task at a time, never before the slot of its arrival and never
    beyond its deadline.
    """
    slot = np.nonzero(trace.has_task)[0]
    if not len(slot):
        return float("nan")
    success, load_s = _prospects(network, trace, settings, failures)
    task, node = np.nonzero(success)
    if not len(task):
        return 0.0
    used, length_s = _windows(trace, slot[task], node, load_s[task, node])
    value = success[task, node]
    once = csr_array((np.ones(len(task)), (task, np.arange(len(task)))), shape=(len(slot), len(task)))
    # The interior-point method is ten times as fast as the simplex here. Presolve costs more time than it saves.
    found = linprog(
        -value,
        A_ub=vstack([once, used], format="csr"),
        b_ub=np.concatenate([np.ones(len(slot)), length_s]),
        method="highs-ipm",
        options={"presolve": False},
    )
    if found.status != 0:
        raise RuntimeError(f"the ceiling's linear program was not solved: {found.message}")
    # The solver's optimum is only exact up to its tolerances. By weak duality any window prices ≥ 0 give a bound. The
    # bound from the solver's prices is never below the optimum.
    price = np.maximum(-found.ineqlin.marginals[len(slot) :], 0.0)
    gain = np.zeros(len(slot))
    np.maximum.at(gain, task, value - used.T @ price)
    return float((price @ length_s + gain.sum()) / len(slot))


def _prospects(
    network: Network, trace: Trace, settings: Settings, failures: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K, N) each, for K tasks at N nodes: success probability in an idle network, and expected executor seconds."""
    source = np.nonzero(trace.has_task)[1]
    size_bits, cycles, deadline_s = (
        facts[trace.has_task][:, None] for facts in (trace.size_bits, trace.cycles, trace.deadline_s)
    )
    rate_bps, link_failure_rate = network.rate_bps.copy(), network.link_failure_rate.copy()
    np.fill_diagonal(rate_bps, np.inf)
    np.fill_diagonal(link_failure_rate, 0.0)
    transmission_s, execution_s = size_bits / rate_bps[source], cycles / network.capacity_hz
    in_time = transmission_s + execution_s <= deadline_s + TIME_TOLERANCE_S
    if not failures:
        return in_time.astype(np.float64), execution_s
    sent = np.exp(-link_failure_rate[source] * transmission_s)
    executed = np.exp(-network.failure_rate * execution_s)
    held_s = execution_s
    if settings.time.failure_timing == "event":
        # A failure frees the executor. Its time is exponential, so E[min(x, failure)] = (1 − e^(−αx))/α.
        alpha = np.broadcast_to(network.failure_rate, execution_s.shape)
        held_s = np.divide(-np.expm1(-alpha * execution_s), alpha, out=execution_s.copy(), where=alpha > 0)
    return np.where(in_time, sent * executed, 0.0), sent * held_s


def _windows(
    trace: Trace, slot: IntArray, node: IntArray, load_s: NDArray[np.float64]
) -> tuple[csr_array, NDArray[np.float64]]:
    """The executor time that V variables use in each window, and the time that each window has.

    slot, node, load_s: (V,) of each variable, a task at a node; ascending by slot
    Returns, for R pairs of window and node: the executor seconds used (R, V), and the seconds available (R,).
    Windows start half a window length apart; the last one of each length ends with the episode. Windows into which all
    tasks together fit are left out.
    """
    begins_ends = {(0, trace.slots)}
    for length in WINDOWS_SLOTS:
        stride = length // 2
        for begin in range(0, max(trace.slots - length, 0) + stride, stride):
            begins_ends.add((begin, min(begin + length, trace.slots)))
    arrivals = np.flatnonzero(trace.has_task.any(axis=1))
    rows: list[IntArray] = []
    columns: list[IntArray] = []
    length_s: list[float] = []
    for begin, end in sorted(begins_ends):
        within = np.arange(*np.searchsorted(slot, (begin, end)))
        if len(within):
            last = arrivals[np.searchsorted(arrivals, end) - 1]
            rows.append(len(length_s) * trace.nodes + node[within])
            columns.append(within)
            length_s.append((last - begin) * trace.slot_s + trace.deadline_s[trace.has_task].max() + TIME_TOLERANCE_S)
    entries = np.concatenate(rows), np.concatenate(columns)
    used = csr_array((load_s[entries[1]], entries), shape=(len(length_s) * trace.nodes, len(slot)))
    available_s = np.repeat(length_s, trace.nodes)
    binding = used.sum(axis=1) > available_s
    return used[binding], available_s[binding]
