"""Tests that a recorded trace equals the played one, and that malformed ones are rejected."""

import json

import numpy as np
import pytest

from offload import Task, Trace, draw_network, draw_trace, resolve_settings

SETTINGS = resolve_settings([{"network": {"nodes": 6}}])
NETWORK = draw_network(SETTINGS.network, 2)


def drawn(episode=3, slots=50):
    return draw_trace(SETTINGS.tasks, NETWORK, 0.1, slots, 9, episode)


def task(**changes):
    return {"slot": 0, "source": 0, "size_bits": 8e6, "cycles": 1e9, "deadline_s": 1.0} | changes


def test_the_same_place_draws_the_same_tasks_however_long_the_trace_is():
    long, short = drawn(slots=50), drawn(slots=20)
    np.testing.assert_array_equal(long.size_bits[:20], short.size_bits)
    assert not np.array_equal(drawn(episode=4).size_bits, long.size_bits)


def test_tasks_arrive_with_their_nodes_probability_and_lie_in_the_ranges():
    trace = drawn(slots=4000)
    np.testing.assert_allclose(trace.has_task.mean(axis=0), NETWORK.arrival_probability, atol=0.04)
    size, complexity = trace.size_bits[trace.has_task], (trace.cycles / np.maximum(trace.size_bits, 1))[trace.has_task]
    assert 4e6 <= size.min() < size.max() <= 20e6
    assert 400 <= complexity.min() < complexity.max() <= 800 * (1 + 1e-12)
    assert not trace.size_bits[~trace.has_task].any()
    assert not trace.cycles[~trace.has_task].any()


def test_a_trace_survives_the_way_through_json():
    trace = drawn()
    data = json.loads(json.dumps(trace.to_json()))
    again = Trace.from_json(data, 6)
    assert again.to_json() == data
    for name in ("has_task", "size_bits", "cycles", "deadline_s"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trace, name))
    assert again.episode == 3


def test_iteration_goes_by_slot_then_source_and_agrees_with_looking_up():
    trace = drawn()
    tasks = list(trace)
    assert [(one.slot, one.source) for one in tasks] == sorted((one.slot, one.source) for one in tasks)
    assert len(tasks) == trace.has_task.sum()
    assert all(trace.task(one.slot, one.source) == one for one in tasks)


def test_a_slot_without_a_task_and_the_tick_after_the_last_slot_have_none():
    trace = Trace.from_json({"slot_s": 0.1, "tasks": [task(slot=1, source=2)]}, 3)
    assert (trace.slots, trace.episode) == (2, 0)
    assert trace.task(1, 2) == Task(1, 2, 8e6, 1e9, 1.0)
    assert trace.task(0, 2) is None
    assert trace.task(2, 2) is None


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"tasks": []}, ["slot_s"]),
        ({"slot_s": 0.1}, ["tasks"]),
        ([], ["[] is not an object"]),
        ({"slot_s": 0.1, "tasks": 5}, ["tasks: 5 is not a list of objects"]),
        ({"slot_s": "soon", "tasks": []}, ["slot_s: 'soon' is not a number"]),
        ({"slot_s": 0, "tasks": []}, ["slot_s", "above 0", "0"]),
        ({"slot_s": float("nan"), "tasks": []}, ["slot_s: NaN is not a finite number"]),
        ({"slot_s": 0.1, "slots": -2, "tasks": []}, ["slots: -2 must be from 1 to 100000"]),
        ({"slot_s": 0.1, "tasks": [task(slot=10**12)]}, ["tasks[0].slot: 1000000000000 must be from 0 to 99999"]),
        ({"slot_s": 0.1, "tasks": [task(slot=10**400)]}, ["tasks[0].slot: 1000", "must be from 0 to 99999"]),
        ({"slot_s": 0.1, "episode": -(10**5000), "tasks": []}, ["episode: ", "must be from 0"]),
        ({"slot_s": 0.1, "episode": -1, "tasks": []}, ["episode", "-1"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": [task(), task(slot=5)]}, ["tasks[1].slot: 5 must be from 0 to 4"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": [task(source=3)]}, ["tasks[0].source: 3 must be from 0 to 2"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": [task(slot=-1)]}, ["tasks[0].slot: -1 must be from 0 to 4"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": [task(), task()]}, ["slot 0 has two tasks at node 0"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": [task(size_bits=0)]}, ["tasks[0].size_bits: 0 must be above 0"]),
        (
            {"slot_s": 0.1, "slots": 5, "tasks": [task(cycles=float("inf"))]},
            ["tasks[0].cycles: Infinity is not a finite number"],
        ),
        (
            {"slot_s": 0.1, "slots": 5, "tasks": [task(deadline_s="late")]},
            ["tasks[0].deadline_s: 'late' is not a number"],
        ),
        ({"slot_s": 0.1, "slots": 5, "tasks": [task(slot=1.7)]}, ["tasks[0].slot: 1.7 is not a whole number"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": ["first"]}, ["tasks[0]: 'first' is not an object"]),
        ({"slot_s": 0.1, "slots": 5, "tasks": [{"slot": 0, "source": 0}]}, ["tasks[0].size_bits: is missing"]),
        (
            {"slot_s": 0.1, "tasks": [task(deadline_s=1e308)]},
            ["tasks[0].deadline_s: 1e+308 must be at most 1e+09; 1e9 s, thirty"],
        ),
        (
            {"slot_s": 0.1, "tasks": [task(deadline_s=float("inf"))]},
            ["tasks[0].deadline_s: Infinity is not a finite", "1e9 s, thirty"],
        ),
        (
            {"slot_s": 0.1, "tasks": [task(deadline_s=None)]},
            ["tasks[0].deadline_s: null is not a number; 1e9 s, thirty years"],
        ),
        ({"slot_s": 0.1, "tasks": [task(after=[0])]}, ["tasks[0].after: unknown key; known keys: slot, source"]),
        ({"slot_s": 0.1, "tasks": [task(deadlines_s=1)]}, ["unknown key, did you mean deadline_s?"]),
        ({"slot_s": 0.1, "delays_s": 1, "tasks": []}, ["delays_s: unknown key"]),
        ({"slot_s": 1e300, "tasks": []}, ["slot_s: 1e+300 must be at most 1e+06"]),
        ({"slot_s": 0.1, "tasks": [task(slot=float("nan"))]}, ["tasks[0].slot: nan is not a whole number"]),
        ({"slot_s": 0.1, "tasks": [task(cycles=True)]}, ["tasks[0].cycles: true is not a number"]),
    ],
)
def test_a_malformed_trace_is_refused_with_the_task_and_the_value(data, parts):
    with pytest.raises(ValueError) as refused:
        Trace.from_json(data, 3)
    for part in parts:
        assert part in str(refused.value)
