"""Tests that a controller that gets SIGTERM while an episode is being opened, or is queued, leaves no episode open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage import PLAN, Stage

from controller.episode_runtime import OPENING_S, Episodes, OpeningError


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


def test_an_episode_that_waits_to_be_played_is_aborted_and_who_waits_for_it_is_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
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
