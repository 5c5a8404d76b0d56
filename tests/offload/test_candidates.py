"""Tests the rows of candidates: values computed by hand, no unit, no dependence on other nodes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from offload.candidates import COLUMNS, PROFILE, reported_rows, unreported_rows
from offload.conformance import random_states, reports_for
from offload.state import LocalState, Reports, report_of


@pytest.fixture
def state() -> LocalState:
    """Node 0 of three decides on a task of 1 s at itself, with a deadline of 2 s; links take 0.1 s."""
    like = random_states(np.random.default_rng(0), 3, 1)
    values = {
        "node": [0], "cycles": [1e9], "size_bits": [1e6], "deadline_s": [2.0], "capacity_hz": [1e9],
        "failure_rate": [0.1], "rate_bps": [[np.inf, 1e7, 1e7]], "link_failure_rate": [[0.0, 0.5, 0.0]],
        "peer_capacity_hz": [[1e9, 2e9, 3e9]], "peer_failure_rate": [[0.1, 0.2, 0.0]],
        "execution_backlog_s": [0.3], "receiving_work_s": [0.1], "sending_backlog_s": [[0.0, 0.4, 0.0]],
        "overloaded": [[False, True, False]],
    }  # fmt: skip
    return dataclasses.replace(
        like, **{name: np.array(value, getattr(like, name).dtype) for name, value in values.items()}
    )


def _row(rows, column):
    return dict(zip(COLUMNS, rows[0, column].tolist(), strict=True))


def test_a_reported_row_is_what_one_computes_by_hand(state):
    reports = dataclasses.replace(
        Reports.none(1, 2), node=np.array([[1, 2]]), answered=np.array([[True, False]]),
        capacity_hz=np.array([[2e9, 0.0]]), failure_rate=np.array([[0.2, 0.0]]),
        execution_backlog_s=np.array([[0.7, 0.0]]), receiving_work_s=np.array([[0.2, 0.0]]),
        pending_cycles=np.array([[4e8, 0.0]]), asked_work_s=np.array([[0.6, 0.0]]), asked_count=np.array([[2, 0]]),
    )  # fmt: skip
    rows = reported_rows(state, reports)
    assert rows.dtype == np.float32 and rows.shape == (1, 2, PROFILE.size)
    expected = {
        "execution": 0.25, "arrival": 0.25, "work": 0.45, "finish": 0.7, "slack": 0.3, "lateness": 0.0, "too_far": 0.0,
        "risk": 0.2 * 0.5 + 0.5 * 0.1, "failure_rate": 0.4, "capacity": 1.0, "itself": 0.0, "overloaded": 1.0,
        "pending": 0.1, "asked_work": 0.3, "asked_count": 0.5, "own_work": 0.2, "own_finish": 0.7, "size": 0.25,
    }  # fmt: skip
    assert _row(rows, 0) == pytest.approx(expected)
    assert not rows[0, 1].any()


def test_the_deciding_node_itself_needs_no_transmission_and_has_no_pending_task(state):
    row = _row(reported_rows(state, report_of(state)), 0)
    assert (row["arrival"], row["itself"], row["pending"]) == (0.0, 1.0, 0.0)
    assert row["risk"] == pytest.approx(0.1)
    assert row["finish"] == pytest.approx((0.4 + 1.0) / 2)


def test_before_the_probes_a_fifth_of_the_deadline_stands_for_the_work(state):
    rows = unreported_rows(state)
    assert rows.shape == (1, 3, PROFILE.size)
    row = _row(rows, 1)
    assert row["work"] == pytest.approx(0.2)
    assert row["finish"] == pytest.approx((0.5 + 0.5) / 2)  # it arrives after 0.5 s, which is later than 0.4 s
    assert (row["pending"], row["asked_work"], row["asked_count"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_rows_have_no_unit(factor):
    """The same network with all times and all task sizes scaled has the same rows."""
    random = np.random.default_rng(4)
    states = random_states(random, 6, 40)
    reports = reports_for(random, states, np.tile(np.arange(3), (40, 1)), 0.8)
    slower = {
        name: getattr(states, name) * factor
        for name in ("deadline_s", "execution_backlog_s", "receiving_work_s", "sending_backlog_s")
    } | {
        name: getattr(states, name) / factor
        for name in ("failure_rate", "peer_failure_rate", "link_failure_rate", "rate_bps")
    }
    capacities = {name: getattr(states, name) / factor for name in ("capacity_hz", "peer_capacity_hz")}
    of_reports = {
        "execution_backlog_s": reports.execution_backlog_s * factor,
        "receiving_work_s": reports.receiving_work_s * factor,
        "asked_work_s": reports.asked_work_s * factor,
        "failure_rate": reports.failure_rate / factor,
        "capacity_hz": reports.capacity_hz / factor,
    }
    scaled = dataclasses.replace(states, **slower, **capacities)
    np.testing.assert_allclose(unreported_rows(scaled), unreported_rows(states), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        reported_rows(scaled, dataclasses.replace(reports, **of_reports)), reported_rows(states, reports),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_rows_are_finite_and_clipped():
    random = np.random.default_rng(4)
    for nodes in (1, 2, 30):
        states = random_states(random, nodes, 100)
        reports = reports_for(random, states, np.tile(np.arange(min(nodes, 4)), (100, 1)), 0.5)
        for rows in (unreported_rows(states), reported_rows(states, reports)):
            assert np.isfinite(rows).all()
            assert rows.min() >= 0.0
            assert rows.max() <= 2.0


def test_a_models_profile_is_compared_by_name_and_version():
    assert PROFILE.differences({"name": "candidates", "version": 1}) == []
    assert PROFILE.differences({"name": "candidates", "version": 2}) == [
        "version: the model's is 2, this testbed's is 1"
    ]
