"""Tests that a run keeps its settings and network: it cannot be continued by accident with others."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from middleware.database import Database, RunConflict, UnknownRun, create_run, list_runs, load_network, load_run
from offload.network import draw_network
from offload.settings import resolve_settings


def test_a_run_started_again_is_the_same_run_with_the_same_network(db: Database) -> None:
    settings = resolve_settings([{"network": {"nodes": 4, "rate_bps": ["10 MB/s", "40 MB/s"]}}])
    network = draw_network(settings.network, settings.seed)
    first = create_run(db, "exp", settings, network, {"python": "3.11"})
    again = create_run(db, "exp", settings, draw_network(settings.network, 99), {"python": "3.12"})
    assert again == first == load_run(db, "exp")
    assert first.settings.experiment() == settings.experiment()
    assert first.versions == {"python": "3.11"}
    loaded = load_network(db, first)
    off = ~np.eye(4, dtype=bool)
    for name in ("capacity_hz", "failure_rate", "arrival_probability"):
        assert np.array_equal(getattr(loaded, name), getattr(network, name))
    for name in ("rate_bps", "link_failure_rate"):
        assert np.array_equal(getattr(loaded, name)[off], getattr(network, name)[off])


def test_a_network_of_one_node_has_no_links(db: Database) -> None:
    settings = resolve_settings([{"network": {"nodes": 1}}])
    run = create_run(db, "one", settings, draw_network(settings.network, 1), {})
    assert load_network(db, run).nodes == 1


def test_other_settings_under_the_same_name_are_refused_and_named(db: Database) -> None:
    settings = resolve_settings([{"network": {"nodes": 2}}])
    network = draw_network(settings.network, settings.seed)
    create_run(db, "exp", settings, network, {})
    other = resolve_settings([{"network": {"nodes": 2}, "tasks": {"deadline_s": 2}, "seed": 5}])
    with pytest.raises(
        RunConflict, match=r"seed: 1 in the recorded run, 5 in these settings; tasks\.deadline_s: 1\.0 in the"
    ):
        create_run(db, "exp", other, network, {})


def test_other_live_settings_are_no_conflict(db: Database) -> None:
    """Live settings change during a run: `helm upgrade --set settings.scheduler.name=sed` continues it."""
    settings = resolve_settings([{"network": {"nodes": 2}}])
    network = draw_network(settings.network, settings.seed)
    first = create_run(db, "exp", settings, network, {})
    other = resolve_settings([{"network": {"nodes": 2}, "scheduler": {"name": "sed"}, "log_level": "DEBUG"}])
    assert create_run(db, "exp", other, network, {}).number == first.number


def test_moved_services_are_no_conflict(db: Database) -> None:
    settings = resolve_settings([{"network": {"nodes": 2}}])
    network = draw_network(settings.network, settings.seed)
    create_run(db, "exp", settings, network, {})
    moved = resolve_settings([{"network": {"nodes": 2}, "services": {"storage": "file:/elsewhere"}}])
    assert create_run(db, "exp", moved, network, {}).number == load_run(db, "exp").number


def test_names_that_differ_in_case_are_different_runs(db: Database) -> None:
    for nodes, name in enumerate(("Demo", "demo"), start=1):
        settings = resolve_settings([{"network": {"nodes": nodes}}])
        create_run(db, name, settings, draw_network(settings.network, 1), {})
    assert [(run.name, run.settings.network.nodes) for run in list_runs(db)] == [("Demo", 1), ("demo", 2)]


def test_an_unknown_run_is_answered_with_what_there_is(db: Database) -> None:
    with pytest.raises(UnknownRun, match=r"no run 'x'.*none yet"):
        load_run(db, "x")
    settings = resolve_settings([{"network": {"nodes": 1}}])
    create_run(db, "exp", settings, draw_network(settings.network, 1), {})
    with pytest.raises(UnknownRun, match="existing runs: exp"):
        load_run(db, "x")


def test_no_password_is_stored(tmp_path: Path) -> None:
    db = Database.connect(f"sqlite:///{tmp_path}/offload.db")
    db.migrate()
    services = {"database": "mysql+pymysql://root:Geheim-7@db/offload", "storage": "hdfs+http://u:Geheim-7@name:9870/x"}
    settings = resolve_settings([{"network": {"nodes": 1}, "services": services}])
    create_run(db, "exp", settings, draw_network(settings.network, 1), {})
    db.close()
    content = "\n".join(sqlite3.connect(tmp_path / "offload.db").iterdump())
    assert "mysql+pymysql://root:***@db/offload" in content
    assert "Geheim-7" not in content
