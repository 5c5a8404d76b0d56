"""Tests what a node answers to probes that carry a task: later askers of a slot learn of it, earlier ones do not."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edgenode.errors import ProbeTimeout
from edgenode.probing import TimedReport, reports_from
from edgenode.reports import COUNTS, MEASURES, Report, Reservation, SlotReports
from offload.conformance import random_states
from offload.state import report_of

CAPACITY_HZ = 2e9


def _slot_reports(*slots: int) -> SlotReports:
    reports = SlotReports(episode=1)
    for slot in slots:
        reports.publish(Report(slot, CAPACITY_HZ, 0.1, 3, 0.4, 0.2, 5e8))
    return reports


def test_later_probes_of_a_slot_learn_of_earlier_reservations() -> None:
    reports = _slot_reports(0, 1)
    first = reports.answer(0, 0.0, Reservation(4, 1e9))
    second = reports.answer(0, 0.0, Reservation(2, 4e9))
    third = reports.answer(0, 0.0, Reservation(3, 1e9))
    assert (first.asked_work_s, first.asked_count) == (0.0, 0)
    assert (second.asked_work_s, second.asked_count) == (0.5, 1)
    assert (third.asked_work_s, third.asked_count) == (2.5, 2)
    other_slot = reports.answer(1, 0.0, Reservation(4, 1e9))
    assert other_slot.asked_count == 0


def test_a_probe_without_a_task_reserves_nothing() -> None:
    reports = _slot_reports(0)
    assert reports.answer(0, 0.0).asked_count == 0
    assert reports.answer(0, 0.0, Reservation(4, 1e9)).asked_count == 0
    assert reports.answer(0, 0.0).asked_count == 1


def test_a_repeated_reservation_counts_once_and_gets_the_same_answer() -> None:
    """A broken connection makes the sender repeat its request. Its task must not count twice, or for itself."""
    reports = _slot_reports(0)
    reports.answer(0, 0.0, Reservation(4, 1e9))
    second = reports.answer(0, 0.0, Reservation(2, 4e9))
    assert reports.answer(0, 0.0, Reservation(2, 4e9)) == second
    assert reports.answer(0, 0.0, Reservation(4, 1e9)).asked_count == 0
    assert reports.answer(0, 0.0, Reservation(3, 1e9)).asked_count == 2


def test_a_probe_that_times_out_reserves_nothing() -> None:
    reports = SlotReports(episode=1)
    with pytest.raises(ProbeTimeout):
        reports.answer(0, 0.0, Reservation(4, 1e9))
    reports.publish(Report(0, CAPACITY_HZ, 0.1, 3, 0.4, 0.2, 0.0))
    assert reports.answer(0, 0.0).asked_count == 0


def test_many_probes_at_once_get_one_place_each() -> None:
    """Each counts exactly those before it: no two may have the same place in the order."""
    reports, counts = _slot_reports(0), []
    barrier = threading.Barrier(16)

    def ask(source: int) -> None:
        barrier.wait()
        counts.append(reports.answer(0, 1.0, Reservation(source, 1e9)).asked_count)

    threads = [threading.Thread(target=ask, args=(source,)) for source in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(16))


def test_reports_of_old_slots_are_forgotten_with_their_reservations() -> None:
    reports = _slot_reports(0)
    reports.answer(0, 0.0, Reservation(4, 1e9))
    for slot in range(1, 20):
        reports.publish(Report(slot, CAPACITY_HZ, 0.1, 3, 0.4, 0.2, 0.0))
    assert 0 not in reports._asked


def test_the_columns_of_answers_are_the_reported_values_and_own_probes_read_the_snapshot() -> None:
    states = random_states(np.random.default_rng(5), nodes=4, batch=1)
    own = int(states.node[0])
    other, silent = (node for node in range(4) if node != own and node != (own + 1) % 4)
    report = Report(int(states.slot[0]), 3e9, 0.2, 5, 0.7, 0.1, 4e8, 0.25, 2)
    found = reports_from([own, other, silent], {other: TimedReport(report, 0.01)}, states)
    assert found.answered.tolist() == [[True, True, False]]
    for name in MEASURES:
        column = getattr(found, name)
        assert column[0, 0] == getattr(report_of(states), name)[0, 0], name
        assert column[0, 1] == getattr(report, name), name
        assert column.dtype == (np.int64 if name in COUNTS else np.float64), name
