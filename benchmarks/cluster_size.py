"""Measures how many edge-node pods a machine can run on Kubernetes: fidelity, memory and processor time by N.

    tests/cluster/run CLUSTER SERVERS \\
      .venv/bin/python benchmarks/cluster_size.py [--nodes 10 20 30] [--episodes 6]

For each N the benchmark installs the chart, with external MySQL, HDFS and Nacos. It plays the preset `paper-testbed`
with ratc, at real speed. "Held" is defined as in `results.json`: the median error of transmissions and executions is
at most 2 %, the 95th percentile at most 5 %, and at most 1 % of the tasks are late. "Idle" means slots at 10 Hz
without tasks. The baseline is the same number of edge nodes as local processes on the same machine, with SQLite.

Writes the figures and a description of the machine to `benchmarks/results/cluster_size.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from local_fleet import local_fleet, settings_of
from machine import machine

from evaluation.results import build_results
from middleware.database import Database, load_run
from offload.episodes import EpisodePhase

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))
from releases import KUBECTL, Release, call, namespace, until

RESULTS = Path(__file__).parent / "results" / "cluster_size.json"
_IDLE_S = 20.0
_ASKED = 4
_TRACES = 3_000_000
_SCHEDULER = "ratc"


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--nodes", type=int, nargs="+", default=[10, 15, 20, 30])
    arguments.add_argument("--episodes", type=int, default=6, help="episodes at each size")
    options = arguments.parse_args()
    found: dict[str, list[dict[str, Any]]] = {"kubernetes": [], "local processes (baseline)": []}
    for nodes in options.nodes:
        _add(found, "kubernetes", on_cluster(nodes, options.episodes))
    for nodes in options.nodes:
        _add(found, "local processes (baseline)", as_processes(nodes, options.episodes))
    results = {"machine": machine("numpy"), "scheduler": _SCHEDULER, "episodes": options.episodes, "sizes": found}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {RESULTS}")


def on_cluster(nodes: int, episodes: int) -> dict[str, Any]:
    """Measure one idle release, then one with tasks."""
    with namespace(f"offload-size-{uuid.uuid4().hex[:6]}") as space, tempfile.TemporaryDirectory() as folder:
        url, services = _services(space)
        quiet = {"preset": "paper-testbed", "network": {"nodes": nodes, "arrival_probability": [0, 0]}}
        release = Release("idle", space, {"settings": quiet, "node": {"leavingSeconds": 0}, **services}, Path(folder))
        ready_s = release.install(timeout_s=400)
        until(lambda: release.status()["last_episodes"]["episodes"] > 1, "episodes")
        idle = _used(release)
        release.uninstall()
        busy = {**quiet, "network": {"nodes": nodes}}
        release = Release("busy", space, {"settings": busy, "node": {"leavingSeconds": 0}, **services}, Path(folder))
        release.install(timeout_s=400)
        release.rest("DELETE", "/v1/serve")
        until(lambda: release.status()["episode"] is None, "the last continuous episode ends")
        for trace in range(_TRACES, _TRACES + episodes):
            plan = {"phase": EpisodePhase.EVALUATE, "method": _SCHEDULER, "trace": trace, "scheduler": _SCHEDULER}
            release.ended(release.rest("POST", "/v1/episodes", plan)["episode"])
        largest, run = _memory_mb(release), release.run()
        release.uninstall()
        database = Database.connect(url)
        figures = _fidelity(build_results(database, load_run(database, run)))
        database.close()
    return {
        "nodes": nodes,
        "ready_s": round(ready_s, 1),
        "idle_core_share": idle,
        "largest_node_mb": largest,
        **figures,
    }


def as_processes(nodes: int, episodes: int) -> dict[str, Any]:
    """Measure the same episodes on local processes."""
    began = time.monotonic()
    with local_fleet(settings_of("paper-testbed", [_SCHEDULER], {"network": {"nodes": nodes}})) as fleet:
        ready_s = time.monotonic() - began
        fleet.play(_SCHEDULER, episodes)
        return {
            "nodes": nodes,
            "ready_s": round(ready_s, 1),
            "largest_node_mb": round(fleet.largest_node_mb(), 1),
            **_fidelity(fleet.results()),
        }


def _services(space: str) -> tuple[str, dict[str, Any]]:
    """Make an empty database and its Secret. Returns its URL, and the chart's values for it and the other servers."""
    server, name = sa.make_url(os.environ["OFFLOAD_TEST_CLUSTER_MYSQL_URL"]), space.replace("-", "_")
    with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    password = f"--from-literal=password={server.password}"
    call(KUBECTL, "-n", space, "create", "secret", "generic", "database", password)
    hdfs, nacos = (os.environ[f"OFFLOAD_TEST_CLUSTER_{one}_URL"] for one in ("HDFS", "NACOS"))
    values = {
        "mysql": {
            "enabled": False, "host": server.host, "port": server.port, "user": server.username, "database": name,
            "existingSecret": "database",
        },
        "hdfs": {
            "enabled": False, "url": f"{hdfs.replace('http://', 'http://offload@')}/{space}",
            "ports": [int(port) for port in os.environ["OFFLOAD_TEST_CLUSTER_HDFS_PORTS"].split(",")],
        },
        "nacos": {"enabled": False, "url": f"{nacos}?group={space}", "port": sa.make_url(nacos).port},
    }  # fmt: skip
    return server.set(database=name).render_as_string(hide_password=False), values


def _used(release: Release) -> float:
    """The share of a core that a node's process uses over `_IDLE_S` seconds: the mean of `_ASKED` nodes."""
    before = [_cpu_s(release, node) for node in range(_ASKED)]
    time.sleep(_IDLE_S)
    after = [_cpu_s(release, node) for node in range(_ASKED)]
    shares = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(before, after, strict=True)]
    return round(sum(shares) / _ASKED, 4)


def _cpu_s(release: Release, node: int) -> tuple[float, float]:
    """The present time, and the processor seconds that a node's process has used so far.

    The processor time is from `schedstat`. The values of `stat` are sampled by the timer that also wakes periodic
    processes, so they would be twice as large.
    """
    text = release.execute(
        "sh", "-c", "cat /proc/1/task/*/schedstat 2>/dev/null; true", pod=f"{release.full}-node-{node}"
    )
    return time.monotonic(), sum(int(line.split()[0]) for line in text.splitlines()) / 1e9


def _memory_mb(release: Release) -> float:
    """Resident memory (MB) of the largest process among `_ASKED` edge nodes."""
    sizes = []
    for node in range(_ASKED):
        text = release.execute("grep", "VmRSS", "/proc/1/status", pod=f"{release.full}-node-{node}")
        sizes.append(int(text.split()[1]) * 1024 / 1e6)
    return round(max(sizes), 1)


def _fidelity(results: dict[str, Any]) -> dict[str, Any]:
    found = results["fidelity"]["emulated"]
    return {
        "transmission_p95": round(found["transmission"]["p95"], 4),
        "execution_p95": round(found["execution"]["p95"], 4),
        "late_share": round(found["late_share"], 4),
        "held": found["held"],
    }


def _add(found: dict[str, list[dict[str, Any]]], place: str, figures: dict[str, Any]) -> None:
    found[place].append(figures)
    print(place, json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
