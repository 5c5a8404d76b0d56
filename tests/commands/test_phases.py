"""Tests single phases of `offload run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Offload, offload  # noqa: F401


@pytest.mark.parametrize("options", [(), ("--twin",)], ids=["testbed", "twin"])
def test_the_report_alone_needs_no_controller(offload: Offload, tmp_path: Path, options: tuple[str, ...]) -> None:  # noqa: F811
    """For the testbed it ended with a traceback: the command asked the controller that it had not started."""
    ended = offload("run", "--preset", "demo", "--out", "runs/r", "--phase", "report", *options)
    assert ended.code == 0, ended.out + ended.err
    assert json.loads((tmp_path / "runs/r/results.json").read_text())["run"] == "r"
