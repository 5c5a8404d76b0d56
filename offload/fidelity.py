"""What the numeric twin and the edge nodes have to do alike, so that a trace has the same outcomes in both."""

from __future__ import annotations

from typing import Final

PUSH_LEAD: Final = 0.25
"""A node sends its overload bit this share of a slot before its next tick."""
