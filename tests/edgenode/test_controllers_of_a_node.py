"""Tests that a node obeys only the run's controller, and shares its folder with no other process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from small_controller import Fleet

from middleware.database.leases import acquire
from middleware.database.schema import episodes, leases, tasks
from middleware.http.epoch import HEADER
from offload import Trace, draw_trace, resolve_settings

LAYER = {"network": {"nodes": 3}, "time": {"slots": 6}, "scheduler": {"name": "random"}}
SETTINGS = resolve_settings([LAYER])


def trace_of(fleet: Fleet, number: int) -> Trace:
    timing = fleet.settings.time
    return draw_trace(fleet.settings.tasks, fleet.network, timing.slot_s, timing.slots, fleet.settings.seed, number)


def replace_controller(fleet: Fleet) -> int:
    """Another process acquires the run's lease. Returns its epoch."""
    with fleet.database.transaction() as connection:
        connection.execute(sa.update(leases).values(expires_at=0.0))
    lease = acquire(fleet.database, fleet.run, "successor")
    return lease.epoch


def wait_until(true: Callable[[], bool], timeout_s: float = 30) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_replaced_controller_cannot_change_the_nodes(tmp_path: Path) -> None:
    with Fleet(tmp_path, SETTINGS) as fleet:
        first, second = (fleet.write_episode(trace_of(fleet, number)) for number in (1, 2))
        fleet.open(first, 1)
        new = {HEADER: str(replace_controller(fleet))}
        assert fleet.call(1, "POST", "/v1/episodes", fleet.opening(second, 2), **new)[0] == 200
        for path, body in (
            ("/v1/episodes", fleet.opening(second + 1, 3)),
            (f"/v1/episodes/{second}/start", {"start_s": 0.0}),
            ("/v1/ticks", {"episode": second, "slot": 0, "task": None}),
            (f"/v1/episodes/{second}/close", {}),
        ):
            status, problem = fleet.call(1, "POST", path, body)
            assert (status, problem["title"]) == (412, "Another controller"), path
            assert problem["detail"] == "Offload-Epoch is 1; the controller of this run has 2"
        assert fleet.call(1, "GET", "/v1/status")[1]["episode"] == second
        assert fleet.call(1, "POST", f"/v1/episodes/{second}/start", {"start_s": time.monotonic()}, **new)[0] == 204


@contextmanager
def clock_ahead_by(offset_s: float, asked: threading.Event, answer: threading.Event) -> Iterator[str]:
    """A controller's clock that is ahead of this machine's. It sets `asked` and answers after `answer` is set."""

    class Clock(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.set()
            assert answer.wait(60)
            content = json.dumps({"monotonic_s": time.monotonic() + offset_s}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Clock)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        answer.set()
        server.shutdown()
        server.server_close()


def test_an_opening_that_waits_while_another_controller_takes_over_changes_nothing(tmp_path: Path) -> None:
    """Neither the new controller's episode nor the clock that the node has mapped for it."""
    settings = resolve_settings([LAYER, {"node": {"request_timeout_s": 30.0}}])
    asked, answer, now = threading.Event(), threading.Event(), threading.Event()
    now.set()
    with (
        Fleet(tmp_path, settings) as fleet,
        clock_ahead_by(0.0, asked, answer) as old_clock,
        clock_ahead_by(1000.0, threading.Event(), now) as new_clock,
        ThreadPoolExecutor(1) as pool,
    ):
        first, second = (fleet.write_episode(trace_of(fleet, number)) for number in (1, 2))
        late = {**fleet.opening(second, 2), "controller": old_clock}
        waiting = pool.submit(fleet.call, 1, "POST", "/v1/episodes", late, 90.0)
        assert asked.wait(60)
        new = {HEADER: str(replace_controller(fleet))}
        body = {**fleet.opening(first, 1), "controller": new_clock}
        assert fleet.call(1, "POST", "/v1/episodes", body, **new)[0] == 200
        answer.set()
        status, problem = waiting.result(90)
        assert (status, problem["title"]) == (412, "Another controller")
        assert "Offload-Epoch is 1; another controller took over the run" in problem["detail"]
        assert fleet.call(1, "GET", "/v1/status")[1]["episode"] == first
        start = {"start_s": time.monotonic() + 1000.0}
        assert fleet.call(1, "POST", f"/v1/episodes/{first}/start", start, **new)[0] == 204
        tick = {"episode": first, "slot": 0, "task": None}
        assert fleet.call(1, "POST", "/v1/ticks", tick, **new)[0] == 202
        wait_until(lambda: fleet.call(1, "GET", "/v1/status")[1]["slot"] == 0)


def test_a_restored_database_may_count_from_lower_numbers(tmp_path: Path) -> None:
    """A dump of yesterday has fewer episodes and fewer controllers than the nodes have seen."""
    with Fleet(tmp_path, SETTINGS) as fleet:
        for number in (1, 2, 3):
            assert fleet.write_episode(trace_of(fleet, number)) == number
        replace_controller(fleet)
        later = {HEADER: str(replace_controller(fleet))}
        assert later == {HEADER: "3"}
        for node in range(3):
            assert fleet.call(node, "POST", "/v1/episodes", fleet.opening(3, 3), **later)[0] == 200
        with fleet.database.transaction() as connection:
            for table in (tasks, episodes):
                connection.execute(sa.delete(table))
            connection.execute(sa.update(leases).values(epoch=1, expires_at=0.0))
        lease = acquire(fleet.database, fleet.run, "after the restoration")
        restored = {HEADER: str(lease.epoch)}
        assert fleet.write_episode(trace_of(fleet, 1)) == 1
        for node in range(3):
            status, answer = fleet.call(node, "POST", "/v1/episodes", fleet.opening(1, 1), **restored)
            assert status == 200, answer
            assert fleet.call(node, "GET", "/v1/status")[1]["episode"] == 1


def test_an_epoch_that_is_not_the_controllers_changes_nothing(tmp_path: Path) -> None:
    with Fleet(tmp_path, SETTINGS) as fleet:
        episode = fleet.write_episode(trace_of(fleet, 1))
        for epoch, expected in (("2", 412), ("0", 422), ("x", 422), ("1.0", 422), ("9" * 30, 422), ("²", 422)):
            status, problem = fleet.call(0, "POST", "/v1/episodes", fleet.opening(episode, 1), **{HEADER: epoch})
            assert status == expected, problem
            assert HEADER in problem["detail"]


def test_a_node_that_was_restarted_says_that_it_plays_nothing(tmp_path: Path) -> None:
    """The controller then closes the episode without this node."""
    with Fleet(tmp_path, SETTINGS) as fleet:
        episode = fleet.write_episode(trace_of(fleet, 1))
        status, problem = fleet.call(0, "POST", f"/v1/episodes/{episode}/close", {})
        assert (status, problem["title"]) == (409, "Wrong episode")


def test_a_second_process_of_a_node_ends_and_names_the_folder(tmp_path: Path) -> None:
    with Fleet(tmp_path, SETTINGS) as fleet:
        first = fleet.processes[1]
        done = subprocess.run(
            [sys.executable, "-m", "commands.node"],
            env=fleet.environment(1),
            stdin=subprocess.PIPE,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        message = done.stderr.strip().splitlines()[-1]
        folder = tmp_path / "pods" / "node-1" / "outbox" / fleet.run.uid
        assert f"OFFLOAD_DATA_DIR: {folder} is used by another process of this node (process {first.pid})" in message
        assert "Traceback" not in done.stderr
        fleet.play(trace_of(fleet, 1))


def test_a_node_waits_for_its_dying_predecessor_to_leave_the_folder(tmp_path: Path) -> None:
    with Fleet(tmp_path, SETTINGS) as fleet:
        predecessor = fleet.processes[1]
        fleet.start_node(1)
        time.sleep(3.0)
        assert fleet.processes[1].poll() is None
        predecessor.terminate()
        assert predecessor.wait(20) == 0
        fleet.wait_ready()
        fleet.play(trace_of(fleet, 1))


def test_local_node_ends_when_another_controller_takes_over(tmp_path: Path) -> None:
    """Its own controller may be frozen and never end it, and the new controller's nodes need the folder."""
    with Fleet(tmp_path, SETTINGS) as fleet:
        process = subprocess.Popen(
            [sys.executable, "-m", "commands.node"],
            env={
                **fleet.environment(0),
                "OFFLOAD_EPOCH": "1",
                "OFFLOAD_DATA_DIR": str(tmp_path / "own"),
                "OFFLOAD_LEAVING_S": "60",
            },
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: fleet.registry.instances("edgenode", "test")[0].metadata["pid"] == process.pid)
            assert fleet.registry.instances("edgenode", "test")[0].metadata["epoch"] == 1
            replace_controller(fleet)
            assert process.stderr is not None
            assert process.wait(30) == 0, "its lifeline still holds"
            log = process.stderr.read()
            reason = "another process controls the run now (epoch 2) than the one that started this node (epoch 1)"
            assert reason in log
        finally:
            process.kill()
        late = subprocess.run(
            [sys.executable, "-m", "commands.node"],
            env={**fleet.environment(0), "OFFLOAD_EPOCH": "1", "OFFLOAD_DATA_DIR": str(tmp_path / "own")},
            stdin=subprocess.PIPE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert late.returncode == 3
        assert "another process controls the run now" in late.stderr and "Traceback" not in late.stderr
