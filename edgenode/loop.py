"""Runs the loop of an episode: it owns the core, and carries out the core's effects.

Concurrency: only the loop thread uses the core, the held ticks, the overload bit and `_finished`. Other threads put
calls into the inbox, and ticks into a queue beside it. In each round the loop makes one of these calls, advances the
core to the current instant, and carries out the effects. Then it sleeps until the next planned instant or call. Other
threads may read `queue_lengths`, `last_slot`, `pending` and `outcomes`. These numbers can be slightly out of date.
"""

from __future__ import annotations

import bisect
import dataclasses
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from edgenode.activation import Activation
from edgenode.clock import EpisodeClock
from edgenode.core import NodeCore
from edgenode.decider import Decider, Decision
from edgenode.delivery import Delivery
from edgenode.effects import Announce, Effect, Ended, Execute, HandOver, Transmit, Withdraw
from edgenode.errors import Unsettled, WrongEpisode
from edgenode.executor import Executor
from edgenode.facts import Key, NodeTask, Settlement, TaskCounts
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.overload import OverloadPush
from edgenode.records import outcome_record
from edgenode.reports import Report, SlotReports
from offload.tasks import Task

_LONGEST_SLEEP_S = 1.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Parts:
    """What the loop works with: the parts that decide, execute, deliver, answer probes, and record outcomes."""

    activation: Activation
    decider: Decider
    executor: Executor
    delivery: Delivery
    reports: SlotReports
    outbox: Outbox
    metrics: Metrics


class EpisodeLoop:
    """The loop of one episode. Calls that are posted before `start` wait until then."""

    def __init__(self, core: NodeCore, overload_refresh_s: float, answer_timeout_s: float) -> None:
        self._core = core
        self._overload = OverloadPush(core, overload_refresh_s)
        self._answer_timeout_s = answer_timeout_s
        self._inbox: queue.SimpleQueue[Callable[[float], Any]] = queue.SimpleQueue()
        self._arrived_ticks: queue.SimpleQueue[tuple[float, int, Task | None]] = queue.SimpleQueue()
        self._held_ticks: list[tuple[float, int, Task | None]] = []
        self._finished = False
        self._given_up = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.queue_lengths = core.queue_lengths()
        self.last_slot = -1
        self.outcomes = 0

    # --- called by other threads --------------------------------------------------------------------------------

    def start(self, clock: EpisodeClock, parts: Parts) -> None:
        """Start the episode's thread."""
        self._thread = threading.Thread(target=self._run, args=(clock, parts), name="loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; `join` waits until it has ended."""
        self._stopping.set()
        self._post(lambda _: None)

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, at most `timeout_s` real seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _post(self, call: Callable[[float], Any]) -> None:
        """Have the loop thread make this call. Its argument is the model instant of the call."""
        self._inbox.put(call)

    def ask(self, question: Callable[[NodeCore, float], _Answer], timeout_s: float | None = None) -> _Answer:
        """Have the loop thread answer a question about the core between two rounds. It also gets the model instant.

        Raises the question's WrongEpisode, and Unsettled if the loop thread does not answer within `timeout_s` real
        seconds; by default the time-out of requests.
        """
        answer: queue.SimpleQueue[_Answer | WrongEpisode] = queue.SimpleQueue()

        def answering(now: float) -> None:
            try:
                answer.put(question(self._core, now))
            except WrongEpisode as wrong:
                answer.put(wrong)

        self._post(answering)
        try:
            found = answer.get(timeout=self._answer_timeout_s if timeout_s is None else timeout_s)
        except queue.Empty:
            episode = self._core.facts.episode
            raise Unsettled(f"episode {episode}: the node is too busy to answer; retry") from None
        if isinstance(found, WrongEpisode):
            raise found
        return found

    @property
    def pending(self) -> int:
        """Tasks that this node owns, and ticks that it has not processed, with or without a task."""
        return self._core.progress.owned + self._arrived_ticks.qsize() + len(self._held_ticks)

    def hold_tick(self, slot: int, task: Task | None, at_s: float) -> None:
        """Hold a slot's tick until the model instant `at_s`."""
        self._arrived_ticks.put((at_s, slot, task))
        self._post(lambda _: bisect.insort(self._held_ticks, self._arrived_ticks.get(), key=lambda held: held[:2]))

    def announced(self, source: int, slot: int, cycles: float, forget_after_s: float) -> None:
        """Another node has announced a task."""
        self._post(lambda now: self._core.announced(source, slot, cycles, now + forget_after_s))

    def withdrawn(self, source: int, slot: int) -> None:
        """An announced task will not arrive."""
        self._post(lambda _: self._core.withdrawn(source, slot))

    def overload_received(self, node: int, overloaded: bool, sequence: int) -> None:
        """Another node has sent its overload bit."""
        self._post(lambda _: self._core.overload_received(node, overloaded, sequence))

    def decided(self, decision: Decision) -> None:
        """The decider thread has made a decision."""
        task = decision.snapshot.task
        assert task is not None
        self._post(lambda _: self._core.decided(task.key, decision.destination, decision.decided_s))

    def handover_settled(self, key: Key, result: Settlement) -> None:
        """The result of a handover is known."""
        self._post(lambda now: self._core.handover_settled(key, result, now))

    def execution_ended(self, key: Key, at_s: float, broken: bool) -> None:
        """The executor has run a task's application."""
        self._post(lambda _: self._core.execution_ended(key, at_s, broken))

    def accept(self, task: NodeTask, elapsed_s: float) -> bool:
        """Accept a transferred task. Returns False if this node owned it already. Raises WrongEpisode, Unsettled."""
        return self.ask(lambda _, now: self._accept(task, elapsed_s, now))

    def progress(self) -> TaskCounts:
        """Counts of tasks at one instant, between two rounds.

        A task that counts as ended has its outcome in the outbox. Held ticks count as owned. Before the start, any
        thread may read the counts directly. Raises Unsettled.
        """
        return self._progress() if self._thread is None else self.ask(lambda *_: self._progress())

    def finish(self, decider: Decider) -> int | None:
        """Record nothing from now on. Returns how many tasks this node owns; it abandons them.

        Returns None while decisions of ticked slots are not recorded yet. Raises Unsettled.
        """
        return self.ask(lambda *_: self._finish(decider))

    # --- loop thread --------------------------------------------------------------------------------------------

    def _run(self, clock: EpisodeClock, parts: Parts) -> None:
        core = self._core
        while not self._stopping.is_set():
            instant = min(core.next_instant(), self._overload.due_s, *(at for at, _, _ in self._held_ticks[:1]))
            call: Callable[[float], Any] | None
            try:
                call = self._inbox.get(timeout=min(clock.real_delay_s(instant), _LONGEST_SLEEP_S))
            except queue.Empty:
                call = None
            now = clock.now()
            if call is not None:
                call(now)
            while self._held_ticks and self._held_ticks[0][0] <= now:
                at_s, slot, task = self._held_ticks.pop(0)
                # `at_s` is the planned instant; the actual instant counts.
                self._tick(slot, task, max(at_s, clock.now()), clock, parts)
            core.advance(now)
            for effect in core.take_effects():
                self._carry_out(effect, clock, parts)
            if now >= self._overload.due_s and (bit := self._overload.take(now)) is not None:
                parts.delivery.send_overload(bit)
            self.queue_lengths, self.last_slot = core.queue_lengths(), core.last_slot

    def _tick(self, slot: int, task: Task | None, at_s: float, clock: EpisodeClock, parts: Parts) -> None:
        """Take the snapshot, decide if no other node has to be probed, and publish the snapshot's report for probes."""
        if self._finished:
            return
        snapshot = self._core.tick(slot, task, at_s)
        if snapshot is None:
            return
        active = parts.activation.current
        assert active is not None
        decision = Decision(snapshot, active, clock)
        parts.decider.decide_at_once(decision)
        if decision.choice is not None:
            assert snapshot.task is not None
            self._core.decided(snapshot.task.key, decision.destination, decision.decided_s)
        parts.reports.publish(Report.of(snapshot.states))
        parts.decider.take(decision)

    def _carry_out(self, effect: Effect, clock: EpisodeClock, parts: Parts) -> None:
        match effect:
            case Ended():
                if not self._finished:
                    parts.outbox.append(outcome_record(self._core.facts, effect))
                    parts.metrics.tasks.labels(effect.outcome.value).inc()
                    self.outcomes += 1
            case Announce():
                parts.delivery.announce(effect)
            case Withdraw():
                parts.delivery.withdraw(effect)
            case Transmit():
                parts.delivery.transmit(effect, clock)
            case HandOver():
                parts.delivery.hand_over(effect, clock)
            case Execute():
                parts.executor.execute(effect)

    def _accept(self, task: NodeTask, elapsed_s: float, now: float) -> bool:
        if self._finished:
            raise WrongEpisode(f"episode {self._core.facts.episode} is closed here")
        return self._core.handed_over(task, elapsed_s, now)

    def _progress(self) -> TaskCounts:
        found = self._core.progress
        return dataclasses.replace(found, owned=found.owned + len(self._held_ticks))

    def _finish(self, decider: Decider) -> int | None:
        if not self._finished:
            if not decider.is_idle or self._held_ticks:
                return None
            self._finished, self._given_up = True, self._core.progress.owned
        return self._given_up
