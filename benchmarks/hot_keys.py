"""How long a change of the hot keys takes until every node has applied it, through Nacos and through the database (peer).

    OFFLOAD_TEST_NACOS_URL=nacos://127.0.0.1:8848 python benchmarks/hot_keys.py [--changes N]

Ten idle node processes of the preset `paper-testbed`. Measured is the real time from the request (`PATCH /v1/configuration`, as
`offload set` sends it), and, with Nacos, from an edit of its configuration as its console makes it, until the last node's
acknowledgement stands in the registry, which is read every 20 ms; then what the idle nodes cost.

Writes `benchmarks/results/hot_keys.json`: figures and the machine.
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

RESULTS = Path(__file__).parent / "results" / "hot_keys.json"
NAMES = ("rda", "sed", "random", "ratc")
IDLE_S = 10.0


def main() -> None:
    """Measure, print, write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--changes", type=int, default=12)
    options = arguments.parse_args()
    server = os.environ.get("OFFLOAD_TEST_NACOS_URL")
    if not server:
        print("OFFLOAD_TEST_NACOS_URL is not set: no Nacos to measure; the results stay as they are")
        return
    found = {"database (peer)": measure(None, options.changes)}
    found["nacos"] = measure(f"{server}?group=bench-{uuid.uuid4().hex[:8]}", options.changes)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine("psutil"), "services": found}, indent=2) + "\n")
    print(f"written to {RESULTS}")


def measure(nacos: str | None, changes: int) -> dict[str, Any]:
    """Seconds of each change, and what an idle node costs."""
    with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as name:
        services = {"database": f"sqlite:///{name}/offload.db", "storage": f"file:{name}/storage"}
        services |= {"registry": nacos, "configuration": nacos} if nacos else {}
        opened = open_run(resolve_settings([PRESETS["paper-testbed"], {"services": services}]), "hot")
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
    print("nacos" if nacos else "database (peer)", found)
    return found


def timed(opened: OpenRun, changes: int, change: Callable[[str], None]) -> dict[str, float]:
    """The median and the longest of so many changes, in seconds."""
    took = []
    for count in range(changes):
        # At another instant of the second between two readings each time (multiples of the golden ratio).
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
    """Whether every node has acknowledged it."""
    nodes = opened.registry.instances(EDGE_NODE, opened.run.name)
    return len(nodes) == 10 and all(one.metadata.get("scheduler") == scheduler for one in nodes)


def _set(address: str, scheduler: str) -> None:
    body = json.dumps({"hot": {"scheduler.name": scheduler}, "by": "benchmark"}).encode()
    request = urllib.request.Request(
        f"{address}/v1/configuration", body, {"Content-Type": "application/json"}, method="PATCH"
    )
    urllib.request.urlopen(request, timeout=10).read()


def _edit(server: NacosServer, scheduler: str) -> None:
    def edit(client: Any) -> None:
        content = json.loads(client.get_config("hot.hot.json", server.group, no_snapshot=True))
        content["scheduler"] = {"name": scheduler}
        client.publish_config("hot.hot.json", server.group, json.dumps(content), config_type="json")

    server.call("editing", edit)


if __name__ == "__main__":
    main()
