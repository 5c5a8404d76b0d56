"""Tests the report: built from database and storage alone, self-contained, and explicit about missing data."""

from __future__ import annotations

import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from played_run import HEURISTICS, LEARNED, open_run, play, play_everything, settings_with
from rich.console import Console
from sqlalchemy import delete
from typer.testing import CliRunner

from commands.parity import recorded_parity
from evaluation.figures import FIGURES
from evaluation.report import write_report
from evaluation.results import build_results
from evaluation.tables import results_table
from middleware.database import open_episode
from middleware.database.schema import outcomes
from middleware.storage import open_storage
from offload.episodes import EVALUATION_TRACES, EpisodePlan
from offload.network import draw_network
from offload.scheduler_choice import SchedulerChoice
from offload.tasks import draw_trace


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A finished run, its storage, and the folder of the report."""
    folder = tmp_path_factory.mktemp("played")
    db, run = open_run(folder)
    play_everything(db, run)
    storage = open_storage(f"file:{folder / 'storage'}", db)
    results = write_report(db, storage, run, folder / "out" / "played", recorded_parity(db, run))
    yield folder, db, run, storage, results
    db.close()


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def printed(results: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(results_table(results))
    return console.file.getvalue()


def test_results_say_what_the_database_says(played):
    _, _, run, _, results = played
    assert set(results["methods"]) == {*HEURISTICS, *LEARNED}
    assert results["missing"] == []
    assert results["traces"] == [EVALUATION_TRACES + k for k in range(4)]
    for values in results["methods"].values():
        tasks = [episode["tasks"] for episode in values["episodes"]]
        assert sum(values["outcomes"].values()) == sum(tasks) == values["tasks"]
        rates = [episode["outcomes"]["success"] / episode["tasks"] for episode in values["episodes"]]
        assert values["mean"] == pytest.approx(sum(rates) / len(rates))
        assert values["interval"][0] < values["mean"] < values["interval"][1]
        # The time scale is 4: 4 model milliseconds take one real millisecond.
        assert values["decision_real_s"]["p50"] == pytest.approx(values["decision_s"]["p50"] / 4)
    local = results["offloading"]["local"]
    assert sum(local[i][i] for i in range(5)) == results["methods"]["local"]["tasks"] == sum(map(sum, local))
    assert results["methods"]["local"]["offloaded_share"] == 0
    assert results["conservation"]["conserved"] is True
    assert results["fidelity"]["emulated"]["held"] is True
    assert results["episodes"]["evaluate"] == {"complete": 28}
    assert results["settings"] == run.settings.experiment()


def test_learning_curve_has_every_checkpoint_and_online_episode(played):
    curve = played[4]["learning_curve"]
    assert [point["step"] for point in curve["offline"]] == [200, 400, 600]
    assert curve["offline"][-1]["phase"] == "evaluate"
    assert curve["offline_level"] == pytest.approx(played[4]["methods"]["offline-only"]["mean"])
    assert curve["collected"]["method"] == "ratc"
    for method in ("o2o-drl", "online-only"):
        assert [point["episode"] for point in curve["online"][method]] == list(range(1, 9))
        assert [point["update"] for point in curve["online"][method]] == [1] * 4 + [2] * 4
    # The model of offline training plays the episodes of the first update.
    assert curve["online"]["o2o-drl"][0]["model"] == "offline"


def test_every_figure_is_there_in_both_formats_and_in_the_storage(played):
    folder, _, run, storage, _ = played
    out = files_below(folder / "out" / "played")
    names = [f"figures/{kind.name}.{end}" for kind in FIGURES for end in ("svg", "png")]
    assert sorted(out) == sorted([*names, "report.html", "results.json"])
    for name, content in out.items():
        assert storage.read(f"reports/{run.name}/{name}") == content
        if name.endswith(".svg"):
            ET.fromstring(content)
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")


def test_the_page_is_well_formed_and_loads_nothing(played):
    page = (played[0] / "out" / "played" / "report.html").read_text()
    root = ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)), "two figures share an id: one would be drawn with the other's parts"
    for reference in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page):
        assert reference in ids
    assert not re.search(r"<(script|link|iframe|object|embed|img)\b|@import|url\((?!#)", page)
    for _, target in re.findall(r'\b(src|href)="([^"]*)"', page):
        assert target.startswith(("#", "data:image/png;"))
    for kind in FIGURES:
        assert kind.title in page


def test_results_are_strict_json(played):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = (played[0] / "out" / "played" / "results.json").read_bytes()
    assert json.loads(content, parse_constant=refuse) == json.loads(json.dumps(played[4]))


def test_the_command_makes_a_deleted_folder_again_from_the_database_alone(played, monkeypatch, tmp_path):
    from commands.main import app

    folder, *_ = played
    out = folder / "out" / "played"
    before = files_below(out)
    shutil.rmtree(out)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFFLOAD_SERVICES__DATABASE", f"sqlite:///{folder}/testbed.db")
    answer = CliRunner().invoke(app, ["report", str(out), "--storage", f"file:{tmp_path}/elsewhere"])
    assert answer.exit_code == 0, answer.output
    after = {name: content for name, content in files_below(out).items() if not name.startswith("tensorboard/")}
    assert after == before
    assert "o2o-drl" in answer.output
    assert str(out) in answer.output.replace("\n", "")


def test_the_command_refuses_a_run_that_is_not_there(played, monkeypatch, tmp_path):
    from commands.main import app
    from middleware.database import UnknownRun
    from offload.settings import SettingsError

    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["report", "runs/other", "--database", f"sqlite:///{played[0]}/testbed.db"])
    assert isinstance(answer.exception, UnknownRun)
    assert "played" in str(answer.exception)
    absent = CliRunner().invoke(app, ["report", "runs/played"])
    assert isinstance(absent.exception, SettingsError)
    assert not list(tmp_path.iterdir()), "looking for a run must not make an empty database, or a folder"


def test_an_empty_run_gives_a_page_that_says_so(tmp_path):
    db, run = open_run(tmp_path)
    results = write_report(db, open_storage("database:", db), run, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    ET.fromstring(page.removeprefix("<!DOCTYPE html>"))
    assert "no episode has been played yet" in page
    assert "There is nothing to compare yet" in page
    assert results["fidelity"] == {}
    assert "no episode has been played yet" in printed(results)
    db.close()


def test_a_run_of_heuristics_only_is_compared(tmp_path):
    db, run = open_run(tmp_path, settings_with(evaluation={"methods": ["random", "ratc"], "episodes": 2}))
    for trace in (EVALUATION_TRACES, EVALUATION_TRACES + 1):
        for method in ("random", "ratc"):
            play(db, run, "evaluate", method, trace)
    results = write_report(db, open_storage("database:", db), run, tmp_path / "out")
    assert set(results["methods"]) == {"random", "ratc"}
    assert "No learned scheduler was played" in printed(results)
    assert not (tmp_path / "out" / "figures" / "learning-curve.svg").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no data yet for: Learning curve" in page
    db.close()


def test_an_unfinished_run_says_what_is_missing(tmp_path):
    db, run = open_run(tmp_path)
    play(db, run, "evaluate", "random", EVALUATION_TRACES)
    play(db, run, "evaluate", "random", EVALUATION_TRACES + 1, mixed="scheduler.name changed")
    play(db, run, "online", "o2o-drl", 2_000_000, model="offline")
    missing = build_results(db, run)["missing"]
    assert "random has 1 of 4 evaluation episodes" in missing
    assert "ratc has 0 of 4 evaluation episodes" in missing
    assert any(line.startswith("1 evaluation episodes of random are not complete") for line in missing)
    assert "o2o-drl has 1 of 8 online episodes" in missing
    db.close()


def test_run_without_tasks_is_complete_and_compares_nothing(tmp_path):
    settings = settings_with(network={"arrival_probability": [0.0, 0.0]})
    db, run = open_run(tmp_path, settings)
    play_everything(db, run)
    results = write_report(db, open_storage("database:", db), run, tmp_path / "out", {})
    assert results["missing"] == ["4 of the 4 evaluation traces have no task, so they have no success rate"]
    assert "There is nothing to compare: no episode had a task." in printed(results)
    content = (tmp_path / "out/results.json").read_text()
    assert json.loads(content, parse_constant=pytest.fail)["methods"] == {}
    assert "no episode had a task" in (tmp_path / "out/report.html").read_text()
    db.close()


def test_one_trace_gives_no_interval_and_still_a_report(tmp_path):
    db, run = open_run(tmp_path, settings_with(evaluation={"methods": ["random", "o2o-drl"], "episodes": 1}))
    play(db, run, "evaluate", "random", EVALUATION_TRACES)
    play(db, run, "evaluate", "o2o-drl", EVALUATION_TRACES, model="m", skill=0.9)
    results = write_report(db, open_storage("database:", db), run, tmp_path / "out")
    assert results["differences"]["o2o-drl"]["interval"] is None
    assert "no interval" in printed(results)
    db.close()


def test_report_says_that_fidelity_is_not_held(tmp_path):
    db, run = open_run(tmp_path)
    play(db, run, "evaluate", "random", EVALUATION_TRACES, noise=0.2)
    results = build_results(db, run)
    assert results["fidelity"]["emulated"]["held"] is False
    assert "NOT held" in printed(results)
    db.close()


def test_a_broken_conservation_law_is_shouted(tmp_path):
    db, run = open_run(tmp_path)
    play(db, run, "evaluate", "random", EVALUATION_TRACES)
    with db.transaction() as connection:
        connection.execute(delete(outcomes).where(outcomes.c.slot == 3))
    results = build_results(db, run)
    assert results["conservation"]["conserved"] is False
    assert "Conservation is BROKEN" in printed(results)
    assert any("conservation is broken" in line for line in results["missing"])
    db.close()


def test_an_open_episode_does_not_disturb_conservation(tmp_path):
    db, run = open_run(tmp_path)
    settings = run.settings
    network = draw_network(settings.network, settings.seed, settings.network.index)
    trace = draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, settings.seed, 5)
    open_episode(db, run, EpisodePlan("evaluate", "random", 5, SchedulerChoice("random")), trace, 1, "f" * 32)
    assert build_results(db, run)["conservation"] == {
        "episodes": 0, "tasks": 0, "outcomes": 0, "matched": 0, "refused_records": 0, "conserved": True,
    }  # fmt: skip
    db.close()


def test_the_terminal_table_fits_into_eighty_columns(played):
    text = printed(played[4])
    assert "Parity with the numeric twin" in " ".join(text.split())
    assert "…" not in text.split("On 4 traces")[0]
    for method in (*HEURISTICS, *LEARNED):
        assert method in text


def test_names_from_outside_cannot_become_markup(tmp_path):
    settings = settings_with(evaluation={"methods": ["<b>&[red]"], "episodes": 1})
    db, run = open_run(tmp_path, settings)
    play(db, run, "evaluate", "<b>&[red]", EVALUATION_TRACES)
    results = write_report(db, open_storage("database:", db), run, tmp_path / "out")
    ET.fromstring((tmp_path / "out" / "report.html").read_text().removeprefix("<!DOCTYPE html>"))
    assert "<b>&[red]" in printed(results)
    db.close()


@pytest.mark.mysql
def test_the_same_records_in_mysql_give_the_same_results(mysql_url, played, tmp_path):
    db, run = open_run(tmp_path, name="played", url=mysql_url)
    play_everything(db, run)
    there, here = build_results(db, run), played[4]
    for part in ("methods", "differences", "learning_curve", "offloading", "queues", "fidelity", "conservation"):
        assert there[part] == here[part], part
    db.close()
