"""Tests that many clients that wait for an episode's end do not block other requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from testbed import Testbed

from controller.episode_runtime import BusyError, Episodes, EpisodeState
from offload.episodes import EpisodePlan
from offload.scheduler_choice import SchedulerChoice
from trainer.controller_client import ControllerClient

PLAN = EpisodePlan("evaluate", "ratc", 7, SchedulerChoice("ratc"))


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    with Testbed(tmp_path_factory.mktemp("waiting"), {"time": {"slots": 300}}) as made:
        yield made


def ask(address: str, method: str, path: str, body: Any = None, timeout_s: float = 8.0) -> tuple[int, Any, str | None]:
    """(status, answer, Retry-After)."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=timeout_s)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.getheader("Retry-After")
    finally:
        connection.close()


@pytest.mark.slow
def test_fifty_waiting_clients_do_not_block_other_requests(testbed: Testbed):
    """Regression: 12 clients occupied all workers until the episode's end, so the kubelet killed the controller."""
    episode = testbed.begin()
    found: list[tuple[int, Any, str | None]] = []

    def wait() -> None:
        found.append(ask(testbed.address, "GET", f"/v1/episodes/{episode}?wait_s=60", timeout_s=90))

    ended: list[str] = []
    client = ControllerClient(testbed.address)
    patient = threading.Thread(target=lambda: ended.append(client.episode(episode, 60)["status"]))
    clients = [threading.Thread(target=wait) for _ in range(50)]
    for one in clients:
        one.start()
    patient.start()
    for _ in range(3):
        assert ask(testbed.address, "GET", "/healthz")[0] == 200
        assert ask(testbed.address, "GET", "/v1/status")[1]["episode"]["episode"] == episode
        assert (
            ask(
                testbed.address, "PATCH", "/v1/configuration", {"live_settings": {"log_level": "INFO"}, "by": "a test"}
            )[0]
            == 200
        )
    assert ask(testbed.address, "GET", f"/v1/episodes/{episode}")[1]["status"] == "open", (
        "it ended too early to see that"
    )
    for one in (*clients, patient):
        one.join(90)
    assert len(found) == 50
    assert {status for status, _, _ in found} == {200}
    assert all(after == "1" for _, state, after in found if state["status"] == "open")
    assert sum(state["status"] == "closed" for _, state, _ in found) >= 1, "the controller let no client wait"
    assert ended == ["closed"], "the trainer's client came back before the end"


class VanishingState(Episodes):
    """The player thread ends the episode between any two reads."""

    def __init__(self) -> None:
        self._reads = 0

    @property
    def state(self) -> EpisodeState | None:  # type: ignore[override]
        """The state at the first read, None afterwards."""
        self._reads += 1
        return EpisodeState(3, "0" * 32, PLAN, 10) if self._reads == 1 else None


def test_request_during_the_end_of_an_episode_is_busy():
    with pytest.raises(BusyError, match="episode 3"):
        VanishingState().open(PLAN)


@pytest.mark.parametrize(("episode", "aborted"), [(None, True), (3, True), (4, False)])
def test_abort_of_an_ending_episode_is_not_an_error(episode: int | None, aborted: bool):
    assert VanishingState().abort("the controller was stopped", episode) is aborted
