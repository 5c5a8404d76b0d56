"""Tests the fidelity limits: median within 2 %, 95th percentile within 5 %, at most 1 % late."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.fidelity import execution_ratio, measure_fidelity, transmission_ratio
from middleware.database import NOWHERE, TaskColumns
from offload.network import Network

NETWORK = Network(np.array([1e9, 4e9]), np.zeros(2), np.ones(2), np.array([[0.0, 1e8], [2e8, 0.0]]), np.zeros((2, 2)))
SIZE_BITS, CYCLES = 1e7, 1e9
SENT_S, EXECUTED_S = SIZE_BITS / 1e8, CYCLES / 4e9
"""Modelled: 0 → 1 takes 0.1 s, executing at node 1 takes 0.25 s."""


def columns(count: int = 1, **changes) -> TaskColumns:
    """Tasks of node 0 that node 1 has executed exactly as modelled, except for `changes`."""
    values = {
        "slot": 0, "source": 0, "destination": 1, "size_bits": SIZE_BITS, "cycles": CYCLES, "outcome": "success",
        "transfer": "emulated", "skew_s": 0.0, "transmission_waiting_s": 0.0, "transmission_s": SENT_S,
        "handover_s": 0.001,
        "execution_waiting_s": 0.0, "execution_s": EXECUTED_S, "completion_s": SENT_S + EXECUTED_S, "late": False,
    }  # fmt: skip
    return TaskColumns(**{name: np.resize(np.array(value), count) for name, value in {**values, **changes}.items()})


def judged(tasks: TaskColumns, timing: str = "end", transfer: str = "emulated") -> dict:
    return measure_fidelity(tasks, NETWORK, timing, transfer)


def test_a_faithful_testbed_holds_the_promise():
    found = judged(columns(100))["emulated"]
    assert found["held"] is True
    assert found["transmission"]["median"] == pytest.approx(0, abs=1e-12)
    assert found["execution"]["count"] == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"transmission_s": SENT_S * 1.021},
        {"execution_s": EXECUTED_S * 0.979},
        {"execution_s": np.where(np.arange(100) < 90, EXECUTED_S, EXECUTED_S * 1.06)},
        {"late": np.arange(100) < 2},
    ],
    ids=["slow links by the median", "fast executors too", "a tail of 10 %", "2 % late"],
)
def test_each_part_of_the_promise_can_break_it(changes):
    assert judged(columns(100, **changes))["emulated"]["held"] is False


def test_a_tail_below_five_percent_of_the_tasks_is_allowed():
    slow = np.where(np.arange(100) < 96, EXECUTED_S, EXECUTED_S * 3)
    assert judged(columns(100, execution_s=slow, late=np.arange(100) < 1))["emulated"]["held"] is True


def test_stages_that_were_not_reached_are_not_measured():
    local = columns(destination=0, transfer="", transmission_s=0.0, execution_s=CYCLES / 1e9)
    assert transmission_ratio(local, NETWORK, "end").size == 0
    assert execution_ratio(local, NETWORK, "end") == pytest.approx([1.0])
    lost = columns(destination=NOWHERE, outcome="lost", transfer="", transmission_s=0.0, execution_s=0.0)
    assert judged(lost)["emulated"]["held"] is None


def test_failures_that_show_early_are_left_out_only_where_they_do():
    failed = columns(
        2, outcome=np.array(["transmission_failure", "execution_failure"]), transmission_s=SENT_S / 2, execution_s=0.01
    )
    assert transmission_ratio(failed, NETWORK, "end").size == 2
    assert transmission_ratio(failed, NETWORK, "event").size == 1
    assert execution_ratio(failed, NETWORK, "event").size == 1


def test_transfers_are_judged_separately():
    tasks = columns(3, transfer=np.array(["emulated", "payload", ""]))
    found = judged(tasks, transfer="payload")
    assert {kind: values["tasks"] for kind, values in found.items()} == {"emulated": 1, "payload": 2}


def test_no_task_no_verdict():
    assert judged(columns(0)) == {}
