"""Tests that methods are compared on the same traces and complete episodes only, and that exclusions are reported."""

from __future__ import annotations

import pytest

from evaluation.comparison import compare, select_comparison
from middleware.database import EpisodeSummary
from offload.episodes import EpisodePlan
from offload.scheduler_choice import SchedulerChoice


def episode(
    method: str, trace: int, successes: int, *, tasks: int = 10, model: str | None = None, **changes
) -> EpisodeSummary:
    values = {
        "episode": trace * 100 + len(method),
        "plan": EpisodePlan("evaluate", method, trace, SchedulerChoice("drl" if model else method, model=model)),
        "status": "closed",
        "verdict": "complete",
        "reason": None,
        "revision": 1,
        "down": {},
        "late_slots": 0,
        "refused_records": 0,
        "tasks": tasks,
        "outcomes": {"success": successes, "dropped": tasks - successes},
        "opened_at": 0.0,
        "closed_at": 1.0,
    }
    return EpisodeSummary(**{**values, **changes})


def test_success_rate_is_success_by_all_tasks_and_difference_is_paired():
    summaries = [
        episode("ratc", 1, 6), episode("ratc", 2, 4),
        episode("random", 1, 5), episode("random", 2, 3),
        episode("o2o-drl", 1, 8, model="m"), episode("o2o-drl", 2, 6, model="m"),
    ]  # fmt: skip
    methods, best, differences = compare(select_comparison(summaries, ["random", "ratc", "o2o-drl"], 2), 0.95)
    assert best == "ratc"
    assert methods["ratc"]["mean"] == pytest.approx(0.5)
    assert methods["o2o-drl"]["kind"] == "learned"
    assert methods["ratc"]["outcomes"] == {
        "success": 10, "dropped": 10, "execution_failure": 0, "transmission_failure": 0, "lost": 0,
    }  # fmt: skip
    assert differences["o2o-drl"]["mean"] == pytest.approx(0.2)
    assert differences["random"]["interval"] == pytest.approx([-0.1, -0.1])
    assert "ratc" not in differences


def test_a_trace_that_one_method_has_not_played_counts_for_none():
    summaries = [episode("ratc", 1, 9), episode("ratc", 2, 0), episode("random", 1, 5)]
    comparison = select_comparison(summaries, ["ratc", "random"], 2)
    assert comparison.traces == (1,)
    assert comparison.rates("ratc") == {1: 0.9}
    assert "random has 1 of 2 evaluation episodes" in comparison.missing
    assert any(line.startswith("1 traces are left out") for line in comparison.missing)


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "mixed"},
        {"verdict": "incomplete"},
        {"status": "open", "verdict": None},
        {"status": "aborted", "verdict": None},
    ],
)
def test_episodes_that_are_not_complete_are_not_compared(changes):
    comparison = select_comparison([episode("ratc", 1, 9), episode("ratc", 2, 9, **changes)], ["ratc"], 2)
    assert comparison.traces == (1,)
    assert any("not complete" in line for line in comparison.missing)


def test_an_episode_that_was_played_again_to_its_end_is_not_missing():
    again = [episode("ratc", 1, 9, verdict="incomplete"), episode("ratc", 1, 8), episode("ratc", 2, 9)]
    comparison = select_comparison(again, ["ratc"], 2)
    assert comparison.traces == (1, 2)
    assert not any("not complete" in line for line in comparison.missing)


def test_a_repeated_episode_counts_once():
    summaries = [episode("ratc", 1, 9), episode("ratc", 1, 1, episode=999)]
    assert select_comparison(summaries, ["ratc"], 1).rates("ratc") == {1: 0.9}


def test_unconfigured_method_cannot_shrink_the_comparison():
    summaries = [
        episode("ratc", 1, 9),
        episode("ratc", 2, 9),
        episode("mine", 1, 9),
        episode("theirs", 1, 9),
        episode("theirs", 2, 8),
    ]
    comparison = select_comparison(summaries, ["ratc"], 2)
    assert comparison.traces == (1, 2)
    assert set(comparison.episodes) == {"ratc", "theirs"}
    assert any(line.startswith("mine has not played all") for line in comparison.missing)


def test_two_models_under_one_name_are_not_averaged():
    summaries = [
        episode("o2o-drl", 1, 9, model="b"),
        episode("o2o-drl", 2, 9, model="b"),
        episode("o2o-drl", 2, 0, model="a", episode=1),
    ]
    comparison = select_comparison(summaries, ["o2o-drl"], 2)
    assert comparison.rates("o2o-drl") == {1: 0.9, 2: 0.9}
    assert any("2 models" in line for line in comparison.missing)


def test_an_episode_without_tasks_has_no_success_rate():
    comparison = select_comparison([episode("ratc", 1, 0, tasks=0), episode("ratc", 2, 3)], ["ratc"], 2)
    assert comparison.traces == (2,)
    assert comparison.missing == ("1 of the 2 evaluation traces have no task, so they have no success rate",)


def test_episodes_without_tasks_that_were_played_are_not_missing():
    played = [episode(method, trace, 0, tasks=0) for method in ("ratc", "sed") for trace in (1, 2)]
    comparison = select_comparison(played, ["ratc", "sed"], 2)
    assert compare(comparison, 0.95) == ({}, None, {})
    assert comparison.missing == ("2 of the 2 evaluation traces have no task, so they have no success rate",)


def test_methods_without_a_common_trace_are_not_compared():
    comparison = select_comparison([episode("ratc", 1, 9), episode("random", 2, 9)], ["ratc", "random"], 1)
    assert compare(comparison, 0.95) == ({}, None, {})
    assert any("nothing can be compared" in line for line in comparison.missing)
