"""Tests the schedulers' choices against values computed by hand."""

import dataclasses
import math

import numpy as np
import pytest
from small_states import DRAWS, answers, many, silent, state

from edgenode.schedulers import create_scheduler
from edgenode.schedulers.estimates import estimated_delay_s, success_probability
from offload import Draws, SchedulerContext, report_of
from offload.conformance import example_context


def scheduler(name, nodes=4, **parameters):
    return create_scheduler(name, parameters, SchedulerContext(nodes))


def chosen(name, states, reports, **parameters):
    return int(scheduler(name, states.nodes, **parameters).choose(states, reports, DRAWS).destination[0])


# --- estimates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "report", "expected_s"),
    [
        ({}, {"node": 1}, 0.1 + 0.5),
        ({"sending_backlog_s": [0, 0.3, 0, 0]}, {"node": 1}, 0.3 + 0.1 + 0.5),
        ({"sending_backlog_s": [0, 0, 0.3, 0]}, {"node": 1}, 0.1 + 0.5),
        ({}, {"node": 1, "execution_backlog_s": 0.7}, 0.7 + 0.5),  # the backlog is longer than the transmission
        ({}, {"node": 1, "execution_backlog_s": 0.05}, 0.1 + 0.5),
        ({}, {"node": 1, "execution_backlog_s": 0.3, "receiving_work_s": 0.2}, 0.5 + 0.5),
        ({"rate_bps": [np.inf, 2e6, 1e9, 1e9]}, {"node": 1}, 0.5 + 0.5),
        ({}, {"node": 1, "capacity_hz": 4e9}, 0.1 + 0.25),
    ],
)
def test_estimated_delay(own, report, expected_s):
    assert estimated_delay_s(state(**own), answers(report))[0, 0] == pytest.approx(expected_s, rel=1e-12)


def test_nothing_is_sent_to_itself():
    own = state(execution_backlog_s=0.4, receiving_work_s=0.2)
    assert estimated_delay_s(own, report_of(own))[0, 0] == pytest.approx(0.4 + 0.2 + 1.0)


def test_success_probability_is_that_of_the_execution_and_of_the_link():
    own = state(link_failure_rate=[0, 0.3, 0, 0])
    there = success_probability(own, answers({"node": 1, "failure_rate": 0.2}))[0, 0]
    assert there == pytest.approx(math.exp(-0.2 * 0.5) * math.exp(-0.3 * 0.1))
    own = state(failure_rate=0.2)
    assert success_probability(own, report_of(own))[0, 0] == pytest.approx(math.exp(-0.2 * 1.0))


def test_who_did_not_answer_is_infinitely_far_away():
    assert estimated_delay_s(state(), silent(1))[0, 0] == np.inf
    assert success_probability(state(), silent(1))[0, 0] == 0.0


# --- simple ---------------------------------------------------------------------------------------------------------


def test_local_stays():
    assert scheduler("local").choose(state(node=2), silent(), DRAWS).destination.tolist() == [2]


def test_random_is_uniform_over_all_nodes_despite_overload():
    states, draws = many(state(overloaded=[True, True, False, False]), 20_000)
    made = scheduler("random").choose(states, silent(), draws)
    np.testing.assert_allclose(np.bincount(made.destination, minlength=4) / 20_000, 0.25, atol=0.015)


def test_weighted_follows_the_capacities_of_those_who_are_not_overloaded():
    own = state(overloaded=[True, False, True, False], peer_capacity_hz=[1e9, 2e9, 4e9, 5e9])
    states, draws = many(own, 20_000)
    made = scheduler("weighted").choose(states, silent(), draws)
    shares = np.bincount(made.destination, minlength=4) / 20_000
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 0, 5 / 8], atol=0.015)  # itself is legal even when overloaded
    assert shares[2] == 0
    np.testing.assert_allclose(made.scores[0], [1 / 8, 2 / 8, 0, 5 / 8])


# --- ratc -----------------------------------------------------------------------------------------------------------


def test_ratc_asks_two_distinct_nodes_uniformly_itself_allowed():
    states, draws = many(state(), 24_000)
    probes = scheduler("ratc").probes(states, draws)
    assert (probes[:, 0] != probes[:, 1]).all()
    pairs = np.bincount(probes[:, 0] * 4 + probes[:, 1], minlength=16).reshape(4, 4) / 24_000
    np.testing.assert_allclose(pairs[~np.eye(4, dtype=bool)], 1 / 12, atol=0.008)


RELIABLE_BUT_SLOW = {"node": 1, "execution_backlog_s": 0.4, "failure_rate": 0.0}  # 0.9 s
FAST_BUT_FAILING = {"node": 2, "failure_rate": 0.4}  # 0.6 s


def test_ratc_takes_the_more_reliable_one_when_both_are_in_time():
    assert chosen("ratc", state(), answers(RELIABLE_BUT_SLOW, FAST_BUT_FAILING)) == 1
    assert chosen("ratc", state(), answers(FAST_BUT_FAILING, RELIABLE_BUT_SLOW)) == 1


def test_ratc_takes_the_faster_one_when_not_both_are_in_time():
    assert chosen("ratc", state(deadline_s=0.8), answers(RELIABLE_BUT_SLOW, FAST_BUT_FAILING)) == 2
    assert chosen("ratc", state(deadline_s=0.1), answers(RELIABLE_BUT_SLOW, FAST_BUT_FAILING)) == 2


@pytest.mark.parametrize(("deadline_s", "expected"), [(0.9, 1), (0.9 - 5e-10, 1), (0.9 - 5e-9, 2)])
def test_ratc_counts_exactly_at_the_deadline_as_in_time_to_a_nanosecond(deadline_s, expected):
    assert chosen("ratc", state(deadline_s=deadline_s), answers(RELIABLE_BUT_SLOW, FAST_BUT_FAILING)) == expected


def test_ratc_counts_the_links_failures_too():
    fragile = state(link_failure_rate=[0, 5.0, 0, 0])  # e^(−5·0.1) < e^(−0.4·0.5)
    assert chosen("ratc", fragile, answers(RELIABLE_BUT_SLOW, FAST_BUT_FAILING)) == 2


def test_ratc_may_choose_itself():
    own = state(capacity_hz=2e9)
    itself = {"node": 0, "capacity_hz": 2e9}
    assert chosen("ratc", own, answers(itself, {"node": 1, "failure_rate": 0.1})) == 0


def test_ratc_with_one_answer_takes_it_and_with_none_stays():
    quiet = RELIABLE_BUT_SLOW | {"answered": False}
    assert chosen("ratc", state(), answers(quiet, FAST_BUT_FAILING)) == 2
    assert chosen("ratc", state(), answers(FAST_BUT_FAILING, quiet)) == 2
    assert chosen("ratc", state(), silent(1, 2)) == 0


def test_ratcs_scores_are_the_estimated_delays_of_those_who_answered():
    made = scheduler("ratc").choose(state(), answers(RELIABLE_BUT_SLOW, FAST_BUT_FAILING), DRAWS)
    np.testing.assert_allclose(made.scores[0], [np.nan, 0.9, 0.6, np.nan])
    assert np.isnan(made.log_probability[0])


# --- rda ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity_hz", "tasks", "stays"),
    [(12e9, 2, True), (12e9, 3, False), (24e9, 5, True), (24e9, 6, False), (96e9, 23, True), (96e9, 24, False)],
)
def test_rda_broadcasts_from_three_tasks_per_12_ghz_on(capacity_hz, tasks, stays):
    probes = scheduler("rda").probes(state(capacity_hz=capacity_hz, execution_queue_length=tasks), DRAWS)
    assert probes.tolist() == [[-1, -1, -1] if stays else [1, 2, 3]]


@pytest.mark.parametrize(("backlog_s", "stays"), [(0.0, True), (0.499, True), (0.5, False), (2.0, False)])
def test_rda_tuned_broadcasts_from_half_a_second_of_execution_backlog_on(backlog_s, stays):
    own = state(execution_backlog_s=backlog_s, receiving_work_s=9.0)  # receiving work does not count
    assert scheduler("rda-tuned").probes(own, DRAWS).tolist() == [[-1, -1, -1] if stays else [1, 2, 3]]


def test_rda_broadcasts_to_all_but_itself():
    own = state(node=2, execution_queue_length=9, rate_bps=[1e7, 1e7, np.inf, 1e7])
    assert scheduler("rda").probes(own, DRAWS).tolist() == [[0, 1, 3]]


BUSY = {"capacity_hz": 12e9, "execution_queue_length": 3}


def test_rda_takes_the_lower_delay_of_the_first_two_that_answered():
    first = {"node": 1, "answered_after_s": 0.001, "execution_backlog_s": 0.9, "execution_queue_length": 1}
    second = {"node": 2, "answered_after_s": 0.002, "execution_backlog_s": 0.5, "execution_queue_length": 7}
    late_but_idle = {"node": 3, "answered_after_s": 0.003}
    for order in ((first, second, late_but_idle), (late_but_idle, second, first), (second, late_but_idle, first)):
        made = scheduler("rda").choose(state(**BUSY), answers(*order), DRAWS)
        assert made.destination.tolist() == [2]  # neither the shorter queue nor the late answer
        np.testing.assert_allclose(made.scores[0], [np.nan, 1.4, 1.0, np.nan])


def test_rda_looks_at_two_even_when_more_answered_at_the_same_instant():
    same = [{"node": j, "execution_backlog_s": backlog_s} for j, backlog_s in ((1, 0.8), (2, 0.6), (3, 0.0))]
    assert chosen("rda", state(**BUSY), answers(*same)) == 2


def test_rda_with_one_answer_takes_it_and_with_none_stays():
    only = {"node": 3, "execution_backlog_s": 5.0}
    assert chosen("rda", state(**BUSY), answers({"node": 1, "answered": False}, only)) == 3
    assert chosen("rda", state(**BUSY), silent(1, 2, 3)) == 0


def test_rda_stays_below_its_threshold_whatever_others_would_have_said():
    assert chosen("rda", state(), answers({"node": 1, "answered_after_s": 0.0})) == 0


def test_rda_waits_for_two_answers_only():
    assert scheduler("rda").enough_reports == scheduler("rda-tuned").enough_reports == 2


# --- sed ------------------------------------------------------------------------------------------------------------


def test_sed_asks_d_distinct_others_uniformly():
    states, draws = many(state(node=1), 24_000)
    probes = scheduler("sed").probes(states, draws)
    assert probes.shape == (24_000, 2)
    assert (probes[:, 0] != probes[:, 1]).all()
    assert not (probes == 1).any()
    pairs = np.bincount(probes[:, 0] * 4 + probes[:, 1], minlength=16) / 24_000
    np.testing.assert_allclose(pairs[pairs > 0], 1 / 6, atol=0.01)
    assert (pairs > 0).sum() == 6


def test_sed_takes_the_lowest_delay_among_itself_and_its_probes():
    here, there = {"node": 2, "execution_backlog_s": 0.3}, {"node": 3, "execution_backlog_s": 0.2}
    assert chosen("sed", state(), answers(here, there)) == 3  # 0.8 s and 0.7 s against 1 s at itself
    assert chosen("sed", state(capacity_hz=2e9), answers(here, there)) == 0  # 0.5 s at itself
    assert chosen("sed", state(capacity_hz=2e9, receiving_work_s=0.3), answers(here, there)) == 3
    assert chosen("sed", state(), silent(2, 3)) == 0


def test_sed_stays_when_it_is_a_tie():
    tie = {"node": 2, "execution_backlog_s": 0.5, "capacity_hz": 2e9}
    assert chosen("sed", state(), answers(tie)) == 0


def test_sed_reserve_draws_its_probes_in_proportion_to_capacity():
    states, draws = many(state(node=0, peer_capacity_hz=[9e9, 1e9, 3e9, 6e9]), 24_000)
    probes = scheduler("sed-reserve").probes(states, draws)
    assert (probes[:, 0] != probes[:, 1]).all() and not (probes == 0).any()
    first = np.bincount(probes[:, 0], minlength=4) / 24_000
    np.testing.assert_allclose(first, [0, 0.1, 0.3, 0.6], atol=0.01)
    after_three = np.bincount(probes[probes[:, 0] == 3, 1], minlength=4) / (probes[:, 0] == 3).sum()
    np.testing.assert_allclose(after_three, [0, 0.25, 0.75, 0], atol=0.015)


def test_sed_reserve_counts_the_tasks_that_others_are_deciding_on():
    idle, slower = {"node": 2}, {"node": 3, "execution_backlog_s": 0.1}
    assert chosen("sed-reserve", state(), answers(idle, slower)) == 2  # 0.5 s and 0.6 s against 1 s at itself
    pending = idle | {"pending_cycles": 4e8}  # 0.2 s at node 2
    assert chosen("sed-reserve", state(), answers(pending, slower)) == 3
    assert chosen("sed-reserve", state(), answers(pending, slower), pending=False) == 2
    asked = idle | {"asked_work_s": 0.22, "asked_count": 1}  # half of it counts
    assert chosen("sed-reserve", state(), answers(asked, slower)) == 3
    assert chosen("sed-reserve", state(), answers(asked, slower), reservations=False) == 2
    assert chosen("sed-reserve", state(), silent(2, 3)) == 0


def test_more_probes_than_others_asks_all_others():
    probes = scheduler("sed", d=50).probes(state(), Draws.single(4, 0, 0, 0))
    assert sorted(probes[0].tolist()) == [1, 2, 3]


def test_a_node_that_is_alone_keeps_its_tasks_under_every_scheduler():
    alone = state(nodes=1, execution_queue_length=99, execution_backlog_s=9.0)
    for name in ("random", "local", "weighted", "ratc", "rda", "rda-tuned", "sed", "sed-reserve", "drl", "drl-probe"):
        made = create_scheduler(name, {}, example_context(1))
        probes = made.probes(alone, DRAWS)
        reports = dataclasses.replace(silent(*probes[0].tolist()), node=probes)
        assert made.choose(alone, reports, DRAWS).destination.tolist() == [0], name
