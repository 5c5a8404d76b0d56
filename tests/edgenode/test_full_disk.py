"""Tests a full disk: a node keeps records in memory and reports it. No task is lost, and no partial line is written."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from small_controller import Fleet
from small_disk import SmallDisk, small_disk
from small_records import decision_record

from edgenode.outbox import Outbox, OutboxError, most_records
from edgenode.segments import WholeWriter, content_of
from middleware.database import Refused, close_episode
from middleware.database.schema import outcomes
from middleware.errors import ServiceUnavailable
from offload import Trace, draw_trace, resolve_settings
from offload.records import DecisionRecord

_NO_SPACE = os.strerror(28)


class _Database:
    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.unavailable = False
        self.refuses = False

    def write(self, records: Sequence[Mapping[str, Any]]) -> list[Refused]:
        if self.unavailable:
            raise ServiceUnavailable("the database cannot be used now (OperationalError 2003)", "no")
        if self.refuses:
            return [Refused(record, "a test") for record in records]
        self.rows += records
        return []

    @property
    def slots(self) -> list[int]:
        return sorted(row["slot"] for row in self.rows)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 256) as made:
        yield made


def _record(slot: int) -> DecisionRecord:
    return decision_record(slot=slot, observation=bytes(300))


def _lines(folder: Path) -> list[dict[str, Any] | None]:
    return [content_of(line) for path in sorted(folder.glob("0*.jsonl")) for line in path.read_bytes().splitlines()]


def test_records_stay_in_memory_while_the_disk_is_full(disk: SmallDisk, caplog: Any) -> None:
    database = _Database()
    database.unavailable = True
    outbox = Outbox(disk.folder / "outbox", database.write, 60.0)
    outbox.append(_record(0))
    disk.fill()
    for slot in range(1, 40):
        outbox.append(_record(slot))
    assert outbox.waiting == 40 and 0 < outbox.in_memory < 40
    with pytest.raises(OutboxError, match=f"cannot be used now.*{_NO_SPACE}.*records in memory"):
        outbox.flush()
    assert outbox.problem is not None and _NO_SPACE in outbox.problem
    disk.empty()
    with pytest.raises(OutboxError):
        outbox.flush()
    assert outbox.in_memory == 0 and outbox.waiting == 40
    assert sorted(record["slot"] for record in _lines(disk.folder / "outbox") if record) == list(range(40))
    assert None not in _lines(disk.folder / "outbox"), "half a line spoils the one after it"
    outbox.append(_record(40))
    database.unavailable = False
    outbox.flush()
    assert database.slots == list(range(41)) and outbox.waiting == 0 and outbox.problem is None
    logged = [record.getMessage() for record in caplog.records if "writable" in record.getMessage()]
    assert len(logged) == 2 and "is not writable" in logged[0] and "is writable again" in logged[1], logged


def test_the_database_takes_them_from_memory(disk: SmallDisk) -> None:
    database = _Database()
    outbox = Outbox(disk.folder / "outbox", database.write, 60.0)
    disk.fill()
    for slot in range(30):
        outbox.append(_record(slot))
        if slot % 10 == 9:
            outbox.flush()
            assert outbox.waiting == outbox.in_memory == 0
    assert database.slots == list(range(30)) and outbox.refused == outbox.dropped == 0
    outbox.stop()


def test_a_node_starts_on_a_full_disk(disk: SmallDisk) -> None:
    disk.fill()
    database = _Database()
    outbox = Outbox(disk.folder / "a" / "outbox", database.write, 60.0)
    outbox.append(_record(0))
    outbox.flush()
    assert database.slots == [0]
    disk.empty()
    outbox.append(_record(1))
    outbox.flush()
    assert database.slots == [0, 1] and outbox.problem is None


def test_what_memory_does_not_take_is_counted_and_said(disk: SmallDisk, caplog: Any) -> None:
    database = _Database()
    database.unavailable = True
    outbox = Outbox(disk.folder / "outbox", database.write, 60.0, most_in_memory=5)
    disk.fill()
    for slot in range(20):
        outbox.append(_record(slot))
    assert outbox.in_memory == 5 and outbox.dropped == 20 - outbox.waiting > 0
    assert f"{outbox.dropped} dropped" in (outbox.problem or "")
    assert [r.levelno for r in caplog.records if "the maximum" in r.getMessage()] == [logging.ERROR]


def test_refused_records_are_set_aside_when_there_is_space_again(disk: SmallDisk) -> None:
    database = _Database()
    outbox = Outbox(disk.folder, database.write, 60.0)
    outbox.append(_record(0))
    disk.fill()
    database.refuses = True
    outbox.flush()
    disk.fill()  # the segment was deleted
    outbox.append(_record(1))
    outbox.flush()
    assert outbox.refused == 2 and outbox.waiting == 0
    disk.empty()
    outbox.flush()
    kept = [json.loads(line) for line in (disk.folder / "refused.jsonl").read_text().splitlines()]
    assert sorted(one["slot"] for one in kept) == [0, 1]


def test_a_piece_that_does_not_fit_leaves_nothing_behind(disk: SmallDisk) -> None:
    writer = WholeWriter(disk.folder / "file")
    writer.write(b"first\n")
    with pytest.raises(OSError, match=_NO_SPACE):
        writer.write(bytes(1_000_000))
    writer.write(b"second\n")
    assert (disk.folder / "file").read_bytes() == b"first\nsecond\n"


def test_concurrent_appends_lose_nothing_during_disk_failures(disk: SmallDisk) -> None:
    database = _Database()
    outbox = Outbox(disk.folder / "outbox", database.write, 0.01)
    outbox.start()

    def append_all(first: int) -> None:
        for slot in range(first, first + 400):
            outbox.append(_record(slot))
            time.sleep(0.001)

    threads = [threading.Thread(target=append_all, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        database.unavailable = not database.unavailable
        disk.fill()
        time.sleep(0.03)
        disk.empty()
        time.sleep(0.03)
    database.unavailable = False
    outbox.stop()
    assert outbox.waiting == outbox.dropped == outbox.refused == 0
    assert database.slots == sorted(first + slot for first in (0, 1000, 2000) for slot in range(400))


def test_what_memory_takes_is_what_an_episode_leaves_at_a_node() -> None:
    assert most_records(3, 10) == 41
    assert most_records(1000, 10_000) == 100_000


# --- real nodes -----------------------------------------------------------------------------------------------------


def _trace(fleet: Fleet, number: int) -> Trace:
    time_settings = fleet.settings.time
    return draw_trace(
        fleet.settings.tasks, fleet.network, time_settings.slot_s, time_settings.slots, fleet.settings.seed, number
    )


def test_nodes_on_a_full_disk_lose_no_task(tmp_path: Path) -> None:
    """Regression: a full disk ended all nodes repeatedly, and the episode lost all its tasks."""
    settings = resolve_settings(
        [
            {
                "network": {"nodes": 3},
                "time": {"slots": 20},
                "node": {"write_interval_s": 0.2},
                "scheduler": {"name": "sed"},
            }
        ]
    )
    with small_disk(tmp_path / "pods", 512) as disk, Fleet(tmp_path, settings) as fleet:
        trace = _trace(fleet, 4)
        pids = {node: process.pid for node, process in fleet.processes.items()}
        episode = fleet.write_episode(trace)
        fleet.open(episode, trace.episode)
        start_s = fleet.start(episode)
        for slot in range(21):
            if slot == 5:
                disk.fill()
                with fleet.database.transaction() as connection:  # so that the database accepts no records
                    connection.exec_driver_sql("ALTER TABLE decisions RENAME TO elsewhere")
            if slot == 15:
                found = [fleet.call(node, "GET", "/v1/status")[1] for node in range(3)]
                assert all(one["outbox_in_memory"] > 0 for one in found), found
                assert all(_NO_SPACE in one["outbox_problem"] for one in found), found
                assert "offload_outbox_memory_records 0.0" not in fleet.call(0, "GET", "/metrics")[1]
            fleet.tick(episode, trace, slot, start_s)
        fleet.drain()
        for status, answer in fleet.close(episode):
            assert status == 503 and "records in memory" in answer["detail"], answer
        with fleet.database.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO decisions")
        assert all(status == 200 for status, _ in fleet.close(episode)), fleet.logs()
        summary = close_episode(fleet.database, fleet.run, episode)
        assert (summary.verdict, summary.reason) == ("complete", None), (summary, fleet.logs())
        assert "lost" not in summary.outcomes
        disk.empty()
        later = fleet.play(_trace(fleet, 5))
        assert close_episode(fleet.database, fleet.run, later).verdict == "complete"
        assert pids == {node: process.pid for node, process in fleet.processes.items()}
        assert all(process.poll() is None for process in fleet.processes.values()), fleet.logs()
        with fleet.database.reading() as connection:
            rows = connection.execute(sa.select(outcomes).where(outcomes.c.episode == later)).all()
        assert rows
        for node in range(3):
            log = (tmp_path / f"node-{node}.log").read_text()
            assert log.count("is not writable") == 1 and log.count("is writable again") == 1, log
            assert "Traceback" not in log
