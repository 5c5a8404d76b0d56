"""Exit codes of the commands."""

from typing import Final

INTERRUPTED: Final = 130
"""The exit code that a shell expects from a command ended by SIGINT."""
