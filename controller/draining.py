"""Detects that all tasks of an episode have ended: no node owns one any more.

The nodes answer at different instants, and a task may move between two answers. For example, node 0 reports that it
owns no task. Node 1 then hands its task over to node 0, and reports the same. So one round of answers proves nothing.
Two rounds do, if every node owns no task in both, and the counters are the same. This is the four-counter method of
Mattern, "Algorithms for distributed termination detection", Distributed Computing 2, 1987. The reasons:

* The sender owns a task until the receiver has accepted it. So a task has an owner at every instant until it ends.
* No new task appears. The ticks are over, and a node counts the task of a tick that it still holds as owned.
* Assume that a node owns a task at an instant between the two rounds. In the first round it owned none, so it has
  accepted the task since, or received it in a late tick. In the second round it owns none, so the task has ended there
  or was handed over. In either case a counter (`accepted`, `settled`, `ended`) has grown, and the rounds differ.
* So no node owned a task at that instant, and none can own one later.

A restarted node has another `incarnation`, whatever its counters are. A node that cannot be reached, or plays another
episode, has lost its tasks and owns none. This counts if it is true in both rounds. Each round looks up the node's
address again, because the node may have moved. If a reachable node does not answer, nothing is known about its tasks.

There is one exception: a handover "in doubt", where the sender gave up without an answer. The receiver may still accept
the task, although the sender no longer owns it. This happens after the task's deadline. The task ends as dropped, or,
after the node's close, as lost.

Concurrency: runs in the player thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.nodes import UNREACHABLE, NodeAnswer, NodeClients

_POLL_S = 0.01
_GONE_S = 0.2
"""Real seconds between two rounds while nodes own tasks: `_GONE_S` if a node is unreachable, else `_POLL_S`."""
_OTHER_EPISODE: Final = 409

Round = Mapping[int, Mapping[str, Any] | None]
"""The progress that each node reports; None for a node that is unreachable or plays another episode."""


def drain(
    clients: NodeClients,
    episode: int,
    look_up: Callable[[int], str | None],
    until_s: float,
    timeout_s: float,
    stop: threading.Event,
) -> bool:
    """Wait until no node owns a task of the episode; False if that is not known by `until_s`, or `stop` is set.

    look_up: returns a node's registered address; None if it has none
    until_s: an instant of the monotonic clock
    timeout_s: real seconds that a node has for each answer
    """
    before: Round | None = None
    while time.monotonic() < until_s and not stop.is_set():
        answers = clients.ask("GET", f"/v1/episodes/{episode}/progress", dict.fromkeys(clients.addresses), timeout_s)
        moved = follow(clients, answers, look_up)
        found = None if moved else _quiet(answers)
        if found is not None and found == before:
            return True
        if found is None:
            stop.wait(_GONE_S if any(answer.status in UNREACHABLE for answer in answers.values()) else _POLL_S)
        before = found
    return False


def follow(clients: NodeClients, answers: Mapping[int, NodeAnswer], look_up: Callable[[int], str | None]) -> list[int]:
    """Set new addresses in `clients` for unreachable nodes that have registered elsewhere; return these nodes."""
    moved = []
    for node, answer in answers.items():
        if answer.status in UNREACHABLE:
            address = look_up(node)
            if address is not None and address != clients.addresses[node]:
                clients.drop(node)
                clients.addresses[node] = address
                moved.append(node)
    return moved


def _quiet(answers: Mapping[int, NodeAnswer]) -> Round | None:
    """The progress of all nodes if none of them owns a task; None if one does or may."""
    found: dict[int, Mapping[str, Any] | None] = {}
    for node, answer in answers.items():
        if answer.status in UNREACHABLE or answer.status == _OTHER_EPISODE:
            found[node] = None
        elif answer.ok and answer.body.get("owned") == 0:
            found[node] = answer.body
        else:
            return None
    return found
