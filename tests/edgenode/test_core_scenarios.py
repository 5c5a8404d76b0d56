"""Tests the node's core in scenarios computed by hand: a task's outcome and times, on which all results depend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgenode.core import NodeCore
from edgenode.effects import Announce, Effect, Ended, Execute, HandOver, Transmit, Withdraw
from edgenode.facts import EpisodeFacts, NodeTask
from offload.draws import Purpose, failure_instant_s
from offload.network import Network
from offload.tasks import Task

RATE = 10e6
CAPACITY = 1e9


def _network(failure_rate: float = 0.0, link_failure_rate: float = 0.0) -> Network:
    return Network(
        capacity_hz=np.full(3, CAPACITY),
        failure_rate=np.full(3, failure_rate),
        arrival_probability=np.ones(3),
        rate_bps=np.full((3, 3), RATE),
        link_failure_rate=np.full((3, 3), link_failure_rate),
    )


class _Core(NodeCore):
    """Stores the effects that a test has not read yet."""

    def __init__(self, facts: EpisodeFacts) -> None:
        super().__init__(facts)
        self.left: list[Effect] = []


def _core(**changes: object) -> _Core:
    facts = EpisodeFacts(
        episode=1,
        episode_uid="",
        trace=5,
        node=0,
        network=_network(),
        seed=3,
        slot_s=0.1,
        slots=20,
        failure_timing="end",
        overload_threshold_s=0.25,
        transfer="emulated",
    )
    return _Core(replace(facts, **changes))


def _task(transmission_s: float = 0.1, execution_s: float = 0.1, deadline_s: float = 1.0, slot: int = 0) -> Task:
    return Task(slot, 0, transmission_s * RATE, execution_s * CAPACITY, deadline_s)


def _arrive(core: NodeCore, slot: int, task: Task, destination: int, at: float | None = None) -> NodeTask:
    at = slot * 0.1 if at is None else at
    snapshot = core.tick(slot, replace(task, slot=slot), at)
    assert snapshot is not None and snapshot.task is not None
    core.decided(snapshot.task.key, destination, at)
    return snapshot.task


def _take(core: _Core, kind: type) -> list:
    effects = core.left + core.take_effects()
    found = [effect for effect in effects if isinstance(effect, kind)]
    core.left = [effect for effect in effects if not isinstance(effect, kind)]
    return found


def _from_peer(slot: int, execution_s: float, source: int = 1, deadline_s: float = 1.0) -> NodeTask:
    return NodeTask(slot, source, 0.1 * RATE, execution_s * CAPACITY, deadline_s, transfer="emulated")


def test_a_local_task_succeeds_after_its_execution() -> None:
    core = _core()
    task = _arrive(core, 0, _task(execution_s=0.3), 0)
    (execute,) = _take(core, Execute)
    assert (execute.start_s, execute.end_s) == pytest.approx((0.0, 0.3))
    core.execution_ended(task.key, 0.3)
    (ended,) = _take(core, Ended)
    assert (ended.outcome.value, ended.end_slot, core.progress.owned) == ("success", 3, 0)
    assert ended.completion_s == pytest.approx(0.3)


def test_executions_start_at_planned_ends_so_lateness_does_not_add_up() -> None:
    core = _core()
    first = _arrive(core, 0, _task(execution_s=0.15), 0)
    second = _arrive(core, 1, _task(execution_s=0.15), 0)
    _take(core, Execute)
    core.execution_ended(first.key, 0.17)  # 20 ms late
    (execute,) = _take(core, Execute)
    assert (execute.start_s, execute.end_s) == pytest.approx((0.15, 0.30))
    assert second.execution_waiting_s == pytest.approx(0.05)
    assert first.execution_s == pytest.approx(0.17)


def test_tasks_on_one_link_are_handed_over_one_after_the_other() -> None:
    core = _core()
    _arrive(core, 0, _task(transmission_s=0.25), 1)
    second = _arrive(core, 1, _task(transmission_s=0.2), 1)
    assert [effect.end_s for effect in _take(core, Transmit)] == pytest.approx([0.25])
    core.advance(0.26)  # 10 ms late: the second still started at 0.25
    (handover,) = _take(core, HandOver)
    assert handover.elapsed_at_start_s == pytest.approx(0.0)
    (transmit,) = _take(core, Transmit)
    assert (transmit.start_s, transmit.end_s) == pytest.approx((0.25, 0.45))
    assert second.transmission_waiting_s == pytest.approx(0.15)
    core.advance(0.45)
    (handover,) = _take(core, HandOver)
    assert handover.elapsed_at_start_s == pytest.approx(0.15)  # from the instant of its slot


def test_links_to_different_nodes_do_not_wait_for_each_other() -> None:
    core = _core()
    _arrive(core, 0, _task(transmission_s=0.5), 1)
    other = _arrive(core, 1, _task(transmission_s=0.1), 2)
    core.advance(0.2)
    assert [effect.task for effect in _take(core, HandOver)] == [other]


def test_head_that_cannot_be_sent_in_time_is_dropped() -> None:
    core = _core()
    _arrive(core, 0, _task(transmission_s=0.5), 1)
    doomed = _arrive(core, 1, _task(transmission_s=0.4, deadline_s=0.75), 1)  # 0.5 + 0.4 − 0.1 = 0.8 > 0.75
    third = _arrive(core, 2, _task(transmission_s=0.1), 1)
    core.advance(0.5)
    (ended,) = _take(core, Ended)
    assert (ended.task, ended.outcome.value, ended.late) == (doomed, "dropped", False)
    assert ended.completion_s == pytest.approx(0.4) and ended.end_slot == 5
    assert [(withdraw.destination, withdraw.slot) for withdraw in _take(core, Withdraw)] == [(1, 1)]
    assert _take(core, Transmit)[-1].task is third
    assert third.transmission_waiting_s == pytest.approx(0.3)


def test_head_that_cannot_be_executed_in_time_is_dropped() -> None:
    core = _core()
    first = _arrive(core, 0, _task(execution_s=0.5), 0)
    doomed = _arrive(core, 1, _task(execution_s=0.4, deadline_s=0.75), 0)
    third = _arrive(core, 2, _task(execution_s=0.1), 0)
    _take(core, Execute)
    core.execution_ended(first.key, 0.5)
    assert [(one.task, one.outcome.value) for one in _take(core, Ended)] == [(first, "success"), (doomed, "dropped")]
    (execute,) = _take(core, Execute)
    assert execute.task is third and execute.start_s == pytest.approx(0.5)


@pytest.mark.parametrize(("over_s", "fits"), [(0.0, True), (5e-10, True), (1e-6, False)])
def test_exactly_at_the_deadline_is_in_time(over_s: float, fits: bool) -> None:
    core = _core()
    _arrive(core, 3, _task(execution_s=0.7 + over_s, deadline_s=0.7), 0)
    assert bool(_take(core, Execute)) is fits
    assert [one.outcome.value for one in _take(core, Ended)] == ([] if fits else ["dropped"])


@pytest.mark.parametrize(("end_s", "outcome", "late"), [(0.707, "success", False), (0.72, "dropped", True)])
def test_completion_over_one_percent_past_the_deadline_is_late(end_s: float, outcome: str, late: bool) -> None:
    core = _core()
    task = _arrive(core, 0, _task(execution_s=0.7, deadline_s=0.7), 0)
    core.execution_ended(task.key, end_s)
    (ended,) = _take(core, Ended)
    assert (ended.outcome.value, ended.late) == (outcome, late)


def test_skew_and_decision_count_against_the_deadline() -> None:
    core = _core()
    snapshot = core.tick(0, _task(execution_s=0.5, deadline_s=0.55), 0.03)
    assert snapshot is not None and snapshot.task is not None
    core.decided(snapshot.task.key, 0, 0.06)
    assert (snapshot.task.skew_s, snapshot.task.decision_s) == pytest.approx((0.03, 0.03))
    assert [one.outcome.value for one in _take(core, Ended)] == ["dropped"]


def test_a_tick_that_comes_a_hair_early_has_no_negative_durations() -> None:
    """The receiver of a transfer rejects negative durations: the task would be lost."""
    core = _core()
    snapshot = core.tick(5, _task(slot=5), 0.4995)
    assert snapshot is not None and snapshot.task is not None
    core.decided(snapshot.task.key, 1, 0.4998)
    assert snapshot.task.skew_s >= 0 and snapshot.task.decision_s >= 0


def _failing_trace(purpose: Purpose, rate: float, destination: int, before_s: float) -> int:
    """The number of a trace in which the task of slot 0 and node 0 fails before `before_s`."""
    for trace in range(1000):
        if failure_instant_s(3, purpose, trace, 0, 0, destination, rate) < before_s:
            return trace
    raise AssertionError("no such trace")


@pytest.mark.parametrize("timing", ["end", "event"])
def test_an_execution_failure_shows_at_the_end_or_at_its_event(timing: str) -> None:
    trace = _failing_trace(Purpose.EXECUTION_FAILURE, 2.0, 0, 0.2)
    instant = failure_instant_s(3, Purpose.EXECUTION_FAILURE, trace, 0, 0, 0, 2.0)
    core = _core(network=_network(failure_rate=2.0), trace=trace, failure_timing=timing)
    task = _arrive(core, 0, _task(execution_s=0.3), 0)
    (execute,) = _take(core, Execute)
    assert execute.end_s == pytest.approx(0.3 if timing == "end" else instant)
    core.execution_ended(task.key, execute.end_s)
    assert [one.outcome.value for one in _take(core, Ended)] == ["execution_failure"]


@pytest.mark.parametrize("timing", ["end", "event"])
def test_a_transmission_failure_is_withdrawn_and_frees_the_link(timing: str) -> None:
    trace = _failing_trace(Purpose.TRANSMISSION_FAILURE, 2.0, 1, 0.2)
    instant = failure_instant_s(3, Purpose.TRANSMISSION_FAILURE, trace, 0, 0, 1, 2.0)
    core = _core(network=_network(link_failure_rate=2.0), trace=trace, failure_timing=timing)
    _arrive(core, 0, _task(transmission_s=0.3), 1)
    assert core.next_instant() == pytest.approx(0.3 if timing == "end" else instant) or timing == "event"
    core.advance(0.3)
    (ended,) = _take(core, Ended)
    assert ended.outcome.value == "transmission_failure"
    assert not _take(core, HandOver) and len(_take(core, Withdraw)) == 1 and core.progress.owned == 0


def test_receiving_work_counts_announced_tasks_until_they_end() -> None:
    core = _core()
    for slot in range(3):
        core.announced(1, slot, 0.2 * CAPACITY, forget_at_s=1.0 + slot)
    states = core.tick(5, None, 0.5).states
    assert states.receiving_queue_length[0, 1] == 3 and states.receiving_work_s[0] == pytest.approx(0.6)
    core.withdrawn(1, 0)
    core.handed_over(_from_peer(1, 0.2), elapsed_s=0.45, now=0.55)
    states = core.tick(6, None, 0.6).states
    assert states.receiving_queue_length[0, 1] == 1 and states.receiving_work_s[0] == pytest.approx(0.2)
    core.advance(3.0)
    assert core.queue_lengths()["receiving"] == 0


def test_an_announcement_that_comes_after_its_task_is_not_counted() -> None:
    core = _core()
    core.handed_over(_from_peer(0, 0.2), elapsed_s=0.1, now=0.1)
    core.announced(1, 0, 0.2 * CAPACITY, forget_at_s=1.0)
    assert core.queue_lengths()["receiving"] == 0


def test_a_snapshot_leaves_out_what_others_sent_in_the_same_slot() -> None:
    """The decisions of a slot are simultaneous, in whatever order the ticks arrive."""
    core = _core()
    core.announced(1, 2, 0.2 * CAPACITY, forget_at_s=1.2)
    core.handed_over(_from_peer(2, 0.3, source=2), elapsed_s=0.0, now=0.2)
    states = core.tick(2, None, 0.2).states
    assert states.receiving_work_s[0] == 0 and states.receiving_queue_length.sum() == 0
    assert states.execution_queue_length[0] == 0 and states.execution_backlog_s[0] == 0
    states = core.tick(3, None, 0.3).states
    assert states.execution_queue_length[0] == 1 and states.execution_backlog_s[0] == pytest.approx(0.2)
    assert states.receiving_work_s[0] == pytest.approx(0.2)


def test_the_backlog_leaves_out_tasks_that_will_be_dropped() -> None:
    core = _core()
    _arrive(core, 0, _task(execution_s=0.6), 0)
    _arrive(core, 1, _task(execution_s=0.6, deadline_s=1.0), 0)  # would end at 1.2, due at 1.1
    _arrive(core, 2, _task(execution_s=0.2), 0)
    states = core.tick(3, None, 0.3).states
    assert states.execution_queue_length[0] == 3
    assert states.execution_backlog_s[0] == pytest.approx(0.3 + 0.2)
    assert states.overloaded[0, 0]


def test_sending_backlogs_are_per_link() -> None:
    core = _core()
    _arrive(core, 0, _task(transmission_s=0.3), 1)
    _arrive(core, 1, _task(transmission_s=0.2), 1)
    states = core.tick(2, None, 0.2).states
    assert states.sending_queue_length.tolist() == [[0, 2, 0]]
    assert states.sending_backlog_s[0] == pytest.approx([0.0, 0.3, 0.0])


def test_received_task_starts_at_its_logical_arrival() -> None:
    core = _core()
    task = _from_peer(0, 0.2)
    assert core.handed_over(task, elapsed_s=0.10, now=0.13)
    (execute,) = _take(core, Execute)
    assert (execute.start_s, execute.end_s) == pytest.approx((0.10, 0.30))
    assert task.handover_s == pytest.approx(0.03)
    core.execution_ended(task.key, 0.30)
    (ended,) = _take(core, Ended)
    assert ended.completion_s == pytest.approx(0.30)


def test_a_handover_is_idempotent_also_after_the_task_has_ended() -> None:
    core = _core()
    task = _from_peer(0, 0.2)
    assert core.handed_over(task, 0.1, 0.1)
    assert not core.handed_over(_from_peer(0, 0.2), 0.1, 0.12)
    core.execution_ended(task.key, 0.3)
    assert not core.handed_over(_from_peer(0, 0.2), 0.1, 0.35)
    assert len(_take(core, Ended)) == 1 and core.progress.owned == 0


def test_the_execution_queue_is_ordered_by_logical_arrival_then_source() -> None:
    core = _core()
    running = _arrive(core, 0, _task(execution_s=0.4), 0)
    late_one = _from_peer(0, 0.1, source=2)
    early_one = _from_peer(0, 0.1, source=1)
    core.handed_over(late_one, 0.2, 0.21)
    core.handed_over(early_one, 0.2, 0.22)  # accepted later, arrived at the same instant, lower source
    first_of_all = _from_peer(1, 0.1, source=2)
    core.handed_over(first_of_all, 0.05, 0.23)  # logical arrival 0.15
    order = []
    now = 0.4
    core.execution_ended(running.key, now)
    for _ in range(3):
        (execute,) = _take(core, Execute)[-1:]
        order.append(execute.task)
        now += 0.1
        core.execution_ended(execute.task.key, now)
    assert order == [first_of_all, early_one, late_one]


@pytest.mark.parametrize(("result", "outcomes"), [("accepted", []), ("doubt", []), ("refused", ["lost"])])
def test_sender_records_an_outcome_only_for_a_task_it_owns(result: str, outcomes: list[str]) -> None:
    core = _core()
    task = _arrive(core, 2, _task(transmission_s=0.1), 1)
    core.advance(0.3)
    assert core.progress.owned == 1
    core.handover_settled(task.key, result, 0.4)
    ended = _take(core, Ended)
    assert [one.outcome.value for one in ended] == outcomes and core.progress.owned == 0
    if ended:
        assert ended[0].completion_s == task.deadline_s and ended[0].end_slot == 12


def test_answer_before_the_end_of_transmission_is_kept() -> None:
    """Otherwise the task would stay pending for ever, and every drain would reach its time limit."""
    core = _core(transfer="payload")
    task = _arrive(core, 0, _task(transmission_s=0.2), 1)
    core.handover_settled(task.key, "accepted", 0.1999)
    assert core.progress.owned == 1
    core.advance(0.2)
    assert core.progress.owned == 0 and not _take(core, Ended)


def test_a_broken_application_is_an_execution_failure() -> None:
    core = _core()
    task = _arrive(core, 0, _task(execution_s=0.3), 0)
    core.execution_ended(task.key, 0.1, broken=True)
    assert [one.outcome.value for one in _take(core, Ended)] == ["execution_failure"]


def test_end_slots_never_pass_the_last_slot() -> None:
    core = _core()
    task = _arrive(core, 19, _task(execution_s=0.3), 0)
    core.execution_ended(task.key, 2.2)
    assert _take(core, Ended)[0].end_slot == 19


def test_announcements_say_when_the_task_may_be_forgotten() -> None:
    core = _core()
    _arrive(core, 2, _task(deadline_s=1.0), 1, at=0.25)
    (announce,) = _take(core, Announce)
    assert announce.destination == 1 and announce.forget_after_s == pytest.approx(0.95)


def test_a_second_tick_of_a_slot_changes_nothing() -> None:
    core = _core()
    _arrive(core, 4, _task(), 1)
    assert core.tick(4, _task(slot=4), 0.41) is None and core.progress.owned == 1


def test_older_overload_messages_change_nothing() -> None:
    core = _core()
    core.overload_received(1, True, 7)
    core.overload_received(1, False, 6)
    assert core.tick(0, None, 0.0).states.overloaded[0].tolist() == [False, True, False]


def test_the_core_asks_to_be_called_at_the_next_thing_it_has_to_do() -> None:
    core = _core()
    assert core.next_instant() == float("inf")
    _arrive(core, 0, _task(transmission_s=0.25), 1)
    core.announced(2, 0, CAPACITY, forget_at_s=0.2)
    assert core.next_instant() == pytest.approx(0.2)
    core.advance(0.2)
    assert core.next_instant() == pytest.approx(0.25)
