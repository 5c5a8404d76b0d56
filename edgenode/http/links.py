"""Makes connections links, and receives the tasks whose bytes come on them (`edgenode/links.py`)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgenode.http.handovers import task_of
from edgenode.http.problems import explain
from edgenode.http.requests import Environ, Handlers, check_origin, numbers
from edgenode.http.server import LinkConnection
from edgenode.interface import Handover
from edgenode.links import PROTOCOL, Accept, payload_bytes, receive_tasks
from edgenode.node import EdgeNode
from middleware.http.openapi import LARGEST
from middleware.http.problems import HTTPProblem, parsed
from middleware.http.server import CONNECTION

_PATH = "/v1/link"


def handlers(node: EdgeNode) -> Handlers:
    """The handler of the upgrade to a link."""

    def link(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        if environ.get("HTTP_UPGRADE", "").lower() != PROTOCOL:
            raise HTTPProblem(426, "Upgrade required", f"a link needs the header Upgrade: {PROTOCOL}")
        episode, source = numbers(environ, "episode", "source")
        check_origin(node.identity, source, 0)
        if not 1 <= episode <= LARGEST:
            raise HTTPProblem(422, "Impossible value", f"episode: {episode}; an episode is 1 to {LARGEST}")
        if node.receivers.has_ended(episode):
            raise HTTPProblem(409, "Wrong episode", f"episode {episode} is over; it accepts no more links")
        connection: LinkConnection = environ[CONNECTION]
        connection.becomes_link = partial(node.receivers.take, connection, source, episode, receive)
        return 101, None

    def receive(connection: socket.socket) -> None:
        receive_tasks(connection, partial(_expect, node), lambda error: explain(error, _PATH).body())

    return {("GET", _PATH): link}


def _expect(node: EdgeNode, line: bytes) -> tuple[int, Accept]:
    """Read a task's line. Returns how many bytes follow, and the function to call when they have arrived."""
    body = parsed(Handover, line)
    check_origin(node.identity, body.source, body.slot)
    clock = node.clock_of(body.episode, body.episode_uid)

    def accept(real_s: float) -> Mapping[str, Any]:
        on_link = real_s * clock.time_scale
        task = task_of(body, "payload", on_link)
        return {"accepted": node.handed_over(body.episode, body.episode_uid, task, body.elapsed_at_start_s + on_link)}

    return payload_bytes(body.size_bits), accept
