"""Runs `offload …` in the test's process, as the installed command in a folder: faster than a new process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from commands import main


class Ended(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


Offload = Callable[..., Ended]


@pytest.fixture
def offload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offload:
    """`offload("config", "check", "x.yaml")` in `tmp_path`. Keywords `OFFLOAD_…=` are set in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("OFFLOAD_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str, **environment: str) -> Ended:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["offload", *arguments])
        level = logging.getLogger().level
        capsys.readouterr()
        try:
            main.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            logging.getLogger().setLevel(level)
        return Ended(code, *capsys.readouterr())

    return call
