"""Tests an installation that belongs to another user: the packages' folder is read-only, and there is no home folder.

If root runs the tests, the commands run as another user, who may write only into the working folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from another_user import OTHER, as_another_user
from running import SMALL

PACKAGES = (
    "offload", "middleware", "edgenode", "controller", "trainer", "evaluation", "simulator", "commands",
    "offload_testbed.egg-info",
)  # fmt: skip
KEPT_NOT = "the compiled twin cannot be cached"


class Installation:
    """The packages and a working folder."""

    def __init__(self, folder: Path) -> None:
        self.packages, self.work = folder / "packages", folder / "work"
        root = Path(__file__).parents[2]
        for name in PACKAGES:
            shutil.copytree(root / name, self.packages / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.work.mkdir()
        self._before = as_another_user()
        if self._before:
            os.chown(self.work, OTHER, OTHER)
        for path in (self.packages, *self.packages.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `offload ARGUMENTS` without this user's environment."""
        return subprocess.run(
            [*self._before, sys.executable, "-m", "commands.main", *arguments],
            cwd=self.work,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": "/nonexistent",
                "PYTHONPATH": str(self.packages),
                "PYTHONSAFEPATH": "1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


@pytest.fixture
def installation() -> Iterator[Installation]:
    # Not in pytest's folder, which other users cannot enter.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        made = Installation(Path(name))
        yield made
        for path in (made.packages, *made.packages.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_its_report_and_its_parity_work(installation: Installation):
    (installation.work / "small.yaml").write_text(SMALL)
    phases = ("--phase", "evaluate", "--phase", "report", "--set", "evaluation.methods=[local,ratc]")
    played = installation.run("run", "--config", "small.yaml", "--out", "runs/small", *phases)
    assert played.returncode == 0, played.stdout + played.stderr
    results = json.loads((installation.work / "runs/small/results.json").read_text())
    assert results["parity"], "the report compares with the twin"
    assert (played.stdout + played.stderr).count(KEPT_NOT) == 1
    parity = installation.run("parity", "runs/small", "--json")
    assert parity.returncode == 0, parity.stderr
    assert json.loads(parity.stdout) == results["parity"]
    assert parity.stderr.count(KEPT_NOT) == 1
    report = installation.run("report", "runs/small")
    assert report.returncode == 0, report.stderr


def test_a_simulation_works_and_keeps_what_it_compiles_where_it_may(installation: Installation):
    options = (
        "simulate",
        "--scheduler",
        "sed",
        "--networks",
        "1",
        "--episodes",
        "1",
        "--set",
        "time.slots=5",
        "--json",
    )
    without = installation.run(*options)
    assert without.returncode == 0, without.stderr
    assert without.stderr.count(KEPT_NOT) == 1
    kept = installation.run(*options, NUMBA_CACHE_DIR=str(installation.work / "cache"))
    assert kept.returncode == 0, kept.stderr
    assert KEPT_NOT not in kept.stderr
    assert list((installation.work / "cache").rglob("*.nbi"))
    assert json.loads(kept.stdout)["schedulers"] == json.loads(without.stdout)["schedulers"]
