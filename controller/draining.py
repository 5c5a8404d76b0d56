"""The end of an episode's tasks: when no node owns one any more.

The nodes are asked one after the other, so that their answers are of different instants, and a task may change hands in
between: node 0 says that it owns nothing, node 1 hands its task over to node 0 and then says the same. One round of
answers therefore says nothing. Two do, when in both of them every node owns nothing and has the same counters (after
the four-counter method of Mattern, "Algorithms for distributed termination detection", Distributed Computing 2, 1987):

* A task is owned by its sender until the receiver has accepted it, so it has an owner at every instant until it ends.
  No task comes into being: the ticks are over, and one that a node still holds counts as owned there.
* Say that some node owns a task at the instant between the two rounds. It owned none when it was asked in the first
  round, so it has accepted that task since (or a late tick brought it). It owns none when it is asked in the second
  round, so the task has ended there or was handed over. Either way a counter (`accepted`, `settled`, `ended`) has
  grown: the rounds differ.
* So no node owned a task at that instant, and none can own one later.

A node that was restarted has another `incarnation`, whatever its counters are. One that cannot be reached, or plays
another episode, has lost its tasks and owns none. That counts when it is so in both rounds. Its address is looked up in
each: it may be somewhere else. From a node that is there but does not answer, nothing follows.

A handover "in doubt", where the sender gave up without an answer, is the exception: the receiver may still accept it,
with the sender owning nothing. It comes after the task's deadline, and ends as dropped, or, after the node's close, as
lost.

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
"""Real seconds between two rounds while nodes own tasks; longer where nodes are gone, whose addresses are looked up."""
_OTHER_EPISODE: Final = 409

Round = Mapping[int, Mapping[str, Any] | None]
"""The progress of each node, as it says itself; None for one that is gone."""


def drain(
    clients: NodeClients,
    episode: int,
    look_up: Callable[[int], str | None],
    until_s: float,
    timeout_s: float,
    stop: threading.Event,
) -> bool:
    """Wait until no node owns a task of the episode; False when that is not known by `until_s`, or `stop` is set.

    look_up: where a node is registered now, None for nowhere
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
    """The nodes that could not be reached and are registered elsewhere now; they are asked there from now on."""
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
    """What the nodes say when none of them owns a task; None when one does, or may."""
    found: dict[int, Mapping[str, Any] | None] = {}
    for node, answer in answers.items():
        if answer.status in UNREACHABLE or answer.status == _OTHER_EPISODE:
            found[node] = None
        elif answer.ok and answer.body.get("owned") == 0:
            found[node] = answer.body
        else:
            return None
    return found
