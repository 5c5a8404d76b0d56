"""Receives tasks that other nodes hand over by a description, without their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenode.facts import Journey
from edgenode.http.requests import Environ, Handlers, check_origin, content
from edgenode.interface import Handover
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
        journey = journey_of(body, identity.settings.node.transfer, body.transmission_s)
        return 200, {
            "accepted": node.handed_over(body.episode, body.episode_uid, journey, body.elapsed_at_start_s + on_link)
        }

    return {("POST", "/v1/handovers"): handover}


def journey_of(body: Handover, transfer: str, transmission_s: float) -> Journey:
    """The task of a handover. `transmission_s`: the measured duration of its transmission, in model seconds."""
    return Journey(
        slot=body.slot,
        source=body.source,
        size_bits=body.size_bits,
        cycles=body.cycles,
        deadline_s=body.deadline_s,
        skew_s=body.skew_s,
        decision_s=body.decision_s,
        transmission_waiting_s=body.transmission_waiting_s,
        transmission_s=transmission_s,
        transfer=transfer,
    )
