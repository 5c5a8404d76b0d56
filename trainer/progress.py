"""Defines how the pipeline reports its progress. A command can draw progress bars from it, a test can record it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a phase. The pipeline's thread calls it."""

    def begin(self, phase: str, total: int, unit: str) -> None:
        """A part of a phase begins. It has `total` units ("episodes", "steps", "updates"), including those done."""
        ...

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done. note: a remark on the last one."""
        ...

    def end(self) -> None:
        """The part has ended."""
        ...


class Silent:
    """Ignores the progress."""

    def begin(self, phase: str, total: int, unit: str) -> None:
        """Ignored."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignored."""

    def end(self) -> None:
        """Ignored."""
