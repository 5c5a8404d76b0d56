"""Closes an episode on all nodes: makes them deliver their records to the database.

Concurrency: runs in the player thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from controller.draining import follow
from controller.nodes import UNREACHABLE, NodeClients
from middleware.retrying import RETRY_LIMIT_S

_RETRY_S = 0.2
_OTHER_EPISODE: Final = 409

_logger = logging.getLogger(__name__)


class ClosingError(RuntimeError):
    """The episode could not be closed: nodes cannot deliver their records. The next controller aborts it."""


def close_nodes(
    clients: NodeClients, episode: int, look_up: Callable[[int], str | None], timeout_s: float
) -> dict[int, int]:
    """Make all nodes deliver their records; return the number of outcomes of each node that answered.

    look_up: returns a node's registered address; None if it has none
    timeout_s: real seconds that a node has for each answer

    Raises ClosingError if a node cannot deliver for `RETRY_LIMIT_S` real seconds.
    """
    path = f"/v1/episodes/{episode}/close"
    until = time.monotonic() + RETRY_LIMIT_S
    waiting = set(clients.addresses)
    unreached: set[int] = set()
    recorded: dict[int, int] = {}
    while waiting:
        answers = clients.ask("POST", path, {node: {} for node in sorted(waiting)}, timeout_s)
        moved = follow(clients, answers, look_up)
        for node, answer in answers.items():
            if answer.ok and answer.body["abandoned"]:
                _logger.warning(
                    "episode %d: node %d still owned %d tasks when it closed the episode; they are lost",
                    episode, node, answer.body["abandoned"],
                )  # fmt: skip
            # A node that is down, or was restarted after the ticks, delivers nothing more. It counts as down after two
            # failures, because the first may be a connection that was just closed.
            unreachable = answer.status in UNREACHABLE and node not in moved
            if answer.ok or answer.status == _OTHER_EPISODE or (unreachable and node in unreached):
                waiting.discard(node)
                if answer.ok:
                    recorded[node] = int(answer.body["outcomes"])
            elif unreachable:
                unreached.add(node)
        if not waiting:
            break
        if time.monotonic() > until:
            raise ClosingError(
                f"episode {episode} cannot be closed: nodes {sorted(waiting)} have not delivered their records for "
                f"{RETRY_LIMIT_S:g} s; the last answer: {answers[min(waiting)].detail}"
            )
        time.sleep(_RETRY_S)
    return recorded
