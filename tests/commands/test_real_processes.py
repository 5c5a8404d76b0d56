"""Tests the whole pipeline with real processes, also when one of them dies.

Slow: each test starts three edge nodes, a controller and the pipeline.
"""

from __future__ import annotations

import json
import shutil
import threading
import time

import pytest
import sqlalchemy as sa
from forwarder import Forwarder
from running import SMALL, Workplace, kill, running, wait_until

from middleware.configuration import open_configuration
from middleware.database import Database
from middleware.storage import open_storage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
RUN = ("run", "--config", "small.yaml", "--out", "runs/small")


def conserved(workplace: Workplace) -> bool:
    """Every task of every closed episode has exactly one outcome."""
    counts = workplace.accounts("small")
    return counts["tasks"] == counts["outcomes"] == counts["matched"] > 0


def rows(workplace: Workplace, table: str) -> int:
    """The number of rows of a table."""
    database = Database.connect(workplace.database_url)
    with database.reading() as connection:
        return connection.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar_one()


def test_the_loop_runs_and_its_folder_can_be_made_again(tmp_path):
    workplace = Workplace(tmp_path)
    done = workplace.run(*RUN)
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "runs/small/results.json").read_text())
    assert set(results["methods"]) == {"local", "ratc", "offline-only", "online-only", "o2o-drl"}
    for method in results["methods"].values():
        assert len(method["episodes"]) == 2
        assert 0 <= method["mean"] <= 1
    assert (tmp_path / "runs/small/report.html").stat().st_size > 10_000
    assert conserved(workplace)
    assert workplace.processes() == []

    shutil.rmtree(tmp_path / "runs")
    again = workplace.run("report", "runs/small")
    assert again.returncode == 0, again.stdout
    assert json.loads((tmp_path / "runs/small/results.json").read_text())["methods"] == results["methods"]


def test_another_experiment_under_the_same_name_is_refused(tmp_path):
    workplace = Workplace(
        tmp_path, settings=SMALL.replace("episodes: 2, methods: [local", "episodes: 1, methods: [local")
    )
    first = workplace.run(*RUN, "--phase", "collect")
    assert first.returncode == 0, first.stdout
    refused = workplace.run(*RUN, "--phase", "collect", "--set", "time.slots=20")
    assert refused.returncode == 2
    assert "time.slots: 10 in the recorded run, 20 in these settings" in refused.stdout
    assert "Traceback" not in refused.stdout


@pytest.mark.parametrize(("phase", "after"), [("collect", 1), ("online", 1), ("evaluate", 3)])
def test_a_killed_trainer_goes_on_where_it_was(tmp_path, phase, after):
    workplace = Workplace(tmp_path)
    with running(workplace, *RUN) as process:
        wait_until(lambda: workplace.closed_episodes(phase) >= after)
        kill(process)
    # Its children end: no process may continue to play.
    wait_until(lambda: workplace.processes() == [], 30)
    played = workplace.closed_episodes(phase)
    done = workplace.run(*RUN)
    assert done.returncode == 0, done.stdout
    assert conserved(workplace)
    results = json.loads((tmp_path / "runs/small/results.json").read_text())
    assert all(len(method["episodes"]) == 2 for method in results["methods"].values())
    assert workplace.closed_episodes(phase) >= played
    assert workplace.processes() == []


def test_a_killed_controller_is_restarted_and_the_run_ends_well(tmp_path):
    workplace = Workplace(tmp_path)
    with running(workplace, *RUN) as process:
        wait_until(lambda: workplace.closed_episodes("collect") >= 1)
        kill(workplace.processes("commands.controller")[0])
        wait_until(lambda: workplace.closed_episodes("online") >= 1)
        kill(workplace.processes("commands.controller")[0])
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert conserved(workplace)
    wait_until(lambda: workplace.processes() == [], 30)


def test_a_killed_node_costs_its_tasks_and_nothing_else(tmp_path):
    workplace = Workplace(tmp_path, settings=SMALL.replace("slots: 10, time_scale: 2", "slots: 60, time_scale: 1"))
    with running(workplace, *RUN, "--phase", "collect") as process:
        wait_until(lambda: workplace.closed_episodes("collect") >= 1)
        kill(workplace.processes("commands.node")[0])
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert conserved(workplace)
    wait_until(lambda: workplace.processes() == [], 30)


@pytest.mark.mysql
def test_database_outage_of_ten_seconds_loses_nothing(tmp_path, mysql_url):
    server = sa.make_url(mysql_url)
    forwarder = Forwarder(server.host, server.port)
    url = server.set(host="127.0.0.1", port=forwarder.port).render_as_string(hide_password=False)
    workplace = Workplace(
        tmp_path, database_url=url, settings=SMALL.replace("slots: 10, time_scale: 2", "slots: 60, time_scale: 1")
    )
    with running(workplace, *RUN, "--phase", "collect") as process:
        wait_until(lambda: workplace.closed_episodes("collect") >= 1)
        time.sleep(1.0)
        forwarder.cut()
        threading.Timer(10.0, forwarder.restore).start()
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "password" not in output
    assert conserved(workplace)
    wait_until(lambda: workplace.processes() == [], 30)


@pytest.mark.mysql
@pytest.mark.hdfs
@pytest.mark.nacos
def test_the_loop_runs_on_a_database_server_hdfs_and_nacos(tmp_path, mysql_url, hdfs_url, nacos_url):
    workplace = Workplace(tmp_path, mysql_url)
    workplace.environment["OFFLOAD_SERVICES__STORAGE"] = hdfs_url
    workplace.environment["OFFLOAD_SERVICES__REGISTRY"] = nacos_url
    workplace.environment["OFFLOAD_SERVICES__CONFIGURATION"] = nacos_url
    done = workplace.run(*RUN)
    assert done.returncode == 0, done.stdout
    assert conserved(workplace)
    results = json.loads((tmp_path / "runs/small/results.json").read_text())
    assert results["missing"] == []
    assert results["services"]["storage"] == hdfs_url
    assert results["services"]["registry"] == results["services"]["configuration"] == nacos_url
    live = open_configuration(nacos_url, None).read("small")
    assert live.values["scheduler"]["name"] == "drl", "the last episode's scheduler is in Nacos, and nowhere else"
    assert rows(workplace, "configuration") == rows(workplace, "instances") == 0
    storage = open_storage(hdfs_url, None)
    assert storage.exists("models/small/offline/manifest.json")
    assert storage.read("reports/small/results.json") == (tmp_path / "runs/small/results.json").read_bytes()
    assert not (tmp_path / "storage").exists()
