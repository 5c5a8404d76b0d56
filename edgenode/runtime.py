"""One episode in one node: makes its parts, and starts and ends them.

Concurrency: an episode has one thread each for the loop (`loop.py`), which owns the core, for the decider
(`decider.py`) and for the executor (`executor.py`). Each peer has its own threads (`peers.py`). Request threads call
the methods here. The decider and the peers connect as soon as the episode is opened. The loop and the executor start
with the episode.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from edgenode.activation import Activation
from edgenode.clock import EpisodeClock
from edgenode.confirming import Confirmer
from edgenode.decider import Decider
from edgenode.delivery import Delivery
from edgenode.errors import Unsettled, WrongEpisode
from edgenode.executor import Executor
from edgenode.facts import EpisodeFacts, TaskCounts
from edgenode.identity import NodeIdentity
from edgenode.loop import EpisodeLoop, Parts
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.probing import Prober
from edgenode.reports import Report, Reservation, SlotReports
from edgenode.stimuli import close_log, core_for
from offload.protocols import Application

_ENDING_S = 5.0
_START_S = 1.0
"""Real seconds that a request waits for the episode's start: half of the time that the controller gives a tick. So the
controller learns that this node missed the start, and opens the episode here again (`controller/ticks.py`)."""


class EpisodeRuntime:
    """One episode in this node.

    addresses: all nodes' addresses, by index
    offset_s: the controller's monotonic clock minus this machine's
    """

    def __init__(
        self,
        facts: EpisodeFacts,
        addresses: Sequence[str],
        offset_s: float,
        identity: NodeIdentity,
        activation: Activation,
        outbox: Outbox,
        application: Application,
        metrics: Metrics,
    ) -> None:
        self.facts = facts
        self.addresses = list(addresses)
        self.offset_s = offset_s
        self.incarnation = time.time_ns()
        node = identity.settings.node
        self._answer_timeout_s, self._probe_timeout_s = node.request_timeout_s, node.probe_timeout_s
        self._start_timeout_s = min(_START_S, 0.5 * node.request_timeout_s)
        self._clock: EpisodeClock | None = None
        self._beginning, self._begun = threading.Lock(), threading.Event()
        self._core = core_for(facts, identity.stimulus_log, self.incarnation)
        self.loop = EpisodeLoop(self._core, node.overload_refresh_s, self._answer_timeout_s)
        reports = SlotReports(facts.episode)
        delivery = Delivery(facts, identity, addresses, self.loop.handover_settled)
        prober = Prober(delivery.address_of, identity.addressee, self._probe_timeout_s, identity.access)
        confirmer = Confirmer(facts, prober, self.loop, delivery.withdraw)
        decider = Decider(facts, identity, outbox, metrics, prober, confirmer, self.loop.decided)
        executor = Executor(application, self.loop.execution_ended)
        self._parts = Parts(activation, decider, executor, delivery, reports, outbox, metrics)
        decider.start()

    def begin(self, clock: EpisodeClock) -> None:
        """Start the episode. A repeated call changes nothing."""
        with self._beginning:
            if self._clock is not None:
                return
            self._clock = clock
        self.loop.start(clock, self._parts)
        self._parts.executor.start(clock)
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether the episode has been started."""
        return self._begun.is_set()

    @property
    def counts(self) -> dict[str, int]:
        """How many records of the episode this process has written."""
        return {"outcomes": self.loop.outcomes, "decisions": self._parts.decider.recorded}

    def clock(self) -> EpisodeClock:
        """The episode's clock. Waits for the start, because a peer may know of it earlier. Raises WrongEpisode."""
        if not self._begun.wait(timeout=self._start_timeout_s) or self._clock is None:
            raise WrongEpisode(f"episode {self.facts.episode} has not been started here")
        return self._clock

    def expect_tick(self, slot: int) -> None:
        """Note that a tick of the slot has arrived. Raises AlreadyTicked."""
        self._parts.reports.expect(slot)

    def report(self, slot: int, reservation: Reservation | None) -> Report:
        """The answer to a probe. Waits for this node's tick if necessary. Raises ProbeTimeout."""
        return self._parts.reports.answer(slot, self._probe_timeout_s, reservation)

    def progress(self) -> TaskCounts:
        """Counts of the episode's tasks at this node, at one instant. Raises Unsettled."""
        return self.loop.progress()

    def finish(self) -> int:
        """Record nothing from now on. Returns how many tasks this node owns; it abandons them. Raises Unsettled."""
        if not self.has_begun:
            return 0
        decider, until = self._parts.decider, time.monotonic() + self._answer_timeout_s
        while not decider.is_idle and time.monotonic() < until:
            time.sleep(0.002)
        given_up = self.loop.finish(decider)
        if given_up is None:
            raise Unsettled(f"decisions of episode {self.facts.episode} are still being made")
        return given_up

    def stop(self) -> None:
        """End the episode's threads. Waits for the loop, the decider and the executor, at most 5 s for each.

        It does not wait for the peers' threads: one that connects or paces bytes ends after that (`peers.py`).
        """
        self._parts.reports.close()
        threads = (self.loop, self._parts.decider, self._parts.executor)
        for thread in threads:
            thread.stop()
        self._parts.delivery.stop()
        for thread in threads:
            thread.join(_ENDING_S)
        close_log(self._core)
