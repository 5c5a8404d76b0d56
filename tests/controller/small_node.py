"""A small real server in place of an edge node."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Node:
    """A small real server that records its requests.

    delay_s: seconds before an answer; halts_s: seconds of a pause within the answer
    answer: the body of the answer; by default the body of the request
    """

    def __init__(
        self,
        delay_s: float = 0.0,
        closes: bool = False,
        status: int = 202,
        halts_s: float = 0.0,
        answer: bytes | None = None,
    ) -> None:
        self.delay_s, self.closes, self.status, self.halts_s, self.answer = delay_s, closes, status, halts_s, answer
        self.asked: list[Any] = []
        self.connections: set[Any] = set()
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                node.connections.add(self.client_address)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                node.asked.append(body)
                time.sleep(node.delay_s)
                content = node.answer or json.dumps({"heard": body, "detail": "its own message"}).encode()
                try:
                    self.send_response(node.status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[:1])
                    time.sleep(node.halts_s)
                    self.wfile.write(content[1:])
                except OSError:
                    pass  # the client has closed the connection
                self.close_connection = node.closes  # without a message, as a server does after its time-out

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer no more requests."""
        self.server.shutdown()
        self.server.server_close()


class Unreachable:
    """An address that drops every request to connect: a listening socket whose backlog is full."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._filling = [socket.socket() for _ in range(4)]
        for one in self._filling:
            one.setblocking(False)
            one.connect_ex(self._listener.getsockname())

    def close(self) -> None:
        """Refuse connections from now on."""
        for one in (self._listener, *self._filling):
            one.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
