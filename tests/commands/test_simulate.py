"""Tests `offload simulate`: success rates of schedulers and reference planners on many networks."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from commands.main import app

SMALL = ("--preset", "paper-simulation", "--set", "network.nodes=6", "--set", "time.slots=30", "--json")


def simulate(*options):
    result = CliRunner().invoke(app, ["simulate", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=pytest.fail)


def test_networks_and_traces_are_the_same_whatever_else_is_asked() -> None:
    wide = simulate(
        *SMALL, "--scheduler", "local", "--scheduler", "sed", "--networks", "3", "--episodes", "2", "--seed", "5"
    )
    narrow = simulate(*SMALL, "--scheduler", "sed", "--networks", "2", "--episodes", "2", "--seed", "5")
    assert list(wide["schedulers"]) == ["local", "sed"]
    assert wide["schedulers"]["sed"]["networks"][:2] == narrow["schedulers"]["sed"]["networks"]
    sed = wide["schedulers"]["sed"]
    assert sed["mean"] == pytest.approx(sum(sed["networks"]) / 3)
    assert sed["ci95"][0] < sed["mean"] < sed["ci95"][1]
    assert wide["decisions_per_s"] > 0
    other = simulate(*SMALL, "--scheduler", "sed", "--networks", "2", "--episodes", "2", "--seed", "6")
    assert other["schedulers"]["sed"]["networks"] != narrow["schedulers"]["sed"]["networks"]


def test_the_reference_planners_have_names_too() -> None:
    names = ("random", "central", "ceiling")
    options = [part for name in names for part in ("--scheduler", name)]
    found = simulate(*SMALL, *options, "--networks", "2", "--episodes", "2", "--seed", "5")["schedulers"]
    assert found["random"]["mean"] < found["central"]["mean"] <= found["ceiling"]["mean"] + 0.05


def test_one_network_has_no_interval() -> None:
    assert (
        simulate(*SMALL, "--scheduler", "local", "--networks", "1", "--episodes", "1")["schedulers"]["local"]["ci95"]
        is None
    )


@pytest.mark.filterwarnings("error")
def test_a_network_without_tasks_has_no_rate() -> None:
    """NaN is not JSON: a strict parser could not read the output."""
    names = (
        "--scheduler",
        "sed",
        "--scheduler",
        "central",
        "--scheduler",
        "ceiling",
        "--networks",
        "2",
        "--episodes",
        "1",
    )
    found = simulate(*SMALL, *names, "--set", "network.arrival_probability=[0,0]")
    nothing = {"mean": None, "ci95": None, "networks": [None, None]}
    assert found["schedulers"] == {"sed": nothing, "central": nothing, "ceiling": nothing}
    shown = CliRunner().invoke(app, ["simulate", *SMALL[:-1], *names, "--set", "network.arrival_probability=[0,0]"])
    assert shown.exit_code == 0
    assert "nan" not in shown.output
    assert shown.output.count("–") >= 12


@pytest.mark.filterwarnings("error")
def test_networks_without_tasks_do_not_count_in_the_mean() -> None:
    few = (*SMALL, "--scheduler", "sed", "--networks", "12", "--episodes", "1")
    found = simulate(*few, "--set", "network.arrival_probability=[0,0.02]")["schedulers"]["sed"]
    known = [rate for rate in found["networks"] if rate is not None]
    assert 0 < len(known) < 12
    assert found["mean"] == pytest.approx(sum(known) / len(known))


def test_weighted_knows_the_capacities_of_each_network() -> None:
    found = simulate(*SMALL, "--scheduler", "weighted", "--scheduler", "random", "--networks", "4", "--seed", "5")[
        "schedulers"
    ]
    assert found["weighted"]["mean"] > found["random"]["mean"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--scheduler", "best"), "unknown scheduler 'best'"),
        (("--scheduler", "drl"), "needs a model"),
        (("--scheduler", "local", "--networks", "0"), "greater than or equal to 1"),
        ((), "--scheduler"),
    ],
)
def test_wrong_use_is_named(options, complaint) -> None:
    result = CliRunner().invoke(app, ["simulate", *SMALL, *options])
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())
