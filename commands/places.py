"""Checks, before a run begins, that a command can use its files and folders.

For each folder, a file is written into it, flushed to the disk and removed. So a read-only file system, a full disk
and an exceeded quota are found at the beginning, and not an hour later, when the report is written.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from middleware.configuration import watched_file
from middleware.database.location import sqlite_file
from middleware.home import expanded
from offload.settings import ServiceSettings, SettingsError

_TRIED_BYTES = 1 << 20
_HEADER = b"SQLite format 3\0"
_OF_USERS = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EPERM",
        "EROFS",
        "ENOSPC",
        "EDQUOT",
        "ENOTDIR",
        "EISDIR",
        "EEXIST",
        "ENAMETOOLONG",
        "ELOOP",
        "EFBIG",
    )
}


def check_places(services: ServiceSettings, *folders: tuple[str, Path]) -> None:
    """Check the database's file, the storage's folder, the watched file, and `folders`.

    folders: pairs of the option that names the folder (`--out`, …) and its path
    No file or folder remains. Raises SettingsError with a line for each that cannot be used.
    """
    problems = [*_of_services(services)]
    for name, folder in folders:
        problems += _of_folder(name, folder)
    if problems:
        raise SettingsError("\n".join(problems))


def check_folder(name: str, folder: Path) -> None:
    """Check one folder. Raises SettingsError."""
    for problem in _of_folder(name, folder):
        raise SettingsError(problem)


def check_database(url: str) -> None:
    """Check that the file of an SQLite URL exists: connecting would create an empty one. Raises SettingsError."""
    path = sqlite_file(url)
    if path is None:
        return
    if not path.exists():
        raise SettingsError(
            f"services.database: there is no database {path} here; `offload run` creates it in its working directory. "
            "Change to that folder, or write --database URL"
        )
    for problem in _of_sqlite(path):
        raise SettingsError(problem)


def file_error(error: OSError) -> str | None:
    """The error as a message, `runs/demo: Not a directory`; None if no file or disk of the user's is the cause."""
    if error.errno not in _OF_USERS:
        return None
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def _of_services(services: ServiceSettings) -> Iterator[str]:
    database = sqlite_file(services.database)
    if database is not None:
        yield from _of_sqlite(database)
    if services.storage.startswith("file:"):
        yield from _of_folder(
            "services.storage", expanded(services.storage.removeprefix("file:").removeprefix("//"), "services.storage")
        )
    watched = watched_file(services.configuration)
    if watched is not None:
        try:
            watched.read_bytes()
        except OSError as error:
            yield f"services.configuration: {watched} cannot be read: {error.strerror}"


def _of_sqlite(path: Path) -> Iterator[str]:
    if path.is_dir():
        yield f"services.database: {path} is a folder; write sqlite:///{path}/offload.db"
        return
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except FileNotFoundError:
        yield from _of_folder("services.database", path.parent)
        return
    except OSError as error:
        yield f"services.database: {path} cannot be read: {error.strerror}"
        return
    if header and header != _HEADER:
        yield f"services.database: {path} is not an SQLite database; name another file"


def _of_folder(name: str, folder: Path) -> Iterator[str]:
    made = [one for one in (folder, *folder.parents) if not os.path.exists(one)]
    trial = folder / f".offload-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with trial.open("xb") as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        blocking = next((one for one in (folder, *folder.parents) if os.path.exists(one) and not one.is_dir()), None)
        reason = error.strerror if blocking is None else f"{blocking} is a file, not a folder"
        yield f"{name}: {folder} cannot be written to: {reason}"
    finally:
        with suppress(OSError):  # the folder cannot be used, or another process has begun to use it
            trial.unlink(missing_ok=True)
            for one in made:
                one.rmdir()
