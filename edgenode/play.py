"""One episode in one node: the core, the threads that keep its time, and the peers.

Concurrency: the core is a monitor. `_lock` is held by whoever has it do something (`_with_core`): request threads, the
threads below, callbacks of peers. What the core then wants done outside only fills queues and appends to the outbox, so that the
lock is never held while anybody waits for anything.
* The *timer* thread sleeps until the core's next planned instant and advances it; it is woken when that comes nearer.
* The thread of a tick's request takes the snapshot, and decides at once where the scheduler asks nobody: no other thread has to be
  woken for it, which is what a decision's latency is made of when many nodes share a machine.
* The *decider* thread makes the decisions for which other nodes are asked, one after the other, and records all decisions.
* The *executor* thread runs the application of one task after the other.
* Each peer has a courier and, with payload transfers, a carrier thread (`peers.py`).
Probes wait on `_ticked` for the snapshot of their slot. `stop` ends all of it; a thread that fails where it must not (its disk is
full, say) reports to `failed`, and the process ends: a node that is half alive would be worse than one that is restarted.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from edgenode.activation import Activation, ActiveScheduler
from edgenode.clock import EpisodeClock
from edgenode.core import (
    Announce,
    Effect,
    Ended,
    EpisodeFacts,
    Execute,
    HandOver,
    Journey,
    NodeCore,
    OverloadChanged,
    Settlement,
    Snapshot,
    Transmit,
    Withdraw,
)
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.peers import Message, Payload, Peer
from edgenode.probing import Prober, probed_nodes, reports_from
from edgenode.records import decision_record, outcome_record
from offload.draws import Draws
from offload.network import Network
from offload.profiles import Profile
from offload.protocols import Application, Choice
from offload.settings import Settings

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_KEPT_SNAPSHOTS = 8
_HANDOVER_MARGIN_S = 1.0
"""For so many real seconds after its deadline a task's handover is still tried."""
_JOIN_S = 2.0


class WrongEpisode(RuntimeError):
    """A request of an episode that this node is not playing; the message names both."""


class AlreadyTicked(RuntimeError):
    """A second tick of a slot."""


class ProbeTimeout(RuntimeError):
    """The node's own tick of the slot did not come in time."""


class Unsettled(RuntimeError):
    """Decisions that have been made are not recorded yet."""


@dataclass(frozen=True)
class NodeParts:
    """What a node is made of, the same in every episode.

    resolve: where another node answers now, None when nobody knows; failed: told what this node cannot live on with
    """

    node: int
    network: Network
    settings: Settings
    profile: Profile
    activation: Activation
    outbox: Outbox
    application: Application
    metrics: Metrics
    resolve: Callable[[int], str | None]
    failed: Callable[[BaseException], None]


@dataclass(frozen=True)
class _Tick:
    """A tick on its way to its record; `choice` is there when it has been decided, or None where there is no task."""

    snapshot: Snapshot
    active: ActiveScheduler
    probed: Sequence[int] = ()
    choice: Choice | None = None
    decision_s: float = 0.0

    @property
    def waits_for_answers(self) -> bool:
        return bool(self.probed)


class Play:
    """One episode. `begin` before ticks, `stop` at the end. `peers`: all nodes' addresses, by index."""

    def __init__(self, parts: NodeParts, facts: EpisodeFacts, peers: Sequence[str]) -> None:
        self.facts = facts
        self._parts = parts
        self._settings = parts.settings.node
        self._core = NodeCore(facts)
        self._clock: EpisodeClock | None = None
        self._begun = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._nearer = threading.Condition(self._lock)
        self._planned_s = float("inf")
        self._ticked = threading.Condition()
        self._snapshots: dict[int, bytes | Mapping[str, Any]] = {}
        self._recorded = threading.Condition()
        self._unrecorded = 0
        self.counts = {"outcomes": 0, "decisions": 0}
        self._to_decide: queue.SimpleQueue[_Tick | None] = queue.SimpleQueue()
        self._to_execute: queue.SimpleQueue[Execute | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._sequence = 0
        self._refresh_at = 0.0
        self._peers = {
            j: Peer(j, address, self._settings.request_timeout_s, lambda j=j: parts.resolve(j))  # type: ignore[misc]
            for j, address in enumerate(peers)
            if j != facts.node
        }
        self._prober = Prober(lambda j: self._peers[j].address, self._settings.probe_timeout_s)
        self._threads = [
            threading.Thread(target=self._guarded, args=(target,), name=name, daemon=True)
            for name, target in (
                ("timer", self._keep_time),
                ("decider", self._decide_all),
                ("executor", self._execute_all),
            )
        ]

    # --- called by request threads ------------------------------------------------------------------------------

    def begin(self, clock: EpisodeClock) -> None:
        """Start the threads; told again, nothing changes."""
        with self._lock:
            if self._clock is not None or self._stopping:
                return
            self._clock = clock
            # Each node repeats its overload bit at another time: all at once would come together with some tick.
            period, network = self._settings.overload_refresh_s, self._parts.network
            self._refresh_at = period * (self.facts.node + 0.5) / network.nodes
        for thread in self._threads:
            thread.start()
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether the start is known."""
        return self._begun.is_set()

    def clock(self) -> EpisodeClock:
        """The episode's clock. Waits for the start where a peer was told of it earlier. Raises WrongEpisode."""
        if not self._begun.is_set():
            self._begun.wait(timeout=self._settings.request_timeout_s)
        if self._clock is None or self._stopping:
            raise WrongEpisode(f"episode {self.facts.episode} has not been started here, or is over")
        return self._clock

    def tick(self, slot: int, task: Mapping[str, float] | None) -> None:
        """A slot begins, with a task or with none. Raises AlreadyTicked.

        Without a task, or when the scheduler asks nobody, the decision has been made when this returns.
        """
        at = self.clock().now()
        snapshot = self._with_core(lambda _: self._core.tick(slot, task, at))
        if snapshot is None:
            raise AlreadyTicked(f"slot {slot} of episode {self.facts.episode} has been ticked already")
        with self._ticked:
            self._snapshots[slot] = snapshot.report()
            self._snapshots.pop(slot - _KEPT_SNAPSHOTS, None)
            self._ticked.notify_all()
        with self._recorded:
            self._unrecorded += 1
        self._to_decide.put(self._begin_decision(snapshot))

    def report(self, slot: int) -> Mapping[str, Any]:
        """The report of a slot, waiting for the own tick if need be. Raises ProbeTimeout."""
        timeout_s = self._settings.probe_timeout_s
        with self._ticked:
            if self._ticked.wait_for(lambda: slot in self._snapshots or self._stopping, timeout_s):
                found = self._snapshots.get(slot)
                if found is not None:
                    return found  # type: ignore[return-value]
        raise ProbeTimeout(f"no snapshot of slot {slot} within {timeout_s:g} s")

    def announced(self, slot: int, source: int, cycles: float, forget_after_s: float) -> None:
        """A task of `source` has entered its sending queue to this node."""
        self._with_core(lambda now: self._core.announced(source, slot, cycles, now + forget_after_s))

    def withdrawn(self, slot: int, source: int) -> None:
        """That task will not come."""
        self._with_core(lambda _: self._core.withdrawn(source, slot))

    def handed_over(self, journey: Journey, elapsed_s: float) -> bool:
        """Own a transferred task from now on; False when it was owned already."""
        return self._with_core(lambda now: self._core.handed_over(journey, elapsed_s, now))

    def overload_heard(self, node: int, overloaded: bool, sequence: int) -> None:
        """Another node's overload bit."""
        with self._lock:
            self._core.overload_heard(node, overloaded, sequence)

    def status(self) -> dict[str, Any]:
        """What is told of the episode."""
        with self._lock:
            return {
                "episode": self.facts.episode,
                "slot": self._core.last_slot,
                "pending": self._core.pending,
                "queues": self._core.queue_lengths(),
            }

    def settle(self) -> None:
        """Wait until all decisions so far are in the outbox. Raises Unsettled after the request time-out."""
        with self._recorded:
            if not self._recorded.wait_for(lambda: self._unrecorded == 0, self._settings.request_timeout_s):
                raise Unsettled(f"{self._unrecorded} decisions of episode {self.facts.episode} are still being made")

    def stop(self) -> None:
        """End all threads of the episode. Tasks that have not ended here stay without an outcome."""
        with self._lock:
            self._stopping = True
            self._nearer.notify()
        with self._ticked:
            self._ticked.notify_all()
        self._ending.set()
        self._to_decide.put(None)
        self._to_execute.put(None)
        for peer in self._peers.values():
            peer.stop()
        threads = [thread for thread in self._threads if thread.is_alive() and thread is not threading.current_thread()]
        for thread in threads:
            thread.join(_JOIN_S)
        for peer in self._peers.values():
            peer.join(_JOIN_S)

    # --- the core -----------------------------------------------------------------------------------------------

    def _with_core(self, act: Callable[[float], _Result]) -> _Result:
        """Have the core do something at this instant, carry out what follows, and wake the timer where it sleeps too long."""
        clock = self.clock()
        with self._lock:
            if self._stopping:
                raise WrongEpisode(f"episode {self.facts.episode} is over here")
            now = clock.now()
            result = act(now)
            self._core.advance(now)
            self._carry_out()
            planned = self._core.next_instant(now)
            if planned < self._planned_s:
                self._nearer.notify()
        return result

    def _keep_time(self) -> None:
        clock = self.clock()
        with self._lock:
            while not self._stopping:
                now = clock.now()
                self._core.advance(now)
                self._carry_out()
                if now >= self._refresh_at:
                    self._push_overload(self._core.overloaded)
                    self._refresh_at += self._settings.overload_refresh_s
                self._planned_s = min(self._core.next_instant(now), self._refresh_at)
                self._nearer.wait(timeout=clock.real_delay_s(self._planned_s))

    def _carry_out(self) -> None:
        effects, self._core.effects = self._core.effects, []
        for effect in effects:
            self._carry_out_one(effect)

    def _carry_out_one(self, effect: Effect) -> None:
        facts = self.facts
        match effect:
            case Ended(_, outcome):
                self._parts.outbox.append(outcome_record(facts, effect))
                self._parts.metrics.tasks.labels(outcome.value).inc()
                self.counts["outcomes"] += 1
            case Announce(destination, journey, forget_after_s):
                body = {
                    "episode": facts.episode,
                    "slot": journey.slot,
                    "source": journey.source,
                    "cycles": journey.cycles,
                    "forget_after_s": forget_after_s,
                }
                self._peers[destination].send(Message("/v1/announcements", body))
            case Withdraw(destination, slot):
                body = {"episode": facts.episode, "slot": slot, "source": facts.node}
                self._peers[destination].send(Message("/v1/withdrawals", body))
            case Transmit(destination, journey, start_s, end_s):
                if facts.transfer == "payload":
                    clock = self.clock()
                    elapsed = start_s - journey.slot * facts.slot_s
                    message = self._handover(journey, elapsed, end_s - start_s)
                    real = [clock.start_s + instant / clock.time_scale for instant in (start_s, end_s)]
                    self._peers[destination].carry(Payload(payload_bytes(journey.size_bits), real[0], real[1], message))
            case HandOver(destination, journey, elapsed_at_start_s):
                if facts.transfer == "emulated":
                    self._peers[destination].send(
                        self._handover(journey, elapsed_at_start_s, journey.transmission_s)
                    )
            case Execute():
                self._to_execute.put(effect)
            case OverloadChanged(overloaded):
                self._push_overload(overloaded)

    def _handover(self, journey: Journey, elapsed_at_start_s: float, transmission_s: float) -> Message:
        facts, clock, key = self.facts, self.clock(), journey.key
        body = {
            "episode": facts.episode,
            "slot": journey.slot,
            "source": journey.source,
            "size_bits": journey.size_bits,
            "cycles": journey.cycles,
            "deadline_s": journey.deadline_s,
            "elapsed_at_start_s": elapsed_at_start_s,
            "transmission_waiting_s": journey.transmission_waiting_s,
            "transmission_s": transmission_s,
            "skew_s": journey.skew_s,
            "decision_s": journey.decision_s,
        }
        due = journey.slot * facts.slot_s + journey.deadline_s
        give_up = clock.start_s + due / clock.time_scale + _HANDOVER_MARGIN_S

        def settled(result: Settlement) -> None:
            if not self._stopping:
                self._with_core(lambda now: self._core.handover_settled(key, result, now))

        return Message("/v1/handovers", body, settled, give_up)

    def _push_overload(self, overloaded: bool) -> None:
        # From the wall clock, so that a restarted node's messages count as newer than those before.
        self._sequence = max(self._sequence + 1, time.time_ns())
        body = {"node": self.facts.node, "overloaded": overloaded, "sequence": self._sequence}
        for peer in self._peers.values():
            peer.send(Message("/v1/overload", body))

    # --- decisions ----------------------------------------------------------------------------------------------

    def _begin_decision(self, snapshot: Snapshot) -> _Tick:
        """In the thread of the tick: decide, unless others are to be asked; the decider thread does the rest."""
        active = self._parts.activation.current
        assert active is not None
        if snapshot.task is None:
            return _Tick(snapshot, active)
        try:
            probed = probed_nodes(active.scheduler.probes(snapshot.states, self._draws(snapshot)))
        except Exception:
            return self._decide_here(snapshot, active)
        if any(node != self.facts.node for node in probed):
            return _Tick(snapshot, active, probed)
        return self._choose(_Tick(snapshot, active, probed), {})

    def _choose(self, tick: _Tick, answers: Mapping[int, Any]) -> _Tick:
        snapshot, active = tick.snapshot, tick.active
        try:
            reports = reports_from(tick.probed, answers, snapshot.states)
            choice = active.scheduler.choose(snapshot.states, reports, self._draws(snapshot))
            destination = int(choice.destination[0])
            if not 0 <= destination < self._parts.network.nodes:
                raise ValueError(f"scheduler {active.name} chose node {destination}; there is no such node")
        except Exception:
            return self._decide_here(snapshot, active)
        return self._commit(snapshot, active, choice)

    def _decide_here(self, snapshot: Snapshot, active: ActiveScheduler) -> _Tick:
        """A scheduler that raises must not take the node with it: its task stays here, and the log says why."""
        _logger.exception(
            "scheduler %s failed in slot %d; the task is executed here", active.name, snapshot.slot, exc_info=True
        )
        choice = Choice.of(snapshot.states.node, snapshot.states.nodes)
        return self._commit(snapshot, active, choice)
