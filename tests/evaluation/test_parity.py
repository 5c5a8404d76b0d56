"""Tests that parity is computed from the records, and is "held" only within the limits."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.parity import TwinOutcomes, measure_parity
from evaluation.wording import parity_verdict
from middleware.database import TaskColumns

COUNT = 200


def measured(**changes) -> TaskColumns:
    values = {
        "slot": 0, "source": 0, "destination": 1, "size_bits": 1e6, "cycles": 1e8,
        "outcome": "success", "transfer": "emulated", "skew_s": 0.0, "transmission_waiting_s": 0.0,
        "transmission_s": 0.1, "handover_s": 0.0, "execution_waiting_s": 0.2,
        "execution_s": 0.3, "completion_s": 0.6, "late": False,
    }  # fmt: skip
    return TaskColumns(**{name: np.resize(np.array(value), COUNT) for name, value in {**values, **changes}.items()})


def twin(**changes) -> TwinOutcomes:
    values = {
        "outcome": "success", "transmission_waiting_s": 0.0, "transmission_s": 0.1, "execution_waiting_s": 0.2,
        "execution_s": 0.3, "completion_s": 0.6,
    }  # fmt: skip
    return TwinOutcomes(**{name: np.resize(np.array(value), COUNT) for name, value in {**values, **changes}.items()})


def share(of: int, wrong, right):
    """200 values, `of` of them wrong."""
    return np.array([wrong] * of + [right] * (COUNT - of))


def test_what_is_the_same_holds() -> None:
    found = measure_parity(measured(), twin(), "emulated")["emulated"]
    assert found["held"]
    assert found["same_outcome"] == 1
    assert found["different_outcomes"] == {}


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"outcome": share(6, "dropped", "success")}, True),
        ({"outcome": share(7, "dropped", "success")}, False),
        ({"transmission_s": 0.1049}, True),
        ({"transmission_s": 0.1051}, False),
        ({"transmission_s": share(9, 0.2, 0.1)}, True),
        ({"transmission_s": share(11, 0.2, 0.1)}, False),
        ({"execution_s": 0.2849}, False),
        ({"execution_waiting_s": 0.2199}, True),  # 20 ms are more than 5 % of 0.2 s
        ({"execution_waiting_s": 0.2201}, False),
        ({"completion_s": 0.629}, True),  # 5 % of 0.6 s are more than 20 ms
        ({"completion_s": 0.631}, False),
        ({"transmission_waiting_s": 0.0201}, False),
    ],
)
def test_each_part_of_the_promise_counts(changes, held) -> None:
    found = measure_parity(measured(**changes), twin(), "emulated")["emulated"]
    assert found["held"] is held
    assert ("NOT held" in parity_verdict("emulated", found)) is not held


def test_different_outcomes_are_counted_but_not_timed() -> None:
    outcome, execution = share(5, "dropped", "success"), share(5, 0.0, 0.3)
    found = measure_parity(measured(outcome=outcome, execution_s=execution), twin(), "emulated")["emulated"]
    assert found["different_outcomes"] == {"dropped → success": 5}
    assert found["execution_s"]["count"] == COUNT - 5
    assert found["completion_s"]["count"] == COUNT - 5


def test_each_transfer_has_its_own_and_a_local_task_counts_as_the_runs() -> None:
    transfer = np.array(["payload", "", "emulated", "payload"] * 50)
    found = measure_parity(measured(transfer=transfer), twin(), "payload")
    assert {name: one["tasks"] for name, one in found.items()} == {"emulated": 50, "payload": 150}


def test_stage_without_tasks_does_not_change_the_verdict() -> None:
    nothing = {"transmission_s": 0.0, "outcome": "dropped", "execution_s": 0.0}
    found = measure_parity(measured(**nothing), twin(**nothing), "emulated")["emulated"]
    assert found["transmission_s"]["p95"] is None
    assert found["held"]
    assert parity_verdict("emulated", found)
