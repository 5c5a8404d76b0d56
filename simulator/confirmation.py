"""Plays the confirmation of a slot's decisions: a destination answers an announcement, and its sender chooses again.

The nodes that keep their tasks start first. The others announce their tasks in the slot's order, which is drawn. The
destination answers with its work at that instant: the slot's tasks that were announced or kept there so far count. With
this answer, the sender calls `choose` once more. If it chooses another node, it withdraws its announcement.
On real nodes the order is that of the messages' arrival.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final, TypeVar

import numpy as np

from offload.draws import Draws
from offload.protocols import Choice, Scheduler
from offload.state import FloatArray, IntArray, LocalState, Reports
from simulator.reservations import ranks

_OF_STATES: Final = ("receiving_work_s", "receiving_queue_length")
_OF_REPORTS: Final = ("receiving_work_s", "execution_backlog_s", "execution_queue_length")
_OF_PROBES: Final = ("pending_cycles", "asked_work_s", "asked_count")
"""What a report says about decisions that are being made. The answer to an announcement has none."""
_Data = TypeVar("_Data")


def confirm(
    scheduler: Scheduler,
    episode: IntArray,
    states: LocalState,
    reports: Reports,
    choice: Choice,
    draws: Draws,
    order: FloatArray,
) -> tuple[LocalState, Reports, Choice]:
    """The states, reports and choices of R decisions of one slot after their confirmation.

    episode: (R,); order: (R,) of the announcements, earlier ones have smaller numbers
    """
    fault = choice.fault(states.batch, states.nodes)
    if fault is not None:
        raise ValueError(fault)
    states = _copied(states, *_OF_STATES)
    reports = _copied(reports, *_OF_REPORTS, *_OF_PROBES)
    choice = _copied(choice, *(field.name for field in fields(Choice)))
    node, destination = states.node, choice.destination
    shape = int(episode.max(initial=0)) + 1, states.nodes
    kept_s, announced_s = np.zeros(shape), np.zeros(shape)
    announced = np.zeros((*shape, states.nodes), np.int64)  # [at, from]

    def start(some: IntArray) -> None:
        at, own = destination[some], node[some]
        work_s = states.cycles[some] / states.peer_capacity_hz[some, at]
        kept_s[episode[some], at] += np.where(at == own, work_s, 0.0)
        announced_s[episode[some], at] += np.where(at == own, 0.0, work_s)
        announced[episode[some], at, own] += at != own

    rows = np.arange(len(node))
    stays = destination == node
    start(rows[stays])
    senders = rows[~stays]
    rank = ranks(episode[senders], order[senders])
    for r in range(int(rank.max(initial=-1)) + 1):
        some = senders[rank == r]  # one of each episode
        states.receiving_work_s[some] += announced_s[episode[some], node[some]]
        states.receiving_queue_length[some] += announced[episode[some], node[some]]
        asked = reports.node[some] == destination[some, None]
        probed = asked.any(axis=1)  # a scheduler may choose a node that it has not probed
        row, column = some[probed], np.argmax(asked, axis=1)[probed]
        there = episode[row], destination[row]
        reports.receiving_work_s[row, column] += announced_s[there]
        reports.execution_backlog_s[row, column] += kept_s[there]
        reports.execution_queue_length[row, column] += kept_s[there] > 0
        for name in _OF_PROBES:
            getattr(reports, name)[row, column] = 0
        again = scheduler.choose(states.take(some), reports.take(some), draws.take(some))
        for field in fields(Choice):
            getattr(choice, field.name)[some] = getattr(again, field.name)
        start(some)
    return states, reports, choice


def _copied(data: _Data, *names: str) -> _Data:
    """The same data with copies of these arrays."""
    return replace(data, **{name: getattr(data, name).copy() for name in names})  # type: ignore[type-var]
