"""Tests that decisions that are rebuilt from the twin's logs say what happened in the twin."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from small_worlds import network, trace, worlds

from edgenode.schedulers.reserving import SEDReserve
from edgenode.schedulers.simple import Random
from offload import SchedulerContext, draw_network, draw_trace, make_profile, resolve_settings
from offload.candidates import COLUMNS
from offload.draws import Draws
from offload.episodes import EpisodePhase, EpisodePlan
from offload.presets import PRESETS
from offload.protocols import Choice
from offload.scheduler_choice import SchedulerChoice
from offload.state import Reports
from simulator import arrays
from simulator.candidate_play import executor_histories as histories_of_twin
from simulator.candidate_play import play_decisions
from simulator.records import play_logged
from simulator.twin import Twin
from trainer.scorer.rebuilding import _confirm, _Made, _reports, _states, _sums_before, executor_histories, rebuilt

COLUMN = {name: number for number, name in enumerate(COLUMNS)}


def plan(number=4):
    return EpisodePlan(EpisodePhase.COLLECT, "x", number, SchedulerChoice("x"))


class Given:
    """Decides as given: (T, N)."""

    enough_reports = None

    def __init__(self, destinations):
        self.destinations = destinations

    def probes(self, states, draws: Draws):
        return np.zeros((states.batch, 0), np.int64)

    def choose(self, states, reports: Reports, draws: Draws):
        return Choice.of(self.destinations[states.slot, states.node], states.nodes)


def feasible(tasks):
    """Without the tasks that are late on an idle executor too: they change nothing."""
    return [task for task in tasks if task.arrival_s + task.duration_s <= task.due_s]


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_the_histories_of_executors_are_the_twins(world):
    net, made_trace, destinations, made, failures = world
    twin = Twin([net], [made_trace], made, failures=failures)
    profile = dataclasses.replace(
        make_profile(made), maxima=dict.fromkeys(make_profile(made).maxima, 1000000000000.0) | {"deadline_s": 100.0}
    )
    log = play_logged(twin, Given(destinations[0]), profile).log(0, 1, plan())
    slot, node = np.nonzero(made_trace.has_task)
    decided = _Made(slot, node, destinations[0][slot, node], np.zeros(len(slot)))
    states = _states(net, profile.values(log.observations[:-1]), decided)
    # What an observation cannot say exactly, its numbers being float32.
    states = dataclasses.replace(
        states, cycles=made_trace.cycles[slot, node], deadline_s=made_trace.deadline_s[slot, node]
    )
    found = executor_histories(log.executions, net, made.time.slot_s, decided, states)
    for one, other in zip(found, histories_of_twin(twin)[0], strict=True):
        pair = feasible(one.tasks), feasible(other.tasks)
        assert [(task.slot, task.source) for task in pair[0]] == [(task.slot, task.source) for task in pair[1]]
        for task, same in zip(*pair, strict=True):
            for field in dataclasses.fields(task):
                assert getattr(task, field.name) == pytest.approx(getattr(same, field.name), abs=2e-9), field.name


def played(scheduler, nodes=6, slots=60):
    made = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": nodes}, "time": {"slots": slots}}])
    net = draw_network(made.network, made.seed)
    one = draw_trace(made.tasks, net, made.time.slot_s, slots, made.seed, 0)
    twin = Twin([net], [one], made)
    return made, net, one, twin, play_logged(twin, scheduler(SchedulerContext(nodes)), make_profile(made))


def test_the_rows_of_the_deciding_node_are_those_of_the_twin():
    made, net, one, _, logged = played(SEDReserve)
    found = rebuilt(logged.log(0, 1, plan()), net, make_profile(made), made.time.slot_s, 5)
    twin = play_decisions(Twin([net], [one], made), SEDReserve(SchedulerContext(6)), candidates=3)
    assert found.reported.shape == twin.reported.shape
    names = [name for name in COLUMNS if name not in ("work", "finish", "slack", "lateness", "own_work", "own_finish")]
    some = [COLUMN[name] for name in names]
    np.testing.assert_allclose(found.reported[:, 0, some], twin.reported[:, 0, some], atol=1e-5)
    # An observation clips a backlog at the deadline. A confirmed decision knows more work.
    work = np.minimum(twin.reported[:, 0, COLUMN["work"]], 1.0)
    assert (found.reported[:, 0, COLUMN["work"]] >= work - 1e-4).all()
    same = np.isclose(found.reported[:, 0, COLUMN["work"]], work, atol=1e-4)
    assert 0.5 < same.mean() < 1.0
    np.testing.assert_allclose(found.success[:, 0], twin.success[:, 0], atol=1e-5)
    np.testing.assert_allclose(found.externality[:, 0], twin.externality[:, 0], atol=1e-5)


@pytest.mark.parametrize("scheduler", [Random, SEDReserve])
def test_what_happened_to_a_task_is_the_value_of_its_destination(scheduler):
    made, net, one, twin, logged = played(scheduler)
    log = logged.log(0, 1, plan())
    found = rebuilt(log, net, make_profile(made), made.time.slot_s, 5)
    slot, node = np.nonzero(one.has_task)
    went = log.actions[slot, node]
    column = np.where(went == node, 0, 1)  # the destination is the first candidate
    success = found.success[np.arange(len(slot)), column]
    outcome = twin.task_outcomes().outcome[0, slot, node]
    dropped = outcome == arrays.DROPPED
    assert dropped.any()
    assert not success[dropped].any()
    assert (success[outcome == arrays.SUCCESS] > 0).all()
    assert (found.answered.sum(axis=1) == 3).all()


def test_other_seeds_draw_other_candidates_and_the_same_seed_the_same():
    made, net, _, _, logged = played(Random)
    log = logged.log(0, 1, plan())

    def of(seed):
        return rebuilt(log, net, make_profile(made), made.time.slot_s, seed)

    assert np.array_equal(of(1).reported, of(1).reported)
    assert not np.array_equal(of(1).reported, of(2).reported)


def test_nodes_that_are_down_decide_nothing_and_are_no_candidates():
    made, net, one, _, logged = played(Random)
    log = logged.log(0, 1, plan())
    up = log.up.copy()
    up[:, 3:] = False
    down = dataclasses.replace(log, up=up)
    found = rebuilt(down, net, make_profile(made), made.time.slot_s, 5, others=4)
    assert len(found) == one.has_task[:, :3].sum()
    assert (found.answered.sum(axis=1) <= 4).all()  # itself, the two others that are up, and a destination that was


def test_a_network_of_one_node_has_one_candidate():
    made = resolve_settings([{"network": {"nodes": 1}, "time": {"slots": 20}}])
    net = draw_network(made.network, made.seed)
    one = draw_trace(made.tasks, net, made.time.slot_s, 20, made.seed, 0)
    logged = play_logged(Twin([net], [one], made), Random(SchedulerContext(1)), make_profile(made))
    found = rebuilt(logged.log(0, 1, plan()), net, make_profile(made), made.time.slot_s, 5)
    assert found.answered.sum() == len(found) == one.has_task.sum()


def test_sums_count_earlier_entries_of_the_same_slot_and_node():
    slot, node = np.array([0, 0, 0, 1, 0]), np.array([2, 2, 1, 2, 2])
    order, values = np.array([0.9, 0.1, 0.5, 0.0, 0.5]), np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert _sums_before(slot, node, order, values).tolist() == [18.0, 0.0, 0.0, 0.0, 2.0]


def test_a_confirmed_candidate_has_the_tasks_that_were_announced_before():
    """Node 0 keeps its task. Nodes 1 and 2 send theirs to node 0, node 2 first."""
    net = network([1e9, 1e9, 1e9])
    tasks = trace([(0, 0, 1e6, 1e8, 9.0), (0, 1, 1e6, 2e8, 9.0), (0, 2, 1e6, 4e8, 9.0)], 3, 1)
    made = resolve_settings([{"network": {"nodes": 3}, "time": {"slots": 1}}])
    profile = dataclasses.replace(make_profile(made), maxima=dict.fromkeys(make_profile(made).maxima, 1000000000000.0))
    log = play_logged(Twin([net], [tasks], made), Given(np.array([[0, 0, 0]])), profile).log(0, 1, plan())
    decided = _Made(np.zeros(3, int), np.arange(3), np.zeros(3, int), np.array([0.5, 0.9, 0.1]))
    seen = profile.values(log.observations[:1])
    states = _states(net, seen, decided)
    asked = np.array([[1], [0], [0]])
    reports = _reports(net, seen, np.ones((1, 3), bool), decided, asked)
    np.testing.assert_allclose(reports.pending_cycles[:, 1], [2e8, 1e8, 1e8], rtol=1e-6)
    np.testing.assert_allclose(reports.asked_work_s[:, 1], [0.0, 0.4, 0.0], rtol=1e-6)
    assert reports.asked_count[:, 1].tolist() == [0, 1, 0]
    _confirm(net, states, reports, decided, np.array([1, 2]), np.array([1, 1]))
    np.testing.assert_allclose(reports.receiving_work_s[:, 1], [0.0, 0.4, 0.0], rtol=1e-6)
    np.testing.assert_allclose(reports.execution_backlog_s[:, 1], [0.0, 0.1, 0.1], rtol=1e-6)
    assert reports.pending_cycles[1:, 1].tolist() == [0.0, 0.0]
    assert reports.asked_count[1:, 1].tolist() == [0, 0]
