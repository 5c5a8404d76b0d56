"""Tests that a controller that gets SIGTERM while an episode is being opened, or is queued, leaves no episode open.

Without the database or the configuration service it ends all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_node import Node, free_port
from stage import PLAN, Stage
from testbed import wait_until

from controller.episode_runtime import OPENING_S, Episodes, OpeningError
from controller.process import Process
from middleware.configuration import open_configuration
from middleware.database import Database
from middleware.retrying import RETRY_LIMIT_S


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """Call in a thread. Returns the thread, and a list with the exception that the call raised."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, raised


def test_an_opening_that_waits_for_nodes_is_given_up(stage: Stage) -> None:
    stage.player.start()
    opening, raised = in_thread(lambda: stage.player.request(PLAN))
    assert stage.asked.wait(20)
    stage.lifecycle.end()
    stage.player.stop()
    opening.join(OPENING_S / 2)
    assert not opening.is_alive(), "it waits for the nodes to the end"
    assert [type(one) for one in raised] == [OpeningError]
    assert "stopping" in str(raised[0])
    assert stage.found() == [("aborted", "the controller is stopping")]


def test_stop_aborts_a_queued_episode_and_answers_its_clients(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Episodes, "_open_nodes", lambda *_: None)  # as if all nodes had opened it
    stage.player.request(PLAN)  # the player thread has not started
    state = stage.episodes.state
    assert state is not None
    waiting, _ = in_thread(lambda: state.ended.wait(60))
    stage.lifecycle.end()
    stage.player.stop()
    waiting.join(20)
    assert not waiting.is_alive()
    assert stage.found() == [("aborted", "the controller was stopped")]


def test_nothing_is_opened_once_the_controller_stops(stage: Stage) -> None:
    stage.lifecycle.end()
    began = time.monotonic()
    with pytest.raises(OpeningError, match="stopping"):
        stage.player.request(PLAN)
    assert time.monotonic() - began < OPENING_S
    assert stage.episodes.state is None


def _stops(stage: Stage) -> None:
    """Stop the player. Fails if it waits as long as for a service of a running controller."""
    stage.lifecycle.end()
    stopping, raised = in_thread(stage.player.stop)
    stopping.join(RETRY_LIMIT_S / 2)
    assert not stopping.is_alive(), "it waits for the service"
    assert raised == []


def test_continuous_arrivals_end_without_the_configuration_service(tmp_path: Path) -> None:
    database = Database.connect(f"sqlite:///{tmp_path}/run.db")
    stage = Stage(tmp_path, configuration=open_configuration(f"nacos://127.0.0.1:{free_port()}", database))
    stage.player.start()
    stage.player.set_serving(True)
    wait_until(stage.player._opening.locked)
    _stops(stage)
    assert stage.lifecycle.failure is None


def test_a_queued_episode_stays_for_the_next_controller_without_the_database(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Episodes, "_open_nodes", lambda *_: None)
    stage.player.request(PLAN)
    stage.refuse_writes()
    _stops(stage)
    assert stage.found() == [("open", None)]


def test_an_outage_at_the_end_is_not_the_reason_of_the_end(tmp_path: Path) -> None:
    nodes = [Node(), Node()]
    addresses = {index: node.address for index, node in enumerate(nodes)}
    stage = Stage(tmp_path, addresses, settings={"time": {"slots": 500}})
    stage.player.start()
    stage.player.request(PLAN)
    stage.refuse_writes()
    _stops(stage)
    stage.player._thread.join(RETRY_LIMIT_S / 2)
    assert not stage.player._thread.is_alive()
    assert stage.lifecycle.failure is None
    assert stage.found() == [("open", None)]
    for node in nodes:
        node.close()


def test_a_leaving_controller_waits_for_an_opening_at_most_as_long_as_for_an_episode(tmp_path: Path) -> None:
    """It waited for the whole opening. Kubernetes would have killed it meanwhile."""
    stage = Stage(tmp_path, leaving_s=0.2)
    process: Any = SimpleNamespace(lifecycle=stage.lifecycle, _player=stage.player, _episodes=stage.episodes)
    stage.player.start()
    stage.player.set_serving(True)
    assert stage.asked.wait(20)
    Process._leave(process)
    stage.player.stop()
    assert stage.found() == [("aborted", "the controller is stopping")]
