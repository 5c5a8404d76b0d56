"""`file:PATH`: a folder of this machine."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from middleware.storage.port import checked_path

_ASIDE = ".aside-"


class FolderStorage:
    """Files below a folder. Written aside, flushed to the disk, then renamed over the old one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, path: str, content: bytes) -> None:
        """See `Storage.write`."""
        target = self._root / checked_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not `tempfile`: its files are the owner's alone, and the folder may be one that pods share.
        aside = target.parent / f"{_ASIDE}{uuid.uuid4().hex}"
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        return (self._root / checked_path(path)).read_bytes()

    def exists(self, path: str) -> bool:
        """See `Storage.exists`."""
        return (self._root / checked_path(path)).is_file()

    def list(self, folder: str) -> list[str]:
        """See `Storage.list`."""
        below = self._root / checked_path(folder)
        return sorted(
            found.relative_to(self._root).as_posix()
            for found in below.rglob("*")
            if found.is_file() and not found.name.startswith(_ASIDE)
        )

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        (self._root / checked_path(path)).unlink(missing_ok=True)

    def describe(self) -> str:
        """See `Storage.describe`."""
        return f"folder {self._root.resolve()}"
