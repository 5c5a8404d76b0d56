"""Tests `offload run --twin`, its logs and its report, and the export of data sets and training on them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from commands.local import holding, open_run
from commands.main import app
from commands.parity import run_parity
from commands.twin_source import TwinSource
from middleware.database import RunConflict, find_episodes, read_episode_log
from offload import EpisodePlan, resolve_settings
from offload.scheduler_choice import SchedulerChoice

SMALL = {
    "network": {"nodes": 4, "arrival_probability": [0.5, 1.0]},
    "time": {"slots": 20},
    "learner": {"hidden": [8], "device": "cpu"},
    "offline": {"episodes": 6, "steps": 20, "batch_slots": 8, "checkpoints": 1, "checkpoint_episodes": 2},
    "online": {"episodes": 4, "episodes_per_update": 2, "epochs": 1},
    "evaluation": {"episodes": 3, "methods": ["random", "sed", "offline-only", "o2o-drl"]},
}


def sets(**more):
    given = {f"{section}.{key}": value for section, values in SMALL.items() for key, value in values.items()} | more
    return [part for key, value in given.items() for part in ("--set", f"{key}={json.dumps(value)}")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


def offload(*arguments, code=0):
    result = CliRunner().invoke(app, list(arguments), terminal_width=200)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def opened(**layers):
    return open_run(resolve_settings([SMALL, layers]), "one", by_twin=True)


def played(run, plans):
    with holding(run) as holder:
        return list(TwinSource(run.database, run.storage, run.run, holder).play_all(plans))


def test_the_whole_pipeline_in_the_twin(here) -> None:
    out = offload("run", "--twin", *sets(), "--out", "runs/one").output
    assert "in the numeric twin" in out
    results = json.loads((here / "runs/one/results.json").read_text())
    assert results["missing"] == []
    assert set(results["methods"]) == {"random", "sed", "offline-only", "o2o-drl"}
    assert results["conservation"]["conserved"]
    assert results["versions"]["played by"] == "the numeric twin"
    assert results["fidelity"] == {}
    assert results["parity"] == {}
    assert "in the numeric twin" in (here / "runs/one/report.html").read_text()
    before = results["conservation"]["episodes"]
    offload("run", "--twin", *sets(), "--out", "runs/one")
    again = json.loads((here / "runs/one/results.json").read_text())
    assert again["conservation"]["episodes"] == before, "nothing is played twice"
    assert {name: one["mean"] for name, one in again["methods"].items()} == {
        name: one["mean"] for name, one in results["methods"].items()
    }

    output = offload("dataset", "export", "runs/one", "offload/ratc-v0").output
    assert "6 episodes (ratc)" in output
    offload("run", "--twin", *sets(**{"offline.dataset": "offload/ratc-v0"}), "--out", "runs/two", "--phase", "offline")
    first, second = (
        json.loads((here / f".offload/storage/models/{run}/offline/manifest.json").read_text())
        for run in ("one", "two")
    )
    assert first["files"]["actor.onnx"] == second["files"]["actor.onnx"], "the same data give the same actor"


def test_records_and_logs_are_the_testbeds(here) -> None:
    run = opened()
    plans = [
        EpisodePlan("collect", name, trace, SchedulerChoice(name)) for trace in (1, 2, 3) for name in ("ratc", "rda")
    ]
    logs = played(run, plans)
    assert len(logs) == 6
    assert {log.plan for log in logs} == set(plans)
    assert len(find_episodes(run.database, run.run, verdict="complete")) == 6
    for log in logs:
        read = read_episode_log(run.database, run.run, log.episode)
        assert read.plan == log.plan
        assert (read.tasks, read.successes) == (log.tasks, log.successes)
        for name in ("observations", "masks", "actions", "log_probabilities", "up", "team_reward"):
            np.testing.assert_array_equal(getattr(read, name), getattr(log, name), err_msg=name)
    assert run_parity(run.database, run.run) == {}, "the twin is not compared with itself"


def test_a_run_is_played_by_one_of_them(here) -> None:
    opened()
    with pytest.raises(RunConflict, match="belongs to the twin, this command uses the testbed"):
        open_run(resolve_settings([SMALL]), "one")


@pytest.mark.parametrize(
    ("dataset", "layers", "complaint"),
    [
        ("offload/absent-v0", {}, "there is no data set 'offload/absent-v0'"),
        ("offload/five-v0", {"network.nodes": 5}, "nodes: the model's is 4, this network's is 5"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(here, dataset, layers, complaint) -> None:
    run = opened()
    played(run, [EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc"))])
    offload("dataset", "export", "runs/one", "offload/five-v0")
    result = CliRunner().invoke(
        app, ["run", "--twin", *sets(**{"offline.dataset": dataset, **layers}), "--out", "runs/x", "--phase", "offline"]
    )
    assert complaint in str(result.exception)


def test_exporting_nothing_or_twice_is_refused(here) -> None:
    run = opened()
    result = CliRunner().invoke(app, ["dataset", "export", "runs/one", "offload/none-v0"])
    assert "no complete episode" in str(result.exception)
    played(run, [EpisodePlan("collect", "ratc", 0, SchedulerChoice("ratc"))])
    offload("dataset", "export", "runs/one", "offload/once-v0")
    result = CliRunner().invoke(app, ["dataset", "export", "runs/one", "offload/once-v0"])
    assert "already" in str(result.exception)


SCORER = {"offline.algorithm": "scorer", "online.algorithm": "scorer-online", "offline.heuristic": "ratc"}


def test_the_pipeline_trains_actors_for_scorer(here) -> None:
    """From the logs of a heuristic, online, and the same when it is interrupted after each phase."""
    arguments = sets(**SCORER)
    offload("run", "--twin", *arguments, "--out", "runs/one")
    for phase in ("collect", "offline", "deploy", "online", "evaluate", "report"):
        offload("run", "--twin", *arguments, "--out", "runs/two", "--phase", phase)
    results = json.loads((here / "runs/one/results.json").read_text())
    assert results["missing"] == []
    for version in ("offline-checkpoint-10", "offline", "o2o-drl-0002"):
        first, second = (
            json.loads((here / f".offload/storage/models/{run}/{version}/manifest.json").read_text())
            for run in ("one", "two")
        )
        assert first == second
        assert first["profile"] == {"name": "candidates", "version": 1}
        assert first["algorithm"] == ("scorer-online" if version.startswith("o2o") else "scorer")
    run = opened(**nested(SCORER))
    plans = [one.plan for one in find_episodes(run.database, run.run)]
    assert {plan.scheduler.name for plan in plans if plan.scheduler.model} == {"scorer"}
    online = [plan for plan in plans if plan.phase == "online"]
    assert {tuple(plan.scheduler.parameters.items()) for plan in online} == {(("exploration", 0.05),)}


def nested(given):
    found: dict = {}
    for key, value in given.items():
        section, name = key.split(".")
        found.setdefault(section, {})[name] = value
    return found


def test_the_database_gives_the_log_that_the_twin_gave(here) -> None:
    plans = [EpisodePlan("collect", "ratc", trace, SchedulerChoice("ratc")) for trace in (5, 6)]
    run = opened()
    for log in played(run, plans):
        again = read_episode_log(run.database, run.run, log.episode)
        np.testing.assert_allclose(again.executions.arrival_s, log.executions.arrival_s, atol=1e-9)
        np.testing.assert_allclose(again.executions.execution_s, log.executions.execution_s, atol=1e-12)
        assert np.isfinite(log.executions.arrival_s).sum() > 20
        np.testing.assert_array_equal(again.team_reward, log.team_reward)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"offline.algorithm": "scorer"}, "'ppo' trains actors for the scheduler drl, but offline.algorithm 'scorer'"),
        ({"online.algorithm": "scorer-online"}, "write ppo"),
        ({**SCORER, "node.profile": "paper"}, "node.profile: 'paper' has no execution_backlog"),
        ({**SCORER, "offline.dataset": "a/b-v0"}, "offline.dataset: 'scorer' needs to know when tasks reached"),
        ({**SCORER, "offline.parameters.learning_rate": 0}, "offline.parameters.learning_rate: 0; it must be above 0"),
        ({**SCORER, "online.parameters.epochs": 0}, "online.parameters.epochs: 0; it must be at least 1"),
        ({**SCORER, "online.parameters.exploration": 2}, "online.parameters.exploration: 2; it must be from 0 to 1"),
    ],
)
def test_algorithms_that_do_not_fit_are_refused_before_anything_is_played(here, given, message) -> None:
    result = CliRunner().invoke(app, ["run", "--twin", *sets(**given), "--out", "runs/one"])
    assert message in str(result.exception)
    assert not (here / ".offload").exists()
