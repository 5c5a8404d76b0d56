"""Creates the Flask responses of the pods' interfaces, in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Response
from pydantic import BaseModel


def answered(content: BaseModel | Mapping[str, Any], status: int = 200) -> Response:
    """A JSON response with a model of the interface, or with plain data."""
    plain = content.model_dump() if isinstance(content, BaseModel) else content
    return Response(json.dumps(plain, allow_nan=False), status, mimetype="application/json")


def done() -> Response:
    """A response without content."""
    return Response(status=204)
