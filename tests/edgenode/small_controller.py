"""Starts real edge-node processes on a real database, and plays episodes on them with a minimal controller."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from middleware.configuration import open_configuration
from middleware.database import Database, create_run
from middleware.database import open_episode as write_episode
from middleware.database.leases import acquire
from middleware.http import epoch
from middleware.http.addressee import HEADER, addressee
from middleware.registry import open_registry
from offload import EpisodePlan, Network, Settings, Trace, draw_network


class _Clock(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = json.dumps({"monotonic_s": time.monotonic()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def call(
    address: str,
    method: str,
    path: str,
    body: Any = None,
    timeout_s: float = 20.0,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """(status, parsed answer) of one request of the controller, on a new connection."""
    connection = HTTPConnection(urlsplit(address).netloc, timeout=timeout_s)
    try:
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        always = {"Content-Type": "application/json", epoch.HEADER: "1"}
        connection.request(method, path, content, {**always, **(headers or {})})
        response = connection.getresponse()
        answer = response.read()
        if "json" in (response.getheader("Content-Type") or ""):
            return response.status, json.loads(answer)
        return response.status, answer.decode()
    finally:
        connection.close()


def raw_link(fleet: Fleet, node: int, episode: int, source: int) -> socket.socket:
    """A connection to a node that was upgraded to a link, as node `source` would open it."""
    parts = urlsplit(fleet.addresses[node])
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    target = f"/v1/link?episode={episode}&source={source}"
    headers = {"Host": "n", "Connection": "Upgrade", "Upgrade": "offload-link", **fleet.to(node)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        assert part, answer
        answer += part
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


class Fleet:
    """N node processes of one run. Use as a context manager: all processes end with it."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        network: Network | None = None,
        url: str | None = None,
        path: Path | None = None,
    ) -> None:
        self.folder, self.settings = folder, settings
        self.path = path
        """Further modules that the nodes can import."""
        self.network = network or draw_network(settings.network, settings.seed)
        self.n = self.network.nodes
        self.url = url or f"sqlite:///{folder}/run.db"
        self.database = Database.connect(self.url)
        self.database.migrate()
        self.run = create_run(self.database, "test", settings, self.network, {})
        assert acquire(self.database, self.run, "test").epoch == 1
        self.storage_url = f"file:{folder}/storage"
        self.configuration = open_configuration("file:", self.database)
        self.values = self.configuration.create("test", settings.live(), "test")
        self.registry = open_registry("database:", self.database)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.addresses: dict[int, str] = {}
        self.uids: dict[int, str] = {}

    def __enter__(self) -> Fleet:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Clock)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        for node in range(self.n):
            self.start_node(node)
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self.processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._server.shutdown()
        self._server.server_close()
        self.database.close()

    def environment(self, node: int) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("OFFLOAD_")},
            **({} if self.path is None else {"PYTHONPATH": str(self.path)}),
            "OFFLOAD_RUN": "test",
            "OFFLOAD_NODE": str(node),
            "OFFLOAD_BIND": "127.0.0.1:0",
            "OFFLOAD_DATA_DIR": str(self.folder / "pods"),
            "OFFLOAD_LIFELINE": "1",
            "OFFLOAD_SERVICES__DATABASE": self.url,
            "OFFLOAD_SERVICES__STORAGE": self.storage_url,
            "OFFLOAD_SERVICES__REGISTRY": "database:",
            "OFFLOAD_SERVICES__CONFIGURATION": "file:",
        }

    def start_node(self, node: int) -> None:
        self.addresses.pop(node, None)  # the address of a restarted node changes
        with (self.folder / f"node-{node}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                [sys.executable, "-m", "commands.node"],
                env=self.environment(node),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for one in self.registry.instances("edgenode", "test"):
                process = self.processes[int(one.instance)]
                if one.metadata.get("pid") == process.pid and one.metadata.get("ready"):
                    self.addresses[int(one.instance)] = one.address
            ready = [n for n, p in self.processes.items() if p.poll() is None and n in self.addresses]
            if len(ready) == self.n:
                return
            time.sleep(0.05)
        raise AssertionError(f"the nodes did not become ready:\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("node-*.log"))
        )

    def change(self, changes: Mapping[str, Any]) -> int:
        return self.configuration.change("test", changes, "test").revision

    def to(self, node: int) -> dict[str, str]:
        """The header of a request to a node."""
        return {HEADER: addressee(self.run.uid, node)}

    def call(self, node: int, method: str, path: str, body: Any = None, timeout_s: float = 20.0, **headers: str) -> Any:
        """(status, parsed answer) of a request to a node."""
        return call(self.addresses[node], method, path, body, timeout_s, {**self.to(node), **headers})

    # --- an episode, step by step -------------------------------------------------------------------------------

    def write_episode(self, trace: Trace) -> int:
        live = self.configuration.read("test")
        assert live is not None
        plan = EpisodePlan("evaluate", live.scheduler.name, trace.episode, live.scheduler)
        uid = uuid.uuid4().hex
        number = write_episode(self.database, self.run, plan, trace, live.revision, uid)
        self.uids[number] = uid
        return number

    def opening(self, episode: int, trace: int, start_s: float | None = None) -> dict[str, Any]:
        live = self.configuration.read("test")
        assert live is not None
        return {
            "episode": episode,
            "episode_uid": self.uids.get(episode, "0" * 32),
            "trace": trace,
            "controller": self.address,
            "revision": live.revision,
            "peers": [self.addresses[node] for node in range(self.n)],
            "start_s": start_s,
        }

    def open(self, episode: int, trace: int) -> None:
        for node in range(self.n):
            status, answer = self.call(node, "POST", "/v1/episodes", self.opening(episode, trace))
            assert status == 200, (answer, self.logs())

    def start(self, episode: int) -> float:
        start_s = time.monotonic() + 0.1
        for node in range(self.n):
            path = f"/v1/episodes/{episode}/start"
            assert self.call(node, "POST", path, {"start_s": start_s})[0] == 204
        return start_s

    def tick(self, episode: int, trace: Trace, slot: int, start_s: float) -> dict[int, int]:
        """Send one slot's tick, at its planned instant. Returns the nodes' statuses."""
        time_settings = self.settings.time
        delay = start_s + slot * time_settings.slot_s / time_settings.time_scale - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        connections = {}
        for node in range(self.n):
            task = trace.task(slot, node)
            facts = task and {"size_bits": task.size_bits, "cycles": task.cycles, "deadline_s": task.deadline_s}
            connection = self._kept(node)
            try:
                content = json.dumps({"episode": episode, "slot": slot, "task": facts})
                headers = {"Content-Type": "application/json", epoch.HEADER: "1", **self.to(node)}
                connection.request("POST", "/v1/ticks", content, headers)
                connections[node] = connection
            except OSError:
                connection.close()
        statuses = {}
        for node, connection in connections.items():
            try:
                response = connection.getresponse()
                response.read()
                statuses[node] = response.status
            except OSError:
                connection.close()
        return statuses

    def _kept(self, node: int) -> HTTPConnection:
        kept: dict[str, HTTPConnection] = self.__dict__.setdefault("_connections", {})
        address = self.addresses[node]
        if address not in kept:
            kept[address] = HTTPConnection(urlsplit(address).netloc, timeout=5)
        return kept[address]

    def drain(self, seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            alive = [node for node, process in self.processes.items() if process.poll() is None]
            found = [self.call(node, "GET", "/v1/status")[1] for node in alive]
            if all(one["pending"] == 0 for one in found):
                return
            time.sleep(0.02)
        raise AssertionError(f"tasks did not end: {found}\n{self.logs()}")

    def close(self, episode: int) -> list[Any]:
        return [self.call(node, "POST", f"/v1/episodes/{episode}/close", {}) for node in range(self.n)]

    def play(self, trace: Trace) -> int:
        """Play a whole episode on all nodes, up to their `close`."""
        episode = self.write_episode(trace)
        self.open(episode, trace.episode)
        start_s = self.start(episode)
        for slot in range(self.settings.time.slots + 1):
            self.tick(episode, trace, slot, start_s)
        self.drain()
        for status, answer in self.close(episode):
            assert status == 200, (answer, self.logs())
        return episode
