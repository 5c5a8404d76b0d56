"""Tests pods that get SIGTERM with a grace period: the open episode ends normally."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from testbed import Testbed, wait_until

from middleware.database import EpisodeSummary, find_episodes
from middleware.lifeline import leaving_s

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    layer = {"time": {"slots": 30, "time_scale": 1}}
    with Testbed(tmp_path_factory.mktemp("leaving"), layer, environment={"OFFLOAD_LEAVING_S": "30"}) as made:
        yield made


def _over(testbed: Testbed, episode: int) -> EpisodeSummary:
    database, run = testbed.opened.database, testbed.opened.run
    wait_until(lambda: find_episodes(database, run, episode=episode, status=None)[0].status != "open")
    return find_episodes(database, run, episode=episode, status=None)[0]


def test_a_node_leaves_when_the_episode_is_closed(testbed: Testbed):
    process = testbed.node_processes()[1]
    episode = testbed.begin()
    testbed.in_slot(5)
    process.send_signal(signal.SIGTERM)
    ended = _over(testbed, episode)
    assert (ended.status, ended.verdict) == ("closed", "complete")
    assert "lost" not in ended.outcomes
    process.wait(10)
    wait_until(lambda: testbed.node_processes().get(1, process).pid != process.pid)


def test_a_controller_leaves_when_the_episode_is_closed(testbed: Testbed):
    wait_until(lambda: all(node["alive"] for node in testbed.call("GET", "/v1/status")[1]["nodes"]))
    pid = testbed.controller.pid
    episode = testbed.begin()
    testbed.in_slot(5)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: testbed.call("GET", "/readyz")[0] == 503)
    refused = testbed.call(
        "POST", "/v1/episodes", {"phase": "evaluate", "method": "m", "trace": 1, "scheduler": "ratc"}
    )
    assert refused[0] == 503, "it takes nothing new"
    ended = _over(testbed, episode)
    assert (ended.status, ended.verdict) == ("closed", "complete")
    wait_until(lambda: testbed.controller.pid != pid)
    testbed.address = testbed.controller.address()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e9"])
def test_an_impossible_time_is_refused(text: str):
    with pytest.raises(ValueError, match="OFFLOAD_LEAVING_S"):
        leaving_s({"OFFLOAD_LEAVING_S": text})
