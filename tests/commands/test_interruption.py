"""Tests Ctrl-C in a real terminal: one sentence that says what to do, exit code 130, and no remaining process."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Workplace, wait_until
from terminals import Terminal, terminal


def last_line(shown: Terminal) -> str:
    """The last line, without escape sequences that move the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.shown).splitlines()[-1]


@pytest.fixture
def silent_database() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"mysql+pymysql://offload@127.0.0.1:{server.getsockname()[1]}/offload"


@pytest.mark.parametrize(
    "command", [("parity", "runs/small"), ("report", "runs/small"), ("status",), ("await", "--run", "x")]
)
def test_a_command_that_waits_says_that_it_was_interrupted(tmp_path: Path, silent_database: str, command):
    workplace = Workplace(tmp_path, silent_database)
    with terminal(tmp_path, workplace.environment, *command) as shown:
        wait_until(lambda: _has_connected(shown.process.pid))
        shown.press_ctrl_c()
        assert shown.end() == 130
    assert last_line(shown) == "offload: interrupted"
    assert "Traceback" not in shown.shown


def test_a_simulation_says_that_it_was_interrupted(tmp_path: Path):
    workplace = Workplace(tmp_path)
    options = ("--scheduler", "sed", "--scheduler", "ratc", "--networks", "100000")
    with terminal(tmp_path, workplace.environment, "simulate", *options) as shown:
        shown.wait_for("networks")
        shown.press_ctrl_c()
        assert shown.end() == 130
    assert last_line(shown) == "offload: interrupted"
    assert "Traceback" not in shown.shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("run", "--config", "small.yaml", "--out", "runs/small"), "collect"),
        (("serve", "--config", "small.yaml"), "is served at"),
    ],
)
def test_a_run_says_that_it_can_be_resumed(tmp_path: Path, command, expected: str):
    workplace = Workplace(tmp_path)
    with terminal(tmp_path, workplace.environment, *command) as shown:
        shown.wait_for(expected)
        assert len(workplace.processes("commands.node")) == 3
        shown.press_ctrl_c()
        assert shown.end() == 130
    assert last_line(shown) == "offload: interrupted; run the same command to resume"
    assert "Traceback" not in shown.shown
    wait_until(lambda: workplace.processes() == [], 30)


def test_ctrl_c_during_imports_ends_the_command_without_a_traceback(tmp_path: Path):
    environment = {**Workplace(tmp_path).environment, "PYTHONPROFILEIMPORTTIME": "1"}
    with terminal(tmp_path, environment, "--help") as shown:
        shown.wait_for("| typer")  # a line per imported module
        shown.press_ctrl_c()
        assert shown.end() == 130
    assert "Usage" not in shown.shown
    assert "Traceback" not in shown.shown


def _has_connected(pid: int) -> bool:
    import psutil

    return any(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp4"))
