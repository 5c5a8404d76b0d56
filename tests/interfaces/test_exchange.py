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
from middleware.http.server import PodServer


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    content = json.dumps({"heard": environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()}).encode()
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
    """A server that is no pod and does not speak HTTP."""
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
    """A half-open connection was kept for two hours."""
    connection = access.connection(pod, 5.0)
    connection.connect()
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) < 60_000
    connection.close()
