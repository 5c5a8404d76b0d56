"""Stores files in a folder of this machine (`file:PATH`)."""

from __future__ import annotations

import errno
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from middleware.errors import ServiceRefused, ServiceUnavailable
from middleware.outages import FULL_DISK, OutageLog
from middleware.storage.port import checked_path

_ASIDE = ".aside-"
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""The errors for a path without a file."""
_MAY_PASS = (
    *FULL_DISK, errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOMEM, errno.ESTALE,
    errno.ETIMEDOUT,
)  # fmt: skip
"""Temporary errors: a disk that accepts no writes, too many open files, a network file system that does not answer."""

_logger = logging.getLogger(__name__)


class FolderStorage:
    """Files below a folder. A write goes to a temporary file, is flushed to the disk, and then replaces the target."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._outage = OutageLog(_logger, f"the storage {root}")

    def write(self, path: str, content: bytes) -> None:
        """See `Storage.write`."""
        target = self._root / checked_path(path)
        with self._errors(f"writing {path}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            # `tempfile` would create files that only the owner may read, but pods may share the folder.
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
        with self._errors(f"reading {path}", _NO_FILE):
            return (self._root / checked_path(path)).read_bytes()

    def exists(self, path: str) -> bool:
        """See `Storage.exists`."""
        with suppress(FileNotFoundError), self._errors(f"looking for {path}", _NO_FILE):
            return (self._root / checked_path(path)).is_file()
        return False

    def list(self, folder: str) -> list[str]:
        """See `Storage.list`."""
        below = self._root / checked_path(folder)
        with self._errors(f"listing {folder}"):
            return sorted(
                found.relative_to(self._root).as_posix()
                for found in below.rglob("*")
                if found.is_file() and not found.name.startswith(_ASIDE)
            )

    def delete(self, path: str) -> None:
        """See `Storage.delete`."""
        with suppress(FileNotFoundError), self._errors(f"deleting {path}", _NO_FILE):
            (self._root / checked_path(path)).unlink()

    def describe(self) -> str:
        """See `Storage.describe`."""
        return f"folder {self._root.resolve()}"

    @contextmanager
    def _errors(self, what: str, absent: tuple[int, ...] = ()) -> Iterator[None]:
        """Raise disk errors as ServiceError. absent: error numbers that are raised as FileNotFoundError"""
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            if error.errno in absent:
                raise FileNotFoundError(f"{what}: it is not in the storage {self._root} ({why})") from None
            if error.errno in _MAY_PASS:
                self._outage.failed(why, answers=True)
                raise ServiceUnavailable(f"{what}: the storage {self._root} cannot be used now ({why})") from None
            raise ServiceRefused(f"{what}: the storage {self._root} refuses it: {why}") from None
        self._outage.answered()
