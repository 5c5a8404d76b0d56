"""Tests nodes that die or hang during an episode: it still ends, and every task has exactly one outcome."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from forwarder import Forwarder
from testbed import Testbed, wait_until

from middleware.database import find_episodes
from middleware.database.schema import decisions, outcomes, tasks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SLOTS = 50


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    layer = {"network": {"nodes": 4}, "time": {"slots": SLOTS, "time_scale": 1}}
    with Testbed(tmp_path_factory.mktemp("trouble"), layer) as made:
        yield made


@pytest.fixture
def long_episodes(tmp_path: Path) -> Iterator[Testbed]:
    """Episodes of 20 s: time for a new process of a node, on a slow machine too."""
    layer = {"network": {"nodes": 4}, "time": {"slots": 4 * SLOTS, "time_scale": 1}}
    with Testbed(tmp_path, layer) as made:
        yield made


def conserved(testbed: Testbed, episode: int) -> bool:
    """Whether every task has exactly one outcome and every outcome a task."""
    keys = []
    with testbed.opened.database.reading() as connection:
        for table in (tasks, outcomes):
            rows = connection.execute(
                sa.select(table.c.slot, table.c.source).where(
                    table.c.run == testbed.opened.run.number, table.c.episode == episode
                )
            )
            keys.append(sorted((row.slot, row.source) for row in rows))
    return keys[0] == keys[1] and len(keys[0]) > 0


def decided_slots(testbed: Testbed, episode: int, node: int) -> set[int]:
    with testbed.opened.database.reading() as connection:
        rows = connection.execute(
            sa.select(decisions.c.slot).where(
                decisions.c.run == testbed.opened.run.number,
                decisions.c.episode == episode,
                decisions.c.node == node,
            )
        )
        return {row.slot for row in rows}


def test_a_killed_node_is_down_for_some_slots_and_comes_back(long_episodes: Testbed):
    testbed, slots = long_episodes, 4 * SLOTS
    before = testbed.node_processes()[2].pid
    episode = testbed.begin()
    testbed.in_slot(10)
    testbed.signal_node(2, signal.SIGKILL)
    testbed.finish(episode)
    record = testbed.record(episode)
    assert record.status == "closed"
    assert conserved(testbed, episode)
    assert list(record.down) == [2]
    assert min(record.down[2]) >= 10
    assert max(record.down[2]) < slots, "it has not come back"
    assert decided_slots(testbed, episode, 2) >= set(range(max(record.down[2]) + 1, slots + 1))
    assert record.outcomes["lost"] > 0
    for node in (0, 1, 3):
        assert decided_slots(testbed, episode, node) == set(range(slots + 1))
    assert testbed.node_processes()[2].pid != before
    assert testbed.play()["verdict"] == "complete"


def test_all_nodes_killed_at_once_are_survived(testbed: Testbed):
    episode = testbed.begin()
    testbed.in_slot(20)
    for process in testbed.node_processes().values():
        process.kill()
    testbed.finish(episode)
    record = testbed.record(episode)
    assert record.status == "closed"
    assert sorted(record.down) == [0, 1, 2, 3]
    assert conserved(testbed, episode)
    assert testbed.play()["verdict"] == "complete"


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_a_node_that_hangs_for_a_while_costs_the_others_nothing(testbed: Testbed, seconds: float):
    episode = testbed.begin()
    testbed.in_slot(10)
    testbed.signal_node(1, signal.SIGSTOP)
    time.sleep(seconds)
    testbed.signal_node(1, signal.SIGCONT)
    state = testbed.finish(episode)
    record = testbed.record(episode)
    assert conserved(testbed, episode)
    for node in (0, 2, 3):
        assert decided_slots(testbed, episode, node) == set(range(SLOTS + 1))
    assert set(record.down) <= {1}
    # Its ticks were kept: no decision is missing, except in slots in which the node was down.
    assert state["verdict"] == "complete"
    assert testbed.play()["verdict"] == "complete"


def test_a_node_that_hangs_at_the_end_does_not_keep_the_episode_open(testbed: Testbed):
    episode = testbed.begin()
    testbed.in_slot(40)
    testbed.signal_node(3, signal.SIGSTOP)
    wait_until(lambda: testbed.call("GET", "/v1/status")[1]["episode"]["slot"] == SLOTS)
    time.sleep(6)
    testbed.signal_node(3, signal.SIGCONT)
    testbed.finish(episode)
    record = testbed.record(episode)
    assert conserved(testbed, episode)
    assert set(record.down) == {3}
    # Its late messages must not affect the next episode.
    state = testbed.play()
    assert (state["verdict"], testbed.record(state["episode"]).down) == ("complete", {})


def test_a_node_killed_between_two_episodes_is_waited_for(testbed: Testbed):
    testbed.signal_node(0, signal.SIGKILL)
    state = testbed.play()
    assert (state["verdict"], testbed.record(state["episode"]).down) == ("complete", {})


def test_a_killed_controller_leaves_nothing_open(testbed: Testbed):
    episode = testbed.begin()
    testbed.in_slot(10)
    nodes = {process.pid for process in testbed.node_processes().values()}
    old = testbed.controller.pid
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: testbed.controller.pid != old)
    testbed.address = testbed.controller.address()
    record = testbed.record(episode)
    assert (record.status, record.verdict, record.reason) == ("aborted", None, "its controller died")
    assert nodes.isdisjoint(process.pid for process in testbed.node_processes().values())
    assert testbed.play()["verdict"] == "complete"


@pytest.mark.mysql
def test_serving_survives_an_outage_of_the_database_server(tmp_path: Path, mysql_url: str):
    server = sa.make_url(mysql_url)
    forwarder = Forwarder(server.host or "", server.port or 3306)
    url = server.set(host="127.0.0.1", port=forwarder.port).render_as_string(hide_password=False)
    with Testbed(tmp_path, {}, url) as testbed:
        pid = testbed.controller.pid
        testbed.call("POST", "/v1/serve")
        wait_until(lambda: testbed.call("GET", "/v1/status")[1]["last_episodes"]["episodes"] > 1)
        forwarder.cut()
        wait_until(lambda: testbed.call("GET", "/v1/status")[0] == 503)
        time.sleep(5)
        forwarder.restore()
        wait_until(lambda: testbed.call("GET", "/v1/status")[0] == 200)
        before = max(one.episode for one in find_episodes(testbed.opened.database, testbed.opened.run, status=None))
        wait_until(
            lambda: len(find_episodes(testbed.opened.database, testbed.opened.run, status="closed")) > before, 90
        )
        assert testbed.controller.pid == pid, "the controller died of it"
        for one in find_episodes(testbed.opened.database, testbed.opened.run, status="closed"):
            assert conserved(testbed, one.episode)
        log = (tmp_path / "pods" / "logs" / "controller.log").read_text()
        assert f":{server.password}@" not in log
        assert log.count(": unavailable (") == log.count(": available again after ") == 1, (
            "each outage is logged once, with its duration"
        )
