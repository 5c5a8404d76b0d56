"""Yardsticks that see everything: a planner of all queues (central), and a bound on every scheduler (ceiling).

They are not schedulers: no node could know what they know. Neither knows the failure draws.
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
from simulator import core
from simulator.compiling import compiled
from simulator.twin import TaskOutcomes, Twin

# --- central ----------------------------------------------------------------------------------------------------------


def play_central(twin: Twin) -> TaskOutcomes:
    """All slots that are left, under the central planner."""
    while twin.slot < twin.slots:
        twin.decide(central_choices(twin))
    return twin.task_outcomes()


def central_choices(twin: Twin) -> IntArray:
    """Where the central planner sends this slot's tasks: destinations (B, N), −1 where there is no task.

    It knows every queue and decides node after node, 0 … N−1, counting its own earlier decisions of the slot. A task goes to
    the node where it would finish first (ties, to the nanosecond: the lower index), so it misses its deadline only where it
    would everywhere. "Would" means: if nothing failed any more, and behind everything that was sent to that node before, also
    what will reach it later. Counting only what is there earlier is worth 0.02 less: a task that gets in between delays those
    behind it. Tasks that their deadline will drop do not count.
    """
    destinations = np.full((twin.batch, twin.nodes), core.NONE, np.int64)
    if twin.has_task.any():
        _choose(twin.rules, twin.networks, twin.episodes, twin.knowledge, twin.slot, destinations)
    return destinations


# A task that is expected at an executor: a row of `coming`. `following` makes lists of them, by their order at the executor;
# `first` are the heads. They hold what has not arrived by now; what has is in the executors' backlogs.
_ARRIVAL_S, _DURATION_S, _DUE_S, _SOURCE = 0, 1, 2, 3
_FACTS = 4


@njit(inline="always")
def _goes_before(coming, one, arrival_s, source):
    """Order at an executor, as `core` has it: the arrival to the nanosecond, then the lower source, then the earlier slot.

    The other task is of the latest slot so far, so this one is never behind one of its own source.
    """
    a, z = core.nanoseconds(coming[one, _ARRIVAL_S]), core.nanoseconds(arrival_s)
    return a < z or (a == z and coming[one, _SOURCE] <= source)


@njit(inline="always")
def _expect(coming, following, first, task, j, arrival_s, duration_s, due_s, source):
    """Row `task` becomes a task that is expected at node j."""
    own = coming[task]
    own[_ARRIVAL_S], own[_DURATION_S], own[_DUE_S], own[_SOURCE] = arrival_s, duration_s, due_s, source
    before, after = core.NONE, first[j]
    while after != core.NONE and _goes_before(coming, after, arrival_s, source):
        before, after = after, following[after]
    following[task] = after
    if before == core.NONE:
        first[j] = task
    else:
        following[before] = task


@njit(inline="always")
def _free_s(coming, following, first, free_s):
    """When an executor is free of what is expected there; `free_s`: when it is free of what is there now."""
    one = first
    while one != core.NONE:
        own = coming[one]
        start_s = max(free_s, own[_ARRIVAL_S])
        if start_s + own[_DURATION_S] <= own[_DUE_S] + TIME_TOLERANCE_S:
            free_s = start_s + own[_DURATION_S]
        one = following[one]
    return free_s


@njit(inline="always")
def _expect_the_sent(now, rate, tasks, sent, sent_count, coming, following, first, link_free):
    """Expect the tasks that have not left their sending queues; returns how many. `link_free` (N, N): when the links are free.

    Whether one is to fail on its way cannot be known: its whole transmission counts, and it counts as coming. So only the
    starts that lie behind us are read from the records. The others' are worked out: a record has the real one.
    """
    expected = 0
    for i in range(len(sent_count)):
        for place in range(sent_count[i]):
            packed = sent[i, place]  # slot · N + destination
            j = packed % len(sent_count)
            own = tasks[packed - j + i]
            under_way = own[core.LINK_START_S] <= now + TIME_TOLERANCE_S
            start_s = own[core.LINK_START_S] if under_way else link_free[i, j]
            arrival_s = start_s + own[core.SIZE_BITS] / rate[i, j]
            if arrival_s <= own[core.DUE_S] + TIME_TOLERANCE_S:
                link_free[i, j] = arrival_s
                duration_s, due_s = own[core.DURATION_S], own[core.DUE_S]
                _expect(coming, following, first, expected, j, arrival_s, duration_s, due_s, i)
                expected += 1
    return expected


@njit
def _choose_one(
    now, slot, capacity, rate, has_task, tasks, backlog, sent, sent_count, coming, following, first, link_free, free, destinations
):  # fmt: skip
    nodes = len(capacity)
    first[:] = core.NONE
    link_free[:] = now
    _expect_the_sent(now, rate, tasks, sent, sent_count, coming, following, first, link_free)
    for j in range(nodes):
        free[j] = _free_s(coming, following, first[j], now + backlog[j])
    for i in range(nodes):
        if not has_task[slot, i]:
            continue
        own = tasks[slot * nodes + i]
        best, best_finish, best_finish_s = core.NONE, np.inf, np.inf
        for j in range(nodes):
            arrival_s = now if i == j else link_free[i, j] + own[core.SIZE_BITS] / rate[i, j]
            finish_s = max(free[j], arrival_s) + own[core.CYCLES] / capacity[j]
            finish = core.nanoseconds(finish_s)
            if finish < best_finish:
                best, best_finish, best_finish_s = j, finish, finish_s
        destinations[i] = best
        if best_finish_s <= own[core.DUE_S] + TIME_TOLERANCE_S:  # else it is dropped
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
"""Lengths of the windows in which the executors' time is counted; the whole episode is one more."""


def ceiling(network: Network, trace: Trace, settings: Settings, *, failures: bool = True) -> float:
    """The success rate on a trace that no scheduler without knowledge of the failure draws can exceed; NaN without tasks.

    It bounds the expectation over failure draws, not a lucky episode. With `failures` False nothing ever fails. Raises
    RuntimeError if the linear program is not solved.

    The program: maximise Σ p_kj x_kj over x ≥ 0 with Σ_j x_kj ≤ 1, such that the expected executor time of the tasks that
    arrive in a window fits, at every node and in every window, into the window up to its last arrival plus the (largest)
    deadline. p_kj is the probability that task k succeeds at node j in an idle network, 0 if it misses its deadline there.

    Why it is a bound: under any scheduler, let q_kj be the probability that task k is executed at node j (sent there, not
    lost on the link, not dropped), and x_kj = q_kj / P(its transmission succeeds). The scheduler does not know k's own
    failure draws, and the other tasks' are independent of them. So x_kj is at most the probability that k is sent to j, and
    Σ_j x_kj ≤ 1. An execution that starts succeeds with e^(−α_j c/F_j), so the expected number of successes is at most
    Σ p_kj x_kj. And q_kj times the mean duration of an execution is the executor's time that k takes in expectation: an
    executor has one task at a time, none before it arrives in its slot and none beyond its deadline.
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
    # The interior point is ten times as fast as the simplex here, and what presolve takes off is not worth its time.
    found = linprog(
        -value,
        A_ub=vstack([once, used], format="csr"),
        b_ub=np.concatenate([np.ones(len(slot)), length_s]),
        method="highs-ipm",
        options={"presolve": False},
    )
    if found.status != 0:
        raise RuntimeError(f"the ceiling's linear program was not solved: {found.message}")
    # The solver's optimum is one up to its tolerances. Any prices ≥ 0 of the windows give a bound (weak duality), so take
    # that of the solver's: it is the optimum, and never below it.
    price = np.maximum(-found.ineqlin.marginals[len(slot) :], 0.0)
    gain = np.zeros(len(slot))
    np.maximum.at(gain, task, value - used.T @ price)
    return float((price @ length_s + gain.sum()) / len(slot))


def _prospects(
    network: Network, trace: Trace, settings: Settings, failures: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of K tasks at N nodes, both (K, N): the probability of success in an idle network, and the expected executor seconds."""
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
        # The executor is free at the failure, which is exponential: E[min(x, failure)] = (1 − e^(−αx))/α.
        alpha = np.broadcast_to(network.failure_rate, execution_s.shape)
        held_s = np.divide(-np.expm1(-alpha * execution_s), alpha, out=execution_s.copy(), where=alpha > 0)
    return np.where(in_time, sent * executed, 0.0), sent * held_s


def _windows(
    trace: Trace, slot: IntArray, node: IntArray, load_s: NDArray[np.float64]
) -> tuple[csr_array, NDArray[np.float64]]:
    """What variables (V,), a task of `slot` at `node` each, ascending by slot, use of the executors in the windows.

    Returns the executor seconds per window and node (R, V), and how many there are (R,). Windows are half a window apart,
    the last one of each length ends with the episode. Those are left out into which all tasks together fit.
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
