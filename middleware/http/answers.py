"""Parses JSON answers of pods: an object, or problem details (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_SHOWN: Final = 100
"""How many bytes of a malformed answer an error shows."""


class MalformedAnswer(OSError):
    """The answer is not a JSON object, or is too large: another program answers at the address."""


@dataclass(frozen=True)
class JsonAnswer:
    """A pod's answer: the HTTP status, and the body as an object, empty if there is none."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the pod executed the request."""
        return 200 <= self.status < 300

    @property
    def detail(self) -> str:
        """The pod's description of a problem."""
        return str(self.body.get("detail") or self.body.get("title") or f"HTTP {self.status}")


def json_object(content: bytes) -> dict[str, Any]:
    """The object in a body; an empty object for an empty body. Raises MalformedAnswer."""
    try:
        found = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MalformedAnswer(f"malformed answer: {content[:_SHOWN]!r} is not a JSON object")
    return found
