"""Receives other nodes' messages: announcements, withdrawals and overload bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.confirming import answer
from edgenode.http.requests import Environ, Handlers, check_origin, content
from edgenode.interface import Announcement, Overload, Withdrawal
from edgenode.node import EdgeNode
from middleware.http.problems import HTTPProblem, parsed


def handlers(node: EdgeNode) -> Handlers:
    """The handlers of announcements, with and without an answer, withdrawals and overload bits."""
    identity = node.identity
    n, own = identity.network.nodes, identity.node

    def announcement(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Announcement, content(environ))
        check_origin(identity, body.source, body.slot)
        node.loop_of(body.episode).announced(body.source, body.slot, body.cycles, body.forget_after_s)
        return 204, None

    def confirmation(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Announcement, content(environ))
        check_origin(identity, body.source, body.slot)
        loop = node.loop_of(body.episode)
        report = answer(loop, body.source, body.slot, body.cycles, body.forget_after_s)
        return 200, report.to_json()

    def withdrawal(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Withdrawal, content(environ))
        check_origin(identity, body.source, body.slot)
        node.loop_of(body.episode).withdrawn(body.source, body.slot)
        return 204, None

    def overload(environ: Environ) -> tuple[int, Mapping[str, Any] | None]:
        body = parsed(Overload, content(environ))
        if not (body.node < n and body.node != own):
            raise HTTPProblem(
                422, "Impossible value", f"node: {body.node} must be the index of another node, below {n}"
            )
        node.overload_received(body.node, body.overloaded, body.sequence)
        return 204, None

    return {
        ("POST", "/v1/announcements"): announcement,
        ("POST", "/v1/confirmations"): confirmation,
        ("POST", "/v1/withdrawals"): withdrawal,
        ("POST", "/v1/overload"): overload,
    }
