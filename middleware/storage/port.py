"""The storage port: named byte strings in folders, written atomically."""

from __future__ import annotations

from typing import Protocol


class Storage(Protocol):
    """Files by relative path (`models/<run>/<version>/manifest.json`). Thread-safe."""

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


def checked_path(path: str) -> str:
    """The path, or ValueError when it would leave the storage or means nothing."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in path:
        raise ValueError(f"'{path}' is not a path of the storage; write folder/name without '..' and leading '/'")
    return path
