"""Tests terminals that cannot show every character: commands print replacements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import Workplace

TWIN = (
    "run", "--twin", "--config", "small.yaml", "--out", "runs/small",
    "--phase", "collect", "--phase", "evaluate", "--phase", "report",
    "--set", "evaluation.methods=[local,ratc]",
)  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_every_command_prints_on_a_terminal_without_unicode(tmp_path: Path, encoding: str):
    workplace = Workplace(tmp_path)
    workplace.environment |= {"PYTHONIOENCODING": encoding}
    (tmp_path / "net.json").write_text(json.dumps(NETWORK))
    (tmp_path / "tasks.json").write_text(json.dumps(TASKS))
    for arguments in (
        ("--help",),
        ("config", "reference"),
        ("config", "show"),
        ("schedulers",),
        ("services", "check"),
        ("simulate", "--scheduler", "sed", "--networks", "1", "--episodes", "1"),
        ("replay", "--network", "net.json", "--tasks", "tasks.json", "--scheduler", "sed"),
        TWIN,
        ("report", "runs/small"),
        ("parity", "runs/small"),
    ):
        shown = workplace.run(*arguments)
        assert shown.returncode == 0, (arguments, shown.stdout)
        assert "Traceback" not in shown.stdout
    wrong = workplace.run("config", "check", "größe.yaml")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stdout


def test_what_cannot_be_shown_is_written_in_plain_characters(tmp_path: Path):
    workplace = Workplace(tmp_path)
    workplace.environment |= {"PYTHONIOENCODING": "ascii"}
    simulated = workplace.run("simulate", "--scheduler", "sed", "--networks", "2", "--episodes", "1").stdout
    assert " ... " in simulated, "an interval"
    assert "?" not in simulated


NETWORK = {
    "nodes": [
        {"capacity_hz": 4e9, "failure_rate": 0.0, "arrival_probability": 0.5},
        {"capacity_hz": 8e9, "failure_rate": 0.0, "arrival_probability": 0.5},
    ],
    "rates_bps": [[0, 1e7], [1e7, 0]],
    "link_failure_rates": [[0, 0], [0, 0]],
}
TASKS = {
    "slot_s": 0.1,
    "slots": 2,
    "tasks": [{"slot": 0, "source": 0, "size_bits": 1e6, "cycles": 1e8, "deadline_s": 1.0}],
}
