"""What the handlers of frequent requests share: their form, and the parts of a request that they read and check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from edgenode.identity import NodeIdentity
from middleware.http.problems import HTTPProblem

Environ = dict[str, Any]
Handler = Callable[[Environ], tuple[int, Mapping[str, Any] | None]]
"""A WSGI environment → status and JSON body. Raises HTTPProblem and what `problems.py` explains."""
Handlers = dict[tuple[str, str], Handler]
"""By (method, path)."""


def content(environ: Environ) -> bytes:
    """The body."""
    found: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))  # bounded by the server
    return found


def numbers(environ: Environ, *names: str) -> list[int]:
    """Integers of the query. Raises HTTPProblem."""
    try:
        query = parse_qs(environ["QUERY_STRING"])
        return [int(query[name][0]) for name in names]
    except (KeyError, ValueError):
        raise HTTPProblem(422, "Impossible value", f"{' and '.join(names)} are needed, as integers") from None


def check_origin(identity: NodeIdentity, source: int, slot: int) -> None:
    """Raise HTTPProblem unless `source` is another node, and tasks come in this slot."""
    n, slots = identity.network.nodes, identity.settings.time.slots
    if not (source < n and source != identity.node):
        raise HTTPProblem(422, "Impossible value", f"source: {source}; another node below {n} is needed")
    if slot >= slots:
        raise HTTPProblem(422, "Impossible value", f"slot: {slot}; tasks come in the slots 0 to {slots - 1}")
