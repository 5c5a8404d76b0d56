"""Tests file descriptors: a pod raises its limit to what the network needs, and logs at its start if it cannot."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from small_controller import Fleet

from middleware.descriptors import descriptors_of_controller, descriptors_of_node
from offload import draw_trace, resolve_settings

LAYER = {
    "network": {"nodes": 4, "cores": [4, 8], "arrival_probability": [0.9, 1.0]},
    "time": {"slots": 12, "time_scale": 2},
    "scheduler": {"name": "random"},
    "node": {"transfer": "payload"},
}
NEEDED = descriptors_of_node(4, "payload")


class LimitedFleet(Fleet):
    """Its processes have a low soft limit of descriptors, and a higher hard limit."""

    def start_node(self, node: int) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (NEEDED - 1, before[1]))
        try:
            super().start_node(node)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with LimitedFleet(tmp_path_factory.mktemp("descriptors"), resolve_settings([LAYER])) as running:
        yield running


def test_a_node_raises_its_soft_limit(fleet: Fleet):
    """Regression: with the usual limit of 1024, a node among 127 others lost connections, and so tasks."""
    for process in fleet.processes.values():
        assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)[0] == NEEDED


def test_what_a_node_is_said_to_need_is_enough(fleet: Fleet):
    nodes = [psutil.Process(process.pid) for process in fleet.processes.values()]
    idle = max(node.num_fds() for node in nodes)
    peak, over = [idle], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            peak.append(max(node.num_fds() for node in nodes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    settings = fleet.settings
    for number in range(6):
        fleet.play(
            draw_trace(settings.tasks, fleet.network, settings.time.slot_s, settings.time.slots, settings.seed, number)
        )
    over.set()
    watcher.join()
    per_peer = (max(peak) - idle) / (fleet.n - 1)
    assert 6 <= per_peer <= 16, f"{idle} descriptors when idle, at most {max(peak)}"
    time.sleep(0.5)
    assert max(node.num_fds() for node in nodes) <= idle + 16 * (fleet.n - 1)


def _start(module: str, environment: dict[str, str], limit: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"ulimit -n {limit} && exec {sys.executable} -m {module}"],
        env=environment,
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "needed", "whose"),
    [
        ("commands.node", NEEDED, "an edge node with node.transfer: payload"),
        ("commands.controller", descriptors_of_controller(4), "the controller"),
        ("commands.controller --fleet local", NEEDED, "an edge node with node.transfer: payload"),
    ],
)
def test_a_limit_that_is_too_low_is_said_at_the_start(fleet: Fleet, module: str, needed: int, whose: str):
    environment = {key: value for key, value in fleet.environment(0).items() if key != "OFFLOAD_LIFELINE"}
    done = _start(module, environment, needed - 1)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"network.nodes: 4 needs {needed} open files in {whose}, and the limit is {needed - 1}" in done.stderr
