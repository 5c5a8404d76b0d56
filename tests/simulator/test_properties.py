"""Tests properties of all episodes, on drawn networks, tasks and decisions."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import worlds

from offload import Network
from offload.outcomes import TIME_TOLERANCE_S
from offload.tasks import Trace
from simulator import arrays
from simulator.twin import Twin


def played(world, network=None):
    net, trace, destinations, made, failures = world
    return Twin([network or net], [trace], made, failures=failures).play_given(destinations)


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_every_task_has_one_fate_and_its_times_add_up(world) -> None:
    net, trace, _, made, failures = world
    outcomes = played(world)
    np.testing.assert_array_equal(outcomes.outcome[0] != arrays.UNDECIDED, trace.has_task)
    stages = (
        outcomes.transmission_waiting_s + outcomes.transmission_s + outcomes.execution_waiting_s + outcomes.execution_s
    )
    begin = np.arange(trace.slots)[:, None] * trace.slot_s
    np.testing.assert_allclose(outcomes.end_s[0][trace.has_task], (begin + stages[0])[trace.has_task], atol=1e-9)
    success = outcomes.outcome[0] == arrays.SUCCESS
    assert (outcomes.end_s[0] <= begin + trace.deadline_s + TIME_TOLERANCE_S)[success].all()
    for slot, source in np.argwhere(trace.has_task):
        place = 0, slot, source
        j = outcomes.destination[place]
        duration = trace.cycles[slot, source] / net.capacity_hz[j]
        if outcomes.outcome[place] == arrays.SUCCESS:
            assert outcomes.execution_s[place] == duration
        elif outcomes.outcome[place] == arrays.DROPPED:
            assert outcomes.execution_s[place] == 0
        else:
            assert failures
            assert made.time.failure_timing == "event" or outcomes.execution_s[place] in (0, duration)
        assert (outcomes.transmission_s[place] > 0) <= (j != source)


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_no_resource_is_used_twice_at_once_and_all_are_first_in_first_out(world) -> None:
    _, trace, destinations, _, _ = world
    outcomes = played(world)
    links: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    executors: dict[int, list[tuple[float, int, int, float, float]]] = {}
    for slot, source in np.argwhere(trace.has_task).tolist():
        place, j = (0, slot, source), int(destinations[0, slot, source])
        begin = slot * trace.slot_s
        arrival = begin
        if j != source:
            start = begin + outcomes.transmission_waiting_s[place]
            arrival = start + outcomes.transmission_s[place]
            links.setdefault((source, j), []).append((begin, start, arrival))
            if outcomes.transmission_s[place] == 0 or outcomes.outcome[place] == arrays.TRANSMISSION_FAILURE:
                continue
        start = arrival + outcomes.execution_waiting_s[place]
        executors.setdefault(j, []).append((arrival, source, slot, start, start + outcomes.execution_s[place]))
    for used in links.values():
        for before, after in itertools.pairwise(used):
            assert after[1] >= before[2] - 1e-9, "a link carries one task at a time, in order"
            assert after[1] <= max(after[0], before[2]) + 1e-9, "a link does not rest while a task waits"
    for used in executors.values():
        used.sort(key=lambda one: (round(one[0], 9), one[1], one[2]))
        free = 0.0
        for arrival, _, _, start, end in used:
            assert abs(start - max(arrival, free)) < 1e-9, "an executor takes the next task as soon as it can"
            free = max(free, end)


@settings(max_examples=100, deadline=None)
@given(worlds(), st.floats(1.0, 10.0))
def test_more_capacity_never_delays_a_lone_queue(world, factor: float) -> None:
    net, trace, _, made, _ = world
    # A task alone: all tasks stay, without failures, and no task is dropped in favour of others.
    patient = Trace(
        trace.episode, trace.slot_s, trace.has_task, trace.size_bits, trace.cycles, np.where(trace.has_task, 1e3, 0.0)
    )
    stays = np.broadcast_to(np.arange(net.nodes), trace.has_task.shape)[None].copy()
    faster = Network(
        net.capacity_hz * factor, net.failure_rate, net.arrival_probability, net.rate_bps, net.link_failure_rate
    )
    slow, fast = (Twin([one], [patient], made, failures=False).play_given(stays) for one in (net, faster))
    assert (fast.end_s <= slow.end_s + 1e-9).all()


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_the_team_reward_is_the_feedback_of_all_tasks_in_their_end_slots(world) -> None:
    net, trace, destinations, made, failures = world
    twin = Twin([net], [trace], made, failures=failures)
    outcomes = twin.play_given(destinations)
    expected = np.zeros(trace.slots)
    for place in np.argwhere(trace.has_task).tolist():
        end = outcomes.end_s[0][tuple(place)]
        slot = min(int(end / trace.slot_s + TIME_TOLERANCE_S), trace.slots - 1)
        expected[slot] += 1 if outcomes.outcome[0][tuple(place)] == arrays.SUCCESS else -1
    np.testing.assert_array_equal(twin.team_reward[0], expected)
