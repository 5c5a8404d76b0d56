"""Defines the storage port: named byte strings in folders, written atomically."""

from __future__ import annotations

from typing import Protocol

_LENGTH = 512


class Storage(Protocol):
    """Files by relative path (`models/<run>/<version>/manifest.json`). Thread-safe.

    Every call raises ServiceUnavailable if the storage is unavailable for longer than the adapter retries, and
    ServiceRefused for a permanent error.
    """

    def write(self, path: str, content: bytes) -> None:
        """Write a file, or replace it. Readers see either the old or the new content, never a part."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file with exactly this path exists."""
        ...

    def list(self, folder: str) -> list[str]:
        """The paths of all files below a folder, sorted; empty if there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Delete a file. Does nothing if it does not exist."""
        ...

    def describe(self) -> str:
        """The kind of storage and its version, for people."""
        ...


def checked_path(path: str) -> str:
    """The path, unchanged. Raises ValueError for one that is invalid or leads out of the storage."""
    parts = path.split("/")
    # The HDFS client replaces `#LATEST` with the newest file of the folder.
    if any(part in ("", ".", "..") for part in parts) or any(sign in path for sign in ("\\", "\0", "#LATEST")):
        raise ValueError(f"{path!r} is not a path in the storage; write folder/name without '..' and leading '/'")
    if len(path) > _LENGTH:
        raise ValueError(
            f"a path in the storage has at most {_LENGTH} characters, but this one has {len(path)}: {path[:40]!r}…"
        )
    return path
