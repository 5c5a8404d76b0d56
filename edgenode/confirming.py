"""Confirms a decision: announces the task to its destination, which answers with its work at that instant.

Tasks of the slot that have been announced or kept there so far count (`POST /v1/confirmations`). The scheduler then
chooses once more (`offload.protocols.confirms`).

Concurrency: the decider thread uses the `Confirmer`, and request threads call `answer`. Both ask the loop thread.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def ask(self, question: Callable[[NodeCore, float], _Answer]) -> _Answer:
        """The answer of the loop thread. Raises Unsettled."""
        ...


def answer(loop: CoreOwner, source: int, slot: int, cycles: float, forget_after_s: float) -> Report:
    """Note another node's announcement. Returns this node's work at this instant, without that task.

    forget_after_s: model seconds until the task is too late. Raises Unsettled.
    """

    def noted(core: NodeCore, now: float) -> Report:
        core.advance(now)
        core.withdrawn(source, slot)  # if this is a repeated request, the task is announced already
        state = core.current_state(slot, now)
        core.announced(source, slot, cycles, now + forget_after_s)
        return Report.of(state)

    return loop.ask(noted)


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

        A destination that gives no answer within the probes' time-out counts as one that was probed and did not answer.
        """
        slot = int(states.slot[0])
        announcement = {
            "episode": self._facts.episode,
            "slot": slot,
            "source": self._facts.node,
            "cycles": float(states.cycles[0]),
            "forget_after_s": float(states.deadline_s[0]),
        }
        answer = self._prober.confirm(destination, slot, announcement)
        try:
            now = self._loop.ask(lambda core, instant: core.current_state(slot, instant))
        except Unsettled:
            now = states  # the loop is too busy; the tick's state is nearly the same
        return now, replaced(reports, destination, answer)

    def withdraw(self, destination: int, slot: int) -> None:
        """The scheduler has chosen another node."""
        self._withdraw(Withdraw(destination, slot))
