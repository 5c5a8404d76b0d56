"""Tests the local fleet: nodes are reported when they run, restarted when they die, and end with their controller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import small_fleet

from controller.fleet import LocalFleet
from middleware.database import Database


@pytest.fixture
def url(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path}/fleet.db"
    database = Database.connect(address)
    database.migrate()
    database.close()
    return address


@pytest.fixture
def fleet(url: str, tmp_path: Path) -> Iterator[LocalFleet]:
    made = small_fleet.make_fleet(url, tmp_path / "logs", 3, pytest.fail)
    made.start(1)
    yield made
    made.stop()


def wait_until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"did not happen within {timeout_s:g} s"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_nodes_are_found_by_the_registry_and_have_a_log_each(fleet: LocalFleet, tmp_path: Path):
    assert sorted(fleet.addresses()) == [0, 1, 2]
    for node in range(3):
        assert f"node {node} is there" in (tmp_path / "logs" / f"node-{node}.log").read_text()


def test_a_killed_node_is_not_ready_until_its_successor_is(fleet: LocalFleet):
    fleet.addresses()
    dead = fleet.pids()[1]
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: fleet.pids()[1] != dead)
    # The dead node's registration is still in the database: it must not be taken for the new node's.
    wait_until(lambda: sorted(fleet.ready()) == [0, 1, 2])
    assert not gone(fleet.pids()[1])


def test_a_frozen_node_is_killed_and_replaced(fleet: LocalFleet):
    fleet.addresses()
    frozen = fleet.pids()[2]
    os.kill(frozen, signal.SIGSTOP)
    wait_until(lambda: fleet.pids()[2] != frozen, 60)
    wait_until(lambda: sorted(fleet.ready()) == [0, 1, 2])
    assert gone(frozen)


def test_stop_leaves_no_process(fleet: LocalFleet):
    fleet.addresses()
    pids = list(fleet.pids().values())
    fleet.stop()
    assert all(gone(pid) for pid in pids)


def test_a_node_that_always_dies_is_given_up_with_the_reason(url: str, tmp_path: Path):
    reasons: list[str] = []
    reported = threading.Event()

    def failed(reason: str) -> None:
        reasons.append(reason)
        reported.set()

    fleet = small_fleet.make_fleet(url, tmp_path / "logs", 1, failed, small_fleet.SOON_DEAD)
    fleet.start(1)
    try:
        assert reported.wait(60)
        assert "node 0 died 6 times" in reasons[0]
        assert "exit code 3" in reasons[0]
        assert "the disk is full" in reasons[0]
    finally:
        fleet.stop()


def test_nodes_end_when_their_controller_is_killed(url: str, tmp_path: Path):
    parent = subprocess.Popen(
        [sys.executable, small_fleet.__file__, url, str(tmp_path / "logs"), "2"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert not any(gone(pid) for pid in pids)
    parent.kill()
    parent.wait()
    wait_until(lambda: all(gone(pid) for pid in pids))
    parent.stdout.close()
