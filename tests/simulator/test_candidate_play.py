"""Tests what the twin records for actors of the profile `candidates`, against worlds that differ in one task."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from small_worlds import worlds

from edgenode.schedulers.reserving import SEDReserve
from offload import SchedulerContext, draw_network, draw_trace, resolve_settings
from offload.difference_rewards import QueuedTask
from offload.presets import PRESETS
from offload.tasks import Trace
from simulator import arrays
from simulator.candidate_play import executor_histories, play_decisions
from simulator.twin import Twin


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_the_difference_that_a_task_makes_at_each_node_is_that_of_two_worlds(world):
    net, trace, destinations, made, _ = world
    # Fast links, so that a task delays others at executors only.
    net = dataclasses.replace(net, rate_bps=net.rate_bps * 1e12)
    twin = Twin([net], [trace], made, failures=False)
    twin.play_given(destinations)
    histories = executor_histories(twin)[0]
    for slot, source in np.argwhere(trace.has_task)[:8]:
        others = trace.has_task.copy()
        others[slot, source] = False
        without = _played(net, _with(trace, others), destinations, made)
        for j in range(net.nodes):
            elsewhere = destinations.copy()
            elsewhere[0, slot, source] = j
            with_it = _played(net, trace, elsewhere, made)
            lost = _successes(without, others) - _successes(with_it, others)
            executed, externality = histories[j].difference(_task(with_it, slot, source, j))
            assert executed == (with_it.episodes.outcome[0, slot * net.nodes + source] == arrays.SUCCESS)
            np.testing.assert_allclose(externality, lost, atol=1e-9)


def _played(net, trace, destinations, made):
    twin = Twin([net], [trace], made, failures=False)
    twin.play_given(destinations)
    return twin


def _with(trace: Trace, has_task) -> Trace:
    facts = (np.where(has_task, values, 0.0) for values in (trace.size_bits, trace.cycles, trace.deadline_s))
    return Trace(trace.episode, trace.slot_s, has_task, *facts)


def _successes(twin: Twin, counted):
    """Σ e^(−α x) over the executed tasks among those that are counted."""
    of = twin.task_outcomes()
    duration_s = twin.episodes.tasks[0, :, arrays.DURATION_S].reshape(counted.shape)
    chance = np.exp(-twin.networks.failure_rate[0][of.destination[0]] * duration_s)
    return (chance * (of.outcome[0] == arrays.SUCCESS) * counted).sum()


def _task(twin: Twin, slot, source, j):
    own = twin.episodes.tasks[0, slot * twin.nodes + source]
    begin = slot * twin.slot_s
    arrival_s = begin if j == source else begin + own[arrays.SIZE_BITS] / twin.networks.rate_bps[0, source, j]
    duration_s = own[arrays.DURATION_S]
    return QueuedTask(round(arrival_s, 9), int(source), int(slot), own[arrays.DUE_S], duration_s, duration_s, 0.0)


def test_every_task_is_a_decision_with_a_value_for_each_candidate():
    made = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": 6}, "time": {"slots": 40}}])
    networks = [draw_network(made.network, made.seed, k) for k in range(2)]
    traces = [draw_trace(made.tasks, net, made.time.slot_s, made.time.slots, made.seed, 0) for net in networks]
    twin = Twin(networks, traces, made, of=[0, 1])
    found = play_decisions(twin, SEDReserve(SchedulerContext(6)), candidates=4)
    count = sum(int(trace.has_task.sum()) for trace in traces)
    assert found.reported.shape[:2] == found.success.shape == found.externality.shape == (count, 4)
    assert found.answered[:, :3].all()
    assert not found.answered[:, 3].any()  # two probes and itself: the fourth column is empty
    assert not found.success[:, 3].any()
    assert not found.externality[:, 3].any()
    # What the chosen candidates promise is what the twin measures, up to the luck of the failures.
    assert 0.5 < found.success[:, :3].max(axis=1).mean() < 1.0
    assert (found.externality[:, :3] >= 0).mean() > 0.9
