"""Plays thousands of short episodes without faults, and measures losses and resource use.

    OFFLOAD_TEST_MYSQL_URL=mysql+pymysql://user:password@host/ \\
      python benchmarks/soak.py [--episodes 2000] [--case sqlite-emulated …]

Each case has continuous arrivals, as in `offload serve`, on an empty database: six node processes under light load.
There is one case per database and kind of transfer. The MySQL cases are left out if OFFLOAD_TEST_MYSQL_URL is not set.

Expected:

* every episode is complete, no task is `lost`, and no record is rejected
* memory, threads and descriptors of controller and nodes do not grow

Writes the counts, the sizes of the processes every 100 episodes, and a description of the machine to
`benchmarks/results/soak.json`. Cases that are not measured keep their earlier figures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from machine import machine

from commands.local import LocalController, open_run
from middleware.database import find_episodes
from middleware.database.schema import episodes
from offload import resolve_settings
from offload.episodes import EpisodeStatus

RESULTS = Path(__file__).parent / "results" / "soak.json"
CASES = ("sqlite-emulated", "sqlite-payload", "mysql-emulated", "mysql-payload")
EXPERIMENT: dict[str, Any] = {
    "network": {"nodes": 6, "cores": [8, 16], "arrival_probability": [0.1, 0.4], "failure_rate": [0.0, 0.0]},
    "tasks": {"size_bits": ["200 KB", "600 KB"], "deadline_s": "500 ms"},
    "time": {"slot_s": "100 ms", "slots": 5, "time_scale": 2},
    "scheduler": {"name": "sed"},
}
SAMPLE_EVERY = 100
STUCK_S = 120.0


def main() -> None:
    """Measure, print the figures, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--episodes", type=int, default=2000)
    arguments.add_argument("--case", action="append", choices=CASES)
    options = arguments.parse_args()
    found = json.loads(RESULTS.read_text())["cases"] if RESULTS.exists() else {}
    for case in options.case or CASES:
        database, _, transfer = case.partition("-")
        with fresh_database(database) as url:
            if url is None:
                print(f"{case}: left out, OFFLOAD_TEST_MYSQL_URL is not set")
                continue
            found[case] = soak(case, url, transfer, options.episodes)
            RESULTS.write_text(
                json.dumps({"machine": machine("psutil", "sqlalchemy"), "cases": found}, indent=1) + "\n"
            )
    print(f"written to {RESULTS}")


def soak(case: str, url: str, transfer: str, wanted: int) -> dict[str, Any]:
    """Serve until `wanted` episodes are closed. Returns counts, and the sizes of the processes over time."""
    with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as name:
        services = {"database": url, "storage": f"file:{name}/storage"}
        layers = {"services": services, "node": {"transfer": transfer}, "kept_episodes": wanted + 1000}
        opened = open_run(resolve_settings([EXPERIMENT, layers]), "soak")
        samples: list[dict[str, Any]] = []
        began = time.monotonic()
        with LocalController(opened, Path(name) / "pods", continuously=True) as controller:
            closed, moved = 0, began
            while closed < wanted:
                time.sleep(0.2)
                now = count_closed(opened.database, opened.run.number)
                if now > closed:
                    closed, moved = now, time.monotonic()
                if time.monotonic() - moved > STUCK_S:
                    raise SystemExit(f"{case}: no episode was closed for {STUCK_S:g} s, after {closed} episodes")
                if closed >= SAMPLE_EVERY * (len(samples) + 1):
                    samples.append({"episodes": closed, **sizes(controller.pid)})
                    print(f"{case}: {samples[-1]}", flush=True)
        seconds = time.monotonic() - began
        ended = find_episodes(opened.database, opened.run, status=None)
        opened.database.close()
    ended = [one for one in ended if one.status != EpisodeStatus.ABORTED]  # the last one was interrupted
    outcomes: Counter[str] = Counter()
    for one in ended:
        outcomes.update(one.outcomes)
    result = {
        "episodes": len(ended),
        "seconds": round(seconds, 1),
        "verdicts": dict(Counter(one.verdict or one.status for one in ended)),
        "reasons": sorted({one.reason for one in ended if one.reason})[:5],
        "tasks": sum(one.tasks for one in ended),
        "outcomes": dict(outcomes),
        "lost": outcomes["lost"],
        "refused_records": sum(one.refused_records for one in ended),
        "samples": samples,
    }
    print(f"{case}: { ({key: value for key, value in result.items() if key != 'samples'}) }", flush=True)
    return result


def sizes(controller: int) -> dict[str, Any]:
    """Resident memory (MB), threads and descriptors of the controller, and the largest values among the nodes."""
    process = psutil.Process(controller)
    nodes = [child for child in process.children() if "commands.node" in child.cmdline()]
    found: dict[str, Any] = {}
    for name, group in (("controller", [process]), ("node", nodes)):
        found[f"{name}_mb"] = round(max(one.memory_info().rss for one in group) / 1e6, 1)
        found[f"{name}_threads"] = max(one.num_threads() for one in group)
        found[f"{name}_descriptors"] = max(one.num_fds() for one in group)
    return found


def count_closed(database: Any, run: int) -> int:
    """The number of closed episodes."""
    counting = sa.select(sa.func.count()).where(episodes.c.run == run, episodes.c.status == EpisodeStatus.CLOSED)
    with database.reading() as connection:
        return int(connection.execute(counting).scalar_one())


@contextmanager
def fresh_database(kind: str) -> Iterator[str | None]:
    """The URL of an empty database, which is deleted afterwards; None if there is no server for it."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as name:
            yield f"sqlite:///{name}/offload.db"
        return
    server = os.environ.get("OFFLOAD_TEST_MYSQL_URL")
    if not server:
        yield None
        return
    url, name = sa.make_url(server), f"offload_bench_{uuid.uuid4().hex[:8]}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")
        engine.dispose()


if __name__ == "__main__":
    main()
