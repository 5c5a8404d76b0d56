"""Tests the testbed's source of episodes against a small controller: a real HTTP server with a real database."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from instant_testbed import begin, finish, open_run, play, small_settings

from middleware.database import abort_episode, find_episodes
from middleware.storage import open_storage
from offload.episodes import EpisodeError, EpisodePlan
from offload.scheduler_choice import SchedulerChoice
from trainer.controller_client import ControllerClient, ControllerError
from trainer.source import TestbedSource

PLAN = EpisodePlan("collect", "ratc", 5, SchedulerChoice("ratc"))


class SmallController:
    """Plays requested episodes at once. `endings`: the endings of the next episodes; all later ones are complete.

    Endings: complete, mixed, incomplete, aborted; refused (422), busy (409), starting (503), failed (502);
    vanishing: the server ends with the episode open, aborts it, and continues on another port;
    unanswered: complete, but the answer is lost.
    """

    def __init__(self, folder: Path, *endings: str) -> None:
        self.settings = small_settings()
        self.db, self.run = open_run(folder, self.settings)
        self.storage = open_storage(f"file:{folder}/storage", self.db)
        self.endings = list(endings)
        self.asked: list[dict] = []
        self.bystander: int | None = None
        self.acknowledged = [{"0": 1, "1": 1}, {"0": 2, "1": 1}]
        self._start()

    def url(self) -> str:
        if self._server is None:
            raise ConnectionError("no controller is registered")
        return f"http://127.0.0.1:{self._server.server_port}"

    def _start(self) -> None:
        controller = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                controller.asked.append({"path": self.path, **body})
                controller.opened(self, body)

            def do_GET(self) -> None:
                if self.path == "/v1/configuration":
                    seen = controller.acknowledged
                    self.answer(200, {"revision": 2, "acknowledged": seen.pop(0) if len(seen) > 1 else seen[0]})
                    return
                number = int(self.path.split("?")[0].rsplit("/", 1)[1])
                summaries = {s.episode: s for s in find_episodes(controller.db, controller.run, status=None)}
                s = summaries[number]
                self.answer(200, {"episode": number, "status": s.status, "verdict": s.verdict, "reason": s.reason})

            def answer(self, status: int, body: dict) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server: ThreadingHTTPServer | None = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def opened(self, request, body: dict) -> None:
        place = self.db, self.storage, self.run
        ending = self.endings.pop(0) if self.endings else "complete"
        if body == {}:
            request.answer(200, {"revision": 2})
            return
        choice = SchedulerChoice(body["scheduler"], body["parameters"], body["model"])
        plan = EpisodePlan(body["phase"], body["method"], body["trace"], choice)
        problems = {"refused": 422, "starting": 503, "failed": 502, "busy": 409}
        if ending in problems:
            if ending == "busy" and self.bystander is not None:
                finish(*place, plan, self.bystander)
            request.answer(problems[ending], {"title": "Problem", "detail": f"the controller is {ending}"})
            return
        if ending in ("aborted", "vanishing"):
            number = begin(self.db, self.run, plan)
            abort_episode(self.db, self.run, number, "the controller was restarted")
        else:
            number = play(
                *place, plan, mixed="by a test" if ending == "mixed" else None, missing=ending == "incomplete"
            ).episode
        if ending == "unanswered":
            request.close_connection = True
            return
        request.answer(202, {"episode": number})
        if ending == "vanishing":
            threading.Thread(target=self._restart).start()

    def _restart(self) -> None:
        self.stop()
        self._start()


@pytest.fixture
def controllers(tmp_path: Path) -> Iterator:
    made: list[SmallController] = []

    def make(*endings: str) -> SmallController:
        made.append(SmallController(tmp_path, *endings))
        return made[-1]

    yield make
    for controller in made:
        controller.stop()


def source_of(controller: SmallController, absence_s: float = 5.0) -> TestbedSource:
    return TestbedSource(controller.url, controller.db, controller.run, controller.settings, absence_s)


def test_an_episode_is_played_as_planned_and_its_log_comes_back(controllers) -> None:
    controller = controllers()
    plan = EpisodePlan("evaluate", "rda", 3_000_001, SchedulerChoice("rda", {"threshold": 2}))
    log = source_of(controller).play(plan)
    assert controller.asked == [
        {
            "path": "/v1/episodes",
            "phase": "evaluate",
            "method": "rda",
            "trace": 3_000_001,
            "scheduler": "rda",
            "parameters": {"threshold": 2},
            "model": None,
        }
    ]
    assert log.observations.shape[:2] == (9, 3)
    assert log.tasks > 0
    assert log.plan == plan


def test_an_episode_that_is_complete_already_is_not_played_again(controllers) -> None:
    controller = controllers()
    first = source_of(controller).play(PLAN)
    again = source_of(controller).play(PLAN)
    assert again.episode == first.episode
    assert len(controller.asked) == 1
    other = source_of(controller).play(EpisodePlan("collect", "ratc", 6, SchedulerChoice("ratc")))
    assert other.episode != first.episode


def test_resumed_run_finds_an_episode_opened_without_an_answer(controllers) -> None:
    """Otherwise the run trains on the second one, and after a restart on the first."""
    controller = controllers("unanswered")
    assert source_of(controller).play(PLAN).episode == 1
    assert source_of(controller).play(PLAN).episode == 1
    assert len(controller.asked) == 2


@pytest.mark.parametrize("ending", ["mixed", "incomplete", "aborted", "vanishing", "failed"])
def test_what_is_not_complete_is_repeated(controllers, ending: str) -> None:
    controller = controllers(ending, ending)
    source_of(controller).play(PLAN)
    assert len(controller.asked) == 3
    assert len(find_episodes(controller.db, controller.run, verdict="complete")) == 1


def test_after_three_repeats_the_run_stops_with_the_reason(controllers) -> None:
    controller = controllers(*["mixed"] * 9)
    with pytest.raises(EpisodeError, match=r"ratc on trace 5 was tried 4 times.*episode 4 is mixed: by a test"):
        source_of(controller).play(PLAN)
    assert len(controller.asked) == 4


def test_a_refused_plan_is_not_tried_again(controllers) -> None:
    controller = controllers("refused")
    with pytest.raises(ControllerError, match=r"refuses the collect episode of ratc.*the controller is refused"):
        source_of(controller).play(PLAN)
    assert len(controller.asked) == 1


def test_a_controller_that_is_starting_is_waited_for(controllers) -> None:
    controller = controllers("starting", "starting")
    source_of(controller).play(PLAN)
    assert len(find_episodes(controller.db, controller.run)) == 1


def test_the_episode_that_a_killed_trainer_left_running_is_taken(controllers) -> None:
    controller = controllers("busy")
    controller.bystander = begin(controller.db, controller.run, PLAN)
    assert source_of(controller).play(PLAN).episode == controller.bystander
    assert len(controller.asked) == 1


def test_source_reports_a_controller_that_stays_unavailable(controllers) -> None:
    controller = controllers()
    source = source_of(controller, absence_s=0.3)
    controller.stop()
    with pytest.raises(
        ControllerError, match=r"not answered POST /v1/episodes for 0\.3 s.*no controller is registered"
    ):
        source.play(PLAN)
    address = "http://127.0.0.1:9"
    source = TestbedSource(address, controller.db, controller.run, controller.settings, 0.3)
    with pytest.raises(ControllerError, match="Connection refused"):
        source.play(PLAN)


def test_a_model_is_activated_by_a_post(controllers) -> None:
    controller = controllers()
    source_of(controller).controller.activate("offline")
    assert controller.asked == [{"path": "/v1/models/offline/activate"}]


def test_a_model_is_deployed_when_every_node_has_acknowledged_it(controllers) -> None:
    controller = controllers()
    client = source_of(controller).controller
    with pytest.raises(ControllerError, match=r"model offline.*nodes 1 have not acknowledged it within 0\.3 s"):
        client.deploy("offline", timeout_s=0.3)
    controller.acknowledged = [{"0": 2, "1": 1}, {"0": 2, "1": 2}]
    client.deploy("offline")
    assert controller.acknowledged == [{"0": 2, "1": 2}]


@pytest.mark.parametrize("answer", [b"[]", b"null", b"<html>", b"\xff", b"{}", b'{"episode": "7"}'])
def test_source_retries_and_then_reports_a_malformed_answer(controllers, answer: bytes) -> None:
    """Regression: another server had the controller's address for a moment, and the run ended in a traceback."""
    controller = controllers()

    class Stranger(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        stranger.daemon_threads = True
        threading.Thread(target=stranger.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{stranger.server_port}"
        source = TestbedSource(address, controller.db, controller.run, controller.settings, 0.3)
        with pytest.raises(ControllerError, match=r"not answered POST /v1/episodes for 0\.3 s.*malformed answer"):
            source.play(PLAN)
        addresses = [address, controller.url()]
        client = ControllerClient(lambda: addresses.pop(0) if len(addresses) > 1 else addresses[0])
        assert client.post_episode(PLAN) is not None
        stranger.shutdown()
