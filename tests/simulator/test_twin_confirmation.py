"""Tests the confirmations of the twin: they are those of a slow calculation, and do not depend on the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgenode.schedulers import create_scheduler
from edgenode.schedulers.reserving import SEDReserve
from offload import SchedulerContext, draw_network, draw_trace, resolve_settings
from offload.draws import Draws, Purpose, uniform
from offload.presets import PRESETS
from simulator.twin import Twin

SETTINGS = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": 7}, "time": {"slots": 30}}])
NETWORK = draw_network(SETTINGS.network, SETTINGS.seed)
SCHEDULER = SEDReserve(SchedulerContext(NETWORK.nodes), confirm=True)


def twin(count):
    slot_s, slots = SETTINGS.time.slot_s, SETTINGS.time.slots
    traces = [draw_trace(SETTINGS.tasks, NETWORK, slot_s, slots, SETTINGS.seed, k) for k in range(count)]
    return Twin([NETWORK], traces, SETTINGS)


def _slowly(played, episode):
    """The destinations of a slot, node after node."""
    node = np.flatnonzero(played.has_task[episode])
    of = np.full(len(node), episode)
    number = played.episodes.number[of]
    states, draws = played.states(of, node), Draws(SETTINGS.seed, number, np.full(len(node), played.slot), node)
    reports = played.reports(of, node, SCHEDULER.probes(states, draws), reservations=True)
    first = SCHEDULER.choose(states, reports, draws).destination
    started_s, final = np.zeros(NETWORK.nodes), {}
    for row in np.flatnonzero(first == node):
        final[node[row]] = node[row]
        started_s[node[row]] += states.cycles[row] / NETWORK.capacity_hz[node[row]]
    order = [uniform(SETTINGS.seed, Purpose.ORDER, int(number[0]), played.slot, int(i)) for i in node]
    for row in sorted(np.flatnonzero(first != node), key=lambda row: order[row]):
        one, answers = states.take(np.array([row])), reports.take(np.array([row]))
        asked = answers.node == first[row]
        answers = replace(
            answers,
            receiving_work_s=answers.receiving_work_s + asked * started_s[first[row]],
            pending_cycles=np.where(asked, 0.0, answers.pending_cycles),
            asked_work_s=np.where(asked, 0.0, answers.asked_work_s),
            asked_count=np.where(asked, 0, answers.asked_count),
        )
        one = replace(one, receiving_work_s=one.receiving_work_s + started_s[node[row]])
        chosen = SCHEDULER.choose(one, answers, draws.take(np.array([row]))).destination[0]
        final[node[row]] = chosen
        started_s[chosen] += states.cycles[row] / NETWORK.capacity_hz[chosen]
    return first, np.array([final[i] for i in node])


def test_confirmed_decisions_are_those_of_a_slow_calculation():
    played, changed = twin(3), 0
    for _ in range(played.slots):
        destinations = np.full((3, NETWORK.nodes), -1)
        made = played.decisions(SCHEDULER)
        for episode in np.unique(made.episode):
            first, final = _slowly(played, episode)
            np.testing.assert_array_equal(made.choice.destination[made.episode == episode], final)
            changed += (first != final).sum()
        destinations[made.episode, made.node] = made.choice.destination
        played.decide(destinations)
    assert changed > 5, "confirmations change decisions"


def test_an_episode_with_confirmations_gives_the_same_alone_and_beside_others():
    together = twin(4).play(SCHEDULER)
    alone = twin(1).play(SCHEDULER)
    np.testing.assert_array_equal(alone.destination[0], together.destination[0])


def test_without_confirmation_a_slots_decisions_are_independent():
    kept = create_scheduler("sed-reserve", {"confirm": False}, SchedulerContext(NETWORK.nodes))
    assert (twin(2).play(kept).destination != twin(2).play(SCHEDULER).destination).any()
