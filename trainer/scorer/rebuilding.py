"""Rebuilds decisions among candidates from the log of an episode, whatever scheduler made them.

The records of a slot contain the states of all nodes. So they say what each node would have answered to a probe. The
executor's queue is replayed to compute each candidate's value (`offload/difference_rewards.py`). An actor can be
trained on the logs of a scheduler that probes no other node.

For each decision d other nodes are drawn as candidates, in proportion to their capacity; the destination is always one
of them. The order in which the nodes of a slot decided is drawn too: it gives the reservations. In half of the
slots the destination has also answered the announcement of the task (`confirm`): it then has the tasks that were
announced before, and those that it has kept.

Limit: tasks of a node that was down in their slot are not in the queues, because their destination is not in the log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from offload.candidates import Decisions, reported_rows, unreported_rows
from offload.difference_rewards import ExecutorHistory, QueuedTask
from offload.episodes import EpisodeLog, Executions
from offload.network import Network
from offload.profiles import Profile
from offload.state import BoolArray, FloatArray, IntArray, LocalState, Reports
from trainer.seeds import Stream, generator

_NEEDED = ("execution_backlog", "receiving_work", "sending_backlog", "overloaded", "size", "cycles", "deadline")


def fault_of_profile(profile: Profile) -> list[str]:
    """What is wrong with observations of a profile, as lines; empty if decisions can be rebuilt from them."""
    elements = {name.split("[")[0] for name in profile.elements()}
    missing = [name for name in _NEEDED if name not in elements]
    if not missing:
        return []
    return [f"node.profile: '{profile.name}' has no {missing[0]}, which actors for scorer learn from; use 'default'"]


def rebuilt(
    log: EpisodeLog, network: Network, profile: Profile, slot_s: float, seed: int, others: int = 2
) -> Decisions:
    """The R decisions of an episode, with d = `others` candidates besides the deciding node.

    profile: of the log's observations (see `fault_of_profile`); seed: keys the draws, together with the trace
    Raises ValueError for a log without `executions`, as those of data sets.
    """
    if log.executions is None:
        raise ValueError("the episodes of a data set do not say when tasks reached their executors; use a run's own")
    draws = generator(seed, Stream.CANDIDATES, log.plan.trace)
    slots, nodes = log.actions.shape[0] - 1, network.nodes
    decided = log.up[:slots] & (log.actions[:slots] < nodes)
    slot, node = np.nonzero(decided)
    seen = profile.values(log.observations[:slots])
    made = _Made(slot, node, log.actions[slot, node], draws.random(len(slot)))
    states = _states(network, seen, made)
    asked = _candidates(network, log.up[:slots], made, min(others, nodes - 1), draws)
    reports = _reports(network, seen, decided, made, asked)
    unreported = np.take_along_axis(unreported_rows(states), np.maximum(asked, 0)[..., None], axis=1)
    to_destination = asked == made.destination[:, None]
    confirmed = np.flatnonzero((draws.random(slots) < 0.5)[slot] & to_destination.any(axis=1))
    if len(confirmed):
        column = 1 + np.argmax(to_destination[confirmed], axis=1)
        _confirm(network, states, reports, made, confirmed, column)
    success, externality = _values(log, log.executions, network, slot_s, made, states, reports)
    missing = others + 1 - reports.node.shape[1]
    columns = (0, 0), (0, missing)
    return Decisions(
        reported=np.pad(reported_rows(states, reports), (*columns, (0, 0))),
        answered=np.pad(reports.answered, columns),
        unreported=np.pad(unreported, (*columns, (0, 0))),
        success=np.pad(success, columns),
        externality=np.pad(externality, columns),
    )


@dataclass(frozen=True, eq=False)
class _Made:
    """The R decisions that were made: slot, node and destination, and the drawn order within their slot."""

    slot: IntArray
    node: IntArray
    destination: IntArray
    order: FloatArray


def _states(network: Network, seen: dict[str, FloatArray], made: _Made) -> LocalState:
    """What the deciding nodes saw. Queue lengths are set to 0: rows of candidates do not use them."""
    place, node, count = (made.slot, made.node), made.node, len(made.node)
    lengths = np.zeros((count, network.nodes), np.int64)
    rate_bps = network.rate_bps[node].copy()
    rate_bps[np.arange(count), node] = np.inf
    link_failure_rate = network.link_failure_rate[node].copy()
    link_failure_rate[np.arange(count), node] = 0.0
    return LocalState(
        node=node,
        slot=made.slot,
        has_task=np.ones(count, bool),
        size_bits=seen["size"][place],
        cycles=seen["cycles"][place],
        deadline_s=seen["deadline"][place],
        arrival_probability=network.arrival_probability[node],
        failure_rate=network.failure_rate[node],
        capacity_hz=network.capacity_hz[node],
        peer_capacity_hz=np.broadcast_to(network.capacity_hz, lengths.shape),
        peer_failure_rate=np.broadcast_to(network.failure_rate, lengths.shape),
        rate_bps=rate_bps,
        link_failure_rate=link_failure_rate,
        execution_queue_length=lengths[:, 0],
        execution_backlog_s=seen["execution_backlog"][place],
        sending_queue_length=lengths,
        sending_backlog_s=seen["sending_backlog"][place],
        receiving_queue_length=lengths,
        receiving_work_s=seen["receiving_work"][place],
        overloaded=seen["overloaded"][place] > 0.5,
    )


def _candidates(network: Network, up: BoolArray, made: _Made, count: int, draws: np.random.Generator) -> IntArray:
    """(R, count) distinct other nodes that are up: the destination, and nodes drawn by capacity; −1 for none."""
    rows = np.arange(len(made.node))
    # The largest of log(weight) + Gumbel noise are draws in proportion to the weights, without replacement.
    keys = np.log(network.capacity_hz) + draws.gumbel(size=(len(rows), network.nodes))
    keys[rows, made.destination] = np.inf
    keys[~up[made.slot]] = -np.inf
    keys[rows, made.node] = -np.inf
    chosen = np.argsort(-keys, axis=1, kind="stable")[:, :count]
    return np.where(np.isneginf(np.take_along_axis(keys, chosen, axis=1)), -1, chosen)


def _reports(
    network: Network, seen: dict[str, FloatArray], decided: BoolArray, made: _Made, asked: IntArray
) -> Reports:
    """(R, 1+d) what the deciding node knows of itself, and what the others would have answered."""
    node = np.concatenate([made.node[:, None], asked], axis=1)
    answered, known = node >= 0, np.maximum(node, 0)
    place = made.slot[:, None], known
    cycles = np.where(decided, seen["cycles"], 0.0)
    work_s = cycles[made.slot, made.node][:, None] / network.capacity_hz[known]
    asked_work_s, asked_count = np.zeros(node.shape), np.zeros(node.shape)
    row, column = np.nonzero(answered[:, 1:])
    column += 1
    one = made.slot[row], node[row, column], made.order[row]
    asked_work_s[row, column] = _sums_before(*one, work_s[row, column])
    asked_count[row, column] = _sums_before(*one, np.ones(len(row)))
    return Reports(
        node=node,
        answered=answered,
        answered_after_s=np.zeros(node.shape),
        capacity_hz=network.capacity_hz[known],
        failure_rate=network.failure_rate[known],
        execution_queue_length=np.zeros(node.shape, np.int64),
        execution_backlog_s=seen["execution_backlog"][place],
        receiving_work_s=seen["receiving_work"][place],
        pending_cycles=cycles[place],
        asked_work_s=asked_work_s,
        asked_count=asked_count.astype(np.int64),
    )


def _confirm(
    network: Network, states: LocalState, reports: Reports, made: _Made, some: IntArray, column: IntArray
) -> None:
    """Add the answer to the announcement to what some decisions know, in place.

    some: (S,) rows of decisions; column: (S,) of the candidate
    """
    stays = made.destination == made.node
    sent = np.flatnonzero(~stays)
    work_s = states.cycles / network.capacity_hz[made.destination]
    kept_s = np.zeros((made.slot.max(initial=-1) + 1, network.nodes))
    kept_s[made.slot[stays], made.node[stays]] = work_s[stays]
    there = reports.node[some, column]
    # Two entries for each of these decisions: what was announced before to the candidate, and to the deciding node. And
    # one for each announcement: of entries with the same order, the announcement of a task itself is the later one.
    slot, order = (np.concatenate([of[some], of[some], of[sent]]) for of in (made.slot, made.order))
    at = np.concatenate([there, made.node[some], made.destination[sent]])
    announced_s = np.concatenate([np.zeros(2 * len(some)), work_s[sent]])
    there_s, here_s, _ = np.split(_sums_before(slot, at, order, announced_s), [len(some), 2 * len(some)])
    reports.receiving_work_s[some, column] += there_s
    reports.execution_backlog_s[some, column] += kept_s[made.slot[some], there]
    reports.receiving_work_s[some, 0] += here_s
    states.receiving_work_s[some] += here_s
    for values in (reports.pending_cycles, reports.asked_work_s, reports.asked_count):
        values[some, column] = 0


def _sums_before(slot: IntArray, node: IntArray, order: FloatArray, values: FloatArray) -> FloatArray:
    """(E,) for each entry, the sum of the values of earlier entries with the same slot and node.

    Entries with the same order are in the order of the arrays.
    """
    rows = np.lexsort((order, node, slot))
    until = np.cumsum(values[rows]) - values[rows]
    changes = (np.diff(slot[rows], prepend=-1) != 0) | (np.diff(node[rows], prepend=-1) != 0)
    first = np.maximum.accumulate(np.where(changes, np.arange(len(rows)), 0))
    sums = np.empty(len(rows))
    sums[rows] = until - until[first]
    return np.maximum(sums, 0.0)  # a difference of sums can be just below 0


def _values(
    log: EpisodeLog,
    executions: Executions,
    network: Network,
    slot_s: float,
    made: _Made,
    states: LocalState,
    reports: Reports,
) -> tuple[FloatArray, FloatArray]:
    """(R, 1+d) success and externality of each candidate, as in `Decisions`."""
    histories = executor_histories(executions, network, slot_s, made, states)
    node = np.maximum(reports.node, 0)
    size_bits, cycles = states.size_bits[:, None], states.cycles[:, None]
    transmission_s = size_bits / np.take_along_axis(states.rate_bps, node, axis=1)
    execution_s = cycles / network.capacity_hz[node]
    begin_s = made.slot * slot_s
    arrival_s = begin_s[:, None] + np.take_along_axis(states.sending_backlog_s, node, axis=1) + transmission_s
    risk = network.failure_rate[node] * execution_s
    risk += np.take_along_axis(states.link_failure_rate, node, axis=1) * transmission_s
    chance = np.exp(-risk)
    due_s = begin_s + states.deadline_s
    success, externality = np.zeros(node.shape), np.zeros(node.shape)
    for row, column in np.argwhere(reports.answered & (arrival_s <= due_s[:, None])).tolist():
        duration_s = float(execution_s[row, column])
        task = QueuedTask(
            arrival_s=round(float(arrival_s[row, column]), 9),
            source=int(made.node[row]),
            slot=int(made.slot[row]),
            due_s=float(due_s[row]),
            duration_s=duration_s,
            held_s=duration_s,
            success=0.0,
        )
        executed, externality[row, column] = histories[node[row, column]].difference(task)
        success[row, column] = chance[row, column] if executed else 0.0
    return success, externality


def executor_histories(
    executions: Executions, network: Network, slot_s: float, made: _Made, states: LocalState
) -> list[ExecutorHistory]:
    """The history of each node's executor."""
    queued: list[list[QueuedTask]] = [[] for _ in range(network.nodes)]
    arrival_s = executions.arrival_s[made.slot, made.node]
    executed_s = executions.execution_s[made.slot, made.node]
    for row in np.flatnonzero(~np.isnan(arrival_s)).tolist():
        j = int(made.destination[row])
        duration_s = float(states.cycles[row] / network.capacity_hz[j])
        queued[j].append(
            QueuedTask(
                arrival_s=round(float(arrival_s[row]), 9),
                source=int(made.node[row]),
                slot=int(made.slot[row]),
                due_s=float(made.slot[row] * slot_s + states.deadline_s[row]),
                duration_s=duration_s,
                held_s=float(executed_s[row]) or duration_s,
                success=float(np.exp(-network.failure_rate[j] * duration_s)),
            )
        )
    return [ExecutorHistory(one) for one in queued]
