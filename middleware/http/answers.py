"""Answers in JSON, parsed once: an object, or problem details (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = 100
"""Bytes of a malformed answer that an error shows."""


class MalformedAnswer(OSError):
    """What answers is no pod: its answer is no JSON object, or is too large."""


@dataclass(frozen=True)
class JsonAnswer:
    """A pod's answer: its HTTP status, and its body as an object, empty where there is none."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the pod did what it was asked."""
        return 200 <= self.status < 300

    @property
    def detail(self) -> str:
        """A problem in the pod's own words."""
        return str(self.body.get("detail") or self.body.get("title") or f"HTTP {self.status}")


def json_object(content: bytes) -> dict[str, Any]:
    """A body as an object, empty for an empty body. Raises MalformedAnswer."""
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MalformedAnswer(f"malformed answer: {content[:_SHOWN]!r} is no JSON object")
    return found
