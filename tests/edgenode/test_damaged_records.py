"""Tests damaged files after a power loss: only damaged records are lost, and the node starts and closes episodes."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_controller import Fleet
from small_records import decision_record

from edgenode.outbox import Outbox
from edgenode.segments import line_of
from middleware.database import close_episode, find_episodes
from middleware.database.schema import decisions, outcomes
from offload import Trace, draw_trace, resolve_settings

_POISON = {
    "random bytes": random.Random(1).randbytes(5000),
    "zeros, as after a power loss": bytes(4096),
    "a list": b"[1, 2]\n",
    "a number": b"7\n",
    "null": b"null\n",
    "deep": b"[" * 100_000 + b"\n",
    "many digits": b'{"slot": ' + b"9" * 10_000 + b"}\n",
    "no base64": b'{"table": "decisions", "observation": "base64:\xff"}\n',
    "cut off": b'{"table": "decisions", "episo',
    "no lines": b"\n\n\n",
    "carriage returns": b"\r\x0b\x85\r",
}


@pytest.mark.parametrize("poison", _POISON)
def test_lines_that_are_not_records_are_set_aside(tmp_path: Path, poison: str) -> None:
    delivered: list[Mapping[str, Any]] = []

    def deliver(records: Any) -> list[Any]:
        delivered.extend(records)
        return []

    sound = {"table": "decisions", "slot": 1, "observation": b"\n\x00"}
    (tmp_path / "000000007.jsonl").write_bytes(line_of(sound) + _POISON[poison])
    outbox = Outbox(tmp_path, deliver, 60.0)
    outbox.append(decision_record(slot=2))
    outbox.flush()
    assert delivered == [sound, decision_record(slot=2).content()]
    assert outbox.waiting == 0 and outbox.refused > 0 and outbox.problem is None
    assert (tmp_path / "000000007.damaged").read_bytes().rstrip(b"\n") == _POISON[poison].rstrip(b"\n")
    assert not list(tmp_path.glob("0*.jsonl"))


def test_files_that_are_not_segments_stay_unchanged(tmp_path: Path) -> None:
    for name in ("²".rjust(9, "0") + ".jsonl", "notes.jsonl", "1.jsonl.swp"):
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "000000001.jsonl").mkdir()
    outbox = Outbox(tmp_path, lambda records: pytest.fail(f"delivered {records}"), 60.0)
    outbox.flush()
    assert len(list(tmp_path.iterdir())) == 4


def _trace(fleet: Fleet, number: int) -> Trace:
    time = fleet.settings.time
    return draw_trace(fleet.settings.tasks, fleet.network, time.slot_s, time.slots, fleet.settings.seed, number)


def _folder(fleet: Fleet, node: int) -> Path:
    return fleet.folder / f"pods/node-{node}/outbox" / fleet.run.uid


def test_a_node_that_finds_damaged_files_starts_delivers_and_closes(tmp_path: Path) -> None:
    """Regression: the node ended at the first damaged line of every start; a refused value blocked later records."""
    settings = resolve_settings([{"network": {"nodes": 2}, "time": {"slots": 6}, "scheduler": {"name": "local"}}])
    with Fleet(tmp_path, settings) as fleet:
        before = fleet.play(_trace(fleet, 1))
        with fleet.database.reading() as connection:
            row = dict(connection.execute(sa.select(decisions).where(decisions.c.node == 1)).mappings().first() or {})
        uid = fleet.uids[before]
        record = {"table": "decisions", "episode_uid": uid, **row}
        damaged = [
            {**record, "log_probability": float("-inf")},
            {**record, "observation": bytes(30_000)},
            {**record, "slot": 2**40},
            {**record, "colour": "red"},
            {**record, "table": "tasks"},
            {**record, "slot": "three"},
            {"table": "outcomes", "episode": before, "episode_uid": uid, "slot": 1, "source": 1},
        ]
        os.kill(fleet.processes[1].pid, signal.SIGKILL)
        fleet.processes[1].wait()
        folder = _folder(fleet, 1)
        (folder / "000000100.jsonl").write_bytes(b"".join(line_of(one) for one in damaged) + b"[1]\n" + bytes(512))
        (folder / "000000101.jsonl").write_bytes(random.Random(2).randbytes(3000))
        fleet.start_node(1)
        fleet.wait_ready()
        episode = fleet.play(_trace(fleet, 2))
        summary = close_episode(fleet.database, fleet.run, episode)
        assert (summary.verdict, summary.refused_records) == ("complete", 0), (summary, fleet.logs())
        assert fleet.processes[1].poll() is None
        status = fleet.call(1, "GET", "/v1/status")[1]
        assert status["refused_records"] > len(damaged) + 2 and status["outbox"] == 0
        kept = [json.loads(line) for line in (folder / "refused.jsonl").read_text().splitlines()]
        assert len(kept) == len(damaged) and all(one["refused"] for one in kept)
        assert {path.name for path in folder.glob("*.damaged")} == {"000000100.damaged", "000000101.damaged"}
        log = (tmp_path / "node-1.log").read_text()
        assert log.count("lines are not records") == 2 and "Traceback" not in log
        (summary,) = find_episodes(fleet.database, fleet.run, episode=before, status=None)
        assert summary.refused_records == len(damaged)
        # The episode of these records was not closed yet: it must not count as complete.
        assert close_episode(fleet.database, fleet.run, before).verdict == "incomplete"


def test_a_scheduler_whose_numbers_are_not_finite_is_one_that_fails(tmp_path: Path) -> None:
    """Regression: the database rejected its record, and with it all later records of that node."""
    settings = resolve_settings([{"network": {"nodes": 2}, "time": {"slots": 6}, "scheduler": {"name": "local"}}])
    plugin = tmp_path / "plugin"
    (plugin / "unsure-1.dist-info").mkdir(parents=True)
    (plugin / "unsure-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: unsure\nVersion: 1\n")
    (plugin / "unsure-1.dist-info/entry_points.txt").write_text("[offload.schedulers]\nunsure = unsure:Unsure\n")
    (plugin / "unsure.py").write_text(_UNSURE)
    with Fleet(tmp_path, settings, path=plugin) as fleet:
        fleet.change({"scheduler": {"name": "unsure", "model": None}})
        episode = fleet.play(_trace(fleet, 3))
        summary = close_episode(fleet.database, fleet.run, episode)
        assert summary.verdict == "mixed" and "lost" not in summary.outcomes, (summary, fleet.logs())
        assert "the scheduler failed in" in summary.reason
        assert "scheduler unsure failed in slot" in fleet.logs() and "must be a finite number" in fleet.logs()
        with fleet.database.reading() as connection:
            rows = connection.execute(sa.select(outcomes).where(outcomes.c.episode == episode)).all()
        assert all(row.destination == row.source for row in rows)


_UNSURE = """
from dataclasses import dataclass
import numpy as np
from offload import Choice

@dataclass(frozen=True)
class Unsure:
    context: object
    enough_reports = None

    def probes(self, states, draws):
        return np.zeros((states.batch, 0), dtype=np.int64)

    def choose(self, states, reports, draws):
        choice = Choice.of(states.node * 0, states.nodes)
        if states.execution_queue_length[0] == 0 and states.slot[0] == 0:
            return choice  # it passes the trial of an idle node
        return Choice(choice.destination, choice.scores, np.full(states.batch, -np.inf))
"""
