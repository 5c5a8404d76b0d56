"""Confirms a decision: announces the task to its destination, which answers with its work at that instant.

Tasks of the slot that have been announced or kept there so far count (`POST /v1/confirmations`). The scheduler then
chooses once more (`offload.protocols.confirms`).

Concurrency: the decider thread uses the `Confirmer`, and request threads call `answer`. Both ask the loop thread. The
confirmation uses the prober's connection, other messages that of the peer (`peers.py`). So a confirmation may arrive
after the withdrawal of the same task. The core then ignores it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from edgenode.core import NodeCore
from edgenode.effects import Withdraw
from edgenode.errors import Unsettled
from edgenode.facts import EpisodeFacts
from edgenode.probing import Prober, replaced
from edgenode.reports import Report
from offload.state import LocalState, Reports

_Answer = TypeVar("_Answer")


class CoreOwner(Protocol):
    """The loop thread of an episode, which owns the core (`loop.py`)."""

    def ask(self, question: Callable[[NodeCore, float], _Answer], timeout_s: float | None = None) -> _Answer:
        """The answer of the loop thread. Raises Unsettled after `timeout_s` real seconds."""
        ...


def answer(loop: CoreOwner, source: int, slot: int, cycles: float, forget_after_s: float) -> Report:
    """Note another node's announcement. Returns this node's work at this instant, without that task.

    The own task of the slot is in the answer only if it stays here: it is no longer pending.
    forget_after_s: model seconds until the task is too late. Raises Unsettled.
    """

    def noted(core: NodeCore, now: float) -> Report:
        core.advance(now)
        report = Report.of(core.current_state(slot, without=source))
        core.announced(source, slot, cycles, now + forget_after_s)
        return replace(report, pending_cycles=0.0)

    return loop.ask(noted)


def _state(slot: int, core: NodeCore, now: float) -> LocalState:
    core.advance(now)
    return core.current_state(slot)


class Confirmer:
    """Confirms the decisions of one node in one episode.

    withdraw: notifies a node that an announced task will not arrive
    """

    def __init__(
        self, facts: EpisodeFacts, prober: Prober, loop: CoreOwner, withdraw: Callable[[Withdraw], None]
    ) -> None:
        self._facts = facts
        self._prober = prober
        self._loop = loop
        self._withdraw = withdraw

    def ask(self, destination: int, states: LocalState, reports: Reports) -> tuple[LocalState, Reports]:
        """Announce the task of a slot (B = 1). Returns this node's state now, and the reports with the new answer.

        A probed destination that gives no answer within the probes' time-out counts as one that did not answer.
        """
        slot = int(states.slot[0])
        announcement = {
            "episode": self._facts.episode,
            "slot": slot,
            "source": self._facts.node,
            "cycles": float(states.cycles[0]),
            "forget_after_s": float(states.deadline_s[0]),
        }
        reports = replaced(reports, destination, self._prober.confirm(destination, slot, announcement))
        try:
            return self._loop.ask(partial(_state, slot), self._prober.timeout_s), reports
        except Unsettled:
            return states, reports  # the loop is too busy, or ends; the tick's state is nearly the same

    def withdraw(self, destination: int, slot: int) -> None:
        """The scheduler has chosen another node."""
        self._withdraw(Withdraw(destination, slot))
