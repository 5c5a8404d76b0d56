"""Receives tasks that other nodes hand over by a description, without their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.facts import NodeTask
from edgenode.http.requests import Environ, Handlers, check_origin, content
from edgenode.interface import TASK_FIELDS, Handover
from edgenode.node import EdgeNode
from middleware.http.problems import parsed


def handlers(node: EdgeNode) -> Handlers:
    """The handler of handovers."""
    identity = node.identity

    def handover(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Handover, content(environ))
        check_origin(identity, body.source, body.slot)
        # An emulated transmission takes size / rate, even if the sender's timer was late.
        on_link = body.size_bits / float(identity.network.rate_bps[body.source, identity.node])
        task = task_of(body, identity.settings.node.transfer, body.transmission_s)
        return 200, {
            "accepted": node.handed_over(body.episode, body.episode_uid, task, body.elapsed_at_start_s + on_link)
        }

    return {("POST", "/v1/handovers"): handover}


def task_of(body: Handover, transfer: str, transmission_s: float) -> NodeTask:
    """The task of a handover. `transmission_s`: the measured duration of its transmission, in model seconds."""
    task = NodeTask(**{name: getattr(body, name) for name in TASK_FIELDS}, transfer=transfer)
    task.transmission_s = transmission_s
    return task
