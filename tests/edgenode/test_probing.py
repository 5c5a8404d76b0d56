"""Probes: a slow, dead or restarted node must not delay a decision or answer another slot's question."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from edgenode.probing import Prober


@contextmanager
def _node(delay_s: Callable[[int], float] = lambda slot: 0.0, status: int = 200) -> Iterator[str]:
    """A real server that reports its slot as its queue's length, after so many seconds."""

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
            }
            content = json.dumps(report).encode()
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
    """The node would decide by what was true a slot ago, and by other numbers from then on."""
    with _node(lambda slot: 0.4 if slot == 1 else 0.0) as address:
        prober = Prober({1: address}.__getitem__, str, timeout_s=0.2)
        assert prober.ask([1], 1, 1, None) == {}
        time.sleep(0.5)  # it is there now
        assert prober.ask([1], 1, 2, None)[1].report["slot"] == 2
        assert prober.ask([1], 1, 1, None) == {}
        assert prober.ask([1], 1, 3, None)[1].report["slot"] == 3  # it still owes the one before
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
        assert prober.ask([1], 1, 1, None)[1].report["slot"] == 1
        prober.close()
