"""Tests probes: a slow, dead or restarted node must not delay a decision, or answer for another slot."""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from edgenode.probing import Prober
from edgenode.reports import Report


@contextmanager
def _node(
    delay_s: Callable[[int], float] = lambda slot: 0.0, status: int = 200, answer: bytes | None = None
) -> Iterator[str]:
    """A real server that reports its slot as its queue's length after a delay, or gives this answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            slot = int(parse_qs(urlsplit(self.path).query)["slot"][0])
            time.sleep(delay_s(slot))
            report = {
                "slot": slot,
                "capacity_hz": 1e9,
                "failure_rate": 0.1,
                "execution_queue_length": slot,
                "execution_backlog_s": 0.0,
                "receiving_work_s": 0.0,
                "pending_cycles": 0.0,
                "asked_work_s": 0.0,
                "asked_count": 0,
            }
            content = json.dumps(report).encode() if answer is None else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_silent_node_is_left_out_after_the_time_out() -> None:
    with _node() as quick, _node(lambda _: 5.0) as slow:
        addresses = {1: quick, 2: slow}
        prober = Prober(addresses.__getitem__, str, timeout_s=0.3)
        assert set(prober.ask([1, 2], 1, 0, None)) == {1}
        prober.close()


def test_enough_answers_end_the_wait() -> None:
    with _node() as one, _node() as two, _node(lambda _: 20.0) as slow:
        addresses = {1: one, 2: two, 3: slow}
        prober = Prober(addresses.__getitem__, str, timeout_s=15.0)
        began = time.monotonic()
        assert set(prober.ask([1, 2, 3], 1, 0, 2)) == {1, 2}
        assert time.monotonic() - began < 10
        prober.close()


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_slots() -> None:
    """The node would decide by the state of the previous slot."""
    with _node(lambda slot: 0.4 if slot == 1 else 0.0) as address:
        prober = Prober({1: address}.__getitem__, str, timeout_s=0.2)
        assert prober.ask([1], 1, 1, None) == {}
        time.sleep(0.5)  # the answer has arrived
        assert prober.ask([1], 1, 2, None)[1].report.slot == 2
        assert prober.ask([1], 1, 1, None) == {}
        assert prober.ask([1], 1, 3, None)[1].report.slot == 3  # the previous answer has not been read yet
        prober.close()


def test_dead_and_refusing_nodes_are_left_out() -> None:
    with _node() as alive, _node(status=503) as refusing:
        addresses = {1: alive, 2: _nobody(), 3: refusing}
        prober = Prober(addresses.__getitem__, str, timeout_s=1.0)
        assert set(prober.ask([1, 2, 3], 1, 4, None)) == {1}
        prober.close()


def test_a_node_that_was_restarted_elsewhere_is_asked_there() -> None:
    with _node() as before, _node(lambda _: 0.0) as after:
        addresses = {1: before}
        prober = Prober(addresses.__getitem__, str, timeout_s=1.0)
        assert 1 in prober.ask([1], 1, 0, None)
        addresses[1] = after
        assert prober.ask([1], 1, 1, None)[1].report.slot == 1
        prober.close()


REPORT = {
    "slot": 4,
    "capacity_hz": 1e9,
    "failure_rate": 0.1,
    "execution_queue_length": 2,
    "execution_backlog_s": 0.5,
    "receiving_work_s": 0.0,
    "pending_cycles": 1e8,
    "asked_work_s": 0.2,
    "asked_count": 1,
}


def _with(**changes: object) -> bytes:
    return json.dumps({**REPORT, **changes}).encode()


def test_what_a_node_reports_is_a_report() -> None:
    assert Report.from_bytes(_with(), 4).to_json() == REPORT
    assert Report.from_bytes(_with(failure_rate=0, extra="ignored"), 4).failure_rate == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"{broken", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "slot: None"),
        (_with(slot=3), "slot: 3 instead of 4"),
        (_with(capacity_hz=None), "capacity_hz: None"),
        (_with(capacity_hz="1e9"), "capacity_hz: '1e9'"),
        (_with(failure_rate=True), "failure_rate: True"),
        (_with(failure_rate=float("nan")), "failure_rate: nan"),
        (_with(execution_backlog_s=float("inf")), "execution_backlog_s: inf"),
        (_with(execution_backlog_s=-1.0), "execution_backlog_s: -1.0"),
        (_with(receiving_work_s=[0]), r"receiving_work_s: \[0\]"),
        (_with(receiving_work_s=10**400), "receiving_work_s: 1000"),
        (_with(execution_queue_length=1.5), "execution_queue_length: 1.5"),
        (_with(pending_cycles=-1), "pending_cycles: -1"),
        (_with(asked_work_s=None), "asked_work_s: None"),
        (_with(asked_count=0.5), "asked_count: 0.5"),
        (_with(execution_queue_length=10**30), "execution_queue_length: 1000"),
    ],
)
def test_malformed_report_is_logged_once_and_is_not_an_answer(
    answer: bytes, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: it counted as a scheduler failure in every slot, and the node executed the task itself."""
    with _node() as sound, _node(answer=answer) as malformed:
        prober = Prober({1: malformed, 2: sound}.__getitem__, str, timeout_s=5.0)
        for _ in range(3):
            assert set(prober.ask([1, 2], 1, 4, None)) == {2}
        prober.close()
        logged = [record.getMessage() for record in caplog.records if record.name == "edgenode.probing"]
        assert len(logged) == 1
        assert logged[0].startswith(f"node 1 at {malformed} gives a malformed report")
        with pytest.raises(ValueError, match=message):
            Report.from_bytes(answer, 4)


def test_unreachable_nodes_do_not_keep_the_others_from_being_asked() -> None:
    """Regression: connecting to the first one took the whole time-out, so no other node was probed."""
    with _node() as alive, _node() as second, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        unavailable = f"http://127.0.0.1:{full.getsockname()[1]}"
        addresses = {1: unavailable, 2: unavailable, 3: alive, 4: unavailable, 5: second}
        prober = Prober(addresses.__getitem__, str, timeout_s=1.0)
        prober.connect(list(addresses))
        for slot in range(5):
            assert set(prober.ask(list(addresses), 1, slot, None)) == {3, 5}
        prober.close()
        for one in filling:
            one.close()


def test_probes_work_beyond_a_thousand_descriptors() -> None:
    """Regression: select() accepts no descriptor from 1024 on. Such a decision was made without any report."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"the hard limit of descriptors is {hard} here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with _node(lambda slot: 0.4 if slot == 1 else 0.0) as address:
            prober = Prober({1: address}.__getitem__, str, timeout_s=0.2)
            assert prober.ask([1], 1, 1, None) == {}
            time.sleep(0.5)  # the answer to an old probe has arrived
            assert prober.ask([1], 1, 2, None)[1].report.slot == 2
            prober.close()
    finally:
        for one in opened:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
