"""A run's name, from its folder: `--out runs/demo` is the run `demo`, `--out netA/seed1` the run `netA.seed1`.

The name is the folder's path below `runs`, wherever that is; else below the working directory; else the folder's own name. Symbolic
links and `..` are followed first, so that one folder is one run however it is written. The parts are joined by dots: databases, file
systems, HDFS and Nacos all take them. `--run NAME` says another name.

Each run records its folder. A second folder that comes to the same name is refused while the first one is there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from middleware.database import FOLDER, Database, Run, RunConflict, UnknownRun, load_run
from offload.settings import Settings, SettingsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 100
_TAKEN = re.compile(r"storage|.*\.db(-journal|-wal|-shm)?")
"""What else stands in `.offload/`: SQLite's files, and the storage. A folder of that name would make the database unreadable."""


def name_of(folder: Path) -> str:
    """The name of the run whose results are in `folder`. Raises SettingsError for the root, which has no name."""
    resolved, here = folder.resolve(), Path.cwd().resolve()
    bases = [(here / "runs").resolve(), *(one for one in resolved.parents if one.name == "runs"), here]
    for base in bases:
        if base in resolved.parents:
            return ".".join(resolved.relative_to(base).parts)
    if not resolved.name:
        raise SettingsError(f"--out {folder}: the root has no name; write a folder below it, such as runs/demo")
    return resolved.name


def check_name(name: str) -> None:
    """Whether a new run may be called so. Raises SettingsError saying what a name looks like."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise SettingsError(
            f"a run cannot be called {name!r}: a name has letters, digits, dots, hyphens and underscores, begins with a letter or a "
            f"digit, and is at most {_LONGEST} characters long; give another --out, or --run NAME"
        )
    if _TAKEN.fullmatch(name):
        raise SettingsError(
            f"a run cannot be called {name!r}: .offload/ has the files of databases and the folder 'storage' beside the folders of "
            "the runs; give another --out, or --run NAME"
        )


def recorded_run(db: Database, folder: Path, name: str | None = None) -> Run:
    """The run of a folder, or of a name where one is given. Raises UnknownRun."""
    if name is not None:
        return load_run(db, name)
    try:
        return load_run(db, name_of(folder))
    except UnknownRun:
        older = _older(db, folder)
        if older is None:
            raise
        return older


def name_for(db: Database, folder: Path, settings: Settings) -> str:
    """Under which name a run with these settings goes on, or begins, in a folder.

    Raises RunConflict where a run of this name is written to another folder that is there.
    """
    name = name_of(folder)
    try:
        run = load_run(db, name)
    except UnknownRun:
        older = _older(db, folder)
        return name if older is None or _fixed(older.settings) != _fixed(settings) else older.name
    written = run.versions.get(FOLDER)
    if written and Path(written) != folder.resolve() and Path(written).is_dir():
        raise RunConflict(
            f"the run '{name}' is written to {written}, not to {folder}; give this one another name: --run NAME"
        )
    return name


def _older(db: Database, folder: Path) -> Run | None:
    """A run from before folders were recorded: it was called as the folder alone."""
    try:
        run = load_run(db, folder.resolve().name)
    except UnknownRun:
        return None
    return None if FOLDER in run.versions else run


def _fixed(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in settings.experiment().items() if key not in settings.hot()}
