"""Tests that records reach the database after any failure: otherwise episodes are incomplete or lack outcomes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_records import decision_record

from edgenode.outbox import Outbox, OutboxError
from middleware.database import Refused
from middleware.errors import ServiceUnavailable
from offload.records import DecisionRecord


class _Database:
    """Accepts what `deliver_records` accepts. `unavailable` makes it fail, with a secret in the driver's message."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.unavailable = False
        self.closed: set[int] = set()

    def write(self, records: Sequence[Mapping[str, Any]]) -> list[Refused]:
        if self.unavailable:
            raise ServiceUnavailable("the database cannot be used now (OperationalError 2003)", "password=hunter2")
        refused = [Refused(one, "its episode is closed") for one in records if one["episode"] in self.closed]
        self.rows += [one for one in records if one["episode"] not in self.closed]
        return refused


def _record(slot: int, episode: int = 1) -> DecisionRecord:
    return decision_record(episode=episode, slot=slot, observation=bytes([0, 255, slot % 256, 0]))


def _outbox(folder: Path, database: _Database, interval_s: float = 60.0) -> Outbox:
    return Outbox(folder, database.write, interval_s)


def test_flush_delivers_everything_in_order_with_its_bytes(tmp_path: Path) -> None:
    database = _Database()
    outbox = _outbox(tmp_path, database)
    for slot in range(5):
        outbox.append(_record(slot))
    outbox.flush()
    assert database.rows == [_record(slot).content() for slot in range(5)]
    assert outbox.waiting == 0 and not list(tmp_path.glob("*.jsonl"))


def test_records_wait_on_the_disk_during_a_database_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = _Database()
    outbox = _outbox(tmp_path, database)
    database.unavailable = True
    for slot in range(3):
        outbox.append(_record(slot))
        with pytest.raises(OutboxError, match="cannot be used now") as refused:
            outbox.flush()
        assert "hunter2" not in str(refused.value)
    assert outbox.waiting == 3 and database.rows == []
    assert "hunter2" not in caplog.text
    database.unavailable = False
    outbox.flush()
    assert [row["slot"] for row in database.rows] == [0, 1, 2] and outbox.waiting == 0


def test_the_thread_delivers_by_itself_and_goes_on_after_an_outage(tmp_path: Path) -> None:
    database = _Database()
    outbox = _outbox(tmp_path, database, interval_s=0.02)
    database.unavailable = True
    outbox.start()
    outbox.append(_record(0))
    time.sleep(0.2)
    assert outbox.waiting == 1
    database.unavailable = False
    until = time.monotonic() + 20
    while outbox.waiting and time.monotonic() < until:
        time.sleep(0.02)
    assert [row["slot"] for row in database.rows] == [0]
    outbox.stop()


def test_undelivered_records_are_delivered_at_the_next_start(tmp_path: Path) -> None:
    database = _Database()
    outbox = _outbox(tmp_path, database)
    outbox.append(_record(0))
    database.unavailable = True
    outbox.stop()
    database.unavailable = False
    again = _outbox(tmp_path, database)
    assert again.waiting == 1
    again.append(_record(1))
    again.flush()
    assert [row["slot"] for row in database.rows] == [0, 1]


def test_records_survive_kill_minus_nine(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from edgenode.outbox import Outbox\n"
        "from small_records import decision_record\n"
        "outbox = Outbox(Path(sys.argv[1]), lambda records: [], 60.0)\n"
        "for slot in range(20):\n"
        "    outbox.append(decision_record(slot=slot))\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    database = _Database()
    _outbox(tmp_path, database).flush()
    assert [row["slot"] for row in database.rows] == list(range(20))


def test_a_torn_last_line_costs_that_record_only(tmp_path: Path) -> None:
    database = _Database()
    outbox = _outbox(tmp_path, database)
    for slot in range(2):
        outbox.append(_record(slot))
    (segment,) = tmp_path.glob("0*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-15])
    again = _outbox(tmp_path, database)
    again.flush()
    assert [row["slot"] for row in database.rows] == [0]
    assert again.waiting == 0, "a torn line would be shown as waiting for ever"
    assert again.refused == 1


def test_refused_records_are_kept_aside_and_counted(tmp_path: Path) -> None:
    database = _Database()
    database.closed = {1}
    outbox = _outbox(tmp_path, database)
    outbox.append(_record(0, episode=1))
    outbox.append(_record(0, episode=2))
    outbox.flush()
    assert outbox.refused == 1 and outbox.waiting == 0
    assert [row["episode"] for row in database.rows] == [2]
    (line,) = (tmp_path / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["refused"] == "its episode is closed" and json.loads(line)["episode"] == 1
    _outbox(tmp_path, database).flush()
    assert len(database.rows) == 1, "what was refused must not be delivered again"


def test_what_is_appended_while_a_delivery_is_under_way_is_not_lost(tmp_path: Path) -> None:
    """Regression: a segment was delivered in part while it was written, and deleted. So tasks lost their outcomes."""
    database = _Database()
    outbox = _outbox(tmp_path, database)
    total, done = 3000, threading.Event()

    def append_all() -> None:
        for slot in range(total):
            outbox.append(_record(slot))
        done.set()

    writer = threading.Thread(target=append_all)
    writer.start()
    while not done.is_set():
        outbox.flush()
    writer.join()
    outbox.flush()
    assert sorted(row["slot"] for row in database.rows) == list(range(total))
    assert outbox.waiting == 0


def test_the_counts_change_only_under_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delivery thread and `append` increased `dropped` at the same time: the status lacked lost records."""
    changed: dict[str, list[bool]] = {name: [] for name in ("refused", "dropped", "waiting", "_disk_trouble")}

    class Watched(Outbox):
        def __setattr__(self, name: str, value: Any) -> None:
            if name in changed and hasattr(self, "_writer"):  # it is made
                changed[name].append(self._lock.locked())
            super().__setattr__(name, value)

    monkeypatch.setattr("edgenode.outbox._MOST_ASIDE", 0)
    database = _Database()
    database.closed = {1}
    outbox = Watched(tmp_path, database.write, 60.0)
    (tmp_path / "000000000.jsonl").write_bytes(b"torn\n")
    for name in ("refused.jsonl", "000000000.damaged"):
        (tmp_path / name).mkdir()  # nothing can be set aside
    outbox.append(_record(0))
    outbox.flush()
    assert (outbox.refused, outbox.dropped) == (2, 2)
    assert {name: set(locked) for name, locked in changed.items()} == {name: {True} for name in changed}
