"""An edge node: the core with threads around it.

Concurrency:
* The *loop* thread owns the core of the running episode. Everybody else puts calls into its inbox; it runs them one after
  the other, advances the core to the instant, and carries out the effects. It sleeps until the next planned instant.
* A decision begins in the loop thread, right after its snapshot, and ends there when the scheduler asks nobody. The
  *decider* thread does what takes longer: it asks the other nodes, decides then, and records all decisions. A decision that
  begins while others wait there waits behind them, so a node's decisions are made one after the other, and its scheduler
  is never in two threads at once.
* The *executor* thread runs the application of one task after the other.
* Each peer has a courier thread and, with payload transfers, a carrier thread (`peers.py`); the outbox has its own.
* Request threads (`http.py`) call the public methods. Probes wait on `_ticked` for the snapshot of their slot. Tasks' bytes come
  on links, which have threads of their own (`receivers.py`).
An episode's parts are replaced as a whole by `open_episode`; whatever still refers to the one before finds it closed.
"""

from __future__ import annotations

import bisect
import dataclasses
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
    Key,
    NodeCore,
    Progress,
    Settlement,
    Snapshot,
    Transmit,
    Withdraw,
)
from edgenode.identity import NodeIdentity
from edgenode.links import payload_bytes
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.peers import Message, Payload, Peer
from edgenode.probing import Prober, chosen_node, probed_nodes, reports_from
from edgenode.receivers import Receivers
from edgenode.records import decision_record, outcome_record
from offload.draws import Draws
from offload.protocols import Application, Choice

_logger = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_KEPT_SNAPSHOTS = 8
_LONGEST_SLEEP_S = 1.0
_BEGINNING_S, _CLOSING_S = 5.0, 5.0
"""Real seconds after which an opened episode that has not begun, or one that nobody has closed, is given up by a node that leaves."""
_PUSH_LEAD = 0.25
"""The overload bit is pushed this share of a slot before the next tick."""
_HANDOVER_MARGIN_S = 1.0
"""For so many real seconds after its deadline a task's handover is still tried."""


class WrongEpisode(RuntimeError):
    """A request of an episode that this node is not playing; the message names both."""


class AlreadyTicked(RuntimeError):
    """A second tick of a slot."""


class Unsettled(RuntimeError):
    """Not settled yet: some decisions are not recorded, or the loop thread is too busy to answer. Retry."""


class ProbeTimeout(RuntimeError):
    """The node's own tick of the slot did not come in time."""


@dataclass
class _Decision:
    """One slot's decision, from its snapshot to its record; in the hands of one thread at a time.

    `probed` is None until the scheduler was asked for it; `choice` is None until it is made, and without a task.
    `calls_before`: of the model's actor, when the decision began; `failed`: the scheduler raised, and the task stays here.
    """

    snapshot: Snapshot
    active: ActiveScheduler
    probed: list[int] | None = None
    asked: int = 0
    choice: Choice | None = None
    decision_s: float = 0.0
    calls_before: int = 0
    failed: bool = False

    @property
    def is_due(self) -> bool:
        """Whether there is a task that nobody has decided on yet."""
        return self.snapshot.task is not None and self.choice is None

    @property
    def model(self) -> str | None:
        """Whose actor decided: the model's that this decision asked; without a task, the one that would be asked."""
        if self.failed:
            return None
        asked = self.choice is None or self.active.actor_calls > self.calls_before
        return self.active.model if asked else None


class EdgeNode:
    """One node. `start` before use, `stop` at the end."""

    def __init__(
        self, identity: NodeIdentity, activation: Activation, outbox: Outbox, application: Application, metrics: Metrics
    ) -> None:
        self.identity = identity
        self.activation = activation
        self.outbox = outbox
        self.metrics = metrics
        self.receivers = Receivers()
        self._application = application
        self._play: _Play | None = None
        self._closed = 0
        self._opened_s = -math.inf
        self._opening = threading.Lock()

    def open_episode(self, episode: int, episode_uid: str, trace: int, peers: Sequence[str]) -> None:
        """Be ready for an episode; the one before is over. `peers`: all nodes' addresses, by index.

        Told again of one that is open here, nothing changes, unless a peer has moved before it began: its tasks would be gone. A
        request that was held up somewhere must not bring back an episode that is over: raises WrongEpisode.
        """
        with self._opening:
            if self._play is not None:
                facts = self._play.core.facts
                here = facts.episode
                if episode < here:
                    raise WrongEpisode(f"episode {episode} is over; this node is playing episode {here}")
                same = (episode, episode_uid) == (here, facts.episode_uid)
                if same and (self._play.has_begun or self._play.addresses == list(peers)):
                    return
            self.close_play()
            self.receivers.end(episode - 1)
            self._play = _Play(self, self.identity.facts(episode, episode_uid, trace), peers, self._application)
            self._opened_s = time.monotonic()

    def change_controller(self) -> None:
        """Another process controls the run: what is being played here is over, and its numbers say nothing of new episodes."""
        with self._opening:
            self.close_play()
            self.receivers.end_all()
            self._closed = 0

    def start_episode(self, episode: int, start_s: float) -> None:
        """The episode starts at `start_s` of this machine's monotonic clock."""
        with self._opening:
            self._playing(episode).begin(EpisodeClock(start_s, self.identity.settings.time.time_scale))

    def tick(self, episode: int, slot: int, task: Mapping[str, float] | None) -> None:
        """A slot's tick, with a task or with none. One that comes early is held until the slot's planned instant."""
        play = self._playing(episode)
        at = max(play.clock().now(), slot * self.identity.settings.time.slot_s)
        play.expect(slot)
        play.post(lambda _: play.hold_tick(slot, task, at))

    def report(self, episode: int, slot: int) -> dict[str, Any]:
        """The answer to a probe, from the snapshot of its slot. Raises ProbeTimeout."""
        return self._playing(episode).report(slot, self.identity.settings.node.probe_timeout_s)

    def announced(self, episode: int, slot: int, source: int, cycles: float, forget_after_s: float) -> None:
        """A task of `source` has entered its sending queue to this node."""
        play = self._playing(episode)
        play.post(lambda now: play.core.announced(source, slot, cycles, now + forget_after_s))

    def withdrawn(self, episode: int, slot: int, source: int) -> None:
        """That task will not come."""
        play = self._playing(episode)
        play.post(lambda _: play.core.withdrawn(source, slot))

    def handed_over(self, episode: int, episode_uid: str, journey: Journey, elapsed_s: float) -> bool:
        """Own a transferred task from now on; False when it was owned already. Returns when it is.

        episode_uid: another database's episode of the same number may be what the sender is playing still.
        Raises WrongEpisode, also where the episode has not begun; Unsettled where the loop is too busy to say whether it is owned.
        """
        play = self._playing(episode, episode_uid)
        play.clock()
        return play.ask(lambda now: play.accept(journey, elapsed_s, now))

    def overload_heard(self, node: int, overloaded: bool, sequence: int) -> None:
        """Another node's overload bit. Between episodes nobody needs it."""
        play = self._play
        if play is not None:
            play.post(lambda _: play.core.overload_heard(node, overloaded, sequence))

    def clock_of(self, episode: int, episode_uid: str) -> EpisodeClock:
        """The clock of the episode that is being played. Raises WrongEpisode."""
        return self._playing(episode, episode_uid).clock()

    def progress(self, episode: int) -> dict[str, int]:
        """What this node has done with the episode's tasks, at one instant: see `core.Progress`.

        `owned` counts ticks that are held as well. `incarnation` differs where the episode was opened anew in between.
        Raises WrongEpisode, Unsettled.
        """
        play = self._playing(episode)
        found = play.ask(lambda _: play.progress()) if play.has_begun else play.progress()
        return {"incarnation": play.incarnation, **dataclasses.asdict(found)}

    def close_episode(self, episode: int) -> dict[str, int]:
        """Deliver all records of the episode; how many there were of this node, and how many tasks it still owned.

        From then on this node records nothing of it: those tasks are given up. Raises OutboxError while the database
        does not take the records, Unsettled while decisions are being made, WrongEpisode.
        """
        if self._play is None or self._play.core.facts.episode != episode:
            self.outbox.flush()  # what the process before this one has recorded
        play = self._playing(episode)
        abandoned = play.finish()
        self.outbox.flush()
        self._closed = episode
        self.receivers.end(episode)
        return {**play.counts, "abandoned": abandoned}

    def status(self) -> dict[str, Any]:
        """For people and for the controller."""
        play, active = self._play, self.activation.current
        core = None if play is None else play.core
        return {
            "run": self.identity.run,
            "node": self.identity.node,
            "episode": None if core is None else core.facts.episode,
            "slot": None if core is None else core.last_slot,
            "pending": 0 if play is None else play.pending(),
            "queues": {"execution": 0, "sending": 0, "receiving": 0} if play is None else play.lengths,
            "scheduler": active.name if active else None,
            "model": active.model if active else None,
            "revision": active.revision if active else 0,
            "problem": self.activation.problem,
            "outbox": self.outbox.waiting,
            "outbox_in_memory": self.outbox.in_memory,
            "outbox_problem": self.outbox.problem,
            "refused_records": self.outbox.refused,
            "dropped_records": self.outbox.dropped,
        }

    def is_playing(self) -> bool:
        """Whether an episode is opened here whose records are still wanted: it is neither closed nor long over."""
        play = self._play
        if play is None or play.core.facts.episode == self._closed:
            return False
        if not play.has_begun:
            return time.monotonic() - self._opened_s < _BEGINNING_S
        settings = self.identity.settings
        last_end_s = settings.time.slots * settings.time.slot_s + settings.tasks.deadline_s
        return play.clock().now() < last_end_s + _CLOSING_S * settings.time.time_scale

    def close_play(self) -> None:
        """End the running episode's threads."""
        play, self._play = self._play, None
        if play is not None:
            play.stop()

    def _playing(self, episode: int, episode_uid: str | None = None) -> _Play:
        play = self._play
        if play is None or play.core.facts.episode != episode:
            here = "none" if play is None else str(play.core.facts.episode)
            raise WrongEpisode(f"this node is playing episode {here}, not {episode}")
        if episode_uid not in (None, play.core.facts.episode_uid):
            raise WrongEpisode(
                f"this node is playing another database's episode {episode}, not that of uid {episode_uid}"
            )
        return play


class _Play:
    """One episode in this node: the core, its threads and its peers."""

    def __init__(self, node: EdgeNode, facts: EpisodeFacts, peers: Sequence[str], application: Application) -> None:
        self.core = NodeCore(facts)
        self.lengths = self.core.queue_lengths()
        self._node = node
        self._settings = node.identity.settings
        self._application = application
        self._clock: EpisodeClock | None = None
        self._begun = threading.Event()
        self._stopping = threading.Event()
        self._inbox: queue.SimpleQueue[Callable[[float], Any]] = queue.SimpleQueue()
        self._to_decide: queue.SimpleQueue[_Decision | None] = queue.SimpleQueue()
        self._to_execute: queue.SimpleQueue[Execute | None] = queue.SimpleQueue()
        self._ticks = self._decisions = 0  # counted by the loop and by the decider thread
        self._snapshots: dict[int, dict[str, Any]] = {}
        self._ticked = threading.Condition()
        self._newest = -1  # slot of the newest tick that came
        self.counts = {"outcomes": 0, "decisions": 0}
        self.incarnation = time.time_ns()
        self._finished = False  # in the loop thread: nothing is recorded any more
        self._abandoned = 0
        self._sequence = 0
        self._held_ticks: list[tuple[float, int, Mapping[str, float] | None]] = []
        self._push_at, self._repeat_at = (1 - _PUSH_LEAD) * facts.slot_s, 0.0
        self._pushed = False
        timeout = self._settings.node.request_timeout_s
        self.addresses = list(peers)
        access = node.identity.access
        link_of = (facts.episode, facts.node) if facts.transfer == "payload" else None
        self._peers = {
            j: Peer(j, address, node.identity.addressee(j), timeout, partial(node.identity.resolve, j), link_of, access)
            for j, address in enumerate(peers)
            if j != facts.node
        }
        self._prober = Prober(
            lambda j: self._peers[j].address, node.identity.addressee, self._settings.node.probe_timeout_s, access
        )
        self._loop_thread, self._decider, self._executor = self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("loop", self._loop), ("decider", self._decide_all), ("executor", self._execute_all))
        ]
        self._decider.start()

    # --- called by other threads --------------------------------------------------------------------------------

    def begin(self, clock: EpisodeClock) -> None:
        """Start the threads; told again, nothing changes."""
        with self._ticked:
            if self._clock is not None:
                return
            self._clock = clock
        self._loop_thread.start()
        self._executor.start()
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        """Whether the episode has been started."""
        return self._begun.is_set()

    def clock(self) -> EpisodeClock:
        """The episode's clock. Waits for the start where a peer was told of it earlier."""
        if not self._begun.wait(timeout=self._settings.node.request_timeout_s) or self._clock is None:
            raise WrongEpisode(f"episode {self.core.facts.episode} has not been started here")
        return self._clock

    def post(self, call: Callable[[float], Any]) -> None:
        """Have the loop thread make this call, with the instant at which it makes it."""
        self._inbox.put(call)

    def ask(self, question: Callable[[float], _Answer]) -> _Answer:
        """What the loop thread answers, between two of its rounds. Raises what the question raises, and Unsettled."""
        answer: queue.SimpleQueue[_Answer | WrongEpisode] = queue.SimpleQueue()

        def answering(now: float) -> None:
            try:
                answer.put(question(now))
            except WrongEpisode as wrong:
                answer.put(wrong)

        self.post(answering)
        try:
            found = answer.get(timeout=self._settings.node.request_timeout_s)
        except queue.Empty:
            raise Unsettled(f"episode {self.core.facts.episode}: the node is too busy to answer; retry") from None
        if isinstance(found, WrongEpisode):
            raise found
        return found

    def expect(self, slot: int) -> None:
        """Raise AlreadyTicked for a slot that had its tick, or is before one that had."""
        with self._ticked:
            if slot <= self._newest:
                raise AlreadyTicked(f"slot {slot} of episode {self.core.facts.episode} has been ticked already")
            self._newest = slot

    def report(self, slot: int, timeout_s: float) -> dict[str, Any]:
        """The report of a slot, waiting for the own tick if need be."""
        with self._ticked:
            if self._ticked.wait_for(lambda: slot in self._snapshots or self._stopping.is_set(), timeout_s):
                found = self._snapshots.get(slot)
                if found is not None:
                    return found
        raise ProbeTimeout(f"no snapshot of slot {slot} within {timeout_s:g} s")

    def pending(self) -> int:
        """Tasks that are owned here, in the core or on their way into it."""
        return self.core.pending + self._inbox.qsize() + len(self._held_ticks)

    def progress(self) -> Progress:
        """In the loop thread, whose effects are all carried out: an outcome that counts as ended is in the outbox."""
        found = self.core.progress
        return dataclasses.replace(found, owned=found.owned + len(self._held_ticks))

    def finish(self) -> int:
        """Record nothing from now on; how many tasks are owned here, which are given up. Raises Unsettled."""
        if not self._begun.is_set():
            return 0
        until = time.monotonic() + self._settings.node.request_timeout_s
        while self._decisions < self._ticks and time.monotonic() < until:
            time.sleep(0.002)
        if not self.ask(lambda _: self._finish()):
            raise Unsettled(f"decisions of episode {self.core.facts.episode} are still being made")
        return self._abandoned

    def _finish(self) -> bool:
        """In the loop thread: no more records, unless some are still to come of slots that have been ticked."""
        if not self._finished and self._decisions == self._ticks and not self._held_ticks:
            self._finished, self._abandoned = True, self.core.pending
        return self._finished

    def accept(self, journey: Journey, elapsed_s: float, now: float) -> bool:
        """In the loop thread: see `EdgeNode.handed_over`."""
        if self._finished:
            raise WrongEpisode(f"episode {self.core.facts.episode} is closed here")
        return self.core.handed_over(journey, elapsed_s, now)

    def stop(self) -> None:
        """End all threads of the episode."""
        self._stopping.set()
        with self._ticked:
            self._ticked.notify_all()
        self.post(lambda _: None)
        self._to_decide.put(None)
        self._to_execute.put(None)
        for peer in self._peers.values():
            peer.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)

    # --- loop thread --------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        clock = self._clock
        assert clock is not None
        while not self._stopping.is_set():
            instant = min(self.core.next_instant(), self._push_at, *(at for at, _, _ in self._held_ticks[:1]))
            call: Callable[[float], Any] | None
            try:
                call = self._inbox.get(timeout=min(clock.real_delay_s(instant), _LONGEST_SLEEP_S))
            except queue.Empty:
                call = None
            now = clock.now()
            if call is not None:
                call(now)
            while self._held_ticks and self._held_ticks[0][0] <= now:
                at, slot, task = self._held_ticks.pop(0)
                # What was asked for is the planned instant; what counts is when it is really taken.
                self._tick(slot, task, max(at, clock.now()))
            self.core.advance(now)
            self._carry_out()
            if now >= self._push_at:
                self._push_overload(now)
            self.lengths = self.core.queue_lengths()

    def hold_tick(self, slot: int, task: Mapping[str, float] | None, at_s: float) -> None:
        """In the loop thread: keep a tick until its instant."""
        bisect.insort(self._held_ticks, (at_s, slot, task), key=lambda held: held[:2])

    def _tick(self, slot: int, task: Mapping[str, float] | None, at_s: float) -> None:
        """Take the snapshot, decide if nobody else is needed for that, and let probes have the snapshot."""
        if self._finished:
            return
        snapshot = self.core.tick(slot, task, at_s)
        if snapshot is None:
            return
        active = self._node.activation.current
        assert active is not None
        decision = _Decision(snapshot, active)
        if self._decisions == self._ticks:
            self._decide(decision, may_ask=False)
        with self._ticked:
            self._snapshots[slot] = snapshot.report()
            self._snapshots.pop(slot - _KEPT_SNAPSHOTS, None)
            self._ticked.notify_all()
        self._ticks += 1
        self._to_decide.put(decision)

    def _carry_out(self) -> None:
        effects, self.core.effects = self.core.effects, []
        for effect in effects:
            self._carry_out_one(effect)

    def _carry_out_one(self, effect: Effect) -> None:
        facts = self.core.facts
        match effect:
            case Ended() if self._finished:
                pass
            case Ended(journey, outcome):
                self._node.outbox.append(outcome_record(facts, effect))
                self._node.metrics.tasks.labels(outcome.value).inc()
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
                    clock = self._clock
                    assert clock is not None
                    elapsed = start_s - journey.slot * facts.slot_s
                    message = self._handover(journey, elapsed, end_s - start_s)
                    real = [clock.start_s + instant / clock.time_scale for instant in (start_s, end_s)]
                    size = payload_bytes(journey.size_bits)
                    self._peers[destination].carry(Payload(size, real[0], real[1], message))
            case HandOver(destination, journey, elapsed_at_start_s):
                if facts.transfer == "emulated":
                    message = self._handover(journey, elapsed_at_start_s, journey.transmission_s)
                    self._peers[destination].send(message)
            case Execute():
                self._to_execute.put(effect)

    def _handover(self, journey: Journey, elapsed_at_start_s: float, transmission_s: float) -> Message:
        facts, clock, key = self.core.facts, self._clock, journey.key
        assert clock is not None
        body = {
            "episode": facts.episode,
            "episode_uid": facts.episode_uid,
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
            self.post(lambda now: self.core.handover_settled(key, result, now))

        return Message("/v1/handovers", body, settled, give_up)

    def _push_overload(self, now: float) -> None:
        """Once a slot: tell the others the own overload bit where it has changed, or has not been told for a while.

        Shortly before the next tick, which is where the others use it: what it was in between interests nobody, and a
        message for each of its changes would be most of the node's traffic.
        """
        slot_s = self.core.facts.slot_s
        self._push_at = (math.floor(now / slot_s + _PUSH_LEAD + 1e-9) + 1 - _PUSH_LEAD) * slot_s
        if self.core.last_slot >= self.core.facts.slots:
            self._push_at = math.inf  # the last tick is over: nobody decides any more
            return
        overloaded = self.core.overloaded(now)
        if overloaded == self._pushed and now < self._repeat_at:
            return
        self._pushed, self._repeat_at = overloaded, now + self._settings.node.overload_refresh_s
        # Not from 0: the others would ignore a restarted node until it had sent as many as before.
        self._sequence = max(self._sequence + 1, time.time_ns())
        body = {"node": self.core.facts.node, "overloaded": overloaded, "sequence": self._sequence}
        for peer in self._peers.values():
            peer.send(Message("/v1/overload", body))

    # --- decisions ----------------------------------------------------------------------------------------------

    def _decide_all(self) -> None:
        """The decider thread."""
        self._prober.connect(list(self._peers))  # ahead: the first slot's probes are as quick as any later ones
        while (decision := self._to_decide.get()) is not None and not self._stopping.is_set():
            self._decide(decision, may_ask=True)
            self._record(decision)
            self._decisions += 1
        self._prober.close()

    def _decide(self, decision: _Decision, may_ask: bool) -> None:
        """Go on with a decision; without `may_ask`, which is the loop thread, only if nobody has to be asked."""
        if not decision.is_due:
            return
        facts, states, scheduler = self.core.facts, decision.snapshot.states, decision.active.scheduler
        try:
            draws = Draws.single(facts.seed, facts.trace, decision.snapshot.slot, facts.node)
            if decision.probed is None:
                decision.calls_before = decision.active.actor_calls
                decision.probed = probed_nodes(scheduler.probes(states, draws))
            others = [node for node in decision.probed if node != facts.node]
            if others and not may_ask:
                return
            answers = {}
            if others:
                decision.asked = len(others)
                enough = scheduler.enough_reports
                answers = self._prober.ask(others, facts.episode, decision.snapshot.slot, enough)
            choice = scheduler.choose(states, reports_from(decision.probed, answers, states), draws)
            chosen_node(choice, states.nodes)
        except Exception:
            # A scheduler that raises must not take the node with it: its task stays here, the log says why, and the record
            # says that it was not the scheduler's choice.
            slot, name = decision.snapshot.slot, decision.active.name
            _logger.exception("scheduler %s failed in slot %d; the task is executed here", name, slot)
            self._node.metrics.scheduler_failures.inc()
            decision.failed = True
            choice = Choice.of(states.node, states.nodes)
        self._commit(decision, choice, in_loop=not may_ask)

    def _commit(self, decision: _Decision, choice: Choice, in_loop: bool) -> None:
        task, clock = decision.snapshot.task, self._clock
        assert task is not None and clock is not None
        destination, at = int(choice.destination[0]), clock.now()
        decision.choice, decision.decision_s = choice, at - decision.snapshot.at_s
        if in_loop:
            self.core.decided(task, destination, at)
        else:
            self.post(lambda _: self.core.decided(task, destination, at))

    def _record(self, decision: _Decision) -> None:
        active, identity = decision.active, self._node.identity
        if decision.choice is not None:
            self._node.metrics.decision_seconds.labels(active.name).observe(decision.decision_s)
        self._node.outbox.append(
            decision_record(
                self.core.facts,
                decision.snapshot,
                identity.profile,
                decision.choice,
                model=decision.model,
                failed=decision.failed,
                revision=active.revision,
                probes=decision.asked,
                decision_s=decision.decision_s,
            )
        )
        self.counts["decisions"] += 1

    # --- executor thread ----------------------------------------------------------------------------------------

    def _execute_all(self) -> None:
        clock = self._clock
        assert clock is not None
        while (execute := self._to_execute.get()) is not None and not self._stopping.is_set():
            journey, start, end = execute.journey, execute.start_s, execute.end_s

            def wait_until(share: float, start: float = start, end: float = end) -> None:
                delay = clock.real_delay_s(start + share * (end - start))
                if delay > 0:
                    self._stopping.wait(delay)

            try:
                self._application.execute(journey.cycles, (end - start) / clock.time_scale, wait_until)
                broken = False
            except Exception:
                _logger.exception("the application failed in task %s", journey.key)
                broken = True
            if self._stopping.is_set():
                return
            self._report_end(journey.key, clock.now(), broken)

    def _report_end(self, key: Key, at: float, broken: bool) -> None:
        self.post(lambda _: self.core.execution_ended(key, at, broken))
