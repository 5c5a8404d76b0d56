"""Tests the reservations of the twin: their order, and that they are those of a slow calculation."""

from __future__ import annotations

import numpy as np

from edgenode.schedulers import create_scheduler
from offload import SchedulerContext, draw_network, draw_trace, resolve_settings
from offload.draws import Purpose, uniform
from offload.presets import PRESETS
from simulator.reservations import asked_before
from simulator.twin import Twin

SETTINGS = resolve_settings([PRESETS["paper-simulation"], {"network": {"nodes": 7}, "time": {"slots": 30}}])
NETWORK = draw_network(SETTINGS.network, SETTINGS.seed)


def traces(count):
    slot_s, slots = SETTINGS.time.slot_s, SETTINGS.time.slots
    return [draw_trace(SETTINGS.tasks, NETWORK, slot_s, slots, SETTINGS.seed, k) for k in range(count)]


def _slowly(episode, node, probed, work_s, order):  # type: ignore[no-untyped-def]
    work, count = np.zeros(probed.shape), np.zeros(probed.shape, int)
    for row, column in np.ndindex(probed.shape):
        j = probed[row, column]
        if j < 0 or j == node[row]:
            continue
        for other in range(len(episode)):
            if episode[other] == episode[row] and order[other] < order[row] and node[other] != j:
                where = np.flatnonzero(probed[other] == j)
                work[row, column] += work_s[other, where].sum()
                count[row, column] += len(where)
    return work, count


def test_reservations_are_those_of_a_slow_calculation() -> None:
    random = np.random.default_rng(3)
    for _ in range(40):
        rows, nodes, d = random.integers(1, 30), random.integers(2, 8), random.integers(0, 5)
        episode, node = np.sort(random.integers(0, 4, rows)), random.integers(0, nodes, rows)
        probed = np.array([random.permutation(nodes)[: min(d, nodes)] for _ in range(rows)], np.int64)
        probed = np.where(random.random(probed.shape) < 0.2, -1, probed)
        work_s, order = random.random(probed.shape), random.random(rows)
        work, count = asked_before(episode, node, probed, work_s, order)
        expected_work, expected_count = _slowly(episode, node, probed, work_s, order)
        np.testing.assert_allclose(work, expected_work, atol=1e-12)
        np.testing.assert_array_equal(count, expected_count)


def test_the_first_of_a_slots_drawn_order_sees_nobody_and_the_last_sees_all() -> None:
    """All nodes probe node 0. Node k sees those that the draw puts before it."""
    twin = Twin([NETWORK], traces(1), SETTINGS)
    nodes = NETWORK.nodes
    episode, node = np.zeros(nodes, int), np.arange(nodes)
    seen = []
    for slot in range(6):
        counted = twin.reports(episode, node, np.zeros((nodes, 1), int), reservations=True).asked_count[1:, 0]
        order = uniform(SETTINGS.seed, Purpose.ORDER, int(twin.episodes.number[0]), slot, node[1:])
        np.testing.assert_array_equal(counted, np.argsort(np.argsort(order)))
        seen.append(tuple(counted))
        assert twin.reports(episode, node, np.zeros((nodes, 1), int)).asked_count.sum() == 0
        twin.decide(np.zeros((1, nodes), int))
    assert len(set(seen)) > 1, "another order in each slot"


def test_an_episode_gives_the_same_alone_and_beside_others() -> None:
    made = create_scheduler("sed-reserve", {}, SchedulerContext(NETWORK.nodes))
    together = Twin([NETWORK], traces(5), SETTINGS).play(made)
    for k, trace in enumerate(traces(5)):
        alone = Twin([NETWORK], [trace], SETTINGS).play(made)
        np.testing.assert_array_equal(alone.destination[0], together.destination[k])


def test_pending_cycles_are_the_probed_nodes_own_task() -> None:
    twin = Twin([NETWORK], traces(1), SETTINGS)
    nodes, trace = NETWORK.nodes, traces(1)[0]
    for slot in range(twin.slots):
        reports = twin.reports(np.zeros(1, int), np.zeros(1, int), np.arange(nodes)[None])
        np.testing.assert_array_equal(reports.pending_cycles[0], np.where(trace.has_task[slot], trace.cycles[slot], 0))
        twin.decide(np.zeros((1, nodes), int))
