"""Tests requests to several pods at once, over TLS too: a frozen pod or another server must not delay the others."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from credentials import certificates

from controller.nodes import NodeClients
from middleware.http.access import OPEN, Access
from middleware.http.exchange import NotConnected
from middleware.http.fanout import Fanout, Outcome
from middleware.http.server import PodServer


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    heard = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
    content = json.dumps({"heard": heard, "from": environ["REMOTE_PORT"], "to": environ.get("HTTP_TO")}).encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


@pytest.fixture(params=["plain", "TLS"])
def access(request: pytest.FixtureRequest, tmp_path: Path) -> Access:
    return OPEN if request.param == "plain" else Access.read(certificates(tmp_path / "pki"))


@pytest.fixture
def pod(access: Access) -> Iterator[str]:
    server = PodServer("127.0.0.1", 0, 4, 64 * 1024 * 1024, access)
    server.start(echo)
    yield server.address
    server.stop()


@pytest.fixture
def frozen(access: Access) -> Iterator[str]:
    """An address whose kernel accepts connections, and whose process never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"{access.scheme}://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def babbler() -> Iterator[str]:
    """A server that is not a pod and does not speak HTTP."""
    import socketserver
    import threading

    class Babble(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"220 mail.example.org ESMTP\r\n\r\n")
            time.sleep(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Babble) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_frozen_pod_and_one_that_is_none_delay_no_other(access: Access, pod: str, frozen: str, babbler: str):
    """The TLS handshake with a frozen pod blocked its thread for a second each time."""
    clients = NodeClients({0: frozen, 1: pod, 2: babbler, 3: frozen}, "0" * 32, access)
    for number in range(3):
        answers = clients.ask("POST", "/", {node: {"n": number} for node in range(4)}, 0.5)
        assert {node: answer.status for node, answer in answers.items()} == {0: 504, 1: 200, 2: 0, 3: 504}
        assert json.loads(answers[1].body["heard"]) == {"n": number}
    clients.close()


def test_a_request_and_an_answer_larger_than_all_buffers_arrive_whole(access: Access, pod: str):
    clients = NodeClients({0: pod}, "0" * 32, access)
    for size in (20_000_000, 1, 3_000_000):
        body = {"text": "x" * size}
        answer = clients.ask("POST", "/", {0: body}, 60.0)[0]
        assert answer.ok, answer.detail
        assert json.loads(answer.body["heard"]) == body
    clients.close()


def test_connections_end_soon_after_the_other_end_has_vanished(access: Access, pod: str):
    """Regression: a half-open connection was kept for two hours."""
    connection = access.connection(pod, 5.0)
    connection.connect()
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) < 60_000
    connection.close()


def outcomes(fanout: Fanout[str], within_s: float = 30.0) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    until = time.monotonic() + within_s
    while fanout and time.monotonic() < until:
        found.update(fanout.finished(until - time.monotonic()))
    return found


def answer_of(outcome: Outcome) -> dict[str, Any]:
    assert not isinstance(outcome, OSError), outcome
    assert outcome[0] == 200
    return json.loads(outcome[1])


@pytest.fixture
def fanout(access: Access) -> Iterator[Fanout[str]]:
    made: Fanout[str] = Fanout(lambda key: {"To": key}, access)
    yield made
    made.close()


def test_each_pod_gets_its_headers_and_who_is_not_there_is_an_outcome(access: Access, pod: str, fanout: Fanout[str]):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"{access.scheme}://127.0.0.1:{free.getsockname()[1]}"
    for key, address in {"a": pod, "b": nobody, "c": pod}.items():
        fanout.start(key, address, "POST", "/", key.encode())
    assert len(fanout) == 3
    found = outcomes(fanout)
    assert isinstance(found["b"], NotConnected)
    assert [(answer_of(found[key])["heard"], answer_of(found[key])["to"]) for key in ("a", "c")] == [
        ("a", "a"),
        ("c", "c"),
    ]


def test_connecting_ahead_ends_in_time_and_serves_the_first_request(pod: str, frozen: str, fanout: Fanout[str]):
    began = time.monotonic()
    fanout.connect({"frozen": frozen, "pod": pod}, 2.0)
    assert time.monotonic() - began < 10.0
    assert len(fanout) == 0
    assert not fanout.is_connecting("pod")
    fanout.start("pod", pod, "POST", "/", b"x")
    assert answer_of(outcomes(fanout)["pod"])["heard"] == "x"


def test_a_forgotten_answer_is_not_given_and_its_connection_is_kept(pod: str, fanout: Fanout[str]):
    fanout.start("pod", pod, "POST", "/", b"0")
    first = answer_of(outcomes(fanout)["pod"])
    fanout.start("pod", pod, "POST", "/", b"1")
    fanout.forget_all()
    assert list(fanout.finished(0.0)) == []
    time.sleep(2.0)  # it is there now
    fanout.start("pod", pod, "POST", "/", b"2")
    assert answer_of(outcomes(fanout)["pod"]) == {**first, "heard": "2"}


def test_a_connection_that_was_idle_for_longer_than_allowed_is_replaced(access: Access, pod: str):
    ports = []
    fanout: Fanout[str] = Fanout(lambda _: {}, access, kept_s=0.05)
    for _ in range(2):
        fanout.start("pod", pod, "POST", "/", b"x")
        ports.append(answer_of(outcomes(fanout)["pod"])["from"])
        time.sleep(0.2)
    fanout.close()
    assert len(set(ports)) == 2
