"""Errors that the user of a command can correct."""

from __future__ import annotations


class UserError(Exception):
    """What a command prints as one line, without a traceback, before it ends with exit code 2.

    The message names the place (a setting, a file, a run), the value, and what would be right.
    """
