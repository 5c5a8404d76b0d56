"""Tests that the controller ends an episode only when no node owns a task: otherwise successes are recorded as lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import wait_until
from small_controller import Fleet

from controller.episode_runtime import Episodes
from controller.metrics import Metrics
from controller.nodes import NodeClients
from middleware.database import EpisodeSummary, LeaseHolder, close_episode
from middleware.database.leases import Lease
from middleware.http.access import OPEN
from offload import EpisodePlan, Network, Trace, resolve_settings
from offload.scheduler_choice import SchedulerChoice

SLOTS = 3
SETTINGS = resolve_settings(
    [
        {
            "network": {"nodes": 2},
            "tasks": {"deadline_s": 10},
            "time": {"slots": SLOTS, "slot_s": "100 ms"},
            "node": {"overload_threshold_s": 100, "write_interval_s": 0.1},
            "scheduler": {"name": "weighted"},
        }
    ]
)
# Node 0 is so much faster that with `weighted` node 1 sends it all tasks.
# A transmission takes 0.7 s, an execution 1.5 s.
NETWORK = Network(np.array([1e12, 1.0]), np.zeros(2), np.array([0.0, 1.0]), np.full((2, 2), 1e6), np.zeros((2, 2)))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("ending"), SETTINGS, NETWORK) as running:
        yield running


def one_task(number: int) -> Trace:
    """Node 1 receives one task in the last slot."""
    has_task = np.zeros((SLOTS, 2), bool)
    has_task[SLOTS - 1, 1] = True
    filled = has_task.astype(float)
    return Trace(number, SETTINGS.time.slot_s, has_task, 7e5 * filled, 1.5e12 * filled, 10 * filled)


def play(fleet: Fleet, number: int) -> EpisodeSummary:
    """An episode of `one_task`, played by a real controller's `Episodes`."""
    holder = LeaseHolder(fleet.database, fleet.run, "test", threading.Event(), lambda lost: None)
    holder._lease = Lease(fleet.run, "test", 1)  # the lease of the fleet
    episodes = Episodes(
        fleet.database,
        fleet.run,
        holder,
        fleet.network,
        fleet.configuration,
        lambda: fleet.addresses,
        fleet.address,
        Metrics(),
        OPEN,
        threading.Event(),
    )
    plan = EpisodePlan("serve", "weighted", number, SchedulerChoice("weighted"))
    summary = episodes.play(episodes.open(plan, one_task(number)))
    assert summary is not None
    return summary


def status_of(fleet: Fleet, node: int) -> dict[str, Any]:
    found: dict[str, Any] = fleet.call(node, "GET", "/v1/status")[1]
    return found


def test_end_waits_for_a_task_that_is_handed_over_between_nodes(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node 0 owns no task when it is asked; before node 1 is asked, it has handed its task to node 0."""
    start = NodeClients.start

    def slowly(
        self: NodeClients, node: int, method: str, path: str, body: Mapping[str, Any] | None, patience_s: float
    ) -> None:
        if method == "GET" and node == 0:
            time.sleep(0.15)  # until its last tick has passed
        if method == "GET" and node == 1:
            wait_until(lambda: status_of(fleet, 1)["pending"] == 0)
        start(self, node, method, path, body, patience_s)

    monkeypatch.setattr(NodeClients, "start", slowly)
    summary = play(fleet, 1)
    wait_until(lambda: status_of(fleet, 0)["pending"] == status_of(fleet, 0)["outbox"] == 0)
    refused = sum(status_of(fleet, node)["refused_records"] for node in range(2))
    assert (dict(summary.outcomes), summary.verdict, refused) == ({"success": 1}, "complete", 0), fleet.logs()


def test_a_node_records_nothing_after_its_close(fleet: Fleet) -> None:
    """The controller waits for a hanging task until its deadline. If it ends after the close, no record is refused."""
    trace = one_task(2)
    episode = fleet.write_episode(trace)
    fleet.open(episode, trace.episode)
    start_s = fleet.start(episode)
    for slot in range(SLOTS + 1):
        fleet.tick(episode, trace, slot, start_s)
    wait_until(lambda: status_of(fleet, 1)["pending"] == 0)
    answers = fleet.close(episode)
    assert [answer["abandoned"] for _, answer in answers] == [1, 0], answers
    assert close_episode(fleet.database, fleet.run, episode).outcomes == {"lost": 1}
    wait_until(lambda: status_of(fleet, 0)["pending"] == 0)
    time.sleep(0.3)  # three intervals of delivery
    assert status_of(fleet, 0)["refused_records"] == 0


def test_a_close_delivers_what_a_killed_process_had_recorded(tmp_path: Path) -> None:
    """The node has restarted, but has not delivered yet: without these records, tasks that succeeded would be lost."""
    settings = SETTINGS.model_copy(update={"node": SETTINGS.node.model_copy(update={"write_interval_s": 600.0})})
    trace = one_task(3)
    with Fleet(tmp_path, settings, NETWORK) as fleet:
        episode = fleet.write_episode(trace)
        fleet.open(episode, trace.episode)
        start_s = fleet.start(episode)
        for slot in range(SLOTS + 1):
            fleet.tick(episode, trace, slot, start_s)
        wait_until(lambda: status_of(fleet, 1)["pending"] == 0 and status_of(fleet, 0)["pending"] == 0)
        fleet.processes[0].kill()
        fleet.processes[0].wait()
        fleet.start_node(0)
        fleet.wait_ready()
        assert [status for status, _ in fleet.close(episode)] == [409, 200]
        summary = close_episode(fleet.database, fleet.run, episode)
        assert (dict(summary.outcomes), summary.verdict) == ({"success": 1}, "complete")
