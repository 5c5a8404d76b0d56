"""Tests live settings in the database that another program or version wrote. They change nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from middleware.configuration import LiveSettings, TableConfiguration, watch_file
from middleware.database import Database
from middleware.errors import ServiceRefused
from offload.settings import Settings

GOOD = '{"scheduler": {"name": "sed", "parameters": {}, "model": null}, "log_level": "INFO"}'
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"content": GOOD.replace("{}", '{}, "warmup": 3')}, r"scheduler\.warmup: is not a setting"),
    ({"content": GOOD.replace("INFO", 'INFO", "colour": "red')}, "colour: is not a live setting"),
    ({"content": "[]"}, r"\[\] is not an object with the keys scheduler, log_level"),
    ({"content": '"x"'}, "'?x'? is not an object"),
    ({"content": "null"}, "is not an object"),
    ({"content": '{"scheduler": [], "log_level": "INFO"}'}, "scheduler: "),
    ({"content": '{"scheduler": {"name": "sed"}, "log_level": "INFO"}'}, "scheduler.*parameters"),
    ({"content": GOOD.replace('"sed"', "5")}, r"scheduler\.name: "),
    ({"content": GOOD.replace("{}", '{"x": [1]}')}, r"scheduler\.parameters\.x"),
    ({"content": GOOD.replace("{}", '{"x": 1e999}')}, r"scheduler\.parameters\.x"),
    ({"content": GOOD.replace(', "log_level": "INFO"', "")}, "log_level: is missing"),
    ({"content": GOOD.replace("INFO", "BOGUS")}, "log_level: .*BOGUS"),
    ({"content": GOOD.replace('"INFO"', "null")}, "log_level: "),
    ({"origins": "[]"}, r"origins: \[\] is not an object"),
    ({"origins": '{"helm": 1}'}, "origins: .* is not an object"),
    ({"revision": 0}, "revision: 0 is not a whole number from 1 to 2147483647"),
    ({"revision": -3}, "revision: -3 is not"),
]
ONLY_SQLITE: list[tuple[dict[str, Any], str]] = [
    ({"content": GOOD.replace("{}", '{"x": NaN}')}, r"scheduler\.parameters\.x"),
    ({"content": "scheduler: sed"}, "content: is not JSON"),
    ({"content": ""}, "content: is not JSON"),
    ({"content": b"\xff"}, "content: is not JSON"),
    ({"content": "[" * 100_000}, "content: is not JSON"),
    ({"content": 5}, "content: is not JSON|is not an object"),
    ({"origins": "x"}, "origins: is not JSON"),
    ({"revision": "abc"}, "revision: '?abc'? is not a whole number"),
    ({"revision": 1.5}, r"revision: 1\.5 is not"),
    ({"revision": 2**40}, "revision: 1099511627776 is not"),
    ({"written_at": "abc"}, "written_at: '?abc'? is not"),
    ({"written_by": b"x"}, "written_by: .* is not a text"),
]


@pytest.fixture
def configuration(db: Database) -> TableConfiguration:
    """Live settings at revision 2, which this process has read."""
    configuration = TableConfiguration(db)
    configuration.create("r", Settings().live(), "layers")
    configuration.change("r", {"scheduler.name": "rda"}, "Ada")
    return configuration


def _overwrite(db: Database, columns: Mapping[str, Any]) -> None:
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    with db.transaction() as connection:
        connection.execute(sa.text(f"UPDATE configuration SET {assignments}"), dict(columns))


def _skip_unless_stored(db: Database, columns: tuple[dict[str, Any], str]) -> None:
    if columns in ONLY_SQLITE and not db.is_sqlite:
        pytest.skip("MySQL does not store such a value")


@pytest.mark.parametrize("case", WRONG + ONLY_SQLITE, ids=lambda case: str(case[0])[:60])
def test_a_foreign_record_changes_nothing_and_is_logged_once(
    configuration: TableConfiguration, db: Database, case: tuple[dict[str, Any], str], caplog: pytest.LogCaptureFixture
) -> None:
    _skip_unless_stored(db, case)
    good = configuration.read("r")
    _overwrite(db, case[0])
    with caplog.at_level(logging.WARNING):
        assert [configuration.read("r") for _ in range(3)] == [good] * 3
    assert len(caplog.records) == 1
    assert "configuration, key live/r: " in caplog.text and "revision 2, stay" in caplog.text
    with pytest.raises(ServiceRefused, match=case[1]) as refused:
        TableConfiguration(db).create("r", Settings().live(), "layers")
    assert "live settings of run 'r'" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("case", WRONG + ONLY_SQLITE, ids=lambda case: str(case[0])[:60])
def test_a_change_overwrites_a_foreign_record(
    configuration: TableConfiguration, db: Database, case: tuple[dict[str, Any], str]
) -> None:
    _skip_unless_stored(db, case)
    _overwrite(db, case[0])
    with pytest.raises(ServiceRefused):
        TableConfiguration(db).change("r", {"log_level": "DEBUG"}, "Bob")
    assert configuration.change("r", {"log_level": "DEBUG"}, "Bob").revision == 3
    assert configuration.adopt("r", Settings().live(), "helm") is None
    read = TableConfiguration(db).read("r")
    assert read is not None and read == configuration.read("r")
    assert (read.revision, read.values["scheduler"]["name"], read.values["log_level"]) == (3, "rda", "DEBUG")


def test_a_corrected_record_is_used(configuration: TableConfiguration, db: Database) -> None:
    _overwrite(db, {"content": "[]", "revision": 7})
    assert configuration.read("r").revision == 2  # type: ignore[union-attr]
    _overwrite(db, {"content": GOOD})
    record = configuration.read("r")
    assert record is not None and (record.revision, record.scheduler.name) == (7, "sed")


def test_the_last_revision_is_not_exceeded(configuration: TableConfiguration, db: Database) -> None:
    _overwrite(db, {"revision": 2**31 - 1})
    with pytest.raises(ServiceRefused, match="2147483647"):
        configuration.change("r", {"log_level": "DEBUG"}, "Bob")


def test_watches_outlive_foreign_records(
    configuration: TableConfiguration, db: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A watch in a process that has read no good record, and a watched file."""
    _overwrite(db, {"content": '"x"'})
    seen: list[LiveSettings] = []
    path = tmp_path / "experiment.yaml"
    path.write_text("scheduler: {name: ratc}\n")
    fresh = TableConfiguration(db)
    stops = [fresh.watch("r", seen.append, 0.02), watch_file(fresh, "r", path, 0.02)]
    time.sleep(0.2)
    assert not seen and "Traceback" not in caplog.text
    _overwrite(db, {"content": GOOD})
    end = time.monotonic() + 20
    while not (seen and fresh.read("r").origins):  # type: ignore[union-attr]
        assert time.monotonic() < end, "a watch has died"
        time.sleep(0.02)
    for stop in stops:
        stop()
