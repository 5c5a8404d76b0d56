"""Tests the controller's REST interface, on a real controller with three real nodes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from testbed import Testbed, wait_until

from commands.local import ControllerFailed, LocalController
from trainer.controller_client import ControllerClient, ControllerError

pytestmark = pytest.mark.timeout(300)
PLAN = {"phase": "evaluate", "method": "ratc", "trace": 7, "scheduler": "ratc"}


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    with Testbed(tmp_path_factory.mktemp("rest"), {}) as made:
        yield made


def test_an_episode_is_played_and_every_task_has_its_fate(testbed: Testbed):
    state = testbed.play()
    assert (state["status"], state["verdict"], state["reason"]) == ("closed", "complete", None)
    assert sum(state["outcomes"].values()) == state["tasks"] > 0
    assert state["successes"] == state["outcomes"]["success"]


def test_an_episode_sets_the_scheduler_that_it_names(testbed: Testbed):
    testbed.play(scheduler="sed", method="sed", parameters={"d": 1})
    live = testbed.call("GET", "/v1/configuration")[1]
    assert live["live_settings"]["scheduler"] == {"name": "sed", "parameters": {"d": 1}, "model": None}
    # Without parameters the defaults apply, not those of the episode before.
    testbed.play(scheduler="sed", method="sed")
    live = testbed.call("GET", "/v1/configuration")[1]
    assert live["live_settings"]["scheduler"]["parameters"] == {}
    wait_until(lambda: set(testbed.call("GET", "/v1/configuration")[1]["acknowledged"].values()) == {live["revision"]})


def test_a_recorded_trace_is_replayed_task_by_task(testbed: Testbed):
    first = testbed.play(trace=3)
    status, tasks = testbed.call("GET", f"/v1/episodes/{first['episode']}/trace")
    assert status == 200
    assert len(tasks["tasks"]) == first["tasks"]
    tasks["tasks"] = tasks["tasks"][:4]
    again = testbed.play(phase="replay", trace=3, tasks=tasks)
    assert again["tasks"] == 4
    assert testbed.call("GET", f"/v1/episodes/{again['episode']}/trace")[1] == tasks


def test_one_episode_at_a_time(testbed: Testbed):
    episode = testbed.begin()
    status, problem = testbed.call("POST", "/v1/episodes", PLAN)
    assert (status, problem["status"]) == (409, 409)
    assert str(episode) in problem["detail"]
    testbed.finish(episode)
    # A client that waited for the end of one episode can request the next one at once.
    testbed.finish(testbed.begin())


def test_an_aborted_episode_counts_nowhere(testbed: Testbed):
    episode = testbed.begin()
    assert testbed.call("POST", f"/v1/episodes/{episode}/abort")[0] == 204
    state = testbed.finish(episode)
    assert (state["status"], state["verdict"], state["reason"]) == ("aborted", None, "aborted by request")
    assert testbed.call("POST", f"/v1/episodes/{episode}/abort")[0] == 409
    assert testbed.play()["verdict"] == "complete"


def test_a_live_setting_changed_within_an_episode_makes_it_mixed(testbed: Testbed):
    episode = testbed.begin()
    status, answer = testbed.call(
        "PATCH", "/v1/configuration", {"live_settings": {"scheduler.name": "local"}, "by": "a test"}
    )
    assert status == 200
    state = testbed.finish(episode)
    assert state["verdict"] == "mixed"
    assert str(answer["revision"]) in state["reason"]
    assert "a test" in state["reason"]
    assert sum(state["outcomes"].values()) == state["tasks"]


def test_an_edit_of_the_watched_file_is_a_change(testbed: Testbed):
    before = testbed.call("GET", "/v1/configuration")[1]["revision"]
    (testbed.folder / "live.yaml").write_text("scheduler: {name: rda}\n")
    wait_until(lambda: testbed.call("GET", "/v1/configuration")[1]["revision"] > before)
    assert testbed.call("GET", "/v1/configuration")[1]["live_settings"]["scheduler"]["name"] == "rda"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/v1/episodes", b"{", 400, "Invalid JSON"),
        ("POST", "/v1/episodes", {**PLAN, "colour": "red"}, 422, "colour"),
        ("POST", "/v1/episodes", {**PLAN, "trace": -1}, 422, "trace"),
        ("POST", "/v1/episodes", {**PLAN, "trace": "7"}, 422, "trace"),
        ("POST", "/v1/episodes", {**PLAN, "phase": "holiday"}, 422, "phase"),
        ("POST", "/v1/episodes", {**PLAN, "scheduler": "rtac"}, 422, "unknown scheduler 'rtac'"),
        ("POST", "/v1/episodes", {**PLAN, "parameters": {"d": 2}}, 422, "scheduler.parameters.d"),
        ("POST", "/v1/episodes", {**PLAN, "scheduler": "drl"}, 422, "needs a model"),
        ("POST", "/v1/episodes", {**PLAN, "tasks": {"slot_s": 0.1}}, 422, "tasks"),
        (
            "POST",
            "/v1/episodes",
            {**PLAN, "tasks": {"slot_s": 0.2, "tasks": []}},
            422,
            "0.2 s; this run has 10 of 0.1 s",
        ),
        ("GET", "/v1/episodes/99999", None, 404, "99999"),
        ("GET", "/v1/episodes/1?wait_s=soon", None, 422, "wait_s"),
        ("GET", "/v1/episodes/99999/trace", None, 404, "99999"),
        ("DELETE", "/v1/episodes/1", None, 405, ""),
        ("PATCH", "/v1/configuration", {"live_settings": {}}, 422, "live_settings"),
        ("PATCH", "/v1/configuration", {"live_settings": {"time.slots": 3}}, 422, "not a live setting"),
        (
            "PATCH",
            "/v1/configuration",
            {"live_settings": {"scheduler.name": "rtac"}},
            422,
            "unknown scheduler 'rtac'",
        ),
        ("PATCH", "/v1/configuration", {"live_settings": {"log_level": "LOUD"}}, 422, "log_level"),
        ("POST", "/v1/models/m-1/activate", {}, 404, "there is no model 'm-1'"),
        ("GET", "/v1/runs/small/report", None, 404, "no report"),
        ("GET", "/v1/nothing", None, 404, ""),
    ],
)
def test_a_wrong_request_is_answered_with_what_is_wrong(testbed: Testbed, method, path, body, status, message):
    revision = testbed.call("GET", "/v1/configuration")[1]["revision"]
    answered, problem = testbed.call(method, path, body)
    assert answered == status, problem
    assert testbed.content_type == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert message in problem["detail"]
    assert testbed.call("GET", "/v1/configuration")[1]["revision"] == revision


def test_model_error_of_the_nodes_is_passed_on(testbed: Testbed):
    status, problem = testbed.call("POST", "/v1/episodes", {**PLAN, "scheduler": "drl", "model": "gone-1"})
    assert status == 502
    assert "gone-1" in problem["detail"]
    assert "node" in problem["detail"]
    # No state remains that would prevent the next episode.
    assert testbed.play()["verdict"] == "complete"


def test_arrivals_are_continuous_until_stopped(testbed: Testbed):
    assert testbed.call("POST", "/v1/serve")[0] == 204
    wait_until(lambda: "local" not in testbed.call("GET", "/v1/status")[1]["last_episodes"]["schedulers"])
    assert testbed.call("POST", "/v1/episodes", PLAN)[0] == 409
    # Another scheduler is set while the testbed runs: nothing stops, and each episode has one scheduler.
    testbed.call("PATCH", "/v1/configuration", {"live_settings": {"scheduler.name": "local"}})
    wait_until(lambda: "local" in testbed.call("GET", "/v1/status")[1]["last_episodes"]["schedulers"])
    assert testbed.call("DELETE", "/v1/serve")[0] == 204
    wait_until(lambda: testbed.call("GET", "/v1/status")[1]["episode"] is None)
    assert testbed.play()["verdict"] == "complete"


def test_fallback_scheduler_replaces_a_refused_one_visibly(testbed: Testbed):
    assert testbed.call("POST", "/v1/serve")[0] == 204
    testbed.call("PATCH", "/v1/configuration", {"live_settings": {"scheduler": {"name": "drl", "model": "gone-2"}}})
    wait_until(lambda: "gone-2" in (testbed.call("GET", "/v1/status")[1]["fallback"] or ""))
    status, page = testbed.call("GET", "/")
    assert status == 200
    assert "Fallback scheduler ratc is active" in page and "gone-2" in page
    live = testbed.call("GET", "/v1/configuration")[1]
    assert (live["live_settings"]["scheduler"]["name"], live["written_by"]) == ("ratc", "fallback")
    wait_until(lambda: testbed.call("GET", "/v1/status")[1]["last_episodes"]["schedulers"] == ["ratc"])
    testbed.call("PATCH", "/v1/configuration", {"live_settings": {"scheduler": {"name": "rda", "model": None}}})
    wait_until(lambda: testbed.call("GET", "/v1/status")[1]["last_episodes"]["schedulers"] == ["rda"])
    found = testbed.call("GET", "/v1/status")[1]
    assert (found["trouble"], found["fallback"]) == (None, None)
    testbed.call("DELETE", "/v1/serve")
    wait_until(lambda: testbed.call("GET", "/v1/status")[1]["episode"] is None)


def test_a_model_is_not_deployed_while_a_node_is_not_registered(testbed: Testbed):
    """A node that is not registered has acknowledged nothing."""
    registry, access = testbed.opened.registry, testbed.access
    live = testbed.call("GET", "/v1/configuration")[1]
    assert live["acknowledged"] == dict.fromkeys(("0", "1", "2"), live["revision"])
    testbed.signal_node(1, signal.SIGSTOP)
    try:
        (entry,) = [one for one in registry.instances("edgenode", "small") if one.instance == "1"]
        registry.deregister(entry)
        assert testbed.call("GET", "/v1/configuration")[1]["acknowledged"]["1"] == 0
        client = ControllerClient(testbed.address, access=access)
        client.activate = lambda version: None
        with pytest.raises(ControllerError, match="nodes 1 have not acknowledged it within 0 s"):
            client.deploy("any", timeout_s=0)
    finally:
        testbed.signal_node(1, signal.SIGCONT)
    wait_until(lambda: testbed.call("GET", "/v1/configuration")[1]["acknowledged"]["1"] == live["revision"])
    client.deploy("any", timeout_s=0)


def test_the_page_shows_every_node(testbed: Testbed):
    wait_until(lambda: all(node["alive"] for node in testbed.call("GET", "/v1/status")[1]["nodes"]))
    status, page = testbed.call("GET", "/")
    assert status == 200
    assert page.count("GHz") == 3
    assert "down" not in page.split("</style>")[1]
    assert "Success rate" in page


def test_metrics_count_episodes_and_tasks(testbed: Testbed):
    testbed.play()
    status, text = testbed.call("GET", "/metrics")
    assert status == 200
    assert 'offload_episodes_total{verdict="complete"}' in text
    assert 'offload_tasks_closed_total{outcome="success"}' in text
    assert "offload_nodes_alive 3.0" in text
    assert "offload_slot_lateness_seconds_count" in text


def test_a_second_controller_of_the_run_is_refused(testbed: Testbed):
    with (
        LocalController(testbed.opened, testbed.folder / "second") as second,
        pytest.raises(ControllerFailed, match=r"has a controller already, at http://"),
    ):
        second.address()
    assert testbed.play()["verdict"] == "complete"
