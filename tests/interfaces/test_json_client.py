"""Tests the JSON client: a kept connection that has ended, and answers that are not from a pod."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from credentials import TOKEN, certificates

from middleware.http import client as client_module
from middleware.http.access import OPEN, Access
from middleware.http.answers import MalformedAnswer
from middleware.http.client import JsonClient
from middleware.http.exchange import WireError
from middleware.http.server import PodServer


def answer(body: bytes = b'{"n": 1}', status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Scripted:
    """A real server that gives these answers, one after the other; for an empty one it closes the connection.

    closes: it closes the connection after each answer, without saying so; delay_s: before each answer
    """

    def __init__(self, *answers: bytes, closes: bool = False, delay_s: float = 0.0) -> None:
        self.answers, self.closes, self.delay_s = list(answers), closes, delay_s
        self.heard: list[str] = []
        self.connections = 0
        script = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                script.connections += 1
                while script.heard_one(self.rfile) and script.answers:
                    time.sleep(script.delay_s)
                    found = script.answers.pop(0)
                    self.wfile.write(found)
                    if script.closes or not found:
                        return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def heard_one(self, file: Any) -> bool:
        line = file.readline()
        length = 0
        while header := file.readline().strip().lower():
            if header.startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        file.read(length)
        if line:
            self.heard.append(line.decode().split()[0])
        return bool(line)


@contextmanager
def asked(*answers: bytes, timeout_s: float = 20.0, **behaviour: Any) -> Iterator[tuple[JsonClient, Scripted]]:
    script = Scripted(*answers, **behaviour)
    try:
        with JsonClient(script.address, timeout_s=timeout_s) as client:
            yield client, script
    finally:
        script.server.shutdown()
        script.server.server_close()


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10.0
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)


def test_the_connection_is_kept() -> None:
    with asked(*[answer()] * 5) as (client, script):
        for method in ("GET", "POST", "GET", "PATCH", "DELETE"):
            assert client.ask(method, "/", {"n": 1}).body == {"n": 1}
        assert script.connections == 1


def test_closed_connection_is_replaced_for_every_method() -> None:
    with asked(answer(), answer(), closes=True) as (client, script):
        client.ask("POST", "/")
        time.sleep(0.2)  # till its close is known here
        assert client.ask("POST", "/").ok
        assert (script.connections, script.heard) == (2, ["POST", "POST"])


def test_repeatable_request_is_retried_on_a_broken_connection() -> None:
    with asked(answer(), b"", answer()) as (client, script):
        client.ask("GET", "/")
        assert client.ask("GET", "/").ok
        assert (script.connections, script.heard) == (2, ["GET", "GET", "GET"])


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_not_be_heard_twice_is_asked_once(method: str) -> None:
    with asked(answer(), b"", answer()) as (client, script):
        client.ask("GET", "/")
        with pytest.raises(ConnectionError):
            client.ask(method, "/")
        assert script.heard == ["GET", method]
        assert client.ask(method, "/").ok, "the next request has a new connection"


def test_a_new_connection_that_breaks_off_is_not_tried_again() -> None:
    with asked(b"", answer()) as (client, script):
        with pytest.raises(ConnectionError):
            client.ask("GET", "/")
        assert script.heard == ["GET"]


def test_what_is_not_answered_in_time_is_not_asked_again() -> None:
    with asked(answer(), answer()) as (client, script):
        client.ask("GET", "/")
        script.delay_s = 1.0
        with pytest.raises(TimeoutError):
            client.ask("GET", "/", timeout_s=0.2)
        wait_until(lambda: len(script.heard) == 2)
        assert script.heard == ["GET", "GET"]


def test_a_late_answer_is_not_taken_for_that_of_the_next_request() -> None:
    with asked(answer(b'{"n": 1}'), answer(b'{"n": 2}'), delay_s=0.5) as (client, script):
        with pytest.raises(TimeoutError):
            client.ask("GET", "/", timeout_s=0.1)
        wait_until(lambda: len(script.answers) == 1)
        script.delay_s = 0.0
        assert client.ask("GET", "/").body == {"n": 2}


def test_a_connection_that_was_idle_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "KEPT_S", 0.05)
    with asked(answer(), answer()) as (client, script):
        client.ask("POST", "/")
        time.sleep(0.2)
        client.ask("POST", "/")
        assert script.connections == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"title": "Busy", "detail": "its message"}', "its message"), (b'{"title": "Busy"}', "Busy"), (b"", "409")],
)
def test_refused_request_returns_the_message_of_the_pod(body: bytes, expected: str) -> None:
    refusal = answer(body, "409 Conflict", "Content-Type: application/problem+json\r\n")
    with asked(refusal) as (client, _):
        found = client.ask("GET", "/")
    assert (found.status, found.ok) == (409, False)
    assert expected in found.detail


def test_an_answer_without_content_is_an_empty_object() -> None:
    with asked(b"HTTP/1.1 204 No Content\r\n\r\n") as (client, _):
        found = client.ask("DELETE", "/")
    assert (found.status, found.ok, found.body) == (204, True, {})


@pytest.mark.parametrize("body", [b"[1]", b"null", b'"text"', b"<html>", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("status", ["200 OK", "502 Bad Gateway"])
def test_what_is_no_object_is_malformed(body: bytes, status: str) -> None:
    with (
        asked(answer(body, status)) as (client, _),
        pytest.raises(MalformedAnswer, match="is not a JSON object") as error,
    ):
        client.ask("GET", "/")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "head", ["Content-Length: 1000\r\n", "Connection: close\r\n", "Transfer-Encoding: chunked\r\n"]
)
def test_what_is_too_large_is_malformed(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LONGEST_BODY", 999)
    content = b" " * 998 + b"{}"
    sent = b"3e8\r\n" + content + b"\r\n0\r\n\r\n" if "chunked" in head else content
    with (
        asked(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + sent, closes=True) as (client, _),
        pytest.raises(MalformedAnswer, match="than 999"),
    ):
        client.ask("GET", "/")


@pytest.mark.parametrize(
    "sent", [b"220 mail.example.org ESMTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}"]
)
def test_what_is_no_http_or_ends_early_is_an_error_of_the_connection(sent: bytes) -> None:
    with asked(sent, closes=True) as (client, _), pytest.raises(WireError, match="is incomplete, or is not HTTP"):
        client.ask("GET", "/")


def test_nobody_there_is_an_error_of_the_connection() -> None:
    with asked() as (client, script):
        script.server.shutdown()
        script.server.server_close()
        with pytest.raises(ConnectionRefusedError):
            client.ask("GET", "/")


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    received = {"heard": json.loads(environ["wsgi.input"].read()), "from": environ["REMOTE_PORT"]}
    content = json.dumps(received).encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
def test_a_pod_is_asked_over_one_connection_with_its_token(secured: bool, tmp_path: Path) -> None:
    access = Access.read({**certificates(tmp_path / "pki"), "OFFLOAD_TOKEN": TOKEN}) if secured else OPEN
    server = PodServer("127.0.0.1", 0, 4, 64 * 1024, access)
    server.start(echo)
    with JsonClient(server.address, access) as client:
        answers = [client.ask("POST", "/", {"n": number}).body for number in range(3)]
    server.stop()
    assert [one["heard"] for one in answers] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert len({one["from"] for one in answers}) == 1
