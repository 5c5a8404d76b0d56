"""Plays episodes in the twin, and keeps what an actor of the profile `candidates` learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenode.schedulers.estimates import joined
from offload.candidates import Decisions, reported_rows, unreported_rows
from offload.difference_rewards import ExecutorHistory, QueuedTask
from offload.protocols import Scheduler
from offload.state import FloatArray, IntArray, Reports, report_of
from simulator import arrays
from simulator.twin import SlotDecisions, Twin


@dataclass(frozen=True, eq=False)
class _Seen:
    """R decisions of one slot, with their candidates.

    episode: (R,); task: (R,) its index in the episode (`arrays.Episodes`)
    node: (R, C) the candidates; arrival_s: (R, C) instants at which the task would arrive there
    risk: (R, C) −ln of the probability of no failure; reported, answered, unreported: as in `Decisions`
    """

    episode: IntArray
    task: IntArray
    node: IntArray
    arrival_s: FloatArray
    risk: FloatArray
    reported: NDArray[np.float32]
    answered: NDArray[np.bool_]
    unreported: NDArray[np.float32]


def play_decisions(twin: Twin, scheduler: Scheduler, candidates: int) -> Decisions:
    """Play all slots of fresh episodes with a scheduler that probes other nodes and chooses among them and itself.

    candidates: C, the number of columns; a decision with fewer candidates has columns without an answer
    """
    seen: list[_Seen] = []
    while twin.slot < twin.slots:
        destinations = np.full((twin.batch, twin.nodes), -1, np.int64)
        if twin.has_task.any():
            made = twin.decisions(scheduler)
            destinations[made.episode, made.node] = made.choice.destination
            seen.append(_seen(twin, made, candidates))
        twin.decide(destinations)
    histories = executor_histories(twin)
    parts = [_valued(twin, histories, one) for one in seen]
    return Decisions.joined(parts)


def _seen(twin: Twin, made: SlotDecisions, candidates: int) -> _Seen:
    states = made.states
    reports = joined(report_of(states), made.reports)
    missing = candidates - reports.node.shape[1]
    if missing > 0:
        reports = joined(reports, Reports.none(states.batch, missing))
    node = np.maximum(reports.node, 0)
    rows = np.arange(states.batch)[:, None]
    transmission_s = states.size_bits[:, None] / states.rate_bps[rows, node]
    execution_s = states.cycles[:, None] / states.peer_capacity_hz[rows, node]
    return _Seen(
        episode=made.episode,
        task=twin.slot * twin.nodes + states.node,
        node=node,
        arrival_s=twin.slot * twin.slot_s + states.sending_backlog_s[rows, node] + transmission_s,
        risk=states.peer_failure_rate[rows, node] * execution_s + states.link_failure_rate[rows, node] * transmission_s,
        reported=reported_rows(states, reports),
        answered=reports.answered,
        unreported=np.take_along_axis(unreported_rows(made.tick), node[:, 1:, None], axis=1),
    )


def executor_histories(twin: Twin) -> list[list[ExecutorHistory]]:
    """The histories [episode][node] of all executors of a finished twin."""
    tasks, outcome = twin.episodes.tasks, twin.episodes.outcome
    destination = twin.task_outcomes().destination.reshape(outcome.shape)
    found: list[list[ExecutorHistory]] = []
    for b in range(twin.batch):
        alpha = twin.networks.failure_rate[twin.networks.of[b]]
        queued: list[list[QueuedTask]] = [[] for _ in range(twin.nodes)]
        # A task that was dropped on its link, or whose transmission failed, has no instant of leaving an executor.
        arrived = (outcome[b] != arrays.UNDECIDED) & (tasks[b, :, arrays.EXECUTOR_LEAVE_S] > 0)
        for task in np.flatnonzero(arrived).tolist():
            j = int(destination[b, task])
            queued[j].append(_queued(twin, tasks[b, task], task, float(alpha[j]), outcome[b, task] == arrays.DROPPED))
        found.append([ExecutorHistory(one) for one in queued])
    return found


def _queued(twin: Twin, own: NDArray[np.float64], task: int, alpha: float, dropped: bool) -> QueuedTask:
    duration_s = float(own[arrays.DURATION_S])
    return QueuedTask(
        arrival_s=round(float(own[arrays.ARRIVAL_S]), 9),
        source=task % twin.nodes,
        slot=task // twin.nodes,
        due_s=float(own[arrays.DUE_S]),
        duration_s=duration_s,
        held_s=duration_s if dropped else float(own[arrays.EXECUTION_S]),
        success=float(np.exp(-alpha * duration_s)),
    )


def _valued(twin: Twin, histories: list[list[ExecutorHistory]], seen: _Seen) -> Decisions:
    success, externality = np.zeros(seen.node.shape), np.zeros(seen.node.shape)
    chance = np.exp(-seen.risk)
    for row, (b, task) in enumerate(zip(seen.episode.tolist(), seen.task.tolist(), strict=True)):
        facts = twin.episodes.tasks[b, task]
        due_s, cycles = float(facts[arrays.DUE_S]), float(facts[arrays.CYCLES])
        capacity_hz = twin.networks.capacity_hz[twin.networks.of[b]]
        for column, j in enumerate(seen.node[row].tolist()):
            arrival_s = float(seen.arrival_s[row, column])
            if not seen.answered[row, column] or arrival_s > due_s:
                continue
            duration_s = cycles / float(capacity_hz[j])
            one = QueuedTask(
                round(arrival_s, 9), task % twin.nodes, task // twin.nodes, due_s, duration_s, duration_s, 0.0
            )
            executed, externality[row, column] = histories[b][j].difference(one)
            success[row, column] = chance[row, column] if executed else 0.0
    return Decisions(seen.reported, seen.answered, seen.unreported, success, externality)
