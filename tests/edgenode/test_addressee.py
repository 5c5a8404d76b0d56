"""Tests that a node rejects requests meant for another one: a restarted node may get another node's old address."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from small_controller import Fleet, call

from edgenode.interface import OPERATIONS
from middleware.database import close_episode
from middleware.database.schema import decisions, outcomes
from middleware.http.addressee import HEADER, addressee
from offload import Network, Trace, resolve_settings

SLOTS, NODES = 12, 3
SETTINGS = resolve_settings(
    [
        {
            "network": {"nodes": NODES},
            "tasks": {"deadline_s": 60},
            "time": {"slots": SLOTS, "slot_s": "200 ms"},
            "node": {"overload_threshold_s": 100, "write_interval_s": 0.2},
            "scheduler": {"name": "weighted"},
        }
    ]
)
# Node 1 is so much faster that with `weighted` the other nodes send it all tasks.
CAPACITY_HZ = np.array([1.0, 1e12, 1.0])
NETWORK = Network(CAPACITY_HZ, np.zeros(3), np.array([1.0, 0.0, 0.0]), np.full((3, 3), 1e8), np.zeros((3, 3)))


class _Fleet(Fleet):
    """Nodes that can be started at a chosen address."""

    binds: Mapping[int, str] = {}

    def environment(self, node: int) -> dict[str, str]:
        return {**super().environment(node), "OFFLOAD_BIND": self.binds.get(node, "127.0.0.1:0")}


def _free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Fleet]:
    with _Fleet(tmp_path_factory.mktemp("addressed"), SETTINGS, NETWORK) as running:
        yield running


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_a_request_for_another_node_is_refused_before_anything_else(fleet: _Fleet, operation) -> None:
    path = operation.path.replace("{episode}", "1")
    misdirected = 421, f"this node is {addressee(fleet.run.uid, 1)}, the request is for "
    for to in (addressee(fleet.run.uid, 2), addressee("0" * 32, 1)):
        status, answer = call(fleet.addresses[1], operation.method, path, b"{}", headers={HEADER: to})
        assert (status, answer["detail"].partition(to)[0]) == misdirected
    status, answer = call(fleet.addresses[1], operation.method, path, b"{}")
    if operation.addressed:
        assert status == 400
        assert f"the header {HEADER} is missing" in answer["detail"]
    else:
        assert status == 200, "people and kubelets need not know the run's uid"
    assert fleet.call(1, operation.method, path, b"{}")[0] not in (400, 421)


def test_node_never_executes_a_request_for_another_node(tmp_path: Path) -> None:
    """Two nodes die and restart at each other's address, during an episode; node 0 knows the old addresses."""
    has_task = np.zeros((SLOTS, NODES), bool)
    has_task[:, 0] = True
    filled = has_task.astype(float)
    trace = Trace(1, 0.2, has_task, 1e6 * filled, 1e9 * filled, 60 * filled)
    fleet = _Fleet(tmp_path, SETTINGS, NETWORK)
    fleet.binds = {1: _free(), 2: _free()}
    with fleet:
        before = dict(fleet.addresses)
        episode = fleet.write_episode(trace)
        fleet.open(episode, trace.episode)
        start_s = fleet.start(episode) + 4.0  # the nodes are restarted before that
        for node in (1, 2):
            fleet.processes[node].kill()
            fleet.processes[node].wait()
        fleet.binds = {1: fleet.binds[2], 2: fleet.binds[1]}
        for node in (1, 2):
            fleet.start_node(node)
        fleet.wait_ready()
        assert fleet.addresses == {0: before[0], 1: before[2], 2: before[1]}
        for node in (1, 2):
            opening = fleet.opening(episode, trace.episode, start_s - 4.0)
            assert fleet.call(node, "POST", "/v1/episodes", opening)[0] == 200
        for slot in range(SLOTS + 1):
            fleet.tick(episode, trace, slot, start_s)
        fleet.drain()
        assert [status for status, _ in fleet.close(episode)] == [200] * NODES
        summary = close_episode(fleet.database, fleet.run, episode)
        with fleet.database.reading() as connection:
            chosen = {
                (row.slot, row.node): row.action for row in connection.execute(sa.select(decisions)) if row.node == 0
            }
            done = list(connection.execute(sa.select(outcomes)))
        assert {chosen[slot, 0] for slot in range(SLOTS)} == {1}
        assert {(row.destination, row.written_by) for row in done if row.outcome == "success"} == {(1, 1)}, done
        assert summary.successes == SLOTS, (summary.outcomes, fleet.logs())
