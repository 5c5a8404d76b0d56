"""Tests messages for mistyped names and for commands in the wrong order: one clear line, exit code 2."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from running import Workplace, running

from commands import main
from commands.pods import run_pod
from middleware.database import LeaseLost
from middleware.errors import ServiceRefused, ServiceUnavailable
from offload.manifest import ManifestError
from offload.settings import SettingsError

NOWHERE = "mysql+pymysql://someone@127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("status", "--database", "sqlite:///none/here.db"), "no controller is running here"),
        (("set", "scheduler.name=rda"), "no controller is running here"),
        (("status", "--database", "nonsense"), "services.database: 'nonsense'"),
        (("database", "migrate", "--database", "nonsense"), "services.database: 'nonsense'"),
        (("serve", "--preset", "nix"), "unknown preset 'nix'; available: demo"),
        (("serve", "--config", "nix.yaml"), "nix.yaml: cannot be read"),
        (("serve", "--set", "time.slots=many"), "time.slots"),
        (("serve", "--set", "scheduler.name=rtac"), "unknown scheduler 'rtac'"),
        (
            ("serve", "--set", f"services.database={NOWHERE}"),
            "the database cannot be used now (OperationalError 2003): Can't connect",
        ),
        (("status", "--database", NOWHERE.replace("@", ":geheim@")), "set OFFLOAD_DATABASE_PASSWORD to the password"),
        (
            ("config", "show", "--set", "scheduler.nam=rda"),
            "did you mean name? Keys of this section: name",
        ),
        (("config", "check", "small.yaml", "--set", "scheduler.parameters.d=3"), "scheduler.parameters.d"),
        (("config", "check", "small.yaml", "--set", "evaluation.methods=[rtac]"), "evaluation.methods"),
    ],
)
def test_mistake_is_reported_in_one_line(tmp_path: Path, arguments: tuple[str, ...], expected: str):
    workplace = Workplace(tmp_path)
    done = workplace.run(*arguments)
    assert done.returncode == 2, done.stdout
    assert expected in done.stdout
    assert "Traceback" not in done.stdout
    assert "geheim" not in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1


@pytest.mark.mysql
def test_wrong_password_is_reported_in_one_line(tmp_path: Path, mysql_url: str):
    workplace = Workplace(tmp_path, sa.make_url(mysql_url).set(password="falsch").render_as_string(hide_password=False))
    for arguments in (("run", "--config", "small.yaml"), ("status",), ("database", "migrate")):
        done = workplace.run(*arguments)
        assert done.returncode == 2, done.stdout
        assert "the database refuses the request (OperationalError 1045): " in done.stdout
        assert "Access denied" in done.stdout
        assert "falsch" not in done.stdout
        assert len(done.stdout.strip().splitlines()) == 1


def test_asking_for_the_status_leaves_nothing_behind(tmp_path: Path):
    workplace = Workplace(tmp_path)
    workplace.run("status")
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_shown_configuration_can_be_used_again(tmp_path: Path):
    workplace = Workplace(tmp_path)
    shown = workplace.run("config", "show", "--config", "small.yaml", "--set", "time.slots=11").stdout
    (tmp_path / "again.yaml").write_text(shown)
    assert workplace.run("config", "show", "--config", "again.yaml").stdout == shown
    assert workplace.run("config", "check", "again.yaml").returncode == 0


def test_the_database_can_be_prepared_ahead(tmp_path: Path):
    workplace = Workplace(tmp_path)
    for _ in range(2):
        assert workplace.run("database", "migrate").returncode == 0
    assert "no controller is running here" in workplace.run("status").stdout


def test_a_run_is_prepared_once_and_waited_for(tmp_path: Path):
    workplace = Workplace(tmp_path)
    nobody = workplace.run("await", "--run", "r", "--timeout", "0.1")
    assert nobody.returncode == 2
    assert "run 'r' is not prepared after 0.1 s: " in nobody.stdout
    with running(workplace, "await", "--run", "r", "--timeout", "60") as waiting:
        for _ in range(2):
            done = workplace.run("prepare", "--run", "r", "--config", "small.yaml")
            assert (done.returncode, done.stdout.strip()) == (0, "run r is prepared: 3 edge nodes, seed 5")
        output, _ = waiting.communicate(timeout=60)
        assert (waiting.returncode, output.strip()) == (0, "run r is prepared")
    for expected in ("the live settings were changed: revision 2\n", ""):
        changed = workplace.run("prepare", "--run", "r", "--config", "small.yaml", "--set", "scheduler.name=sed")
        assert (changed.returncode, changed.stdout) == (0, f"{expected}run r is prepared: 3 edge nodes, seed 5\n")
    watched = workplace.run(
        "prepare", "--run", "r", "--config", "small.yaml", "--set", "services.configuration=file:small.yaml"
    )
    assert watched.stdout == "run r is prepared: 3 edge nodes, seed 5\n", "the controller applies a watched file"
    other = workplace.run("prepare", "--run", "r", "--config", "small.yaml", "--set", "time.slots=11")
    assert other.returncode == 2
    assert "time.slots: 10 in the recorded run, 11 in these settings" in other.stdout


def test_a_selftest_without_a_testbed_says_so(tmp_path: Path):
    workplace = Workplace(tmp_path)
    assert workplace.run("database", "migrate").returncode == 0
    done = workplace.run("selftest")
    assert done.returncode == 2 and "no controller is running here" in done.stdout


def test_the_schedulers_are_listed_with_their_parameters(tmp_path: Path):
    listed = Workplace(tmp_path).run("schedulers")
    assert listed.returncode == 0
    for name in ("ratc", "rda", "sed", "drl-probe", "d=2"):
        assert name in listed.stdout


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SettingsError("time.slots: 0 must be at least 1"), "time.slots: 0 must be at least 1"),
        (ManifestError("there is no model m1"), "there is no model m1"),
        (ServiceUnavailable("Nacos at h:1 does not answer"), "Nacos at h:1 does not answer"),
        (ServiceRefused("the database refuses us", "Access denied"), "the database refuses us: Access denied"),
        (PermissionError(13, "Permission denied", "runs/r"), "runs/r: Permission denied"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_the_user_can_correct_is_one_line_with_exit_code_2(monkeypatch, capsys, error: Exception, expected: str):
    assert _printed(monkeypatch, capsys, error) == f"offload: {expected}\n"


def _printed(monkeypatch, capsys, error: Exception) -> str:
    def raising(**_):
        raise error

    monkeypatch.setattr(main, "app", raising)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a"), OSError("no errno")])
def test_a_defect_is_shown_with_its_traceback(monkeypatch, capsys, error: Exception):
    with pytest.raises(type(error)):
        _printed(monkeypatch, capsys, error)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("OFFLOAD_NODE='x': an index is needed"), 2),
        (ServiceRefused("the database refuses the request (OperationalError 1045)", "a row"), 2),
        (ServiceUnavailable("the database cannot be used now (OperationalError 2003)", "a row"), 1),
        (LeaseLost("another process controls the run"), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_pods_exit_code_says_whether_to_start_it_again(monkeypatch, capsys, error: Exception, code: int):
    """A supervisor restarts a pod that ends with 1, for ever; one that ends with 2 or 3 it does not."""
    monkeypatch.setattr(logging, "raiseExceptions", True)

    def work() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_pod("offload-node", lambda: work)
    assert (ended.value.code, capsys.readouterr().err) == (code, f"offload-node: {error}\n")


def test_help_does_not_load_what_takes_long():
    code = (
        "import sys, commands.main; "
        "print([name for name in ('torch', 'matplotlib', 'onnxruntime', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_room_from_elsewhere_is_noticed(tmp_path: Path):
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "__init__.py").touch()
    done = Workplace(tmp_path).run("status")
    assert done.returncode == 2
    assert f"the package 'controller' comes from {tmp_path}" in done.stdout


def test_a_part_that_is_not_installed_is_named_with_the_extra_that_brings_it(monkeypatch, capsys):
    """An edge node's installation has no torch. The message says what to install for training."""
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("trainer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "argv", ["offload", "run", "--phase", "collect", "--config", "absent.yaml"])
    monkeypatch.setattr(main, "app", lambda **_: importlib.import_module("trainer.pipeline"))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert "torch is not installed here: run `pip install -e '.[trainer]'`" in capsys.readouterr().err
