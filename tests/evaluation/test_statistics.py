"""Tests the statistics of the report: means computed by hand, tabulated t values, and pairing."""

from __future__ import annotations

import pytest

from evaluation.statistics import estimate_mean, paired_difference, quantiles, student_t_critical


@pytest.mark.parametrize(
    ("confidence", "degrees", "table"),
    [
        (0.95, 1, 12.706205),
        (0.95, 2, 4.302653),
        (0.95, 7, 2.364624),
        (0.95, 19, 2.093024),
        (0.99, 4, 4.604095),
        (0.90, 9, 1.833113),
        (0.95, 1000, 1.962339),
    ],
)
def test_critical_values_are_those_of_the_tables(confidence, degrees, table):
    assert student_t_critical(confidence, degrees) == pytest.approx(table, abs=1e-6)


def test_interval_of_four_values_by_hand():
    # mean 0.75, sample standard deviation 0.0816497, standard error 0.0408248, t(3) = 3.182446
    estimate = estimate_mean([0.65, 0.85, 0.75, 0.75], 0.95)
    assert estimate.mean == pytest.approx(0.75)
    assert estimate.interval == pytest.approx((0.75 - 0.129923, 0.75 + 0.129923), abs=1e-6)


def test_one_episode_has_no_interval_instead_of_one_of_width_zero():
    assert estimate_mean([0.7], 0.95).interval is None


def test_pairing_takes_out_what_traces_have_in_common():
    # The traces differ much, the methods by 0.02 on each: significant if paired, not significant if unpaired.
    easy_and_hard = {1: 0.9, 2: 0.5, 3: 0.7}
    better = {trace: rate + 0.02 for trace, rate in easy_and_hard.items()}
    difference = paired_difference(better, easy_and_hard, 0.95)
    assert difference.mean == pytest.approx(0.02)
    assert difference.interval == pytest.approx((0.02, 0.02))


def test_pairing_uses_only_units_that_both_have():
    difference = paired_difference({1: 0.6, 2: 0.9}, {1: 0.5, 3: 0.1}, 0.95)
    assert (difference.mean, difference.count) == (pytest.approx(0.1), 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: estimate_mean([], 0.95),
        lambda: paired_difference({1: 0.1}, {2: 0.1}, 0.95),
        lambda: student_t_critical(1.0, 3),
        lambda: student_t_critical(0.95, 0),
    ],
)
def test_impossible_arguments_are_refused(call):
    with pytest.raises(ValueError, match=r"."):
        call()


def test_quantiles_are_named_and_none_without_values():
    assert quantiles([1.0, 2.0, 3.0], {"p50": 0.5, "p75": 0.75}) == {"p50": 2.0, "p75": 2.5}
    assert quantiles([], {"p50": 0.5}) == {"p50": None}
