"""Measures how long a change of the live settings takes until every node has applied it, with Nacos and the database.

    OFFLOAD_TEST_NACOS_URL=nacos://127.0.0.1:8848 python benchmarks/live_settings.py [--changes N]

Ten node processes of the preset `paper-testbed` are idle. The measured real time starts with one of

* the request `PATCH /v1/configuration`, which `offload set` also sends
* an edit of the configuration in Nacos, as Nacos' console makes it

It ends when the last node's acknowledgement is in the registry, which is read every 20 ms. The benchmark also measures
processor time and memory of the idle nodes.

Writes the figures and a description of the machine to `benchmarks/results/live_settings.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from machine import machine

from commands.local import LocalController, OpenRun, open_run
from middleware.nacos import NacosServer
from middleware.registry import EDGE_NODE
from offload import resolve_settings
from offload.presets import PRESETS

RESULTS = Path(__file__).parent / "results" / "live_settings.json"
NAMES = ("rda", "sed", "random", "ratc")
IDLE_S = 10.0


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--changes", type=int, default=12)
    options = arguments.parse_args()
    server = os.environ.get("OFFLOAD_TEST_NACOS_URL")
    if not server:
        print("OFFLOAD_TEST_NACOS_URL is not set: nothing is measured, and the results file is not changed")
        return
    found = {"database (baseline)": measure(None, options.changes)}
    found["nacos"] = measure(f"{server}?group=bench-{uuid.uuid4().hex[:8]}", options.changes)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine("psutil"), "services": found}, indent=2) + "\n")
    print(f"written to {RESULTS}")


def measure(nacos: str | None, changes: int) -> dict[str, Any]:
    """Measure the seconds of each change, and the processor time and memory of idle nodes."""
    with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as name:
        services = {"database": f"sqlite:///{name}/offload.db", "storage": f"file:{name}/storage"}
        services |= {"registry": nacos, "configuration": nacos} if nacos else {}
        opened = open_run(resolve_settings([PRESETS["paper-testbed"], {"services": services}]), "live_settings")
        with LocalController(opened, Path(name) / "pods") as controller:
            address = controller.address()
            found = {"set_s": timed(opened, changes, lambda scheduler: _set(address, scheduler))}
            if nacos:
                server = NacosServer(nacos, "configuration")
                found["edit_s"] = timed(opened, changes, lambda scheduler: _edit(server, scheduler))
            nodes = [one for one in psutil.Process(controller.pid).children() if "commands.node" in one.cmdline()]
            before = [sum(node.cpu_times()[:2]) for node in nodes]
            time.sleep(IDLE_S)
            shares = [(sum(node.cpu_times()[:2]) - used) / IDLE_S for node, used in zip(nodes, before, strict=True)]
            found["idle_share_of_a_core"] = round(max(shares), 4)
            found["node_mb"] = round(max(node.memory_info().rss for node in nodes) / 1e6, 1)
        opened.database.close()
    print("nacos" if nacos else "database (baseline)", found)
    return found


def timed(opened: OpenRun, changes: int, change: Callable[[str], None]) -> dict[str, float]:
    """The median and the longest time of `changes` changes, in seconds."""
    took = []
    for count in range(changes):
        # Each change starts at another phase of the one-second polling interval (multiples of the golden ratio).
        time.sleep(0.2 + count * 0.618 % 1)
        scheduler = NAMES[count % len(NAMES)]
        began = time.monotonic()
        change(scheduler)
        while not all_have(opened, scheduler):
            if time.monotonic() - began > 30:
                raise SystemExit(f"{scheduler} was not applied by all nodes within 30 s")
            time.sleep(0.02)
        took.append(time.monotonic() - began)
    took.sort()
    return {"median": round(took[len(took) // 2], 2), "longest": round(took[-1], 2)}


def all_have(opened: OpenRun, scheduler: str) -> bool:
    """Whether every node has acknowledged the scheduler."""
    nodes = opened.registry.instances(EDGE_NODE, opened.run.name)
    return len(nodes) == 10 and all(one.metadata.get("scheduler") == scheduler for one in nodes)


def _set(address: str, scheduler: str) -> None:
    body = json.dumps({"live_settings": {"scheduler.name": scheduler}, "by": "benchmark"}).encode()
    request = urllib.request.Request(
        f"{address}/v1/configuration", body, {"Content-Type": "application/json"}, method="PATCH"
    )
    urllib.request.urlopen(request, timeout=10).read()


def _edit(server: NacosServer, scheduler: str) -> None:
    def edit(client: Any) -> None:
        content = json.loads(client.get_config("live.live.json", server.group, no_snapshot=True))
        content["scheduler"] = {"name": scheduler}
        client.publish_config("live.live.json", server.group, json.dumps(content), config_type="json")

    server.call("editing", edit)


if __name__ == "__main__":
    main()
