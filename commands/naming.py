"""Derives a run's name from its folder: `--out runs/demo` is the run `demo`, `--out netA/seed1` the run `netA.seed1`.

The name is the folder's path below a folder `runs`; else below the working directory; else the folder's own name.
Symbolic links and `..` are resolved first, so that every way to write a folder gives the same run. The parts of the
path are joined by dots, which databases, file systems, HDFS and Nacos all accept. `--run NAME` sets another name.

Each run records its folder. A second folder with the same name is rejected while the first one exists.
"""

from __future__ import annotations

import re
from pathlib import Path

from middleware.database import FOLDER, Database, Run, RunConflict, UnknownRun, load_run
from offload.settings import Settings, SettingsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 100
_TAKEN = re.compile(r"storage|.*\.db(-journal|-wal|-shm)?")
"""Other contents of `.offload/`: SQLite's files and the storage. A run's folder must not have one of their names."""


def name_of(folder: Path) -> str:
    """The name of the run whose results are in `folder`. Raises SettingsError for the root folder, which has none."""
    resolved, here = folder.resolve(), Path.cwd().resolve()
    bases = [(here / "runs").resolve(), *(one for one in resolved.parents if one.name == "runs"), here]
    for base in bases:
        if base in resolved.parents:
            return ".".join(resolved.relative_to(base).parts)
    if not resolved.name:
        raise SettingsError(f"--out {folder}: the root folder has no name; write a folder below it, such as runs/demo")
    return resolved.name


def check_name(name: str) -> None:
    """Raise SettingsError unless a new run may have this name. The message says what a name may be."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise SettingsError(
            f"a run cannot be called {name!r}: a name has letters, digits, dots, hyphens and underscores, begins with "
            f"a letter or a digit, and is at most {_LONGEST} characters long; give another --out, or --run NAME"
        )
    if _TAKEN.fullmatch(name):
        raise SettingsError(
            f"a run cannot be called {name!r}: .offload/ has a folder for each run, and the name is reserved there for "
            "a database file or the storage; give another --out, or --run NAME"
        )


def recorded_run(db: Database, folder: Path, name: str | None = None) -> Run:
    """The run with this name; without a name, the run of the folder. Raises UnknownRun."""
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
    """The name of a run with these settings in a folder: of the run to resume, or of a new one.

    Raises RunConflict if a run with this name writes to another folder that exists.
    """
    name = name_of(folder)
    try:
        run = load_run(db, name)
    except UnknownRun:
        older = _older(db, folder)
        return name if older is None or older.settings.fixed() != settings.fixed() else older.name
    written = run.versions.get(FOLDER)
    if written and Path(written) != folder.resolve() and Path(written).is_dir():
        raise RunConflict(
            f"the run '{name}' is written to {written}, not to {folder}; give this one another name: --run NAME"
        )
    return name


def _older(db: Database, folder: Path) -> Run | None:
    """A run from before folders were recorded. Its name is the last part of the folder's path."""
    try:
        run = load_run(db, folder.resolve().name)
    except UnknownRun:
        return None
    return None if FOLDER in run.versions else run
