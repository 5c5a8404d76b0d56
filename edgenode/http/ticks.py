"""Receives the controller's ticks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.fencing import Fence
from edgenode.http.requests import Environ, Handlers, content
from edgenode.interface import Tick
from edgenode.node import EdgeNode
from middleware.http.problems import HTTPProblem, parsed
from offload.tasks import Task


def handlers(node: EdgeNode, fence: Fence) -> Handlers:
    """The handler of ticks."""
    slots = node.identity.settings.time.slots

    def tick(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Tick, content(environ))
        fence.check(environ)
        if body.slot > slots or (body.slot == slots and body.task is not None):
            raise HTTPProblem(
                422,
                "Impossible value",
                f"slot: {body.slot}; ticks with a task are 0 to {slots - 1}, tick {slots} has no task",
            )
        task = None if body.task is None else Task(body.slot, node.identity.node, **body.task.model_dump())
        node.tick(body.episode, body.slot, task)
        return 202, None

    return {("POST", "/v1/ticks"): tick}
