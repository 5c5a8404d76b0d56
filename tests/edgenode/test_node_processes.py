"""Tests real node processes on a real database: every task has one outcome, and measured times match the model."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import sqlalchemy as sa
from small_controller import Fleet, raw_link

from controller.nodes import NodeClients
from controller.ticks import Ticks
from middleware.database import close_episode, load_trace
from middleware.database.schema import decisions, outcomes
from offload import Settings, Trace, draw_trace, resolve_settings

_SMALL = {
    "network": {
        "nodes": 3,
        "cores": [4, 8],
        "arrival_probability": [0.6, 1.0],
        "failure_rate": [0.0, 0.2],
        "rate_bps": ["10 MB/s", "20 MB/s"],
    },
    "tasks": {"size_bits": ["200 KB", "600 KB"]},
    "time": {"slots": 12},
    "scheduler": {"name": "random"},
}


def _settings(**node: Any) -> Settings:
    return resolve_settings([_SMALL, {"node": node}])


def _trace(fleet: Fleet, number: int) -> Trace:
    time_settings = fleet.settings.time
    return draw_trace(
        fleet.settings.tasks, fleet.network, time_settings.slot_s, time_settings.slots, fleet.settings.seed, number
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("fleet"), _settings()) as running:
        yield running


@pytest.fixture(scope="module")
def payload_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("payload"), _settings(transfer="payload")) as running:
        yield running


def _rows(fleet: Fleet, table: sa.Table, episode: int) -> list[Any]:
    with fleet.database.reading() as connection:
        return list(connection.execute(sa.select(table).where(table.c.episode == episode)).all())


def _opened(fleet: Fleet, number: int) -> tuple[int, Trace]:
    trace = _trace(fleet, number)
    episode = fleet.write_episode(trace)
    fleet.open(episode, trace.episode)
    return episode, trace


@pytest.mark.parametrize("transfer", ["emulated", "payload"])
@pytest.mark.parametrize("scheduler", ["random", "ratc"])
def test_every_task_has_one_fate_and_durations_are_as_modelled(
    transfer: str, scheduler: str, request: pytest.FixtureRequest
) -> None:
    fleet: Fleet = request.getfixturevalue("fleet" if transfer == "emulated" else "payload_fleet")
    fleet.change({"scheduler": {"name": scheduler, "model": None}})
    episode = fleet.play(_trace(fleet, 3))
    summary = close_episode(fleet.database, fleet.run, episode)  # checks that every task has one outcome
    assert (summary.verdict, summary.reason) == ("complete", None), fleet.logs()
    assert "lost" not in summary.outcomes, fleet.logs()
    trace, rows = load_trace(fleet.database, fleet.run, episode), _rows(fleet, outcomes, episode)
    assert {(row.slot, row.source) for row in rows} == {(task.slot, task.source) for task in trace}
    assert all(row.skew_s >= 0 and row.decision_s >= 0 and row.execution_waiting_s >= 0 for row in rows)
    travelled = [row for row in rows if row.transfer == transfer and row.execution_s > 0]
    assert travelled
    transmissions = [
        row.transmission_s * fleet.network.rate_bps[row.source, row.destination] / trace.size_bits[row.slot, row.source]
        - 1
        for row in travelled
    ]
    executions = [
        row.execution_s * fleet.network.capacity_hz[row.destination] / trace.cycles[row.slot, row.source] - 1
        for row in rows
        if row.execution_s > 0
    ]
    # A busy machine may wake threads late; a benchmark measures fidelity. An execution never ends early.
    assert np.median(np.abs(transmissions)) < 0.25 and np.median(np.abs(executions)) < 0.25
    assert min(executions) > -1e-6
    records = _rows(fleet, decisions, episode)
    assert len(records) == fleet.n * (fleet.settings.time.slots + 1)
    chosen = {(row.slot, row.node): row.action for row in records}
    assert all(chosen[row.slot, row.source] == row.destination for row in rows)
    assert {row.action for row in records if row.slot == fleet.settings.time.slots} == {fleet.n}


def test_a_node_killed_in_an_episode_costs_its_own_tasks_only(tmp_path: Path) -> None:
    with Fleet(tmp_path, _settings()) as fleet:
        episode, trace = _opened(fleet, 5)
        start_s = fleet.start(episode)
        down = []
        for slot in range(fleet.settings.time.slots + 1):
            if slot == 4:
                os.kill(fleet.processes[2].pid, signal.SIGKILL)
                fleet.processes[2].wait()
            answered = fleet.tick(episode, trace, slot, start_s)
            assert {answered.get(0), answered.get(1)} == {202}, fleet.logs()
            if 2 not in answered:
                down.append(slot)
        fleet.drain()
        for node in (0, 1):
            assert fleet.call(node, "POST", f"/v1/episodes/{episode}/close", {})[0] == 200
        fleet.start_node(2)  # delivers the records that the killed process left on its disk
        fleet.wait_ready()
        until = time.monotonic() + 20
        while fleet.call(2, "GET", "/v1/status")[1]["outbox"] and time.monotonic() < until:
            time.sleep(0.05)
        summary = close_episode(fleet.database, fleet.run, episode, down={2: down})
        assert sum(summary.outcomes.values()) == summary.tasks
        assert summary.outcomes.get("lost", 0) > 0
        for row in _rows(fleet, outcomes, episode):
            if row.outcome == "lost":
                assert row.completion_s == trace.deadline_s[row.slot, row.source]
                assert row.source == 2 or row.destination in (2, None)


def test_a_node_that_comes_back_joins_the_running_episode(tmp_path: Path) -> None:
    with Fleet(tmp_path, _settings()) as fleet:
        episode, trace = _opened(fleet, 6)
        start_s = fleet.start(episode)
        ticked = []
        for slot in range(fleet.settings.time.slots + 1):
            if slot == 2:
                os.kill(fleet.processes[2].pid, signal.SIGKILL)
                fleet.processes[2].wait()
                fleet.start_node(2)
                fleet.wait_ready()
                opening = fleet.opening(episode, trace.episode, start_s)
                assert fleet.call(2, "POST", "/v1/episodes", opening)[0] == 200
            ticked.append(fleet.tick(episode, trace, slot, start_s).get(2))
        assert ticked[-1] == 202
        fleet.drain()
        assert all(status == 200 for status, _ in fleet.close(episode))
        summary = close_episode(fleet.database, fleet.run, episode)
        assert sum(summary.outcomes.values()) == summary.tasks


def test_the_episode_is_opened_again_on_a_node_that_missed_its_start(fleet: Fleet) -> None:
    """The node kept its tick longer than the controller waited. It was down for the whole episode."""
    trace = _trace(fleet, 60)
    episode = fleet.write_episode(trace)
    fleet.open(episode, trace.episode)
    start_s = time.monotonic()  # no node is notified
    clients = NodeClients({0: fleet.addresses[0]}, fleet.run.uid, epoch=1)
    ticks = Ticks(clients, fleet.addresses.get, lambda *_: fleet.opening(episode, trace.episode, start_s))
    slots = range(fleet.settings.time.slots)
    for slot in slots:
        ticks.put(slot, {0: {"episode": episode, "slot": slot, "task": None}})
        ticks.serve_until(time.monotonic() + 1.0)
    down = ticks.finish(5.0)[0]
    clients.close()
    assert 0 in down
    assert len(down) < len(slots), fleet.logs()


def test_an_episode_that_has_begun_is_not_opened_anew(fleet: Fleet) -> None:
    """A controller that takes a slow node for a dead one opens the episode there again: its tasks must not be lost."""
    fleet.change({"scheduler": {"name": "local", "model": None}})
    episode, trace = _opened(fleet, 13)
    start_s = fleet.start(episode)
    for slot in range(fleet.settings.time.slots + 1):
        fleet.tick(episode, trace, slot, start_s)
        if slot in (4, 8):
            opening = fleet.opening(episode, trace.episode, start_s)
            assert fleet.call(1, "POST", "/v1/episodes", opening)[0] == 200
    fleet.drain()
    assert all(status == 200 for status, _ in fleet.close(episode))
    summary = close_episode(fleet.database, fleet.run, episode)
    assert (summary.verdict, summary.reason) == ("complete", None) and "lost" not in summary.outcomes, fleet.logs()


def test_an_opening_that_was_held_up_changes_nothing(fleet: Fleet) -> None:
    """A node that hung while it fetched a model has several queued openings: the last ones arrive after the start."""
    fleet.change({"scheduler": {"name": "local", "model": None}})
    before, _ = _opened(fleet, 14)
    episode, trace = _opened(fleet, 15)
    held_up = fleet.opening(episode, trace.episode)
    threads = [threading.Thread(target=fleet.call, args=(1, "POST", "/v1/episodes", held_up)) for _ in range(6)]
    for thread in threads:
        thread.start()
    start_s = fleet.start(episode)
    for slot in range(fleet.settings.time.slots + 1):
        statuses = fleet.tick(episode, trace, slot, start_s)
        assert set(statuses.values()) == {202}, (slot, statuses)
        if slot == 4:
            status, answer = fleet.call(1, "POST", "/v1/episodes", fleet.opening(before, 14))
            assert (status, answer["title"]) == (409, "Wrong episode")
            assert f"episode {before} is over" in answer["detail"]
    for thread in threads:
        thread.join()
    fleet.drain()
    assert all(status == 200 for status, _ in fleet.close(episode))
    summary = close_episode(fleet.database, fleet.run, episode)
    assert (summary.verdict, summary.reason) == ("complete", None) and "lost" not in summary.outcomes, fleet.logs()


def test_refused_live_settings_keep_the_last_valid_ones(fleet: Fleet) -> None:
    revision = fleet.change({"scheduler": {"name": "local", "model": None}})
    fleet.open(fleet.write_episode(_trace(fleet, 7)), 7)
    found = fleet.call(0, "GET", "/v1/status")[1]
    assert (found["scheduler"], found["revision"]) == ("local", revision)
    fleet.change({"scheduler": {"name": "drl", "model": "nowhere"}})
    status, answer = fleet.call(0, "POST", "/v1/episodes", fleet.opening(90, 7))
    assert 400 <= status < 500 and "nowhere" in answer["detail"]
    found = fleet.call(0, "GET", "/v1/status")[1]
    assert found["scheduler"] == "local" and "nowhere" in found["problem"]
    revision = fleet.change({"scheduler": {"name": "random", "model": None}})
    fleet.open(fleet.write_episode(_trace(fleet, 7)), 7)
    until = time.monotonic() + 20
    while time.monotonic() < until:  # until all nodes have acknowledged
        instances = [one.metadata for one in fleet.registry.instances("edgenode", "test")]
        if all(one["revision"] == revision and one["scheduler"] == "random" for one in instances):
            return
        time.sleep(0.05)
    raise AssertionError(instances)


def test_a_refused_model_is_reported_to_the_controller_that_opens(fleet: Fleet) -> None:
    """A damaged model must not make decisions. The message says which model and why."""
    fleet.change({"scheduler": {"name": "drl", "model": None}})
    status, answer = fleet.call(0, "POST", "/v1/episodes", fleet.opening(91, 7))
    assert status == 424 and "scheduler.model" in answer["detail"]
    fleet.change({"scheduler": {"name": "random", "model": None}})


def test_metrics_and_status_report_the_same_numbers(fleet: Fleet) -> None:
    fleet.change({"scheduler": {"name": "random", "model": None}})
    episode = fleet.play(_trace(fleet, 8))
    close_episode(fleet.database, fleet.run, episode)
    found = fleet.call(1, "GET", "/v1/status")[1]
    wanted = {
        "run", "node", "episode", "slot", "pending", "queues", "scheduler", "model", "revision", "outbox",
        "refused_records",
    }  # fmt: skip
    assert wanted <= set(found)
    assert (found["run"], found["node"], found["episode"], found["pending"], found["outbox"]) == (
        "test",
        1,
        episode,
        0,
        0,
    )
    text = fleet.call(1, "GET", "/metrics")[1]
    assert 'offload_tasks_total{outcome="success"}' in text and "offload_decision_seconds_bucket" in text
    assert "offload_outbox_records 0.0" in text


def test_close_says_how_many_records_there_were(fleet: Fleet) -> None:
    fleet.change({"scheduler": {"name": "local", "model": None}})
    episode, trace = _opened(fleet, 9)
    start_s = fleet.start(episode)
    for slot in range(fleet.settings.time.slots + 1):
        fleet.tick(episode, trace, slot, start_s)
    fleet.drain()
    answers = fleet.close(episode)
    for node, (status, answer) in enumerate(answers):
        assert status == 200
        assert answer["decisions"] == fleet.settings.time.slots + 1
        assert answer["outcomes"] == int(trace.has_task[:, node].sum())


# --- what must be refused -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def playing(fleet: Fleet) -> tuple[Fleet, int]:
    fleet.change({"scheduler": {"name": "local", "model": None}})
    episode, trace = _opened(fleet, 11)
    fleet.tick(episode, trace, 0, fleet.start(episode))
    return fleet, episode


_HANDOVER = {
    "slot": 0,
    "source": 1,
    "size_bits": 8e3,
    "cycles": 1e6,
    "deadline_s": 1.0,
    "elapsed_at_start_s": 0.0,
    "transmission_waiting_s": 0.0,
    "transmission_s": 0.001,
    "skew_s": 0.0,
    "decision_s": 0.0,
}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/v1/ticks", b"{not json", 400, "JSON"),
        ("POST", "/v1/ticks", b"", 400, "JSON"),
        ("POST", "/v1/ticks", b"\xff\xfe", 400, ""),
        ("POST", "/v1/ticks", b'{"slot": 1, "task": null}', 422, "episode"),
        ("POST", "/v1/ticks", {"slot": 1, "task": None, "colour": "red"}, 422, "colour"),
        ("POST", "/v1/ticks", {"slot": -1, "task": None}, 422, "slot"),
        ("POST", "/v1/ticks", {"slot": 99, "task": None}, 422, "slot"),
        ("POST", "/v1/ticks", {"slot": 1, "task": {"size_bits": 0, "cycles": 1, "deadline_s": 1}}, 422, "size_bits"),
        ("POST", "/v1/ticks", {"slot": 1, "task": {"size_bits": 1, "cycles": "x", "deadline_s": 1}}, 422, "cycles"),
        ("POST", "/v1/ticks", {"slot": 0, "task": None}, 409, "0"),
        ("POST", "/v1/ticks", {"episode": 12345, "slot": 1, "task": None}, 409, "12345"),
        ("GET", "/v1/reports?episode=1", None, 422, "slot"),
        ("GET", "/v1/reports?episode=x&slot=1", None, 422, "integers"),
        ("GET", "/v1/reports?episode=12345&slot=1", None, 409, "12345"),
        ("GET", "/v1/reports?episode=1&slot=1&source=1", None, 422, "cycles"),
        ("GET", "/v1/reports?episode=1&slot=1&cycles=1e9", None, 422, "source"),
        ("GET", "/v1/reports?episode=1&slot=1&source=1&cycles=nan", None, 422, "cycles: nan"),
        ("GET", "/v1/reports?episode=1&slot=1&source=1&cycles=-1", None, 422, "cycles: -1"),
        ("GET", "/v1/reports?episode=1&slot=1&source=99&cycles=1e9", None, 422, "source: 99"),
        ("POST", "/v1/announcements", {"slot": 1, "source": 0, "cycles": 1.0, "forget_after_s": 1}, 422, "source"),
        ("POST", "/v1/announcements", {"slot": 1, "source": 7, "cycles": 1.0, "forget_after_s": 1}, 422, "source"),
        ("POST", "/v1/announcements", {"slot": 1, "source": 1, "cycles": -1, "forget_after_s": 1}, 422, "cycles"),
        ("POST", "/v1/confirmations", {"slot": 1, "source": 0, "cycles": 1.0, "forget_after_s": 1}, 422, "source"),
        ("POST", "/v1/confirmations", {"slot": 99, "source": 1, "cycles": 1.0, "forget_after_s": 1}, 422, "slot"),
        ("POST", "/v1/confirmations", {"slot": 1, "source": 1, "cycles": -1, "forget_after_s": 1}, 422, "cycles"),
        ("POST", "/v1/confirmations", {"slot": 1, "source": 1, "cycles": 1.0}, 422, "forget_after_s"),
        (
            "POST",
            "/v1/confirmations",
            {"episode": 12345, "slot": 1, "source": 1, "cycles": 1, "forget_after_s": 1},
            409,
            "12345",
        ),
        ("POST", "/v1/withdrawals", {"slot": 1, "source": 0}, 422, "source"),
        ("POST", "/v1/overload", {"node": 0, "overloaded": True, "sequence": 1, "episode": None}, 422, ""),
        ("POST", "/v1/overload", b'{"node": 0, "overloaded": true, "sequence": 1}', 422, "node"),
        ("POST", "/v1/handovers", {**_HANDOVER, "episode_uid": "0" * 32, "source": 0}, 422, "source"),
        ("POST", "/v1/handovers", {**_HANDOVER, "episode_uid": "0" * 32, "skew_s": -1e-3}, 422, "skew_s"),
        ("POST", "/v1/handovers", b'{"slot": NaN}', 422, "slot"),
        ("POST", "/v1/episodes", b'{"episode": 1}', 422, "trace"),
        ("POST", "/v1/episodes/12345/close", {}, 409, "12345"),
        ("GET", "/v1/ticks", None, 405, "only POST is allowed"),
        ("GET", "/nowhere", None, 404, ""),
    ],
)
def test_bad_request_problem_names_the_wrong_value(
    playing: tuple[Fleet, int], method: str, path: str, body: Any, status: int, message: str
) -> None:
    fleet, episode = playing
    if isinstance(body, dict):
        body = {"episode": episode, **body}
    found, answer = fleet.call(0, method, path, body)
    assert found == status, answer
    assert set(answer) == {"type", "title", "status", "detail"} and answer["status"] == status
    assert message in answer["detail"]
    assert fleet.call(0, "GET", "/healthz")[0] == 200


def test_a_confirmation_answers_with_the_work_so_far_and_counts_for_the_next(playing: tuple[Fleet, int]) -> None:
    fleet, episode = playing
    work = []
    for source in (1, 2):
        body = {"episode": episode, "slot": 0, "source": source, "cycles": 5e9, "forget_after_s": 100.0}
        status, answer = fleet.call(0, "POST", "/v1/confirmations", body)
        assert status == 200, answer
        assert answer["pending_cycles"] == 0.0
        work.append(answer["receiving_work_s"])
    assert work[1] > work[0], "the first task was announced before the second"
    for source in (1, 2):
        body = {"episode": episode, "slot": 0, "source": source}
        assert fleet.call(0, "POST", "/v1/withdrawals", body)[0] == 204


def _answer(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as file:
        answer: dict[str, Any] = json.loads(file.readline())
    return answer


def test_link_receives_and_measures_tasks_in_order(payload_fleet: Fleet) -> None:
    fleet = payload_fleet
    episode, trace = _opened(fleet, 12)
    fleet.tick(episode, trace, 0, fleet.start(episode))
    slots = [task.slot for task in trace if task.source == 1 and task.slot > 0][:2]
    with raw_link(fleet, 0, episode, 1) as link:
        for slot, pause_s in zip(slots, (0.05, 0.15), strict=True):
            task = {
                "episode": episode,
                "episode_uid": fleet.uids[episode],
                **_HANDOVER,
                "slot": slot,
                "deadline_s": 1000.0,
            }
            link.sendall(json.dumps(task).encode() + b"\n" + bytes(400))
            time.sleep(pause_s)
            link.sendall(bytes(600))
            assert _answer(link) == {"status": 200, "accepted": True}
    fleet.drain()
    fleet.call(0, "POST", f"/v1/episodes/{episode}/close", {})
    measured = {row.slot: row.transmission_s for row in _rows(fleet, outcomes, episode) if row.source == 1}
    assert 0.05 <= measured[slots[0]] < 0.15 <= measured[slots[1]]


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [(b"{not json", 400, "JSON"), (b'{"episode": 12345}', 422, "slot"), (b"[]", 422, "")],
)
def test_a_link_refuses_what_is_not_a_task(playing: tuple[Fleet, int], line: bytes, status: int, message: str) -> None:
    fleet, episode = playing
    with raw_link(fleet, 0, episode, 1) as link:
        link.sendall(line + b"\n")
        answer = _answer(link)
        assert answer["status"] == status and message in answer["detail"]
        assert link.recv(1) == b""  # the beginning of the next task cannot be determined
    assert fleet.call(0, "GET", "/healthz")[0] == 200


def test_a_line_without_an_end_closes_the_link(playing: tuple[Fleet, int]) -> None:
    fleet, episode = playing
    with raw_link(fleet, 0, episode, 1) as link:
        link.sendall(b"x" * 100_000)
        with contextlib.suppress(ConnectionError):
            assert link.recv(1) == b""
    assert fleet.call(0, "GET", "/healthz")[0] == 200


def test_a_link_needs_the_upgrade(playing: tuple[Fleet, int]) -> None:
    fleet, _ = playing
    assert fleet.call(0, "GET", "/v1/link")[0] == 426


def test_broken_transfer_falls_back_to_the_description(playing: tuple[Fleet, int]) -> None:
    """A link that breaks within a transfer must neither lose the task nor execute it twice."""
    fleet, episode = playing
    task = {"episode": episode, "episode_uid": fleet.uids[episode], **_HANDOVER, "slot": 3, "deadline_s": 1000.0}
    before = fleet.call(0, "GET", "/v1/status")[1]["pending"]
    with raw_link(fleet, 0, episode, 1) as link:
        link.sendall(json.dumps(task).encode() + b"\n" + bytes(500))
    time.sleep(0.2)
    assert fleet.call(0, "GET", "/v1/status")[1]["pending"] <= before
    foreign = fleet.call(0, "POST", "/v1/handovers", {**task, "episode_uid": "f" * 32})
    assert (foreign[0], foreign[1]["title"]) == (409, "Wrong episode"), "of another database's episode of this number"
    assert fleet.call(0, "POST", "/v1/handovers", task) == (200, {"accepted": True})
    assert fleet.call(0, "POST", "/v1/handovers", task) == (200, {"accepted": False})


def test_a_probe_of_a_slot_that_does_not_come_gives_up_in_time(playing: tuple[Fleet, int]) -> None:
    fleet, episode = playing
    status, answer = fleet.call(0, "GET", f"/v1/reports?episode={episode}&slot=11")
    assert status == 503 and "11" in answer["detail"]
    status, report = fleet.call(0, "GET", f"/v1/reports?episode={episode}&slot=0")
    assert status == 200 and report["slot"] == 0 and report["capacity_hz"] == fleet.network.capacity_hz[0]


def test_connections_of_many_peers_are_kept(playing: tuple[Fleet, int]) -> None:
    """Regression: with over ten kept connections the server closed each after its answer."""
    fleet, _ = playing
    connections = [HTTPConnection(urlsplit(fleet.addresses[0]).netloc, timeout=10) for _ in range(24)]
    for _ in range(2):
        for connection in connections:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            response.read()
            assert response.getheader("Connection") != "close"
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"OFFLOAD_NODE": "7"}, "OFFLOAD_NODE=7"),
        ({"OFFLOAD_NODE": "x"}, "OFFLOAD_NODE='x'"),
        ({"OFFLOAD_RUN": ""}, "OFFLOAD_RUN"),
        ({"OFFLOAD_RUN": "other"}, "other"),
        ({"OFFLOAD_BIND": "nonsense"}, "OFFLOAD_BIND"),
    ],
)
def test_a_wrong_start_ends_with_exit_code_2_and_says_why(fleet: Fleet, changes: dict[str, str], message: str) -> None:
    import subprocess
    import sys

    environment = {**fleet.environment(0), "OFFLOAD_DATA_DIR": str(fleet.folder / "wrong"), **changes}
    done = subprocess.run(
        [sys.executable, "-m", "commands.node"],
        env=environment,
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_a_node_is_small_and_knows_no_torch(fleet: Fleet) -> None:
    """Edge nodes run on small machines without torch."""
    for process in fleet.processes.values():
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kib = int(status.partition("VmRSS:")[2].split()[0])
        assert resident_kib * 1024 < 120e6
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert "torch" not in maps and "matplotlib" not in maps


def test_sigterm_and_the_lifeline_end_a_node(tmp_path: Path) -> None:
    with Fleet(tmp_path, _settings()) as fleet:
        fleet.processes[0].terminate()
        stdin = fleet.processes[1].stdin
        assert stdin is not None
        stdin.close()
        assert fleet.processes[0].wait(timeout=20) == 0
        assert fleet.processes[1].wait(timeout=20) == 0
        assert {one.instance for one in fleet.registry.instances("edgenode", "test")} == {"2"}
