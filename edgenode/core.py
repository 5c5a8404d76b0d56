"""The state of one edge node in one episode: a state machine without clock, threads or sockets.

* Events are method calls with the instant `now`, in model seconds since the episode's start.
* `take_effects()` returns what the caller has to carry out, in order.
* `advance(now)` carries out everything that is planned up to `now`.
* `next_instant()` returns when `advance` has to be called next.

A node *owns* a task from its tick, or from the acceptance of its transfer. It owns the task until it records the
outcome, or until another node has accepted the task.

The core is deterministic: the same facts and the same events, in order, give the same effects. `stimuli.py` records the
events of an episode and replays them.

Concurrency: one thread at a time may call the core. In a node that is the loop thread (`loop.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenode.effects import Announce, Effect, Ended, Execute, HandOver, Transmit, Withdraw
from edgenode.facts import EpisodeFacts, Key, NodeTask, Settlement, Snapshot, TaskCounts
from edgenode.queues import FifoServer, Job
from offload.draws import Purpose, failure_instant_s
from offload.outcomes import LATE_TOLERANCE, Outcome, end_slot
from offload.state import LocalState
from offload.tasks import Task


@dataclass(slots=True)
class _Announced:
    duration_s: float
    forget_at_s: float


class NodeCore:
    """All queues of a node. The caller of an event carries out `take_effects()` afterwards."""

    def __init__(self, facts: EpisodeFacts) -> None:
        self.facts = facts
        self._effects: list[Effect] = []
        self._executor: FifoServer[NodeTask] = FifoServer()
        network, i, n = self.facts.network, self.facts.node, self.facts.network.nodes
        # These arrays are the same in every snapshot, and already have its shapes.
        self._node = np.array([i])
        self._rate_bps, self._link_failure_rate = network.rate_bps[[i]], network.link_failure_rate[[i]]
        self._rate_bps[0, i], self._link_failure_rate[0, i] = np.inf, 0.0
        for shared in (self._node, self._rate_bps, self._link_failure_rate):
            shared.setflags(write=False)
        self._links: dict[int, FifoServer[NodeTask]] = {j: FifoServer() for j in range(n) if j != self.facts.node}
        self._announced: dict[int, dict[int, _Announced]] = {j: {} for j in self._links}
        self._owned: dict[Key, NodeTask] = {}
        self._accepted: set[Key] = set()
        self._withdrawn: set[Key] = set()
        self._handing_over: set[Key] = set()
        self._settled_early: dict[Key, Settlement] = {}
        self._settled = self._ended = 0
        self._now = 0.0
        self.last_slot = -1
        """The last slot that was ticked, −1 before the first."""
        self._others_overloaded = np.zeros(n, dtype=bool)
        self._sequences = dict.fromkeys(self._links, -1)

    # --- events -------------------------------------------------------------------------------------------------

    def tick(self, slot: int, arrived: Task | None, at_s: float) -> Snapshot | None:
        """Begin a slot at `at_s`, with the task that arrives in it, or None.

        Returns None for a slot that has been ticked already.

        A tick can come slightly early, because two machines' clocks differ. It counts as on time, so that no duration
        is negative.
        """
        if slot <= self.last_slot:
            return None
        self.last_slot = slot
        at_s = max(at_s, slot * self.facts.slot_s)
        self._advance(at_s)
        task = None
        if arrived is not None:
            task = NodeTask(slot, self.facts.node, arrived.size_bits, arrived.cycles, arrived.deadline_s)
            task.skew_s = at_s - slot * self.facts.slot_s
            self._owned[task.key] = task
        return Snapshot(slot, at_s, self._local_state(slot, task, at_s, before_slot=slot), task)

    def decided(self, key: Key, destination: int, now: float) -> None:
        """Apply the scheduler's decision: the task enters the execution queue, or the sending queue to `destination`.

        now: the instant of the decision, at or after that of the snapshot
        """
        facts, task = self.facts, self._owned[key]
        begin = task.slot * facts.slot_s
        task.destination = destination
        task.decision_s = max(0.0, now - begin - task.skew_s)
        due = begin + task.deadline_s
        if destination == facts.node:
            self._enqueue_execution(task, now)
        else:
            duration = task.size_bits / float(facts.network.rate_bps[facts.node, destination])
            task.transfer = facts.transfer
            self._links[destination].enqueue(Job(task, task.slot, task.source, now, due, duration))
            self._effects.append(Announce(destination, task, max(0.0, due - now)))
        self._advance(now)

    def announced(self, source: int, slot: int, cycles: float, forget_at_s: float) -> None:
        """Another node's task has entered its sending queue to this node.

        It is ignored if the task was accepted or withdrawn before: a late announcement must not last.
        """
        if (slot, source) not in self._accepted and (slot, source) not in self._withdrawn:
            capacity = float(self.facts.network.capacity_hz[self.facts.node])
            self._announced[source][slot] = _Announced(cycles / capacity, forget_at_s)

    def withdrawn(self, source: int, slot: int) -> None:
        """An announced task will not arrive."""
        self._withdrawn.add((slot, source))
        self._announced[source].pop(slot, None)

    def handed_over(self, task: NodeTask, elapsed_s: float, now: float) -> bool:
        """Accept a transferred task. Returns False if it was accepted before.

        The task's arrival is the end of its transmission. The time from then to `now` is recorded as `handover_s`.

        elapsed_s: seconds from the start of the task's slot to the end of its transmission
        """
        if task.key in self._accepted:
            return False
        self._accepted.add(task.key)
        self._announced[task.source].pop(task.slot, None)
        arrival = task.slot * self.facts.slot_s + elapsed_s
        task.handover_s = max(0.0, now - arrival)
        task.destination = self.facts.node
        self._owned[task.key] = task
        self._enqueue_execution(task, arrival)
        self._advance(now)
        return True

    def handover_settled(self, key: Key, result: Settlement, now: float) -> None:
        """Apply the result of a handover: accepted, certainly refused, or unknown ("doubt").

        If it is unknown, this node records no outcome. With payload transfers, the result may be known before the
        transmission's planned end. It is then kept until that instant.
        """
        self._advance(now)
        if key not in self._handing_over:
            if key in self._owned:
                self._settled_early[key] = result
            return
        self._settle(key, result)

    def _settle(self, key: Key, result: Settlement) -> None:
        self._handing_over.discard(key)
        self._settled += 1
        task = self._owned[key]
        if result == "refused":
            self._end(task, Outcome.LOST, task.deadline_s)
        else:
            del self._owned[key]

    def execution_ended(self, key: Key, now: float, broken: bool = False) -> None:
        """The application has finished the task of an `Execute`. `broken`: it raised, which is an execution failure."""
        running = self._executor.running
        if running is None or running.job.item.key != key:
            return
        self._executor.release()
        task = running.job.item
        task.execution_s = now - running.start_s
        completion = now - task.slot * self.facts.slot_s
        if broken or self._execution_failure(task) < running.job.duration_s:
            self._end(task, Outcome.EXECUTION_FAILURE, completion)
        elif completion > task.deadline_s * (1 + LATE_TOLERANCE):
            self._end(task, Outcome.DROPPED, completion, late=True)
        else:
            self._end(task, Outcome.SUCCESS, completion)
        self._advance(now)

    def overload_received(self, node: int, overloaded: bool, sequence: int) -> None:
        """Store another node's overload bit. A message that is older than the last one changes nothing."""
        if sequence > self._sequences[node]:
            self._sequences[node] = sequence
            self._others_overloaded[node] = overloaded

    # --- time ---------------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Carry out all planned ends and starts up to `now`."""
        self._advance(now)

    def next_instant(self) -> float:
        """When `advance` has to be called next; infinite if only an event can change the state."""
        instants = [link.running.end_s for link in self._links.values() if link.running is not None]
        for server in (*self._links.values(), self._executor):
            if (start := server.next_start()) is not None:
                instants.append(start)
        instants += [one.forget_at_s for tasks in self._announced.values() for one in tasks.values()]
        return min(instants, default=float("inf"))

    def take_effects(self) -> list[Effect]:
        """The effects of the events since the last call, in order. Each effect is returned once."""
        effects, self._effects = self._effects, []
        return effects

    # --- views --------------------------------------------------------------------------------------------------

    def current_state(self, slot: int, without: int | None = None) -> LocalState:
        """The state at the instant of the last `advance`, in which tasks of slot `slot` count too.

        It contains the node's own task of the slot only while no destination is chosen.
        without: a node whose task of this slot does not count
        """
        task = self._owned.get((slot, self.facts.node))
        undecided = task if task is not None and task.destination is None else None
        return self._local_state(slot, undecided, self._now, before_slot=slot + 1, without=without)

    @property
    def progress(self) -> TaskCounts:
        """Counts of the tasks that this node has handled so far."""
        return TaskCounts(len(self._owned), len(self._accepted), self._settled, self._ended)

    def overloaded(self, now: float) -> bool:
        """This node's overload bit: its execution backlog, without receiving work, is above the threshold."""
        return self._executor.backlog_s(now, self.facts.slots + 1) > self.facts.overload_threshold_s

    def queue_lengths(self) -> dict[str, int]:
        """Tasks in the execution queue (the running one included), in all sending and in all receiving queues."""
        everything = self.facts.slots + 1
        return {
            "execution": self._executor.length(everything),
            "sending": sum(link.length(everything) for link in self._links.values()),
            "receiving": sum(len(tasks) for tasks in self._announced.values()),
        }

    # --- within -------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        self._now = now
        for destination, link in self._links.items():
            if not link.is_empty:
                self._advance_link(destination, link, now)
        self._advance_executor(now)
        for tasks in self._announced.values():
            if tasks:
                for slot in [slot for slot, one in tasks.items() if one.forget_at_s <= now]:
                    del tasks[slot]

    def _enqueue_execution(self, task: NodeTask, arrival_s: float) -> None:
        duration = task.cycles / float(self.facts.network.capacity_hz[self.facts.node])
        due = task.slot * self.facts.slot_s + task.deadline_s
        self._executor.enqueue(Job(task, task.slot, task.source, arrival_s, due, duration))

    def _advance_link(self, destination: int, link: FifoServer[NodeTask], now: float) -> None:
        facts = self.facts
        while True:
            if link.running is not None:
                if link.running.end_s > now:
                    return
                running = link.release()
                task = running.job.item
                task.transmission_s = now - running.start_s
                if self._transmission_failure(task) < running.job.duration_s:
                    self._effects.append(Withdraw(destination, task.slot))
                    self._end(task, Outcome.TRANSMISSION_FAILURE, now - task.slot * facts.slot_s)
                else:
                    self._handing_over.add(task.key)
                    elapsed = running.start_s - task.slot * facts.slot_s
                    self._effects.append(HandOver(destination, task, elapsed))
                    if (known := self._settled_early.pop(task.key, None)) is not None:
                        self._settle(task.key, known)
            start = link.next_start()
            if start is None or start > now:
                return
            job, start, in_time = link.take_head()
            task = job.item
            task.transmission_waiting_s = start - job.arrival_s
            if not in_time:
                self._effects.append(Withdraw(destination, task.slot))
                self._end(task, Outcome.DROPPED, start - task.slot * facts.slot_s)
                continue
            end = start + self._held(job.duration_s, self._transmission_failure(task))
            link.hold(job, start, end)
            if self._transmission_failure(task) >= job.duration_s:
                self._effects.append(Transmit(destination, task, start, end))

    def _advance_executor(self, now: float) -> None:
        while (start := self._executor.next_start()) is not None and start <= now:
            job, start, in_time = self._executor.take_head()
            task = job.item
            task.execution_waiting_s = start - job.arrival_s
            if not in_time:
                self._end(task, Outcome.DROPPED, start - task.slot * self.facts.slot_s)
                continue
            end = start + self._held(job.duration_s, self._execution_failure(task))
            self._executor.hold(job, start, end)
            self._effects.append(Execute(task, start, end))

    def _held(self, duration_s: float, failure_s: float) -> float:
        """How long a job holds its resource: with `failure_timing: event`, at most until its failure."""
        return min(duration_s, failure_s) if self.facts.failure_timing == "event" else duration_s

    def _transmission_failure(self, task: NodeTask) -> float:
        assert task.destination is not None
        rate = float(self.facts.network.link_failure_rate[task.source, task.destination])
        return self._failure(Purpose.TRANSMISSION_FAILURE, task, rate)

    def _execution_failure(self, task: NodeTask) -> float:
        return self._failure(Purpose.EXECUTION_FAILURE, task, float(self.facts.network.failure_rate[self.facts.node]))

    def _failure(self, purpose: Purpose, task: NodeTask, rate: float) -> float:
        facts = self.facts
        assert task.destination is not None
        return float(
            failure_instant_s(facts.seed, purpose, facts.trace, task.slot, task.source, task.destination, rate)
        )

    def _end(self, task: NodeTask, outcome: Outcome, completion_s: float, late: bool = False) -> None:
        del self._owned[task.key]
        self._ended += 1
        slot = end_slot(task.slot, completion_s, self.facts.slot_s, self.facts.slots)
        self._effects.append(Ended(task, outcome, completion_s, slot, late))

    def _local_state(
        self, slot: int, task: NodeTask | None, now: float, before_slot: int, without: int | None = None
    ) -> LocalState:
        """The state in slot `slot`. Tasks of slots before `before_slot` count, but not that of node `without`."""
        facts, network = self.facts, self.facts.network
        n, i = network.nodes, facts.node
        sending_length, receiving_length, sending_backlog = [0] * n, [0] * n, [0.0] * n
        work = 0.0
        for j, link in self._links.items():
            if not link.is_empty:
                sending_length[j] = link.length(before_slot)
                sending_backlog[j] = link.backlog_s(now, before_slot)
            if self._announced[j]:
                on_their_way = [
                    one.duration_s
                    for other, one in self._announced[j].items()
                    if other < before_slot and (other, j) != (slot, without)
                ]
                receiving_length[j] = len(on_their_way)
                work += sum(on_their_way)
        backlog = self._executor.backlog_s(now, before_slot)
        overloaded = self._others_overloaded.copy()
        overloaded[i] = backlog > facts.overload_threshold_s
        return LocalState(
            node=self._node,
            slot=np.array([slot]),
            has_task=np.array([task is not None]),
            size_bits=np.array([task.size_bits if task else 0.0]),
            cycles=np.array([task.cycles if task else 0.0]),
            deadline_s=np.array([task.deadline_s if task else 0.0]),
            arrival_probability=network.arrival_probability[i : i + 1],
            failure_rate=network.failure_rate[i : i + 1],
            capacity_hz=network.capacity_hz[i : i + 1],
            peer_capacity_hz=network.capacity_hz[None, :],
            peer_failure_rate=network.failure_rate[None, :],
            rate_bps=self._rate_bps,
            link_failure_rate=self._link_failure_rate,
            execution_queue_length=np.array([self._executor.length(before_slot)]),
            execution_backlog_s=np.array([backlog]),
            sending_queue_length=np.array([sending_length]),
            sending_backlog_s=np.array([sending_backlog]),
            receiving_queue_length=np.array([receiving_length]),
            receiving_work_s=np.array([work]),
            overloaded=overloaded[None, :],
        )
