"""Tests `offload experiment`: its cells against the other commands, and what an interruption costs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from commands.main import app
from edgenode.schedulers import scheduler_names
from experiments.cells import Cell, compute
from experiments.definitions import EXPERIMENTS
from experiments.engine import IncompleteError, cluster, computed, stored
from experiments.learning import learn
from experiments.methods import REFERENCES, TRAININGS, works_of
from experiments.plan import Scale, condition_settings, plan_cells
from experiments.summary import summarize
from offload import draw_network, draw_trace, resolve_settings
from offload.episodes import EVALUATION_TRACES
from offload.presets import PRESETS

SMALL = {
    "network": {"nodes": 4, "arrival_probability": [0.5, 1.0]},
    "time": {"slots": 20},
    "learner": {"hidden": [8], "device": "cpu"},
    "offline": {"episodes": 4, "steps": 12, "batch_slots": 8, "checkpoints": 0},
    "online": {"episodes": 4, "episodes_per_update": 2, "epochs": 1},
}
BASE = resolve_settings([PRESETS["paper-simulation"], SMALL])


def sets():
    return [
        part
        for section, values in SMALL.items()
        for key, value in values.items()
        for part in ("--set", f"{section}.{key}={json.dumps(value)}")
    ]


def run(*arguments):
    return CliRunner().invoke(app, ["experiment", *arguments], terminal_width=200)


def cell(work="sed", network=0, seed=0, settings=BASE):
    return Cell("", settings.model_dump_json(exclude={"services"}), network, 2, work, seed)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_settings_and_known_methods(name):
    experiment = EXPERIMENTS[name]
    base = resolve_settings([PRESETS[experiment.preset]])
    assert not set(TRAININGS) & {*scheduler_names(), *REFERENCES}
    for work in works_of(experiment.methods):
        assert work in TRAININGS or work in REFERENCES or work in scheduler_names()
        assert set(condition_settings(experiment, base, work)) == set(experiment.conditions)
    cells = plan_cells(experiment, base, experiment.methods, Scale(2, 1, 3))
    assert len({(one.condition, one.name) for one in cells}) == len(cells)
    trained = [one for one in cells if one.work in TRAININGS]
    assert {one.training_seed for one in trained} == {1, 2, 3}
    assert cells[: len(trained)] == trained


def test_the_conditions_change_what_they_say():
    def of(name, work="sed"):
        return condition_settings(EXPERIMENTS[name], BASE, work)

    assert [one.tasks.size_bits[1] for one in of("fig5a").values()] == [4.8e7, 5.6e7, 6.4e7, 7.2e7, 8e7]
    assert [one.network.arrival_probability[1] for one in of("fig5b").values()] == [0.6, 0.7, 0.8, 0.9, 1.0]
    assert [one.network.failure_rate[1] for one in of("fig5c").values()] == [0.1, 0.15, 0.2, 0.25, 0.3]
    assert [one.network.nodes for one in of("fig6").values()] == [10, 20, 30, 40, 50]
    for work in ("sac-cql and ppo", "scorer and scorer-online"):
        assert [one.offline.heuristic for one in of("fig4", work).values()] == ["random", "rda", "ratc", "sed"]


def test_the_command_compares_goes_on_and_draws(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    methods = "random,sed,central,ceiling,offline-only,o2o-drl,online-only,scorer,scorer-offline,scorer-o2o"
    arguments = ["ladder", *sets(), "--methods", methods, "--networks", "2", "--traces", "2", "--seeds", "2"]
    first = run(*arguments, "--out", "a", "--workers", "2")
    assert first.exit_code == 0, first.output
    results = json.loads((tmp_path / "a/results.json").read_text())
    found = results["conditions"][""]
    assert set(found) == set(methods.split(","))
    assert found["sed"]["difference"] is None
    assert found["ceiling"]["mean"] >= found["central"]["mean"] > 0
    assert len(found["o2o-drl"]["online"]) == 2
    assert found["scorer-offline"]["online"] == []
    for file in ("figure.png", "figure.svg"):
        assert (tmp_path / "a" / file).stat().st_size > 10_000
    simulated = CliRunner().invoke(
        app,
        ["simulate", "--preset", "paper-simulation", *sets(), "--networks", "2", "--episodes", "2", "--json"]
        + [part for name in ("random", "sed", "central", "ceiling", "scorer") for part in ("--scheduler", name)],
    )
    for name, values in json.loads(simulated.stdout)["schedulers"].items():
        np.testing.assert_allclose(list(found[name]["networks"].values()), values["networks"], err_msg=name)
    # The same again computes nothing: no cluster is started.
    monkeypatch.setattr("experiments.engine.cluster", None)
    again = run(*arguments, "--out", "a")
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "a/results.json").read_text()) == results


@pytest.mark.parametrize("work", ["sac-cql and ppo", "scorer and scorer-online"])
def test_a_training_is_that_of_the_pipeline(work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training = TRAININGS[work]
    layers = [PRESETS["paper-simulation"], SMALL, training.layer]
    settings = resolve_settings([*layers, {"evaluation": {"episodes": 3, "methods": ["offline-only", "o2o-drl"]}}])
    given = [
        part
        for section in ("offline", "online")
        for key, value in training.layer[section].items()
        for part in ("--set", f"{section}.{key}={value}")
    ]
    evaluated = ["--set", "evaluation.episodes=3", "--set", "evaluation.methods=[offline-only, o2o-drl]"]
    made = CliRunner().invoke(
        app, ["run", "--twin", "--preset", "paper-simulation", *sets(), *given, *evaluated, "--out", "runs/one"]
    )
    assert made.exit_code == 0, (made.output, made.exception)
    methods = json.loads((tmp_path / "runs/one/results.json").read_text())["methods"]
    network = draw_network(settings.network, settings.seed, 0)
    times = settings.time
    traces = [
        draw_trace(settings.tasks, network, times.slot_s, times.slots, settings.seed, EVALUATION_TRACES + k)
        for k in range(3)
    ]
    found = learn(training, settings, network, traces, settings.seed)
    for method, same in (("offline-only", training.offline), ("o2o-drl", training.online)):
        expected = [episode["success_rate"] for episode in methods[method]["episodes"]]
        np.testing.assert_allclose(found.rates[same], expected, atol=1e-12)


def test_training_seeds_change_the_training_only():
    one, two = (compute(cell("scorer-online alone", seed=seed)) for seed in (1, 2))
    assert one["rates"] != two["rates"]
    assert compute(cell("scorer-online alone", seed=1))["rates"] == one["rates"]


def test_a_killed_worker_costs_only_what_it_was_computing(tmp_path):
    cells = [cell("ppo alone", network, seed) for network in range(4) for seed in (1, 2)]
    with cluster(None, 2) as client:
        pids = list(client.run(os.getpid).values())
        done = []

        def kill_one():
            while not done:
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        found = computed(cells, tmp_path, client, done.append)
        killer.join()
    assert set(found) == set(cells) == set(done)
    assert len(done) == len(cells)
    assert stored(cells, tmp_path) == found
    assert found[cells[0]]["rates"] == compute(cells[0])["rates"]


def test_a_lost_scheduler_is_an_error_and_what_is_finished_is_kept(tmp_path):
    from distributed import LocalCluster

    cells = [cell("ppo alone", network, seed) for network in range(3) for seed in (1, 2)]
    here = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    done = []

    def close_it(one):
        done.append(one)
        if len(done) == 1:
            threading.Thread(target=here.close).start()

    with cluster(here.scheduler_address, None) as client, pytest.raises(IncompleteError, match="the same command"):
        computed(cells, tmp_path, client, close_it)
    assert set(stored(cells, tmp_path)) == set(done)
    assert 1 <= len(done) < len(cells)


def test_a_cell_that_fails_is_reported_and_the_others_are_kept(tmp_path):
    good, bad = cell("sed"), cell("no-such-scheduler")
    with cluster(None, 1) as client, pytest.raises(Exception, match="no-such-scheduler"):
        computed([good, bad], tmp_path, client, lambda one: None)
    assert set(stored([good, bad], tmp_path)) == {good}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:20],
        lambda text: "",
        lambda text: "null",
        lambda text: "[3]",
        lambda text: text.replace('"sed": [', '"sed": [7.5, '),
        lambda text: text.replace('"sed": [', '"sed": ["x", '),
        lambda text: text.replace('"seconds"', '"time"'),
        lambda text: text.replace('"online": []', '"online": 3'),
        lambda text: text.replace('"network": 0', '"network": 1'),
    ],
)
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    one = cell("sed")
    with cluster(None, 1) as client:
        found = computed([one], tmp_path, client, lambda _: None)
    (file,) = tmp_path.iterdir()
    assert stored([one], tmp_path) == found
    changed = damage(file.read_text())
    assert changed != file.read_text()
    file.write_text(changed)
    assert stored([one], tmp_path) == {}


def test_a_network_without_tasks_has_no_rate():
    empty = resolve_settings([BASE.model_dump(mode="json"), {"network": {"arrival_probability": [0, 0]}}])
    for work, method in (("scorer and scorer-online", "scorer-o2o"), ("sed", "sed"), ("ceiling", "ceiling")):
        layer = TRAININGS[work].layer if work in TRAININGS else {}
        settings = resolve_settings([empty.model_dump(mode="json"), layer])
        assert compute(cell(work, settings=settings))["rates"][method] == [None, None]


def test_a_key_is_all_that_changes_the_result():
    one = cell("sed")
    assert replace(one, condition="other").name == one.name
    others = [cell("sed", network=1), cell("rda"), cell("sed", seed=1), replace(one, traces=3)]
    others.append(cell("sed", settings=resolve_settings([SMALL, {"seed": 8}])))
    assert len({one.name, *(other.name for other in others)}) == 6


def test_a_summary_pairs_networks_and_averages_seeds():
    experiment = EXPERIMENTS["ladder"]
    found = {
        cell("sed", 0): {"rates": {"sed": [0.5, 0.7]}, "online": []},
        cell("sed", 1): {"rates": {"sed": [0.9, None]}, "online": []},
        cell("ceiling", 0): {"rates": {"ceiling": [1.0, 1.0]}, "online": []},
        cell("ceiling", 1): {"rates": {"ceiling": [1.0, None]}, "online": []},
    }
    for seed, rate in ((1, 0.7), (2, 0.9)):
        for network in (0, 1):
            rates = {"online-only": [rate + 0.1 * network, None]}
            found[cell("ppo alone", network, seed)] = {"rates": rates, "online": [rate, None]}
    made = summarize(experiment, ("sed", "online-only", "ceiling", "random"), found)[""]
    assert set(made) == {"sed", "online-only", "ceiling"}
    assert made["sed"]["networks"] == pytest.approx({"0": 0.6, "1": 0.9})
    assert made["online-only"]["networks"] == pytest.approx({"0": 0.8, "1": 0.9})
    assert made["online-only"]["difference"]["mean"] == pytest.approx(0.1)
    assert made["sed"]["share_of_ceiling"] == pytest.approx(0.75)
    assert made["online-only"]["online"] == [pytest.approx(0.8), None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "unknown experiment 'fig9'"),
        (["ladder", "--methods", "sed,sde"], "unknown method 'sde'"),
        (["ladder", "--methods", " , "], "names no method"),
        (["ladder", "--methods", "sed", "--scheduler", "tcp://127.0.0.1:9"], "does not answer"),
        (["ladder", "--methods", "sed", "--scheduler", "127.0.0.1:80"], "is not an"),
        (["ladder", "--methods", "sed", "--scheduler", "nonsense://x"], "is not an"),
        (["ladder", "--methods", "o2o-drl", "--set", "offline.dataset=a/b-v0"], "offline.dataset"),
        (["ladder", "--methods", "drl"], "needs a model"),
        (["fig6", "--set", "network.nodes=0"], "network.nodes"),
        (["ladder", "--preset", "paper"], "paper"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_computed(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "--out", "a", "--networks", "1", "--traces", "1")
    assert result.exit_code != 0
    assert message in " ".join(f"{result.output} {result.exception}".split())
    assert not list(tmp_path.glob("a/cells/*.json"))
