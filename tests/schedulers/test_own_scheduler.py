"""Tests that following docs/schedulers.md gives a working scheduler."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgenode.schedulers import describe

PAGE = Path(__file__).parents[2] / "docs" / "schedulers.md"
BLOCKS = dict(zip(("scheduler", "test"), re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL), strict=True))


@pytest.fixture
def package(tmp_path):
    """The page's example, installed as pip does."""
    (tmp_path / "my_schedulers.py").write_text(BLOCKS["scheduler"])
    test = "from my_schedulers import LessBusy\n" + BLOCKS["test"]
    (tmp_path / "test_less_busy.py").write_text(test)
    information = tmp_path / "my_schedulers-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-schedulers\nVersion: 1.0\n")
    points = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    name, value = re.search(r'^(\S+) = "(.*)"$', points, re.MULTILINE).groups()
    (information / "entry_points.txt").write_text(f"[offload.schedulers]\n{name} = {value}\n")
    return tmp_path


def run(package, *arguments):
    result = subprocess.run([sys.executable, *arguments], cwd=package, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_pages_test_passes(package):
    assert "1 passed" in run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_less_busy.py")


def test_the_registered_scheduler_can_be_configured_and_is_listed(package):
    program = """
        import sys; sys.path.insert(0, ".")
        from edgenode.schedulers import create_scheduler, describe
        from offload import SchedulerContext
        print(create_scheduler("less-busy", {"margin_s": 0.2}, SchedulerContext(nodes=3)).margin_s)
        print(next(one for one in describe() if one.name == "less-busy"))
        try:
            create_scheduler("less-busy", {"margin": 0.2}, SchedulerContext(nodes=3))
        except ValueError as refused:
            print(refused)
    """
    out = run(package, "-c", textwrap.dedent(program))
    assert "0.2\n" in out
    assert "The less busy one of itself and a random other node." in out
    assert "'less-busy' has no such parameter, did you mean margin_s? Parameters: margin_s" in out


def test_the_pages_table_has_every_scheduler_and_parameter_that_there_is():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    described = {one.name: one.parameters for one in describe()}
    assert set(rows) == set(described)
    for name, parameters in described.items():
        assert all(f"`{parameter}`" in rows[name] for parameter in parameters), name
