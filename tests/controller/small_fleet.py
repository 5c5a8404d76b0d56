"""A fleet of small processes instead of edge nodes, which tests kill. As a program: the parent of such a fleet.

python small_fleet.py DATABASE_URL LOG_DIR NODES
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from controller.fleet import LocalFleet
from middleware.database import Database
from middleware.registry import open_registry

CHILD = """
import os, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from middleware.database import Database
from middleware.registry import Instance, open_registry
class Alive(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Alive)
threading.Thread(target=server.serve_forever, daemon=True).start()
database = Database.connect(os.environ["TEST_DATABASE"])
metadata = {
    "pid": os.getpid(),
    "epoch": int(os.environ["OFFLOAD_EPOCH"]),
    "ready": True,
    "data_dir": os.environ.get("OFFLOAD_DATA_DIR"),
}
node = os.environ["OFFLOAD_NODE"]
open_registry("database:", database).register(
    Instance(
        "edgenode", node, os.environ["OFFLOAD_RUN"], f"http://127.0.0.1:{server.server_port}", metadata, time.time()
    )
)
print("node", node, "is there", flush=True)
os.read(0, 1)
"""
SOON_DEAD = "import sys; print('the disk is full', file=sys.stderr); sys.exit(3)"


def make_fleet(url: str, log_dir: Path, nodes: int, failed: Callable[[str], None], child: str = CHILD) -> LocalFleet:
    registry = open_registry("database:", Database.connect(url))
    environment = {**os.environ, "OFFLOAD_RUN": "test", "TEST_DATABASE": url}
    command = [sys.executable, "-c", child]
    return LocalFleet(nodes, "test", "0" * 32, command, environment, log_dir, registry, threading.Event(), failed)


if __name__ == "__main__":
    parent = make_fleet(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), print)
    parent.start(1)
    parent.addresses()
    print(*parent.pids().values(), flush=True)
    time.sleep(600)
