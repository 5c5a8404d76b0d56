"""Tests that a controller that gets SIGTERM while an episode is being opened, or is queued, leaves no episode open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller.episode_runtime import OPENING_S, Episodes, OpeningError
from controller.lifecycle import Lifecycle
from controller.metrics import Metrics
from controller.player import Player
from middleware.configuration import open_configuration
from middleware.database import Database, LeaseHolder, create_run, find_episodes
from middleware.http.access import OPEN
from offload.episodes import EpisodePlan
from offload.network import draw_network
from offload.scheduler_choice import SchedulerChoice
from offload.settings import resolve_settings

PLAN = EpisodePlan("serve", "local", 3, SchedulerChoice("local"))


class Stage:
    """A player without edge nodes. `addresses` gives the ready nodes; by default there are none."""

    def __init__(self, folder: Path) -> None:
        settings = resolve_settings([{"network": {"nodes": 2}, "time": {"slots": 5}}])
        self.database = Database.connect(f"sqlite:///{folder}/run.db")
        self.database.migrate()
        network = draw_network(settings.network, settings.seed)
        self.run = create_run(self.database, "stop", settings, network, {})
        self.lifecycle = Lifecycle(0.0)
        self.asked = threading.Event()
        holder = LeaseHolder(self.database, self.run, "test", self.lifecycle.stopping, self.lifecycle.lose)
        holder.acquire()
        configuration = open_configuration("file:", self.database)
        configuration.create("stop", settings.live(), "test")
        self.episodes = Episodes(
            self.database,
            self.run,
            holder,
            network,
            configuration,
            self._addresses,
            "http://127.0.0.1:9",
            Metrics(),
            OPEN,
            self.lifecycle.stopping,
        )
        services: Any = SimpleNamespace(database=self.database, run=self.run)
        fallback: Any = None
        self.player = Player(services, holder, self.episodes, fallback, self.lifecycle, continuously=False)

    def _addresses(self) -> dict[int, str]:
        self.asked.set()
        return {}

    def found(self) -> list[tuple[str, str | None]]:
        """Status and reason of each episode."""
        return [(str(one.status), one.reason) for one in find_episodes(self.database, self.run, status=None)]


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
