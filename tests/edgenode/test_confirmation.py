"""Tests the answers to announcements that ask for one, and what the sender makes of them."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edgenode.clock import EpisodeClock
from edgenode.confirming import Confirmer, answer
from edgenode.core import NodeCore
from edgenode.effects import Withdraw
from edgenode.errors import Unsettled
from edgenode.facts import EpisodeFacts
from edgenode.loop import EpisodeLoop
from edgenode.probing import TimedReport, replaced
from edgenode.reports import MEASURES, Report
from offload import Network
from offload.conformance import random_states, reports_for
from offload.tasks import Task

CAPACITY_HZ = 1e9


def _facts() -> EpisodeFacts:
    n = 3
    network = Network(np.full(n, CAPACITY_HZ), np.zeros(n), np.ones(n), np.full((n, n), 1e7), np.zeros((n, n)))
    return EpisodeFacts(1, "0" * 32, 5, 0, network, 3, 0.1, 20, "end", 1.0, "emulated")


def test_the_state_now_counts_the_tasks_of_this_slot():
    core = NodeCore(_facts())
    core.announced(2, 0, 3e8, 9.0)
    snapshot = core.tick(1, Task(1, 0, 1e6, 2e8, 1.0), 0.1)
    core.announced(1, 1, 4e8, 9.0)
    assert snapshot.states.receiving_work_s.item() == pytest.approx(0.3)
    before = core.current_state(1)
    assert before.receiving_work_s.item() == pytest.approx(0.7)
    assert (before.cycles.item(), before.has_task.item()) == (2e8, True)  # not decided yet
    core.decided((1, 0), 0, 0.1)
    kept = core.current_state(1)
    assert kept.execution_backlog_s.item() == pytest.approx(0.2)
    assert (kept.cycles.item(), kept.has_task.item()) == (0.0, False)


@pytest.fixture
def loop():
    """A running loop, at slot 0 with a task of 0.2 s that is not decided."""
    core = NodeCore(_facts())
    core.tick(0, Task(0, 0, 1e6, 2e8, 1.0), 0.0)
    made = EpisodeLoop(core, 5.0, 2.0)
    parts = type("Parts", (), {"delivery": type("Delivery", (), {"send_overload": lambda self, bit: None})()})()
    made.start(EpisodeClock(time.monotonic(), 1.0), parts)
    yield made
    made.stop()
    made.join(2.0)


def test_each_announcement_is_answered_with_the_work_of_those_before(loop):
    first = answer(loop, 1, 0, 4e8, 9.0)
    second = answer(loop, 2, 0, 1e8, 9.0)
    assert (first.receiving_work_s, first.pending_cycles) == (0.0, 0.0)
    assert second.receiving_work_s == pytest.approx(0.4)
    again = answer(loop, 1, 0, 4e8, 9.0)  # its answer was lost: its own task does not count
    assert again.receiving_work_s == pytest.approx(0.1)
    loop.withdrawn(2, 0)
    assert answer(loop, 1, 0, 4e8, 9.0).receiving_work_s == 0.0
    answer(loop, 2, 0, 1e8, 9.0)  # it was sent before the withdrawal, and has been overtaken by it
    assert loop.ask(lambda core, now: core.current_state(0)).receiving_work_s.item() == pytest.approx(0.4)


def test_many_announcements_at_once_are_answered_one_after_the_other(loop):
    answers, barrier = [], threading.Barrier(2)

    def announce(source):
        barrier.wait()
        answers.append(answer(loop, source, 0, 1e8, 9.0).receiving_work_s)

    threads = [threading.Thread(target=announce, args=(source,)) for source in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == pytest.approx([0.0, 0.1])


def test_a_new_answer_replaces_the_column_of_its_node():
    states = random_states(np.random.default_rng(1), nodes=5, batch=1)
    others = [node for node in range(5) if node != states.node[0]]
    reports = reports_for(np.random.default_rng(2), states, np.array([others[:3]]), 1.0)
    report = Report(int(states.slot[0]), 3e9, 0.2, 5, 0.7, 0.1, 4e8, 0.0, 0)
    found = replaced(reports, others[1], TimedReport(report, 0.01))
    for name in MEASURES:
        assert getattr(found, name)[0, 1] == getattr(report, name), name
        assert getattr(found, name).dtype == getattr(reports, name).dtype, name
        np.testing.assert_array_equal(getattr(found, name)[0, [0, 2]], getattr(reports, name)[0, [0, 2]])
    assert replaced(reports, others[1], None).answered.tolist() == [[True, False, True]]
    unprobed = replaced(reports, others[3], TimedReport(report, 0.01))
    np.testing.assert_array_equal(unprobed.receiving_work_s, reports.receiving_work_s)


def test_a_busy_loop_does_not_fail_a_decision():
    states = random_states(np.random.default_rng(1), nodes=3, batch=1)
    reports = reports_for(np.random.default_rng(2), states, np.array([[(states.node[0] + 1) % 3]]), 1.0)
    sent = []

    class Prober:
        timeout_s = 0.1

        def confirm(self, node, slot, announcement):
            sent.append((node, slot, announcement["cycles"]))

    class Busy:
        def ask(self, question, timeout_s):
            assert timeout_s == 0.1
            raise Unsettled("too busy")

    withdrawn = []
    confirmer = Confirmer(_facts(), Prober(), Busy(), withdrawn.append)
    destination = int(reports.node[0, 0])
    now, answers = confirmer.ask(destination, states, reports)
    assert now is states and not answers.answered.any()
    assert sent == [(destination, int(states.slot[0]), float(states.cycles[0]))]
    confirmer.withdraw(destination, 4)
    assert withdrawn == [Withdraw(destination, 4)]
