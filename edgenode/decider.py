"""Makes and records the decisions of a node's scheduler.

The loop thread starts a decision right after its snapshot. If the scheduler probes no other node, the decision ends
there too. Otherwise the decider thread probes the other nodes, decides, and confirms the decision if the scheduler asks
for that. The decider thread records all decisions. A decision that starts while others wait for that thread waits
behind them. So a node makes one decision after the other, and two threads never use its scheduler at once.

Concurrency: `decide_at_once` and `take` belong to the loop thread, which counts the decisions that it has queued. The
decider thread counts those that it has recorded. One thread at a time uses a `Decision`.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from edgenode.activation import ActiveScheduler
from edgenode.clock import EpisodeClock
from edgenode.confirming import Confirmer
from edgenode.facts import EpisodeFacts, Snapshot
from edgenode.identity import NodeIdentity
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.probing import Prober, chosen_node, probed_nodes, reports_from
from edgenode.records import decision_record
from edgenode.reports import Reservation
from offload.draws import Draws
from offload.protocols import Choice, Scheduler, confirms, reserves
from offload.state import LocalState, Reports

_logger = logging.getLogger(__name__)


@dataclass
class Decision:
    """One slot's decision, from its snapshot to its record.

    probed: the nodes to probe; None until the scheduler was asked for them
    asked: how many other nodes were probed
    choice: None until it is made, and in a slot without a task
    decided_s: the model instant of the choice
    calls_before: calls of the model's actor before this decision
    failed: the scheduler raised, and the task stays at this node
    """

    snapshot: Snapshot
    active: ActiveScheduler
    clock: EpisodeClock
    probed: list[int] | None = None
    asked: int = 0
    choice: Choice | None = None
    decided_s: float = 0.0
    calls_before: int = 0
    failed: bool = False

    @property
    def is_due(self) -> bool:
        """Whether the slot has a task without a decision."""
        return self.snapshot.task is not None and self.choice is None

    @property
    def decision_s(self) -> float:
        """How long the decision took, in model seconds; 0 without a task."""
        return 0.0 if self.choice is None else self.decided_s - self.snapshot.at_s

    @property
    def destination(self) -> int:
        """The node that the task goes to. Requires that the decision is made."""
        assert self.choice is not None
        return int(self.choice.destination[0])

    @property
    def model(self) -> str | None:
        """The model whose actor this decision asked; None after a failure. Without a task: the one it would ask."""
        if self.failed:
            return None
        asked = self.choice is None or self.active.actor_calls > self.calls_before
        return self.active.model if asked else None


class Decider:
    """Makes and records the decisions of one episode. The decider thread calls `decided` for each one that it makes."""

    def __init__(
        self,
        facts: EpisodeFacts,
        identity: NodeIdentity,
        outbox: Outbox,
        metrics: Metrics,
        prober: Prober,
        confirmer: Confirmer,
        decided: Callable[[Decision], None],
    ) -> None:
        self._facts = facts
        self._identity = identity
        self._outbox = outbox
        self._metrics = metrics
        self._prober = prober
        self._confirmer = confirmer
        self._decided = decided
        self._taken = 0
        self._recorded = 0
        self._waiting: queue.SimpleQueue[Decision | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decider", daemon=True)

    @property
    def recorded(self) -> int:
        """How many decisions have been recorded."""
        return self._recorded

    @property
    def is_idle(self) -> bool:
        """Whether all queued decisions have been recorded."""
        return self._recorded == self._taken

    def start(self) -> None:
        """Start the thread. It connects to the other nodes at once, to make the first probes as fast as later ones."""
        self._thread.start()

    def decide_at_once(self, decision: Decision) -> None:
        """In the loop thread: make the decision if no earlier one waits and no other node has to be probed."""
        if self.is_idle:
            self._decide(decision, may_ask=False)

    def take(self, decision: Decision) -> None:
        """In the loop thread: queue the decision. The decider thread makes it, if necessary, and records it."""
        self._taken += 1
        self._waiting.put(decision)

    def stop(self) -> None:
        """End the thread; `join` waits until it has ended."""
        self._stopping.set()
        self._waiting.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, at most `timeout_s` real seconds."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        self._prober.connect([node for node in range(self._facts.network.nodes) if node != self._facts.node])
        while (decision := self._waiting.get()) is not None and not self._stopping.is_set():
            if decision.is_due:
                self._decide(decision, may_ask=True)
                self._decided(decision)
            self._record(decision)
            self._recorded += 1
        self._prober.close()

    def _decide(self, decision: Decision, may_ask: bool) -> None:
        """Continue a decision. Without `may_ask` (the loop thread), return early if another node has to be probed."""
        if not decision.is_due:
            return
        facts, snapshot, scheduler = self._facts, decision.snapshot, decision.active.scheduler
        states = snapshot.states
        try:
            draws = Draws.single(facts.seed, facts.trace, snapshot.slot, facts.node)
            if decision.probed is None:
                decision.calls_before = decision.active.actor_calls
                decision.probed = probed_nodes(scheduler.probes(states, draws))
            others = [node for node in decision.probed if node != facts.node]
            if not may_ask and (others or confirms(scheduler)):
                return
            answers = {}
            if others:
                decision.asked = len(others)
                reservation = Reservation(facts.node, states.cycles.item()) if reserves(scheduler) else None
                answers = self._prober.ask(others, facts.episode, snapshot.slot, scheduler.enough_reports, reservation)
            reports = reports_from(decision.probed, answers, states)
            choice = scheduler.choose(states, reports, draws)
            destination = chosen_node(choice, states.nodes)
            if destination != facts.node and confirms(scheduler):
                choice = self._confirmed(destination, scheduler, states, reports, draws)
        except Exception:
            # A scheduler that raises must not stop the node. The task stays here, the log gives the reason, and the
            # record says that the scheduler did not make this choice.
            name = decision.active.choice.name
            _logger.exception("scheduler %s failed in slot %d; the task is executed here", name, snapshot.slot)
            self._metrics.scheduler_failures.inc()
            decision.failed = True
            choice = Choice.of(states.node, states.nodes)
        decision.decided_s = decision.clock.now()
        decision.choice = choice

    def _confirmed(
        self, destination: int, scheduler: Scheduler, states: LocalState, reports: Reports, draws: Draws
    ) -> Choice:
        """The choice after the task was announced to the first one."""
        final = None
        try:
            states, reports = self._confirmer.ask(destination, states, reports)
            choice = scheduler.choose(states, reports, draws)
            final = chosen_node(choice, states.nodes)
            return choice
        finally:
            if final != destination:
                self._confirmer.withdraw(destination, int(states.slot[0]))

    def _record(self, decision: Decision) -> None:
        active = decision.active
        if decision.choice is not None:
            self._metrics.decision_seconds.labels(active.choice.name).observe(decision.decision_s)
        self._outbox.append(
            decision_record(
                self._facts,
                decision.snapshot,
                self._identity.profile,
                decision.choice,
                model=decision.model,
                failed=decision.failed,
                revision=active.revision,
                probes=decision.asked,
                decision_s=decision.decision_s,
            )
        )
