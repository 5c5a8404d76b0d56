"""Tests when the controller concludes that all tasks have ended, from answers of different instants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from small_node import free_port

from controller.draining import drain
from controller.nodes import NodeClients

IDLE = {"incarnation": 1, "owned": 0, "accepted": 0, "settled": 0, "ended": 0}


@contextmanager
def node(*answers: tuple[int, dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """A real server that gives these answers in turn, the last one repeatedly. Yields its address and the requests."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def drained(*addresses: str, within_s: float = 30.0, look_up: Callable[[int], str | None] = lambda _: None) -> bool:
    clients = NodeClients(dict(enumerate(addresses)), "0" * 32)
    try:
        return drain(clients, 7, look_up, time.monotonic() + within_s, 1.0, threading.Event())
    finally:
        clients.close()


def test_two_rounds_are_enough_when_nothing_happens() -> None:
    with node((200, IDLE)) as (one, asked), node((200, IDLE)) as (other, _):
        assert drained(one, other)
        assert asked == ["/v1/episodes/7/progress"] * 2


def test_task_that_ends_between_two_rounds_needs_another_round() -> None:
    """Its counters show tasks after the first round: there may be more."""
    later = {**IDLE, "accepted": 1, "ended": 1}
    with node((200, IDLE), (200, later)) as (one, asked), node((200, IDLE)) as (other, _):
        assert drained(one, other)
        assert len(asked) == 3


def test_a_node_that_was_restarted_between_two_rounds_needs_another_one() -> None:
    with node((200, IDLE), (200, {**IDLE, "incarnation": 2})) as (one, asked):
        assert drained(one)
        assert len(asked) == 3


def test_drain_waits_for_a_task_until_the_last_deadline() -> None:
    with node((200, {**IDLE, "owned": 1})) as (one, asked):
        assert not drained(one, within_s=0.5)
        assert len(asked) > 2


def test_a_node_that_cannot_say_what_it_owns_is_not_taken_for_idle() -> None:
    busy = 503, {"detail": "too busy"}
    with node(busy, busy, (200, IDLE)) as (one, asked):
        assert drained(one)
        assert len(asked) == 4


def test_nodes_that_are_dead_or_play_no_episode_are_not_waited_for() -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with node((200, IDLE)) as (one, _), node((409, {"detail": "episode none"})) as (restarted, _):
        assert drained(one, dead, restarted)


def test_a_node_that_answers_elsewhere_now_is_asked_there() -> None:
    """The controller opened the episode again on the node at the end of the ticks. Its tasks must not be lost."""
    dead = f"http://127.0.0.1:{free_port()}"
    with node((200, {**IDLE, "owned": 1}), (200, {**IDLE, "ended": 1})) as (moved, asked):
        assert drained(dead, look_up=lambda _: moved)
        assert len(asked) == 3
