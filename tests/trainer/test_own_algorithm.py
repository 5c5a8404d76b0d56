"""Tests that following docs/algorithms.md gives a working algorithm."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.checking import check_settings
from commands.main import app
from offload.settings import SettingsError, resolve_settings
from trainer.algorithms import algorithm_names, create_offline, describe
from trainer.conformance import check_algorithm

PAGE = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()
EXAMPLE, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SMALL = {
    "network": {"nodes": 2, "arrival_probability": [0.5, 1.0]},
    "time": {"slots": 5},
    "learner": {"hidden": [4], "device": "cpu"},
    "offline": {
        "algorithm": "cloning", "parameters": {"learning_rate": 0.01},
        "episodes": 2, "steps": 3, "batch_slots": 4, "checkpoints": 0,
    },
    "online": {"episodes": 1, "episodes_per_update": 1, "epochs": 1},
    "evaluation": {"episodes": 1, "methods": ["random", "offline-only", "o2o-drl"]},
}  # fmt: skip


def install(folder, entries, module="my_algorithms", source=EXAMPLE):
    """A package, installed as pip does."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    name = module.replace("_", "-")
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[offload.algorithms]\n" + entries)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The page's example, installed."""
    name, value = re.search(r'^(\S+) = "(.*)"$', PAGE, re.MULTILINE).groups()
    install(tmp_path / "site", f"{name} = {value}\n")
    monkeypatch.delitem(sys.modules, "my_algorithms", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**offline):
    return resolve_settings([SMALL, {"offline": offline}])


def refusal(**offline):
    with pytest.raises(SettingsError) as refused:
        check_settings(settings(**offline))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_pages_algorithm_conforms_as_the_page_says(package):
    import my_algorithms

    assert "check_algorithm(Cloning, reaches=0.0)" in TEST
    check_algorithm(my_algorithms.Cloning, reaches=0.0)


def test_a_registered_algorithm_goes_through_the_pipeline_of_the_twin(package):
    """One module and one entry point are enough: no file of the testbed names it."""
    sets = [
        part
        for section, values in SMALL.items()
        for key, value in values.items()
        for part in ("--set", f"{section}.{key}={json.dumps(value)}")
    ]
    result = CliRunner().invoke(app, ["run", "--twin", *sets, "--out", "runs/one"], terminal_width=200)
    assert result.exit_code == 0, (result.output, result.exception)
    manifests = {
        version: json.loads((package / f".offload/storage/models/one/{version}/manifest.json").read_text())
        for version in ("offline", "o2o-drl-0001")
    }
    assert {version: one["algorithm"] for version, one in manifests.items()} == {
        "offline": "cloning",
        "o2o-drl-0001": "ppo",
    }
    results = json.loads((package / "runs/one/results.json").read_text())
    assert results["missing"] == []
    assert set(results["methods"]) == {"random", "offline-only", "o2o-drl"}


def test_the_algorithm_is_listed_with_parameters_and_curves(package):
    found = {one.name: one for one in describe()}
    assert list(found) == algorithm_names() == ["cloning", "ppo", "sac-cql", "scorer", "scorer-online"]
    assert found["cloning"].summary == "Imitates the recorded decisions (behaviour cloning)."
    assert found["cloning"].parameters == {"learning_rate": 0.003}
    assert found["cloning"].curves["imitation_loss"].label == "imitation loss"
    assert found["ppo"].phase == "online"
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    assert rows == set(found) - {"cloning"}


@pytest.mark.parametrize(
    ("offline", "expected"),
    [
        (
            {"algorithm": "clonign"},
            "offline.algorithm: unknown algorithm 'clonign', did you mean cloning? Available: ",
        ),
        ({"algorithm": "ppo"}, "offline.algorithm: 'ppo' trains online; it can be online.algorithm"),
        ({"parameters": {"rate": 1}}, "offline.parameters.rate: 'cloning' has no such parameter"),
        ({"parameters": {"learning_rat": 1}}, "did you mean learning_rate? Parameters: learning_rate"),
        ({"parameters": {"learning_rate": "much"}}, "offline.parameters.learning_rate: 'much' is not a number"),
        ({"parameters": {"learning_rate": -1}}, "offline.parameters.learning_rate: -1 must be above 0"),
        (
            {"algorithm": "sac-cql", "parameters": {"cql_weight": 1}},
            "offline.parameters.cql_weight: 'sac-cql' has no such parameter; write offline.cql_weight",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(package, offline, expected):
    assert expected in refusal(**offline)


def test_another_algorithm_does_not_inherit_the_parameters_of_the_one_before(package):
    assert settings(algorithm="sac-cql").offline.parameters == {}
    assert create_offline(settings()).learning_rate == 0.01


@pytest.mark.parametrize(
    ("entries", "source", "expected"),
    [
        ("cloning = other:Cloning\n", EXAMPLE, "several packages register the algorithm 'cloning': my_algorithms:"),
        ("broken = other:Missing\n", EXAMPLE, "'broken' (other:Missing) cannot be loaded: AttributeError"),
        ("broken = other:Cloning\n", "raise OSError('no licence')\n", "cannot be loaded: OSError: no licence"),
        ("broken = other:Cloning\n", EXAMPLE.replace("(frozen=True)", ""), "is not a frozen dataclass; see docs/"),
        (
            "broken = other:Cloning\n",
            EXAMPLE.replace("= 0.003", ""),
            "has a parameter 'learning_rate' without a default",
        ),
        ("broken = other:Cloning\n", EXAMPLE.replace("def train", "def teach"), "has no 'train'"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_used_is_named(package, monkeypatch, entries, source, expected):
    install(package / "site2", entries, "other", source)
    monkeypatch.delitem(sys.modules, "other", raising=False)
    monkeypatch.syspath_prepend(package / "site2")
    assert expected in refusal(algorithm=entries.split()[0], parameters={"learning_rate": 0.1})
    assert {"ppo", "sac-cql"} <= {one.name for one in describe() if one.phase}
