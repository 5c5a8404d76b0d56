"""Shared by the handlers of frequent requests: their type, and functions that read and check parts of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from edgenode.identity import NodeIdentity
from middleware.http.problems import HTTPProblem

Environ = dict[str, Any]
Handler = Callable[[Environ], tuple[int, Mapping[str, Any] | None]]
"""A WSGI environment → status and JSON body. Raises HTTPProblem and the errors that `problems.py` explains."""
Handlers = dict[tuple[str, str], Handler]
"""Handlers by (method, path)."""


def content(environ: Environ) -> bytes:
    """The request's body."""
    found: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # bounded by the server
    return found


def numbers(environ: Environ, *names: str) -> list[int]:
    """Read integers from the query. Raises HTTPProblem if one is missing or malformed."""
    try:
        query = parse_qs(environ["QUERY_STRING"])
        return [int(query[name][0]) for name in names]
    except (KeyError, ValueError):
        raise HTTPProblem(422, "Impossible value", f"the query needs the integers {' and '.join(names)}") from None


def check_origin(identity: NodeIdentity, source: int, slot: int) -> None:
    """Raise HTTPProblem unless `source` is another node and `slot` is a slot in which tasks arrive."""
    n, slots = identity.network.nodes, identity.settings.time.slots
    if not (0 <= source < n and source != identity.node):
        raise HTTPProblem(422, "Impossible value", f"source: {source} must be another node, with an index below {n}")
    if slot >= slots:
        raise HTTPProblem(422, "Impossible value", f"slot: {slot} must be from 0 to {slots - 1}")
