"""Tests that requests with ambiguous headers are refused: otherwise a body could be read as the next request."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgenode.http.server import node_server
from middleware.http.access import OPEN
from middleware.http.server import PodServer

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Answers each request, and keeps its path and the length of its body."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.heard.append((environ["PATH_INFO"], len(body)))
        start_response("200 OK", [("Content-Length", "0")])
        return []


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture(params=["controller", "node"])
def pod(request: pytest.FixtureRequest, application: Application) -> Iterator[str]:
    is_node = request.param == "node"
    server = node_server("127.0.0.1:0", 2, OPEN) if is_node else PodServer("127.0.0.1", 0, 2, 1024 * 1024)
    server.start(application)
    yield server.address
    server.stop()


def _answers(address: str, request: bytes) -> bytes:
    """Everything that the pod sends until it closes the connection. Raises TimeoutError if it does not close it."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), 10) as made:
        made.sendall(request)
        content = b""
        while part := made.recv(65536):
            content += part
        return content


AMBIGUOUS = [
    (["Content-Length: {all}", "Content-Length: 0"], "Content-Length must be given only once"),
    (["Content-Length: 0", "Content-Length: {all}"], "Content-Length must be given only once"),
    (["Content-Length: {all}", "content-length: {all}"], "Content-Length must be given only once"),
    (["Content-Length: {all}", "Content_Length: 0"], "Content-Length must be given only once"),
    (["Content-Length: {all}", " 0"], "Content-Length must be given only once, in one line"),
    (["Content-Length: {all}, 0"], "Malformed Content-Length"),
    (["Authorization: Bearer a", "Authorization: Bearer b"], "Authorization must be given only once"),
    (["Content-Length: 0", "Transfer-Encoding: chunked"], "exclude each other"),
    (["Transfer-Encoding: identity", "Content-Length: 0"], "exclude each other"),
    (["Transfer-Encoding:", "Content-Length: 0"], "exclude each other"),
]


@pytest.mark.parametrize(("headers", "reason"), AMBIGUOUS, ids=[" + ".join(headers) for headers, _ in AMBIGUOUS])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_ambiguous_headers_are_refused_and_the_connection_is_closed(
    pod: str, application: Application, headers: list[str], reason: str, version: str
) -> None:
    lines = [f"POST / HTTP/{version}", "Host: x", "Connection: Keep-Alive"]
    lines += [header.format(all=len(HIDDEN)) for header in headers]
    content = _answers(pod, "\r\n".join([*lines, "", ""]).encode() + HIDDEN)
    head, _, body = content.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in head
    assert reason in json.loads(body)["detail"], "one answer"
    assert application.heard == []


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_transfer_encoding_alone_needs_a_length(pod: str, application: Application, version: str) -> None:
    head = f"POST / HTTP/{version}\r\nHost: x\r\nConnection: Keep-Alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert _answers(pod, head.encode() + HIDDEN).startswith(b"HTTP/1.1 411 ")
    assert application.heard == []


def test_headers_that_are_given_once_are_accepted(pod: str, application: Application) -> None:
    first = f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nContent-Length: {len(HIDDEN)}\r\n\r\n".encode()
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert _answers(pod, first + HIDDEN + last).count(b" 200 OK") == 2
    assert application.heard == [("/", len(HIDDEN)), ("/last", 0)]
