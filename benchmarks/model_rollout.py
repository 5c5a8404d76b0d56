"""Measures how long a new model takes from the trainer to every node: HDFS and Nacos; baseline: folder and database.

    OFFLOAD_TEST_HDFS_URL=hdfs+http://127.0.0.1:9870/offload OFFLOAD_TEST_NACOS_URL=nacos://127.0.0.1:8848 \\
      python benchmarks/model_rollout.py [--models N]

Ten node processes of the preset `paper-testbed` are idle. The measured real time covers these steps:

1. the publication of an actor of the preset's size and a learner of 200 kB, as the trainer publishes them
2. the activation of the version (`POST /v1/models/…/activate`)
3. every node fetches, verifies and tests the actor, and acknowledges it in the registry, which is read every 20 ms

Writes the figures and a description of the machine to `benchmarks/results/model_rollout.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from local_fleet import publish_untrained
from machine import machine

from commands.local import LocalController, OpenRun, open_run
from middleware.database import record_model
from middleware.registry import EDGE_NODE
from middleware.storage import model_folder
from offload import resolve_settings
from offload.presets import PRESETS

RESULTS = Path(__file__).parent / "results" / "model_rollout.json"
LEARNER = os.urandom(200_000)


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--models", type=int, default=12)
    options = arguments.parse_args()
    hdfs, nacos = os.environ.get("OFFLOAD_TEST_HDFS_URL"), os.environ.get("OFFLOAD_TEST_NACOS_URL")
    if not hdfs or not nacos:
        variables = "OFFLOAD_TEST_HDFS_URL or OFFLOAD_TEST_NACOS_URL"
        print(f"{variables} is not set: nothing is measured, and the results file is not changed")
        return
    name = f"bench-{uuid.uuid4().hex[:8]}"
    group = f"{nacos}?group={name}"
    found = {
        "folder and database (baseline)": measure({}, options.models),
        "hdfs and nacos": measure(
            {"storage": f"{hdfs}/{name}", "registry": group, "configuration": group}, options.models
        ),
    }
    RESULTS.write_text(json.dumps({"machine": machine("hdfs", "onnxruntime"), "services": found}, indent=2) + "\n")
    print(f"written to {RESULTS}")


def measure(services: dict[str, str], models: int) -> dict[str, Any]:
    """Measure the seconds until a model is published, and until every node uses it."""
    with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as name:
        embedded = {"database": f"sqlite:///{name}/offload.db", "storage": f"file:{name}/storage"}
        opened = open_run(resolve_settings([PRESETS["paper-testbed"], {"services": embedded | services}]), "rollout")
        published, took = [], []
        with LocalController(opened, Path(name) / "pods") as controller:
            address = controller.address()
            for count in range(models):
                # Each rollout starts at another phase of the one-second polling interval of the live settings.
                time.sleep(0.2 + count * 0.618 % 1)
                version = f"v{count}"
                began = time.monotonic()
                opened.storage.write(f"{model_folder('rollout', version)}/learner.safetensors", LEARNER)
                manifest = publish_untrained(opened, version, seed=count)
                published.append(time.monotonic() - began)
                record_model(
                    opened.database, opened.run, manifest, phase="online", method="o2o-drl", number=count, statistics={}
                )
                if count == 0:
                    _ask(
                        address,
                        "PATCH",
                        "/v1/configuration",
                        {"live_settings": {"scheduler": {"name": "drl", "model": version}}},
                    )
                else:
                    _ask(address, "POST", f"/v1/models/{version}/activate")
                while not all_have(opened, version):
                    if time.monotonic() - began > 30:
                        raise SystemExit(f"{version} was not applied by all nodes within 30 s")
                    time.sleep(0.02)
                took.append(time.monotonic() - began)
        opened.database.close()
    found = {
        "published_s": _of(published),
        "all_nodes_decide_by_it_s": _of(took),
    }
    print("hdfs and nacos" if services else "folder and database (baseline)", found)
    return found


def all_have(opened: OpenRun, version: str) -> bool:
    """Whether every node has acknowledged the version."""
    nodes = opened.registry.instances(EDGE_NODE, opened.run.name)
    return len(nodes) == 10 and all(one.metadata.get("model") == version for one in nodes)


def _of(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"median": round(ordered[len(ordered) // 2], 2), "longest": round(ordered[-1], 2)}


def _ask(address: str, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    content = json.dumps(body or {}).encode()
    request = urllib.request.Request(f"{address}{path}", content, {"Content-Type": "application/json"}, method=method)
    urllib.request.urlopen(request, timeout=10).read()


if __name__ == "__main__":
    main()
