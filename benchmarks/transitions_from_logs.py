"""Measures how fast, and with how much memory, decision rows of the database become transitions.

    python benchmarks/transitions_from_logs.py [--url URL]… [--rows N]

The benchmark fills each database with episodes of ten nodes with the default profile, by the functions that edge nodes
and controller use. By default the databases are a temporary SQLite file, and the server of OFFLOAD_TEST_MYSQL_URL if it
is set. The benchmark deletes the file afterwards; in other databases the filled run stays, and is used again.

Then a new process streams all episodes as `EpisodeLog`s and makes `Transitions`. The baseline is `pandas.read_sql` and
a loop over the rows of each episode. It reads a part of the episodes in another process. Both must give the same
arrays.

Writes the figures and a description of the machine to `benchmarks/results/transitions_from_logs.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from machine import machine

from middleware.database import (
    Database,
    Run,
    close_episode,
    create_run,
    find_episodes,
    load_network,
    load_run,
    open_episode,
    stream_episode_logs,
    write_records,
)
from offload.episodes import EpisodeLog, EpisodePhase, EpisodePlan, Verdict
from offload.masks import pack_masks, unpack_masks
from offload.network import Network, draw_network
from offload.outcomes import Outcome, end_slot, reward
from offload.profiles import make_profile
from offload.records import DecisionRecord, OutcomeRecord, Record
from offload.scheduler_choice import SchedulerChoice
from offload.settings import Settings, redacted
from offload.tasks import draw_trace
from trainer.transitions import transitions_of

RESULTS = Path(__file__).parent / "results" / "transitions_from_logs.json"
_MYSQL = "OFFLOAD_TEST_MYSQL_URL"
BASELINE_SHARE = 10
"""The baseline reads every BASELINE_SHARE-th episode: it is slow, and keeps all rows in memory."""


def main() -> None:
    """Fill the databases, measure, compare, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--url", action="append", help="database URL; may be repeated")
    arguments.add_argument("--rows", type=int, default=1_000_000, help="decision rows")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="offload-benchmark-") as folder:
        urls = options.url or [f"sqlite:///{folder}/benchmark.db", *filter(None, [os.environ.get(_MYSQL)])]
        results = [measure(url, options.rows) for url in urls]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"machine": machine("numpy", "sqlalchemy", "pymysql", "pandas"), "results": results}, indent=2)
        + "\n"
    )
    print(f"written to {RESULTS}")


def measure(url: str, rows: int) -> dict[str, Any]:
    """Fill one database if it is not filled yet, and measure both ways, each in its own process."""
    name = f"benchmark-{rows}"
    print(f"{redacted(url)}: filling with {rows} decision rows …", flush=True)
    filled_in_s = fill(url, name, rows)
    ours = _alone(stream, url, name)
    baseline = _alone(read_with_pandas, url, name)
    if ours["checksum"] != baseline["checksum"]:
        raise SystemExit(f"the baseline's arrays differ: {ours['checksum']} and {baseline['checksum']}")
    for label, figures in (("streamed", ours), ("pandas.read_sql and a loop", baseline)):
        print(
            f"  {label:>27}: {figures['rows']} rows in {figures['seconds']:.2f} s, "
            f"{figures['rows_per_s']:.0f} rows/s, peak {figures['peak_rss_mb']:.0f} MB"
        )
    return {
        "server": server(url),
        "filled_in_s": filled_in_s,
        "ours": ours,
        "baseline": {"name": "pandas.read_sql", **baseline},
    }


def fill(url: str, name: str, rows: int) -> float | None:
    """Write plausible episodes until there are `rows` decisions. Returns the seconds; None if nothing was written."""
    settings = Settings()
    db = Database.connect(url)
    db.migrate()
    run = create_run(db, name, settings, draw_network(settings.network, settings.seed), {})
    network = load_network(db, run)
    wanted = -(-rows // ((settings.time.slots + 1) * network.nodes))
    present = len(find_episodes(db, run))
    if present >= wanted:
        return None
    started = time.perf_counter()
    random = np.random.default_rng(settings.seed)
    for index in range(present, wanted):
        plan = EpisodePlan(EpisodePhase.COLLECT, "ratc", index, SchedulerChoice("ratc"))
        trace = draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, settings.seed, index)
        uid = uuid.uuid4().hex
        episode = open_episode(db, run, plan, trace, 1, uid)
        write_records(db, run.number, list(records(settings, network, trace.has_task, episode, uid, random)))
        summary = close_episode(db, run, episode, down={}, late_slots=0, mixed=None)
        assert summary.verdict == Verdict.COMPLETE, summary.reason
    db.close()
    return round(time.perf_counter() - started, 1)


def records(
    settings: Settings, network: Network, has_task: np.ndarray, episode: int, uid: str, random: np.random.Generator
) -> Iterator[Record]:
    """The records that the nodes would write in an episode."""
    n, slots = network.nodes, settings.time.slots
    observations = random.random((slots + 1, n, make_profile(settings).size), dtype=np.float32)
    for slot in range(slots + 1):
        for node in range(n):
            busy = slot < slots and bool(has_task[slot, node])
            mask = np.append(np.full(n, busy), not busy)
            action = int(random.integers(n)) if busy else n
            yield DecisionRecord(
                episode=episode, episode_uid=uid, slot=slot, node=node,
                observation=observations[slot, node].tobytes(), mask=pack_masks(mask).tobytes(),
                action=action, model=None, failed=False, log_probability=None,
                scores=random.random(n, dtype=np.float32).tobytes() if busy else None, revision=1,
                skew_s=1e-4, decision_s=5e-3 if busy else 0.0, probes=2 * busy, execution_queue_length=1,
                sending_queue_length=1, receiving_queue_length=0, execution_backlog_s=0.2,
            )  # fmt: skip
            if busy:
                completion_s = float(random.uniform(0.05, 1.0))
                outcome = Outcome.SUCCESS if random.random() < 0.8 else Outcome.DROPPED
                yield OutcomeRecord(
                    episode=episode, episode_uid=uid, slot=slot, source=node, destination=action,
                    outcome=outcome, skew_s=1e-4, decision_s=5e-3, transmission_waiting_s=0.0,
                    transmission_s=0.05, handover_s=1e-3, execution_waiting_s=0.1, execution_s=0.1,
                    completion_s=completion_s, late=False, transfer=None, written_by=action,
                    end_slot=end_slot(slot, completion_s, settings.time.slot_s, slots),
                )  # fmt: skip


def stream(url: str, name: str) -> dict[str, Any]:
    """Read all episodes by `stream_episode_logs` and `transitions_of`."""
    db, run, _ = _opened(url, name)
    rows, checksum = 0, 0.0
    started = time.perf_counter()
    for index, log in enumerate(stream_episode_logs(db, run)):
        transitions = transitions_of(log)
        rows += log.actions.size
        if index % BASELINE_SHARE == 0:
            checksum += _checksum(log)
        assert transitions.slots == run.settings.time.slots
    return _figures(rows, time.perf_counter() - started, checksum)


def read_with_pandas(url: str, name: str) -> dict[str, Any]:
    """The baseline, the obvious implementation: reads its episodes in one statement, then loops over the rows."""
    import pandas as pd  # imported here, so that its memory does not count for the other process

    db, run, network = _opened(url, name)
    episodes = [summary.episode for summary in find_episodes(db, run)][::BASELINE_SHARE]
    slots, n = run.settings.time.slots, network.nodes
    chosen = ", ".join(map(str, episodes))
    started = time.perf_counter()
    with db.reading() as connection:
        where = f"WHERE run = {run.number} AND episode IN ({chosen})"
        decisions = pd.read_sql(sa.text(f"SELECT * FROM decisions {where}"), connection)
        outcomes = pd.read_sql(sa.text(f"SELECT * FROM outcomes {where}"), connection)
    checksum = 0.0
    outcomes_of = dict(tuple(outcomes.groupby("episode")))
    for episode, group in decisions.groupby("episode"):
        observations = np.zeros((slots + 1, n, make_profile(run.settings).size), np.float32)
        masks = np.zeros((slots + 1, n, n + 1), bool)
        actions = np.zeros((slots + 1, n), np.int64)
        log_probabilities = np.full((slots + 1, n), np.nan, np.float32)
        for row in group.itertuples():
            observations[row.slot, row.node] = np.frombuffer(row.observation, "<f4")
            masks[row.slot, row.node] = unpack_masks(np.frombuffer(row.mask, np.uint8), n + 1)
            actions[row.slot, row.node] = row.action
        rewards = np.zeros(slots)
        for row in outcomes_of[episode].itertuples():
            rewards[row.end_slot] += reward(Outcome(row.outcome))
        plan = EpisodePlan(EpisodePhase.COLLECT, "ratc", 0, SchedulerChoice("ratc"))
        up = np.ones((slots + 1, n), bool)
        log = EpisodeLog(int(episode), plan, observations, masks, actions, log_probabilities, up, rewards, 0, 0)
        transitions_of(log)
        checksum += _checksum(log)
    return _figures(len(decisions), time.perf_counter() - started, checksum)


def _opened(url: str, name: str) -> tuple[Database, Run, Network]:
    db = Database.connect(url)
    run = load_run(db, name)
    return db, run, load_network(db, run)


def _checksum(log: EpisodeLog) -> float:
    weights = np.arange(1, log.actions.size + 1).reshape(log.actions.shape)
    parts = (
        log.observations.astype(np.float64).sum(axis=-1) * weights,
        log.masks.sum(axis=-1) * weights,
        log.actions * weights,
        log.team_reward * weights[:-1, 0],
    )
    return float(sum(part.sum() for part in parts))


def _figures(rows: int, seconds: float, checksum: float) -> dict[str, Any]:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": rows,
        "seconds": round(seconds, 3),
        "rows_per_s": round(rows / seconds),
        "peak_rss_mb": round(peak_mb, 1),
        "checksum": round(checksum, 3),
    }


def _alone(function: Callable[[str, str], dict[str, Any]], url: str, name: str) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, url, name).result()


def server(url: str) -> str:
    """The database's dialect and version."""
    db = Database.connect(url)
    with db.reading() as connection:
        version = connection.execute(
            sa.text("SELECT sqlite_version()" if db.is_sqlite else "SELECT VERSION()")
        ).scalar()
    return f"{db.engine.dialect.name} {version}"


if __name__ == "__main__":
    main()
