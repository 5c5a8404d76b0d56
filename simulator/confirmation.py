"""Plays the confirmation of a slot's decisions: a destination answers an announcement, and its sender chooses again.

Who keeps its task starts first. The others announce their tasks in the slot's order, which is drawn. The destination
answers with its work at that instant: the slot's tasks that were announced or kept there so far count. With this
answer, the sender calls `choose` once more. If it chooses another node, it withdraws its announcement.
On real nodes the order is that of the messages' arrival.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from offload.draws import Draws
from offload.protocols import Choice, Scheduler
from offload.state import FloatArray, IntArray, LocalState, Reports
from simulator.reservations import ranks


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
    states = replace(states, receiving_work_s=states.receiving_work_s.copy())
    names = "receiving_work_s", "pending_cycles", "asked_work_s", "asked_count"
    reports = replace(reports, **{name: getattr(reports, name).copy() for name in names})
    choice = Choice(**{field.name: getattr(choice, field.name).copy() for field in fields(Choice)})
    node, destination = states.node, choice.destination
    rows = np.arange(len(node))
    started_s = np.zeros((int(episode.max(initial=0)) + 1, states.nodes))

    def start(some: IntArray) -> None:
        at = destination[some]
        started_s[episode[some], at] += states.cycles[some] / states.peer_capacity_hz[some, at]

    stays = destination == node
    start(rows[stays])
    senders = rows[~stays]
    rank = ranks(episode[senders], order[senders])
    for r in range(int(rank.max(initial=-1)) + 1):
        some = senders[rank == r]  # one of each episode
        states.receiving_work_s[some] += started_s[episode[some], node[some]]
        asked = reports.node[some] == destination[some, None]
        column = np.argmax(asked, axis=1)
        probed = asked.any(axis=1)  # a scheduler may choose a node that it has not probed
        row, column = some[probed], column[probed]
        reports.receiving_work_s[row, column] += started_s[episode[row], destination[row]]
        for name in names[1:]:
            getattr(reports, name)[row, column] = 0
        again = scheduler.choose(states.take(some), reports.take(some), draws.take(some))
        for field in fields(Choice):
            getattr(choice, field.name)[some] = getattr(again, field.name)
        start(some)
    return states, reports, choice
