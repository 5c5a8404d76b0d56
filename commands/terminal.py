"""Handles Ctrl-C on the command line, and characters that the terminal cannot show."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any, Final

from typer.core import TyperGroup

from commands.exit_codes import INTERRUPTED as INTERRUPTED

_RESUMABLE: Final = ("run", "serve")
_PLAIN: Final = {
    "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "×": "x", "±": "+-", "·": "*",
    "§": "section ", "’": "'", "“": '"', "”": '"',
    "Δ": "Delta", "λ": "lambda", "γ": "gamma", "α": "alpha", "β": "beta",
}  # fmt: skip


class Interrupted(Exception):
    """The user pressed Ctrl-C. The message says what to do next."""


class Commands(TyperGroup):
    """A group of commands that raises Interrupted for Ctrl-C.

    Typer itself would turn KeyboardInterrupt into an exit code, without a message.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the user chose."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            resume = "; run the same command to resume" if ctx.invoked_subcommand in _RESUMABLE else ""
            raise Interrupted(f"interrupted{resume}") from None


def degrade_characters() -> None:
    """Let standard output and standard error replace characters that their encoding lacks, instead of raising."""
    codecs.register_error("offload.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="offload.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one, "?") for one in found), error.end
