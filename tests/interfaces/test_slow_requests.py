"""Tests clients that send a byte now and then: they hold no worker, and the pod answers all other clients."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from credentials import certificates

import middleware.http.server
from middleware.http.access import OPEN, Access
from middleware.http.server import PodServer

WORKERS = 3


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1.5)  # longer than a request may take to arrive
    content = json.dumps({"heard": len(body)}).encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


@pytest.fixture(params=["plain", "TLS"])
def access(request: pytest.FixtureRequest, tmp_path: Path) -> Access:
    return OPEN if request.param == "plain" else Access.read(certificates(tmp_path / "pki"))


@pytest.fixture
def pod(access: Access, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(middleware.http.server, "_REQUEST_S", 0.5)
    monkeypatch.setattr(middleware.http.server, "_CHECK_S", 0.1)
    server = PodServer("127.0.0.1", 0, WORKERS, 1024 * 1024, access)
    server.start(application)
    yield server.address
    server.stop()


def _connection(address: str, access: Access) -> http.client.HTTPConnection:
    place = urlsplit(address)
    assert place.hostname is not None and place.port is not None
    if access.tls is None:
        return http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    return http.client.HTTPSConnection(place.hostname, place.port, timeout=20, context=access.tls.client)


def _ask(address: str, access: Access, path: str = "/", body: bytes | None = None) -> int:
    connection = _connection(address, access)
    connection.request("GET" if body is None else "POST", path, body)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"GET / HT", id="request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", id="headers"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n", id="body"),
    ],
)
def test_slow_clients_are_cut_off_and_hold_up_nobody_for_long(pod: str, access: Access, begin: bytes) -> None:
    slow = [_connection(pod, access) for _ in range(4 * WORKERS)]
    for one in slow:
        one.connect()
        one.sock.sendall(begin)
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.2):
            for one in slow:
                try:
                    one.sock.sendall(b"a")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip, daemon=True)
    dripping.start()
    try:
        assert _ask(pod, access) == 200
    finally:
        ended.set()
        dripping.join()
        for one in slow:
            one.close()


def test_an_application_may_take_its_time_and_the_connection_is_kept(pod: str, access: Access) -> None:
    connection = _connection(pod, access)
    for body in (b"x" * 1000, b""):
        connection.request("POST", "/slow", body)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"heard": len(body)})
    connection.close()


def test_a_large_body_has_more_time(pod: str, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware.http.server, "_BYTES_PER_S", 1000)
    connection = _connection(pod, access)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "3000")
    connection.endheaders()
    for _ in range(3):
        time.sleep(0.4)
        connection.send(b"x" * 1000)
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\n x\r\n\r\n", b"GET http://a:b@[::1/healthz HTTP/1.1\r\nHost: x\r\n\r\n"]
)
def test_what_is_no_request_is_answered_with_400(
    pod: str, access: Access, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = _connection(pod, access)
    connection.connect()
    connection.sock.sendall(request_)
    assert b" 400 " in _all(connection.sock.recv).split(b"\r\n")[0]
    assert "Traceback" not in caplog.text
    connection.close()


def _all(receive: Callable[[int], bytes]) -> bytes:
    """The first line of the answer, or the part of it that arrived before the connection broke."""
    content = b""
    with suppress(OSError):
        while b"\r\n" not in content and (part := receive(4096)):
            content += part
    return content


def test_a_body_that_ends_early_is_no_request(pod: str, access: Access, caplog: pytest.LogCaptureFixture) -> None:
    connection = _connection(pod, access)
    connection.connect()
    connection.sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc")
    socket.socket.shutdown(connection.sock, socket.SHUT_WR)
    assert b" 200 " not in _all(connection.sock.recv)
    assert _ask(pod, access) == 200
    assert "Traceback" not in caplog.text
    connection.close()
