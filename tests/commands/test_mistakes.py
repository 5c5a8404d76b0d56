"""Tests that a user's mistake is reported in one line, before a run begins."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from in_process import Offload, offload  # noqa: F401
from running import SMALL, Workplace

TEXT, FOLDER, BELOW = "sqlite:///text.db", "sqlite:///folder", "sqlite:///text.db/x.db"
NO_DATABASE = "text.db is not an SQLite database; name another file"
A_FOLDER = "services.database: folder is a folder; write sqlite:///folder/offload.db"

MISTAKES = [
    # a file that is not a database
    (("run", "--config", "x.yaml", "--set", f"services.database={TEXT}"), NO_DATABASE),
    (("run", "--twin", "--config", "x.yaml", "--set", f"services.database={FOLDER}"), A_FOLDER),
    (
        ("run", "--attach", "--config", "x.yaml", "--set", f"services.database={BELOW}"),
        "text.db/x.db cannot be read: Not a directory",
    ),
    (("serve", "--config", "x.yaml", "--set", f"services.database={TEXT}"), NO_DATABASE),
    (("prepare", "--run", "r", "--config", "x.yaml", "--set", f"services.database={FOLDER}"), A_FOLDER),
    (("database", "migrate", "--database", TEXT), NO_DATABASE),
    (("report", "runs/r", "--database", TEXT), NO_DATABASE),
    (("parity", "runs/r", "--database", TEXT), NO_DATABASE),
    (("dataset", "export", "runs/r", "a/b-v0", "--database", FOLDER), A_FOLDER),
    (("status", "--database", TEXT), NO_DATABASE),
    (("set", "log_level=INFO", "--database", FOLDER), A_FOLDER),
    (("report", "runs/r", "--database", "sqlite:///none.db"), "there is no database none.db here"),
    # results, data and storage in impossible places
    (
        ("run", "--config", "x.yaml", "--out", "text.db"),
        "--out: text.db cannot be written to: text.db is a file, not a folder",
    ),
    (
        ("run", "--twin", "--config", "x.yaml", "--out", "text.db/a/b"),
        "--out: text.db/a/b cannot be written to: text.db is a file",
    ),
    (("run", "--twin", "--config", "x.yaml", "--out", "n" * 300), "cannot be written to: File name too long"),
    (("run", "--twin", "--config", "x.yaml", "--out", "/"), "the root folder has no name; write a folder below it"),
    (
        ("run", "--twin", "--config", "x.yaml", "--set", "services.storage=file:text.db"),
        "services.storage: text.db cannot be written to",
    ),
    (
        ("serve", "--config", "x.yaml", "--set", "services.configuration=file:none.yaml"),
        "none.yaml cannot be read: No such file",
    ),
    (
        ("report", "text.db/r", "--database", "sqlite:///good.db"),
        "DIR: text.db/r cannot be written to: text.db is a file",
    ),
    # files of settings
    (("run", "--config", "folder"), "folder: cannot be read: Is a directory"),
    (("config", "check", "none.yaml"), "none.yaml: cannot be read: No such file or directory"),
    (("simulate", "--scheduler", "sed", "--config", "text.db"), "text.db: contains 'not a database', not settings"),
    # models
    (("simulate", "--scheduler", "drl", "--model", "text.db"), "text.db is not a model's folder"),
    (("simulate", "--scheduler", "drl", "--model", "model"), "manifest.json is not a manifest"),
    (("simulate", "--scheduler", "drl"), "needs a model"),
    # the command line
    (
        ("run", "--config", "x.yaml", "--config", "x.yaml"),
        "run: Invalid value for '--config': is given twice; leave one out",
    ),
    (("simulate", "--scheduler", "sed", "--seed", "1", "--seed", "2"), "'--seed': is given twice"),
    (("run", "--config", "x.yaml", "--phase", "colect"), "unknown phase 'colect'; phases: collect, offline"),
    (("run", "--nix"), "run: No such option: --nix"),
    (("nix",), "No such command 'nix'. (see `offload --help`)"),
    (("simulate",), "simulate: Missing option '--scheduler'"),
    (("simulate", "--scheduler", "sed", "--networks", "0"), "Invalid value for '--networks'"),
    (("set", "log_level"), "--set 'log_level': write section.key=value"),
    (("run", "--set", "seed"), "--set 'seed': write section.key=value"),
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with files that can be confused with others."""
    (tmp_path / "x.yaml").write_text(SMALL)
    (tmp_path / "text.db").write_text("not a database")
    (tmp_path / "folder").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text('{"version": "x"}')
    (tmp_path / "model" / "actor.onnx").write_text("")
    return tmp_path


def seen(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "expected"), MISTAKES, ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else ""
)
def test_a_mistake_is_one_line_before_anything_is_done(
    offload: Offload,  # noqa: F811
    place: Path,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    before = seen(place)
    ended = offload(*arguments)
    assert ended.code == 2, ended
    assert expected in ended.err
    assert ended.err.startswith("offload: ")
    assert len(ended.err.strip().splitlines()) == 1
    assert seen(place) == before


def test_a_file_in_place_of_a_data_folder_is_reported_for_each_of_them(
    offload: Offload,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / ".offload").write_text("")
    for arguments in (("run", "--preset", "demo"), ("serve", "--preset", "demo")):
        ended = offload(*arguments)
        assert ended.code == 2
        lines = [line.removeprefix("offload: ") for line in ended.err.strip().splitlines()]
        assert [line.partition(":")[0] for line in lines] == [
            "services.database",
            "services.storage",
            "the data of processes",
        ]
    assert offload("status").code == 2


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        workplace.environment["OFFLOAD_BIND"] = bind
        ended = workplace.run("serve", "--config", "small.yaml")
    assert ended.returncode == 2
    assert f"OFFLOAD_BIND={bind}: another program listens there" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_a_full_disk_is_said_before_anything_is_played(offload: Offload, tmp_path: Path) -> None:  # noqa: F811
    small = tmp_path / "small"
    small.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small]).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    try:
        for arguments in (("run", "--preset", "demo"), ("run", "--twin", "--preset", "demo")):
            ended = offload(*arguments, "--out", str(small / "demo"))
            assert ended.code == 2
            assert "demo cannot be written to: No space left on device" in ended.err
        assert not any(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_group_of_commands_alone_shows_what_it_has(offload: Offload) -> None:  # noqa: F811
    ended = offload("config")
    assert "reference" in ended.out + ended.err
