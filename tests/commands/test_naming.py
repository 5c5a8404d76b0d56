"""Tests runs' names: two experiments never share a name, and a recorded run is found again."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Workplace

from commands.local import open_run, versions
from commands.naming import check_name, name_of, recorded_run
from middleware.database import Database, RunConflict, UnknownRun, create_run, list_runs
from offload.network import draw_network
from offload.settings import Settings, SettingsError, resolve_settings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def settings_of(folder: Path, **changes: object) -> Settings:
    return resolve_settings(
        [
            {
                "network": {"nodes": 2},
                "services": {"database": f"sqlite:///{folder}/o.db", "storage": f"file:{folder}/s"},
            },
            changes,
        ]
    )


@pytest.mark.parametrize(
    ("out", "name"),
    [
        ("runs/demo", "demo"),
        ("runs/demo/", "demo"),
        ("./runs/../runs/demo", "demo"),
        ("runs/netA/seed1", "netA.seed1"),
        ("netA/seed1", "netA.seed1"),
        ("netB/seed1", "netB.seed1"),
        ("demo", "demo"),
        ("runs", "runs"),
        (".", "work"),
        ("../demo", "demo"),
        ("/data/runs/netA/seed1", "netA.seed1"),
        ("/data/runs/old/runs/demo", "demo"),
        ("/data/results/demo", "demo"),
    ],
)
def test_a_folder_is_a_run(here: Path, out: str, name: str) -> None:
    assert name_of(Path(out)) == name


def test_it_is_the_same_run_by_whatever_way_one_comes_to_its_folder(here: Path, tmp_path: Path, monkeypatch) -> None:
    elsewhere = tmp_path / "scratch" / "mine"
    elsewhere.mkdir(parents=True)
    (here / "runs").symlink_to(elsewhere)
    assert name_of(Path("runs/netA/seed1")) == name_of(elsewhere / "netA" / "seed1") == "netA.seed1"
    (elsewhere / "netA" / "seed1").mkdir(parents=True)
    (here / "latest").symlink_to(elsewhere / "netA" / "seed1")
    assert name_of(Path("latest")) == "netA.seed1"
    elsewhere = tmp_path / "runs" / "a"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert name_of(Path("b")) == name_of(Path("../a/b")) == "a.b"


def test_two_folders_of_one_last_name_are_two_runs(here: Path) -> None:
    settings = settings_of(here)
    runs = [open_run(settings, None, folder=Path(out)).run for out in ("netA/seed1", "netB/seed1", "netA/seed1/")]
    assert [run.name for run in runs] == ["netA.seed1", "netB.seed1", "netA.seed1"]
    database = Database.connect(settings.services.database)
    assert recorded_run(database, Path("netB/seed1")).uid == runs[1].uid
    with pytest.raises(UnknownRun, match=r"no run 'netC\.seed1'.*netA\.seed1, netB\.seed1"):
        recorded_run(database, Path("netC/seed1"))
    assert recorded_run(database, Path("anything"), "netA.seed1").uid == runs[0].uid


def test_run_name_of_another_existing_folder_is_refused(here: Path, tmp_path: Path) -> None:
    settings = settings_of(here)
    first, second = tmp_path / "a" / "demo", tmp_path / "b" / "demo"
    first.mkdir(parents=True)
    open_run(settings, None, folder=first)
    with pytest.raises(RunConflict, match=rf"the run 'demo' is written to {first}, not to {second}; .*--run NAME"):
        open_run(settings, None, folder=second)
    assert open_run(settings, "demo-b", folder=second).run.name == "demo-b"
    # A folder that was moved still belongs to the run.
    second.parent.mkdir()
    first.rename(second)
    assert open_run(settings, None, folder=second).run.name == "demo"


def test_a_run_from_before_folders_were_recorded_goes_on(here: Path) -> None:
    settings = settings_of(here)
    database = Database.connect(settings.services.database)
    database.migrate()
    create_run(database, "demo", settings, draw_network(settings.network, settings.seed), versions())
    assert open_run(settings, None, folder=Path("runs/demo")).run.name == "demo"
    assert open_run(settings, None, folder=Path("results/demo")).run.name == "demo"
    assert recorded_run(database, Path("results/demo")).name == "demo"
    other = settings_of(here, seed=9)
    assert open_run(other, None, folder=Path("results/demo")).run.name == "results.demo", "it is another experiment"


@pytest.mark.parametrize("name", ["a b", "ü", "a/b", "a:b", ".hidden", "-x", "", "x" * 101, "a\nb", "a'b"])
def test_a_name_that_not_every_service_takes_is_refused(here: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="a name has letters, digits, dots, hyphens and underscores"):
        check_name(name)
    settings = settings_of(here)
    with pytest.raises(SettingsError, match="a run cannot be called"):
        open_run(settings, name)
    assert list_runs(Database.connect(settings.services.database)) == []


@pytest.mark.parametrize("name", ["offload.db", "offload.db-journal", "offload.db-wal", "mine.db-shm", "storage"])
def test_a_run_is_not_called_as_a_file_beside_its_folder(name: str) -> None:
    """Regression: a folder `.offload/offload.db-journal` made the database unreadable for every command."""
    with pytest.raises(SettingsError, match="a run cannot be called"):
        check_name(name)


def test_an_older_run_with_such_a_name_can_still_be_used(here: Path) -> None:
    settings = settings_of(here)
    database = Database.connect(settings.services.database)
    database.migrate()
    create_run(database, "my run", settings, draw_network(settings.network, settings.seed), versions())
    assert open_run(settings, None, folder=Path("runs/my run")).run.name == "my run"
    assert recorded_run(database, Path("runs/my run")).name == "my run"


@pytest.mark.slow
def test_runs_of_two_networks_are_played_and_reported_apart(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    for folder, seed in (("netA/seed1", "3"), ("netB/seed1", "4")):
        ended = workplace.run("run", "--twin", "--config", "small.yaml", "--set", f"seed={seed}", "--out", folder)
        assert ended.returncode == 0, ended.stdout
    (tmp_path / "netB" / "seed1" / "results.json").unlink()
    ended = workplace.run("report", "netB/seed1")
    assert ended.returncode == 0, ended.stdout
    results = (tmp_path / "netB" / "seed1" / "results.json").read_text()
    assert '"seed": 4' in results
    assert "netB/seed1" not in results, "a report is not of a machine's folders"
