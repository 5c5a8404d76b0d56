"""Answers other nodes' probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.http.requests import Environ, Handlers, numbers
from edgenode.node import EdgeNode
from middleware.http.openapi import LARGEST
from middleware.http.problems import HTTPProblem


def handlers(node: EdgeNode) -> Handlers:
    """The handler of probes."""
    slots = node.identity.settings.time.slots

    def report(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        episode, slot = numbers(environ, "episode", "slot")
        if not 1 <= episode <= LARGEST:
            raise HTTPProblem(422, "Impossible value", f"episode: {episode} must be from 1 to {LARGEST}")
        if not 0 <= slot <= slots:
            raise HTTPProblem(422, "Impossible value", f"slot: {slot} must be from 0 to {slots}")
        return 200, node.report(episode, slot).to_json()

    return {("GET", "/v1/reports"): report}
