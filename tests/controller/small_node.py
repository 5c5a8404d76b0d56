"""A small real server in place of an edge node."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Node:
    """A small real server that remembers when it was asked; it answers after `delay_s`."""

    def __init__(self, delay_s: float = 0.0, closes: bool = False, status: int = 202) -> None:
        self.delay_s, self.closes, self.status = delay_s, closes, status
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
                content = json.dumps({"heard": body, "detail": "its own words"}).encode()
                try:
                    self.send_response(node.status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # who asked has gone away meanwhile
                self.close_connection = node.closes  # without saying so, as a server whose patience has ended

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self.server.shutdown()
        self.server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
