"""Constants that the numeric twin and the edge nodes share, so that a trace has the same outcomes in both."""

from __future__ import annotations

from typing import Final

PUSH_LEAD: Final = 0.25
"""The time before its next tick at which a node sends its overload bit, as a share of a slot."""
