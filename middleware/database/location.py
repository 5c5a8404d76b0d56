"""Where the file of a SQLite database is, and how one is read that may not be written."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from middleware.home import expanded
from offload.settings import SettingsError


def sqlite_file(url: str) -> Path | None:
    """The file of `sqlite:///PATH`; None for a server. Raises SettingsError for one without a file."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise SettingsError("services.database: sqlite needs a file, for example sqlite:///.offload/offload.db")
    return expanded(str(parsed.database), "services.database")


def is_read_only(path: Path) -> bool:
    """Whether a file is there, and this process may not change it or what SQLite puts beside it."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def read_only_url(path: Path) -> sa.URL:
    """For a file that may not be written.

    SQLite shares what is not checkpointed yet in files beside the database, and would have to make them. Where there is none,
    nobody has the database open, and it is read as it lies.
    """
    immutable = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    return sa.make_url(f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro{immutable}&uri=true")
