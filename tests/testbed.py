"""Starts a real controller process with real edge nodes, and sends requests to it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from commands.local import LocalController, OpenRun, open_run
from middleware.database import EpisodeSummary, find_episodes
from middleware.http.access import Access
from offload.settings import resolve_settings


class Testbed:
    """Three nodes (or as `layer` says) of the run `small`. Use as a context manager: all processes end with it."""

    __test__ = False

    def __init__(
        self,
        folder: Path,
        layer: Mapping[str, Any],
        url: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        base = {
            "seed": 5,
            "network": {"nodes": 3, "cores": [4, 8, 16], "arrival_probability": [0.5, 0.9]},
            "time": {"slot_s": "100 ms", "slots": 10, "time_scale": 2},
            "node": {"write_interval_s": 0.2},
            "services": {
                "database": url or f"sqlite:///{folder}/offload.db",
                "storage": f"file:{folder}/storage",
                "configuration": f"file:{folder}/live.yaml",
            },
        }
        (folder / "live.yaml").write_text("scheduler: {name: ratc}\n")
        self.folder = folder
        self.opened: OpenRun = open_run(resolve_settings([base, layer]), "small")
        self.controller = LocalController(self.opened, folder / "pods", environment)
        self.access = Access.read(environment or {})

    def __enter__(self) -> Self:
        self.controller.__enter__()
        self.address = self.controller.address()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.controller.__exit__(kind, value, trace)
        self.opened.database.close()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, answer) of a request. body: plain data, or bytes that are sent unchanged."""
        connection = self.access.connection(self.address, 90)
        try:
            content = body if isinstance(body, bytes | None) else json.dumps(body)
            headers = self.access.headers() | ({"Content-Type": "application/json"} if content else {})
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        self.content_type = answer.getheader("Content-Type") or ""
        return answer.status, json.loads(text) if "json" in self.content_type else text.decode()

    def begin(self, **plan: Any) -> int:
        """Request an episode. Returns its number."""
        wanted = {"phase": "evaluate", "method": "ratc", "trace": 7, "scheduler": "ratc", **plan}
        status, answer = self.call("POST", "/v1/episodes", wanted)
        assert status == 202, answer
        return int(answer["episode"])

    def finish(self, episode: int) -> Mapping[str, Any]:
        """Wait for an episode's end. Returns its description in the REST interface."""
        until = time.monotonic() + 90
        while (state := self.call("GET", f"/v1/episodes/{episode}?wait_s=20")[1])["status"] == "open":
            assert time.monotonic() < until, f"episode {episode} does not end: {state}"
        found: Mapping[str, Any] = state
        return found

    def play(self, **plan: Any) -> Mapping[str, Any]:
        """Play an episode from start to end."""
        return self.finish(self.begin(**plan))

    def record(self, episode: int) -> EpisodeSummary:
        """The episode's row in the database."""
        return find_episodes(self.opened.database, self.opened.run, episode=episode, status=None)[0]

    def node_processes(self) -> dict[int, psutil.Process]:
        """The nodes' processes by index."""
        children = psutil.Process(self.controller.pid).children()
        return {int(child.environ()["OFFLOAD_NODE"]): child for child in children}

    def signal_node(self, node: int, number: signal.Signals) -> None:
        """Send a signal to a node's process."""
        os.kill(self.node_processes()[node].pid, number)

    def in_slot(self, slot: int) -> None:
        """Wait until the current episode reaches a slot."""
        wait_until(lambda: ((self.call("GET", "/v1/status")[1]["episode"] or {}).get("slot") or 0) >= slot)


def wait_until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until `true` returns a true value, or fail."""
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until, f"did not happen within {timeout_s:g} s"
        time.sleep(0.02)
