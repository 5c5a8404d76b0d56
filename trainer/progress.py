"""How the pipeline tells what it is doing, so that a command can draw bars and a test can listen."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives a phase's progress. Called from the thread that runs the pipeline."""

    def begin(self, phase: str, total: int, unit: str) -> None:
        """A part of a phase begins: `total` units ("episodes", "steps", "updates") of it lie ahead, done ones included."""
        ...

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` says something about the last one."""
        ...

    def end(self) -> None:
        """The part is over."""
        ...


class Silent:
    """Says nothing."""

    def begin(self, phase: str, total: int, unit: str) -> None:
        """Ignored."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Ignored."""

    def end(self) -> None:
        """Ignored."""
