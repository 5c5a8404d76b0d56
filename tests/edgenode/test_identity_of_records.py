"""Tests that records belong to one episode of one database: records of another experiment on the disk are ignored."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from running import wait_until
from small_controller import Fleet, call

from middleware.database import close_episode
from middleware.database.schema import decisions, outcomes
from offload import Settings, Trace, resolve_settings

SLOTS, NODES = 6, 2


def _settings(write_interval_s: float) -> Settings:
    return resolve_settings(
        [
            {
                "network": {"nodes": NODES, "cores": [4]},
                "time": {"slots": SLOTS, "slot_s": "100 ms"},
                "node": {"write_interval_s": write_interval_s},
                "scheduler": {"name": "local"},
            }
        ]
    )


def _trace(number: int, tasks: bool) -> Trace:
    has_task = np.full((SLOTS, NODES), tasks)
    filled = has_task.astype(float)
    return Trace(number, 0.1, has_task, 1e5 * filled, 1e8 * filled, filled)


def _left_on_disk(folder: Path) -> None:
    """Begin episode 1 of a run, and kill all nodes during it, before they have delivered records."""
    with Fleet(folder, _settings(600.0), url=f"sqlite:///{folder}/first.db") as fleet:
        trace = _trace(1, tasks=True)
        episode = fleet.write_episode(trace)
        fleet.open(episode, trace.episode)
        start_s = fleet.start(episode)
        for slot in range(3):
            fleet.tick(episode, trace, slot, start_s)
        wait_until(lambda: all(call(one, "GET", "/v1/status")[1]["outbox"] > 2 for one in fleet.addresses.values()))
        for process in fleet.processes.values():
            process.kill()
            process.wait()


def test_new_run_of_the_same_name_gets_no_old_records(tmp_path: Path) -> None:
    """The new database also has an open episode 1. It would close as complete, with the decisions of the other one."""
    _left_on_disk(tmp_path)
    with Fleet(tmp_path, _settings(0.1), url=f"sqlite:///{tmp_path}/second.db") as fleet:
        episode = fleet.write_episode(_trace(2, tasks=False))
        time.sleep(0.5)  # five intervals of delivery
        with fleet.database.reading() as connection:
            for table in (outcomes, decisions):
                assert connection.execute(sa.select(table.c.slot)).all() == [], f"{table.name} of another experiment"
        assert close_episode(fleet.database, fleet.run, episode).verdict == "incomplete"
