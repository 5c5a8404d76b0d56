"""Tests the twin's compilation cache: it may be unwritable (logged once), and is never used for other sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLAY = """
import logging, sys
from pathlib import Path
logging.basicConfig(format="%(name)s: %(message)s")
from offload import draw_network, draw_trace, resolve_settings
from offload.presets import PRESETS
settings = resolve_settings([PRESETS["demo"], {"network": {"nodes": 3, "failure_rate": [0.5, 1.0]}}])
network = draw_network(settings.network, 1)
trace = draw_trace(settings.tasks, network, settings.time.slot_s, settings.time.slots, 1, 0)
from simulator.twin import Twin
import simulator.planners
exec(sys.argv[1])
print("played", simulator.planners.play_central(Twin([network], [trace], settings)).success_rates())
"""


def play(folder: Path, between: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Play an episode in a separate process. between: code that runs after the import and before the first call."""
    return subprocess.run(
        [sys.executable, "-c", PLAY, between],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_no_folder_at_the_import(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    played = play(
        tmp_path,
        NUMBA_CACHE_DIR=str(tmp_path / "file/below"),
        NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator",
    )
    assert played.returncode == 0, played.stderr
    assert "played" in played.stdout
    assert played.stderr.count("the compiled twin cannot be cached") == 1
    assert "set NUMBA_CACHE_DIR to a folder that can be written" in played.stderr


def test_a_folder_that_is_gone_at_the_first_call(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    gone = f"import shutil; shutil.rmtree({str(cache)!r}); Path({str(cache)!r}).write_text('')"
    played = play(tmp_path, gone, NUMBA_CACHE_DIR=str(cache))
    assert played.returncode == 0, played.stderr
    assert "played" in played.stdout
    assert played.stderr.count("the compiled twin cannot be cached") == 1


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_a_file_that_a_power_loss_left_half_is_replaced(tmp_path: Path, kind: str) -> None:
    cache = tmp_path / "cache"
    first = play(tmp_path, NUMBA_CACHE_DIR=str(cache))
    files = [
        path
        for path in cache.rglob(f"*.{kind}")
        if "planners._choose" in path.name or "core.copy_destinations" in path.name
    ]
    assert len(files) == 2
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = play(tmp_path, NUMBA_CACHE_DIR=str(cache))
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr
    third = play(tmp_path, "import simulator.core", NUMBA_CACHE_DIR=str(cache))
    assert (third.returncode, third.stdout, third.stderr) == (0, first.stdout, "")
    assert all(path.stat().st_size > 1000 for path in files)


def test_inlined_module_change_triggers_a_new_compilation(tmp_path: Path) -> None:
    """numba checks only a function's own file: `core` would keep using the code of an older `draws`."""
    shutil.copytree("simulator", tmp_path / "simulator", ignore=shutil.ignore_patterns("__pycache__"))
    draws = tmp_path / "simulator/draws.py"

    def played(cache: str) -> str:
        done = play(tmp_path, PYTHONPATH=f"{tmp_path}:{Path.cwd()}", NUMBA_CACHE_DIR=str(tmp_path / cache))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    before = played("cache")
    text = draws.read_text()
    assert text.count("np.float64(mantissa) + 0.5") == 1
    draws.write_text(text.replace("np.float64(mantissa) + 0.5", "np.float64(mantissa) * 0.01 + 0.5"))
    assert played("cache") == played("fresh") != before
