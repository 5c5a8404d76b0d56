"""Tests peers that disappear without closing connections, or send nothing: the node still answers all others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_controller import Fleet, raw_link

from offload import Trace, draw_trace, resolve_settings

LAYER = {
    "network": {
        "nodes": 3,
        "cores": [4, 8],
        "arrival_probability": [0.6, 1.0],
        "failure_rate": [0.0, 0.0],
        "rate_bps": ["10 MB/s", "20 MB/s"],
    },
    "tasks": {"size_bits": ["200 KB", "600 KB"]},
    "time": {"slots": 12},
    "scheduler": {"name": "random"},
    "node": {"transfer": "payload"},
}
HANDOVER = {
    "source": 1,
    "size_bits": 8000.0,
    "cycles": 1e6,
    "deadline_s": 1000.0,
    "elapsed_at_start_s": 0.0,
    "transmission_waiting_s": 0.0,
    "transmission_s": 0.1,
    "skew_s": 0.0,
    "decision_s": 0.0,
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Fleet(tmp_path_factory.mktemp("vanished"), resolve_settings([LAYER])) as running:
        yield running


def begun(fleet: Fleet, number: int) -> tuple[int, Trace]:
    """An episode whose first slot has begun."""
    time_settings = fleet.settings.time
    trace = draw_trace(
        fleet.settings.tasks, fleet.network, time_settings.slot_s, time_settings.slots, fleet.settings.seed, number
    )
    episode = fleet.write_episode(trace)
    fleet.open(episode, trace.episode)
    fleet.tick(episode, trace, 0, fleet.start(episode))
    return episode, trace


def threads(fleet: Fleet) -> int:
    return psutil.Process(fleet.processes[0].pid).num_threads()


def assert_answers(fleet: Fleet, episode: int, slot: int) -> None:
    """Node 0 answers a kubelet, the controller and the other nodes, and accepts a task on a new link of node 2."""
    assert fleet.call(0, "GET", "/healthz", timeout_s=5)[0] == 200
    assert fleet.call(0, "GET", "/v1/status", timeout_s=5)[0] == 200
    assert fleet.call(0, "GET", f"/v1/reports?episode={episode}&slot=0", timeout_s=5)[0] == 200
    task = {"episode": episode, "episode_uid": fleet.uids[episode], **HANDOVER, "source": 2, "slot": slot}
    assert fleet.call(0, "POST", "/v1/handovers", task, timeout_s=5)[0] == 200
    with raw_link(fleet, 0, episode, 2) as link:
        link.sendall(json.dumps({**task, "slot": slot + 1}).encode() + b"\n" + bytes(1000))
        with link.makefile("rb") as file:
            assert json.loads(file.readline())["status"] == 200


@pytest.mark.parametrize("amid", [b"", b'{"episode"', None])
def test_silent_links_do_not_block_other_requests(fleet: Fleet, amid: bytes | None):
    """Regression: each link occupied a thread, so /healthz failed and the kubelet killed the node."""
    episode, _ = begun(fleet, 1)
    before = threads(fleet)
    silent = []
    for number in range(60):
        link = raw_link(fleet, 0, episode, 1)
        task = (
            json.dumps({"episode": episode, "episode_uid": fleet.uids[episode], **HANDOVER, "slot": 5}).encode()
            + b"\n"
            + bytes(500)
        )
        if number % 2:
            link.sendall(task if amid is None else amid)
        silent.append(link)
    assert_answers(fleet, episode, 2)
    assert threads(fleet) - before < 20, "each of them occupies a thread"
    for link in silent:
        link.close()


def test_links_end_with_their_episode(fleet: Fleet):
    """Regression: links stayed open in the next episodes, although the peer may have disappeared."""
    episode, _ = begun(fleet, 2)
    link = raw_link(fleet, 0, episode, 1)
    after, _ = begun(fleet, 3)
    assert link.recv(1) == b"", "it is still open in the next episode"
    link = raw_link(fleet, 0, after, 1)
    assert fleet.call(0, "POST", f"/v1/episodes/{after}/close", {})[0] == 200
    assert link.recv(1) == b"", "it is still open after the close"
    with pytest.raises(AssertionError, match="409"):
        raw_link(fleet, 0, episode, 1)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?episode=1",
        "?episode=1&source=x",
        "?episode=1&source=0",
        "?episode=1&source=9",
        "?episode=99&source=-1",
        "?episode=0&source=1",
        "?episode=9223372036854775808&source=1",
    ],
)
def test_a_link_says_whose_it_is_and_of_which_episode(fleet: Fleet, query: str):
    status, answer = fleet.call(0, "GET", f"/v1/link{query}", Upgrade="offload-link", Connection="Upgrade")
    assert status == 422, answer


# --- a machine that disappears: needs root and a network namespace ----------------------------------------------------


@pytest.fixture
def other_machine() -> Iterator[tuple[str, str, list[str]]]:
    """(name of our interface, our address, command prefix): a network namespace connected by a virtual link."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and `ip`, to make a network namespace")
    name = f"ob{os.getpid() % 100_000}"
    subnet = f"10.213.{os.getpid() % 200 + 20}"

    def ip(*arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no network namespace can be made here: ip {' '.join(arguments)}: {done.stderr.strip()}")

    try:
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", f"{subnet}.1/24", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "addr", "add", f"{subnet}.2/24", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        yield name, f"{subnet}.1", ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


PEER = """
import socket, sys, time
host, port, episode, to = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
links = []
for number in range(20):
    link = socket.create_connection((host, port))
    head = f"GET /v1/link?episode={episode}&source=1 HTTP/1.1\\r\\nHost: n\\r\\n{to}\\r\\n"
    link.sendall(f"{head}Connection: Upgrade\\r\\nUpgrade: offload-link\\r\\n\\r\\n".encode())
    assert link.recv(1000).startswith(b"HTTP/1.1 101")
    links.append(link)
for number in range(20):
    kept = socket.create_connection((host, port))
    kept.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: n\\r\\n\\r\\n")
    assert kept.recv(1000).startswith(b"HTTP/1.1 200")
    links.append(kept)
print("there", flush=True)
time.sleep(600)
"""


class ReachableFleet(Fleet):
    """A fleet whose node 0 listens where another machine reaches it."""

    bind = "127.0.0.1"

    def environment(self, node: int) -> dict[str, str]:
        return {**super().environment(node), **({"OFFLOAD_BIND": f"{self.bind}:0"} if node == 0 else {})}


@pytest.mark.slow
def test_the_links_of_a_machine_that_vanished_end_soon(tmp_path: Path, other_machine: tuple[str, str, list[str]]):
    """Regression: they stayed for two hours, each with a thread and a descriptor."""
    interface, ReachableFleet.bind, inside = other_machine
    with ReachableFleet(tmp_path, resolve_settings([LAYER])) as fleet:
        episode, _ = begun(fleet, 1)
        port = fleet.addresses[0].rpartition(":")[2]
        node = psutil.Process(fleet.processes[0].pid)
        (to,) = (f"{name}: {value}" for name, value in fleet.to(0).items())
        command = [*inside, sys.executable, "-c", PEER, ReachableFleet.bind, port, str(episode), to]
        peer: subprocess.Popen[bytes] = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert peer.stdout is not None and peer.stdout.readline() == b"there\n"

            def connections_of_it() -> list[Any]:
                far = ReachableFleet.bind[:-1] + "2"
                return [one for one in node.net_connections("tcp") if one.raddr and far in one.raddr.ip]

            assert len(connections_of_it()) >= 4
            subprocess.run(["ip", "link", "set", interface, "down"], check=True)
            until = time.monotonic() + 45
            while connections_of_it() and time.monotonic() < until:
                time.sleep(0.5)
            assert connections_of_it() == []
        finally:
            peer.kill()
            peer.wait()
