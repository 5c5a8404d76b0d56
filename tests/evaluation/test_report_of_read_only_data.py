"""Tests reports of read-only data, such as an archive: nothing is written to the run's database or storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from another_user import OTHER, as_another_user
from played_run import HEURISTICS, open_run, play, settings_with

from middleware.database import Database
from offload.episodes import EVALUATION_TRACES

SETTINGS = settings_with(evaluation={"methods": list(HEURISTICS), "episodes": 1})
NOT_TAKEN = "but not in the storage "


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder outside pytest's own, which other users cannot enter."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        made.chmod(0o755)
        for below in ("data", "place"):
            (made / below).mkdir()
        if as_another_user():
            os.chown(made / "place", OTHER, OTHER)
        yield made
        (made / "data").chmod(0o755)


def reported(
    folder: Path, command: str, *options: str, before: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OFFLOAD_")}
    return subprocess.run(
        [*before, sys.executable, "-m", "commands.main", command, str(folder / "place/played"), *options],
        cwd=folder / "place",
        env={**environment, "PYTHONPATH": str(Path.cwd()), "HOME": "/nonexistent", "COLUMNS": "500", **variables},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def closed(folder: Path) -> None:
    """Remove all write permissions."""
    for path in (folder / "data").iterdir():
        path.chmod(0o444)
    (folder / "data").chmod(0o555)


def methods(folder: Path) -> set[str]:
    return set(json.loads((folder / "place/played/results.json").read_text())["methods"])


@pytest.mark.parametrize("storage", ["file:{}/storage", "database:"])
def test_a_file_that_may_not_be_written(folder: Path, storage: str) -> None:
    db, run = open_run(folder / "data", SETTINGS)
    for method in HEURISTICS:
        play(db, run, "evaluate", method, EVALUATION_TRACES)
    db.close()
    closed(folder)
    database = ("--database", f"sqlite:///{folder}/data/testbed.db")
    shown = reported(
        folder, "report", *database, "--storage", storage.format(folder / "data"), before=as_another_user()
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert NOT_TAKEN in shown.stdout
    assert methods(folder) == set(HEURISTICS)
    assert (folder / "place/played/report.html").exists()
    parity = reported(folder, "parity", *database, "--json", before=as_another_user())
    assert parity.returncode == 0, parity.stderr
    assert [path.name for path in (folder / "data").iterdir()] == ["testbed.db"]


def test_a_file_that_another_process_is_writing(folder: Path) -> None:
    """Rows that are only in the write-ahead log are included."""
    db, run = open_run(folder / "data", SETTINGS)
    for method in HEURISTICS[:-1]:
        play(db, run, "evaluate", method, EVALUATION_TRACES)
    db.close()
    writer = Database.connect(db.url)
    with writer.reading() as connection:
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
    play(writer, run, "evaluate", HEURISTICS[-1], EVALUATION_TRACES)
    assert (folder / "data/testbed.db-wal").stat().st_size > 0
    closed(folder)
    shown = reported(
        folder, "report", "--database", db.url, "--storage", f"file:{folder}/place/storage", before=as_another_user()
    )
    writer.close()
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert NOT_TAKEN not in shown.stdout
    assert methods(folder) == set(HEURISTICS)


@pytest.mark.mysql
def test_a_server_that_lets_us_read_only(folder: Path, mysql_url: str) -> None:
    db, run = open_run(folder / "data", SETTINGS, url=mysql_url)
    for method in HEURISTICS:
        play(db, run, "evaluate", method, EVALUATION_TRACES)
    db.close()
    url = f"{mysql_url}?init_command=SET%20SESSION%20TRANSACTION%20READ%20ONLY"
    shown = reported(folder, "report", "--storage", "database:", OFFLOAD_SERVICES__DATABASE=url)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert NOT_TAKEN in shown.stdout
    assert methods(folder) == set(HEURISTICS)
