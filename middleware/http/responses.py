"""Flask's responses of the pods' interfaces, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response
from pydantic import BaseModel


def answered(content: BaseModel | Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer: a model of the interface, or plain data."""
    plain = content.model_dump() if isinstance(content, BaseModel) else content
    return Response(json.dumps(plain, allow_nan=False), status, mimetype="application/json")


def done() -> Response:
    """The answer without content."""
    return Response(status=204)
