"""Answers errors of the pods' HTTP interfaces with problem details (RFC 9457), and parses request bodies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from middleware.errors import ServiceRefused, ServiceUnavailable
from offload.explanations import explain

if TYPE_CHECKING:
    from werkzeug.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"
SERVICE_REFUSED: Final = "Service refused"
"""The title of the problem for a service that refuses a call. The same request would fail again."""

_Parsed = TypeVar("_Parsed", bound=BaseModel)


class HTTPProblem(Exception):
    """The pod answers a request with a problem. allow: the allowed methods, for status 405"""

    def __init__(self, status: int, title: str, detail: str, allow: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.allow = status, title, detail, allow

    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}

    def headers(self) -> list[tuple[str, str]]:
        """The headers of the answer, except the media type."""
        return [("Allow", ", ".join(self.allow))] if self.allow else []


def parsed(model: type[_Parsed], content: bytes) -> _Parsed:
    """A body as an instance of `model`. Raises HTTPProblem: 400 for invalid JSON, 422 for invalid values."""
    try:
        return model.model_validate_json(content)
    except ValidationError as invalid:
        broken = any(problem["type"] == "json_invalid" for problem in invalid.errors())
        title = "Malformed JSON" if broken else "Impossible value"
        raise HTTPProblem(400 if broken else 422, title, explain(invalid, model)) from None


def common_problem(error: Exception) -> HTTPProblem | None:
    """The problem for an HTTPProblem, an error of a service, or an error of Flask. None for another error."""
    from werkzeug.exceptions import HTTPException

    if isinstance(error, HTTPProblem):
        return error
    if isinstance(error, ServiceUnavailable):
        return HTTPProblem(503, "Service unavailable", str(error))
    if isinstance(error, ServiceRefused):
        return HTTPProblem(424, SERVICE_REFUSED, str(error))
    if isinstance(error, HTTPException):
        return _of_flask(error)
    return None


def as_response(problem: HTTPProblem) -> Any:
    """A Flask response."""
    from flask import Response

    return Response(json.dumps(problem.body()), problem.status, problem.headers(), mimetype=MEDIA_TYPE)


def _of_flask(error: HTTPException) -> HTTPProblem:
    allow = tuple(sorted(getattr(error, "valid_methods", None) or ()))
    return HTTPProblem(error.code or 500, error.name, error.description or error.name, allow)
