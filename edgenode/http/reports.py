"""Answers other nodes' probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from edgenode.http.requests import Environ, Handlers, check_origin, numbers
from edgenode.node import EdgeNode
from edgenode.reports import Reservation
from middleware.http.openapi import LARGEST
from middleware.http.problems import HTTPProblem
from offload.limits import MOST_CYCLES


def handlers(node: EdgeNode) -> Handlers:
    """The handler of probes."""
    slots = node.identity.settings.time.slots

    def report(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        episode, slot = numbers(environ, "episode", "slot")
        if not 1 <= episode <= LARGEST:
            raise HTTPProblem(422, "Impossible value", f"episode: {episode} must be from 1 to {LARGEST}")
        if not 0 <= slot <= slots:
            raise HTTPProblem(422, "Impossible value", f"slot: {slot} must be from 0 to {slots}")
        reservation = _reservation(environ)
        if reservation is not None:
            check_origin(node.identity, reservation.source, slot)
        return 200, node.report(episode, slot, reservation).to_json()

    return {("GET", "/v1/reports"): report}


def _reservation(environ: Environ) -> Reservation | None:
    """The probe's task; None if it carries none. Raises HTTPProblem."""
    query = parse_qs(environ["QUERY_STRING"])
    if "cycles" not in query and "source" not in query:
        return None
    (source,) = numbers(environ, "source")
    try:
        cycles = float(query["cycles"][0])
    except (KeyError, ValueError):
        raise HTTPProblem(422, "Impossible value", "the query needs cycles, a number, beside source") from None
    if not 0 < cycles <= MOST_CYCLES:
        raise HTTPProblem(422, "Impossible value", f"cycles: {cycles:g} must be above 0 and at most {MOST_CYCLES:g}")
    return Reservation(source, cycles)
