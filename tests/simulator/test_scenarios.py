"""Tests the time rules of the model (docs/model.md), each in a scenario computed by hand."""

from __future__ import annotations

import math

import pytest
from small_worlds import network, outcomes

from offload.draws import Purpose, uniform

# In these networks a megabit takes a second on a link, and a gigacycle a second in an executor.
ONE_SECOND = (1e6, 1e9)


def check(found, *expected):
    assert [one[0] for one in found] == [one[0] for one in expected]
    for here, there in zip(found, expected, strict=True):
        assert here[1:] == pytest.approx(there[1:], abs=1e-12)


def test_single_task_durations_follow_rate_and_capacity() -> None:
    net = network([1e9, 2e9], rate_bps=[[0, 4e6], [8e6, 0]])
    check(outcomes(net, [(0, 0, 1e6, 1e9, 5)], [1]), ("success", 0, 0.25, 0, 0.5, 0.75))
    check(outcomes(net, [(0, 1, 1e6, 1e9, 5)], [0]), ("success", 0, 0.125, 0, 1.0, 1.125))
    check(outcomes(net, [(3, 0, 1e6, 1e9, 5)], [0]), ("success", 0, 0, 0, 1.0, 1.3))


def test_each_link_sends_one_task_at_a_time() -> None:
    tasks = [(0, 0, 5e5, 1e8, 9), (1, 0, 2e5, 1e8, 9), (2, 0, 1e5, 1e8, 9), (2, 1, 1e5, 1e8, 9)]
    check(
        outcomes(network([1e9, 1e9, 1e9]), tasks, [1, 1, 2, 0]),
        ("success", 0, 0.5, 0, 0.1, 0.6),
        ("success", 0.4, 0.2, 0, 0.1, 0.8),
        ("success", 0, 0.1, 0, 0.1, 0.4),  # 0 → 2 is free
        ("success", 0, 0.1, 0, 0.1, 0.4),  # 1 → 0 is free, independently of 0 → 1
    )


def test_an_executor_takes_tasks_in_the_order_in_which_they_reach_it() -> None:
    # The second task of node 0 stays here, and is queued before the first one of node 1 arrives.
    tasks = [(0, 1, 5e5, 3e8, 9), (4, 0, 1e5, 3e8, 9)]
    check(
        outcomes(network([1e9, 1e9]), tasks, [0, 0]),
        ("success", 0, 0.5, 0.2, 0.3, 1.0),
        ("success", 0, 0, 0, 0.3, 0.7),
    )


def test_tasks_that_reach_an_executor_at_once_go_by_their_source() -> None:
    tasks = [(0, 0, 5e5, 3e8, 9), (0, 2, 5e5, 3e8, 9), (5, 1, 1e5, 3e8, 9)]
    check(
        outcomes(network([1e9, 1e9, 1e9]), tasks, [1, 1, 1]),
        ("success", 0, 0.5, 0, 0.3, 0.8),
        ("success", 0, 0.5, 0.6, 0.3, 1.4),
        ("success", 0, 0, 0.3, 0.3, 1.1),
    )


def test_the_head_of_a_link_is_dropped_at_once_and_the_link_stays_free() -> None:
    tasks = [(0, 0, 6e5, 1e8, 9), (1, 0, 6e5, 1e8, 1.0), (2, 0, 3e5, 1e8, 9)]
    check(
        outcomes(network([1e9, 1e9]), tasks, [1, 1, 1]),
        ("success", 0, 0.6, 0, 0.1, 0.7),
        ("dropped", 0.5, 0, 0, 0, 0.6),  # at the head at 0.6; it would end at 1.2, its deadline is 1.1
        ("success", 0.4, 0.3, 0, 0.1, 1.0),
    )


def test_queue_head_past_its_deadline_is_dropped_at_once() -> None:
    tasks = [(0, 0, 1e5, 6e8, 9), (1, 0, 1e5, 6e8, 1.0), (2, 0, 1e5, 3e8, 9)]
    check(
        outcomes(network([1e9]), tasks, [0, 0, 0]),
        ("success", 0, 0, 0, 0.6, 0.6),
        ("dropped", 0, 0, 0.5, 0, 0.6),
        ("success", 0, 0, 0.4, 0.3, 0.9),
    )


def test_exactly_at_the_deadline_is_in_time_and_a_microsecond_later_is_not() -> None:
    net = network([1e9, 1e9])
    for deadline, outcome, executed, end in ((0.75, "success", 0.25, 0.75), (0.749999, "dropped", 0.0, 0.5)):
        check(outcomes(net, [(0, 0, 5e5, 2.5e8, deadline)], [1]), (outcome, 0, 0.5, 0, executed, end))
    for deadline, outcome, sent, end in ((0.5, "dropped", 0.5, 0.5), (0.499999, "dropped", 0.0, 0.0)):
        check(outcomes(net, [(0, 0, 5e5, 2.5e8, deadline)], [1]), (outcome, 0, sent, 0, 0, end))
    # 0.1 + 0.2 is not 0.3 in binary, so there is a tolerance of one nanosecond.
    check(
        outcomes(net, [(0, 0, 1e5, 1e8, 9), (0, 1, 1e5, 1e8, 9), (1, 0, 1e5, 2e8, 0.2)], [0, 1, 0]),
        ("success", 0, 0, 0, 0.1, 0.1), ("success", 0, 0, 0, 0.1, 0.1), ("success", 0, 0, 0, 0.2, 0.3),
    )  # fmt: skip


def test_deadlines_count_from_the_planned_instant_of_the_slot() -> None:
    check(outcomes(network([1e9]), [(7, 0, 1e5, 5e8, 0.5)], [0]), ("success", 0, 0, 0, 0.5, 1.2))


def _seed_with(purpose: Purpose, low: float, high: float) -> int:
    """A seed with which task (0, 0) to node 1 draws its uniform number between these values."""
    return next(seed for seed in range(10_000) if low < uniform(seed, purpose, 0, 0, 0, 1) < high)


def test_failed_execution_frees_the_executor_by_failure_timing() -> None:
    seed = _seed_with(Purpose.EXECUTION_FAILURE, 0.80, 0.85)
    rate = 1.0
    failure = -math.log(uniform(seed, Purpose.EXECUTION_FAILURE, 0, 0, 0, 1)) / rate
    assert failure < 0.5
    net = network([1e9, 1e9], failure_rate=rate)
    tasks = [(0, 0, 1e5, 5e8, 9), (1, 1, 1e5, 1e3, 9)]
    at_end = outcomes(net, tasks, [1, 1], failures=True, seed=seed)
    check(at_end, ("execution_failure", 0, 0.1, 0, 0.5, 0.6), ("success", 0, 0, 0.5, 1e-6, 0.6 + 1e-6))
    at_event = outcomes(net, tasks, [1, 1], failures=True, seed=seed, timing="event")
    check(
        at_event,
        ("execution_failure", 0, 0.1, 0, failure, 0.1 + failure),
        ("success", 0, 0, failure, 1e-6, 0.1 + failure + 1e-6),
    )
    check(outcomes(net, tasks, [1, 1], seed=seed)[:1], ("success", 0, 0.1, 0, 0.5, 0.6))


def test_failed_transmission_frees_the_link_by_failure_timing() -> None:
    seed = _seed_with(Purpose.TRANSMISSION_FAILURE, 0.80, 0.85)
    failure = -math.log(uniform(seed, Purpose.TRANSMISSION_FAILURE, 0, 0, 0, 1))
    net = network([1e9, 1e9], link_failure_rate=1.0)
    tasks = [(0, 0, 5e5, 1e8, 9), (1, 0, 1e3, 1e8, 9)]
    first, second = outcomes(net, tasks, [1, 1], failures=True, seed=seed)
    check([first], ("transmission_failure", 0, 0.5, 0, 0, 0.5))
    assert second[1] == pytest.approx(0.4)
    first, second = outcomes(net, tasks, [1, 1], failures=True, seed=seed, timing="event")
    check([first], ("transmission_failure", 0, failure, 0, 0, failure))
    assert second[1] == pytest.approx(failure - 0.1)


def test_a_failure_after_the_end_is_none() -> None:
    seed = _seed_with(Purpose.EXECUTION_FAILURE, 0.5, 0.6)  # the first failure occurs after more than half a second
    net = network([1e9, 1e9], failure_rate=1.0)
    check(outcomes(net, [(0, 0, 1e5, 5e8, 9)], [1], failures=True, seed=seed), ("success", 0, 0.1, 0, 0.5, 0.6))
    check(
        outcomes(net, [(0, 0, 1e5, 1e9, 9)], [1], failures=True, seed=seed),
        ("execution_failure", 0, 0.1, 0, 1.0, 1.1),
    )


def test_failures_are_those_of_the_trace_whatever_else_is_decided() -> None:
    net = network([1e9, 1e9, 1e9], failure_rate=0.9, link_failure_rate=0.9)
    tasks = [(slot, node, 2e5, 2e8, 9) for slot in range(20) for node in range(3)]
    everywhere = outcomes(net, tasks, [node for _ in range(20) for node in (1, 2, 0)], failures=True, episode=7)
    alone = [outcomes(net, [task], [(task[1] + 1) % 3], failures=True, episode=7, slots=20)[0] for task in tasks]
    assert [one[0] for one in everywhere] == [one[0] for one in alone]
    assert {one[0] for one in alone} == {"success", "execution_failure", "transmission_failure"}
