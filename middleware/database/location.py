"""Finds the file of a SQLite database, and opens a database file without write permission."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from middleware.home import expanded
from offload.settings import SettingsError


def sqlite_file(url: str) -> Path | None:
    """The file of `sqlite:///PATH`; None for a server. Raises SettingsError for a SQLite URL without a file."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise SettingsError("services.database: sqlite needs a file, for example sqlite:///.offload/offload.db")
    return expanded(str(parsed.database), "services.database")


def is_read_only(path: Path) -> bool:
    """Whether the file exists, and this process may not write it or its folder."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def read_only_url(path: Path) -> sa.URL:
    """The URL that opens a database file without write permission.

    SQLite keeps changes before a checkpoint in a file beside the database (`-wal`), and would have to create it. If it
    does not exist, no process has the database open, and SQLite can read the file as immutable.
    """
    immutable = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    return sa.make_url(f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro{immutable}&uri=true")
