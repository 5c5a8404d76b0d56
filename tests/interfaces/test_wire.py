"""Tests that one thread can end another thread's wait on a kept connection, with and without TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from credentials import TOKEN, certificates

from middleware.http.access import Access
from middleware.http.server import PodServer
from middleware.http.wire import Wire


@pytest.mark.parametrize("secured", [False, True])
def test_a_cut_ends_the_wait_and_does_not_remove_tls(
    secured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS, the other thread would send its next request, with the token, in plain text."""
    access = Access.read({"OFFLOAD_TOKEN": TOKEN, **(certificates(tmp_path / "pki") if secured else {})})
    asked, answering, kept_tls = threading.Event(), threading.Event(), []

    def late(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        asked.set()
        answering.wait(60)
        start_response("204 No Content", [])
        return []

    shutdown = socket.socket.shutdown

    def noting(connection: socket.socket, how: int) -> None:
        if connection is made:  # the other thread could send now
            kept_tls.append(isinstance(connection, ssl.SSLSocket) and connection.version() is not None)
        shutdown(connection, how)

    server = PodServer("127.0.0.1", 0, 2, 1024, access)
    server.start(late)
    wire = Wire(server.address, "0" * 32, 60, access)
    made = wire.connect()
    monkeypatch.setattr(socket.socket, "shutdown", noting)
    try:
        with ThreadPoolExecutor(1) as pool:
            wire.send("GET", "/")
            waiting = pool.submit(wire.receive)
            assert asked.wait(60)
            wire.cut()
            with pytest.raises(OSError):
                waiting.result(60)
        assert kept_tls == [secured]
        assert not wire.is_connected
    finally:
        answering.set()
        server.stop()
