"""Tests `offload train scorer`, and that its model can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Offload, offload  # noqa: F401

FILES = ("actor.onnx", "learner.safetensors", "manifest.json")
WORLD = ("--preset", "demo", "--decisions", "2000", "--seed", "5")
PLAY = ("--preset", "demo", "--networks", "2", "--episodes", "2", "--json")


def test_a_trained_model_is_reproducible_and_can_be_used(offload: Offload, tmp_path: Path) -> None:  # noqa: F811
    for place in ("one", "other"):
        done = offload("train", "scorer", "--out", f"{place}/own", *WORLD)
        assert done.code == 0, done.err
        assert "offload simulate" in done.out
    for name in FILES:
        assert (tmp_path / "one" / "own" / name).read_bytes() == (tmp_path / "other" / "own" / name).read_bytes()
    manifest = json.loads((tmp_path / "one" / "own" / "manifest.json").read_text())
    assert (manifest["version"], manifest["profile"]["name"], manifest["actions"]) == ("own", "candidates", 2)

    rates = []
    for model in (["--model", "one/own"], []):  # without one, the shipped model decides
        done = offload("simulate", "--scheduler", "scorer", *PLAY, *model)
        assert done.code == 0, done.err
        rates.append(json.loads(done.out)["schedulers"]["scorer"]["networks"])
    assert rates[0] != rates[1]

    done = offload("simulate", "--scheduler", "drl", "--model", "one/own", "--preset", "demo")
    assert done.code == 2
    assert "profile is candidates" in done.err

    done = offload("train", "scorer", "--out", "one/own", *WORLD)
    assert done.code == 2
    assert "contains a model already" in done.err


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--decisions", "10"], "--decisions"),
        (["--preset", "nothing"], "nothing"),
        (["--set", "network.nodes=0"], "network.nodes"),
    ],
)
def test_wrong_options_are_named_before_anything_is_played(offload: Offload, given: list[str], named: str) -> None:  # noqa: F811
    done = offload("train", "scorer", "--out", "model", *given)
    assert done.code == 2
    assert named in done.err
    assert not Path("model").exists()


def test_networks_without_tasks_are_refused(offload: Offload) -> None:  # noqa: F811
    done = offload("train", "scorer", "--out", "model", "--set", "network.arrival_probability=[0,0]")
    assert done.code == 2
    assert "arrival_probability" in done.err
