"""The storage port: named byte strings in folders, written atomically."""

from __future__ import annotations

from typing import Protocol

_LENGTH = 512


class Storage(Protocol):
    """Files by relative path (`models/<run>/<version>/manifest.json`). Thread-safe.

    Every call raises ServiceUnavailable when the storage is away for longer than the adapter bears with, and
    ServiceRefused when it refuses for a reason that stays.
    """

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole, replacing one that is there: readers see the old or the new content, nothing between."""
        ...

    def read(self, path: str) -> bytes:
        """The content. Raises FileNotFoundError."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file of exactly this path is there."""
        ...

    def list(self, folder: str) -> list[str]:
        """The paths of all files below a folder, sorted; empty when there is no such folder."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; one that is not there is fine."""
        ...

    def describe(self) -> str:
        """What it is, with its version, as it says itself; for people."""
        ...


def checked_path(path: str) -> str:
    """The path, or ValueError when it would leave the storage or means nothing."""
    parts = path.split("/")
    # The HDFS client takes `#LATEST` for the newest file there.
    if any(part in ("", ".", "..") for part in parts) or any(sign in path for sign in ("\\", "\0", "#LATEST")):
        raise ValueError(f"{path!r} is not a path of the storage; write folder/name without '..' and leading '/'")
    if len(path) > _LENGTH:
        raise ValueError(
            f"a path of the storage has at most {_LENGTH} characters, this has {len(path)}: {path[:40]!r}…"
        )
    return path
