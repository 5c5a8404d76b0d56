"""Stores files as rows of the run's database (`database:`), for installations without a shared file system."""

from __future__ import annotations

import builtins

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.schema import blobs
from middleware.storage.port import checked_path

_PART_BYTES = 2**20


class BlobStorage:
    """Files in parts of at most 1 MiB, because MySQL limits the packet size. Writes each file in one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def write(self, path: str, content: bytes) -> None:
        """See `Storage.write`."""
        path = checked_path(path)
        starts = range(0, max(len(content), 1), _PART_BYTES)
        with self._db.transaction() as connection:
            connection.execute(sa.delete(blobs).where(blobs.c.path == path))
            for part, start in enumerate(starts):
                connection.execute(
                    sa.insert(blobs).values(path=path, part=part, content=content[start : start + _PART_BYTES])
                )

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        path = checked_path(path)
        with self._db.reading() as connection:
            parts = (
                connection.execute(sa.select(blobs.c.content).where(blobs.c.path == path).order_by(blobs.c.part))
                .scalars()
                .all()
            )
        if not parts:
            raise FileNotFoundError(f"there is no {path} in the database's storage")
        return b"".join(bytes(part) for part in parts)

    def exists(self, path: str) -> bool:
        """See `Storage.exists`."""
        with self._db.reading() as connection:
            found = connection.execute(sa.select(blobs.c.part).where(blobs.c.path == checked_path(path)).limit(1))
            return found.first() is not None

    def list(self, folder: str) -> builtins.list[str]:
        """See `Storage.list`."""
        folder = checked_path(folder)
        # A key range, because LIKE ignores case in SQLite. "0" is the character after "/".
        below = blobs.c.path > f"{folder}/", blobs.c.path < f"{folder}0"
        with self._db.reading() as connection:
            paths = connection.execute(sa.select(blobs.c.path).where(*below, blobs.c.part == 0)).scalars()
            return sorted(paths)

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        with self._db.transaction() as connection:
            connection.execute(sa.delete(blobs).where(blobs.c.path == checked_path(path)))

    def describe(self) -> str:
        """See `Storage.describe`."""
        return f"blobs in the database ({self._db.engine.dialect.name})"
