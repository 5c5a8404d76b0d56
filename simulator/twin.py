"""The twin: B episodes of an edge network side by side, decided slot by slot by the schedulers of the edge nodes.

The twin reads from arrays what an edge node learns from messages:

* snapshots are those of the tick
* probed nodes answer at once; the order of the answers to a broadcast is drawn
* the order in which a slot's reservations and confirmations reach other nodes is drawn
* overload bits are those that the nodes send shortly before the tick

Decisions and messages take no time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from offload.draws import Draws, Purpose, uniform
from offload.fidelity import PUSH_LEAD
from offload.network import Network
from offload.outcomes import Outcome
from offload.protocols import Choice, Scheduler, confirms, reserves
from offload.settings import Settings
from offload.state import IntArray, LocalState, Reports
from offload.tasks import Trace
from simulator import arrays, core
from simulator.confirmation import confirm
from simulator.reservations import asked_before

OUTCOMES: Final = (
    None,
    Outcome.SUCCESS,
    Outcome.DROPPED,
    Outcome.EXECUTION_FAILURE,
    Outcome.TRANSMISSION_FAILURE,
)
"""The outcomes by the outcome codes of `arrays`. Code 0 means "no task", or a task that is not decided yet."""


class SlotFacts(NamedTuple):
    """The tasks of one slot.

    tasks: (B, N, COLUMNS), see `arrays`; deadline_s: (B, N) relative to the start of the slot
    """

    tasks: NDArray[np.float64]
    deadline_s: NDArray[np.float64]


class SlotDecisions(NamedTuple):
    """R decisions of one slot.

    episode: (R,); tick: the nodes' states at the tick
    states, reports: those of the last `choose`; `states` differs from `tick` after a confirmation
    """

    episode: IntArray
    tick: LocalState
    states: LocalState
    reports: Reports
    choice: Choice

    @property
    def node(self) -> IntArray:
        """(R,) the deciding nodes."""
        return self.states.node

    @property
    def probes(self) -> IntArray:
        """(R,) how many other nodes were probed."""
        probed = self.reports.node
        count: IntArray = ((probed >= 0) & (probed != self.node[:, None])).sum(axis=1)
        return count


@dataclass(frozen=True)
class TaskOutcomes:
    """The outcomes of the tasks of B episodes: arrays (B, T, N) by episode, slot and source.

    destination: −1 where there is no task; outcome: codes, see `OUTCOMES`
    durations: seconds, 0 for stages that the task did not reach; end_s: instant since the episode's start
    All but `destination` are 0 where there is no task.
    """

    destination: IntArray
    outcome: NDArray[np.int8]
    transmission_waiting_s: NDArray[np.float64]
    transmission_s: NDArray[np.float64]
    execution_waiting_s: NDArray[np.float64]
    execution_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    def success_rates(self) -> NDArray[np.float64]:
        """(B,) share of the generated tasks that succeeded; NaN for an episode without tasks."""
        tasks = (self.outcome != arrays.UNDECIDED).sum(axis=(1, 2))
        successes = (self.outcome == arrays.SUCCESS).sum(axis=(1, 2))
        with np.errstate(invalid="ignore"):
            rates: NDArray[np.float64] = successes / np.where(tasks > 0, tasks, np.nan)
        return rates


class Twin:
    """B episodes; `traces[b]` is played on the network with index `of[b]` (0 by default).

    There are three ways to play:

    * slot by slot: read `has_task`, `states`, `reports` and `knowledge`, then call `decide`
    * `play`: all slots with a scheduler
    * `play_given`: all slots with given decisions; this is the fastest way

    Then read `task_outcomes`. With `failures` False nothing fails. Read `rules`, `networks` and `episodes` (see
    `arrays`), but do not write to them.

    Raises ValueError when networks and traces do not fit together, or a destination is not a node.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        traces: Sequence[Trace],
        settings: Settings,
        of: Sequence[int] | IntArray | None = None,
        failures: bool = True,
    ) -> None:
        _require_alike(networks, traces)
        first = traces[0]
        self.batch, self.slots, self.nodes = len(traces), first.slots, first.nodes
        self.slot_s = first.slot_s
        self.slot = 0
        """The slot to decide next; T when all slots are decided."""
        self.seed = settings.seed
        self.overload_threshold_s = settings.overload_threshold_s
        self.rules = arrays.Rules(self.slot_s, settings.time.failure_timing == "event", failures, self.seed)
        self._arrival_probability = np.stack([network.arrival_probability for network in networks])
        self.networks = arrays.Networks(
            capacity_hz=np.stack([network.capacity_hz for network in networks], dtype=np.float64),
            failure_rate=np.stack([network.failure_rate for network in networks], dtype=np.float64),
            rate_bps=np.stack([network.rate_bps for network in networks], dtype=np.float64),
            link_failure_rate=np.stack([network.link_failure_rate for network in networks], dtype=np.float64),
            of=np.zeros(self.batch, np.int64) if of is None else np.asarray(of, np.int64),
        )
        if (
            len(self.networks.of) != self.batch
            or not (self.networks.of >= 0).all()
            or self.networks.of.max() >= len(networks)
        ):
            raise ValueError(
                f"of: one index of the {len(networks)} networks is needed for each of the {self.batch} traces"
            )
        self.episodes = arrays.undecided(traces)
        deadline_s = max(float(trace.deadline_s.max(initial=0.0)) for trace in traces)
        # A deadline beyond the last slot counts as T slots.
        longest = self.slots if deadline_s >= self.slots * self.slot_s else math.ceil(deadline_s / self.slot_s)
        self._knowledge = arrays.nothing_known(self.batch, self.nodes, longest + 1)
        # A task that arrives at an executor just before its deadline may wait there for a task with a later deadline.
        self._longest_slots = 2 * longest + 1
        self._rewarded = 0  # slots whose team reward is computed
        self._destinations = np.full((self.batch, self.slots, self.nodes), -1, np.int64)

    # --- reading a slot -------------------------------------------------------------------------------------------

    @property
    def has_task(self) -> NDArray[np.bool_]:
        """(B, N) whether each node has a task in this slot; False everywhere after the last slot."""
        if self.slot >= self.slots:
            return np.zeros((self.batch, self.nodes), bool)
        return self.episodes.has_task[:, self.slot]

    def slot_facts(self) -> SlotFacts:
        """The tasks of this slot. At tick T, where `has_task` is False everywhere: the tasks of the last slot."""
        slot = min(self.slot, self.slots - 1)
        own = slice(slot * self.nodes, (slot + 1) * self.nodes)
        return SlotFacts(self.episodes.tasks[:, own], self.episodes.deadline_s[:, slot])

    @property
    def network_of(self) -> IntArray:
        """(B,) the index of each episode's network."""
        return self.networks.of

    @property
    def knowledge(self) -> arrays.Knowledge:
        """What the nodes know at this slot's tick. `decide` overwrites the arrays."""
        return self._knowledge

    def states(self, episode: IntArray, node: IntArray) -> LocalState:
        """The local states at this slot's tick. episode, node: (R,)."""
        known, networks = self.knowledge, self.networks
        of = networks.of[episode]
        rows = np.arange(len(node))
        has_task = self.has_task[episode, node]
        of_slot = self.slot_facts()
        facts = of_slot.tasks[episode, node]
        rate_bps, link_failure_rate = networks.rate_bps[of, node], networks.link_failure_rate[of, node]
        rate_bps[rows, node], link_failure_rate[rows, node] = np.inf, 0.0
        backlog_s, overloaded = known.execution_backlog_s[episode, node], known.overloaded[episode]
        overloaded[rows, node] = backlog_s > self.overload_threshold_s
        return LocalState(
            node=node,
            slot=np.full(len(node), self.slot),
            has_task=has_task,
            size_bits=np.where(has_task, facts[:, arrays.SIZE_BITS], 0.0),
            cycles=np.where(has_task, facts[:, arrays.CYCLES], 0.0),
            deadline_s=np.where(has_task, of_slot.deadline_s[episode, node], 0.0),
            arrival_probability=self._arrival_probability[of, node],
            failure_rate=networks.failure_rate[of, node],
            capacity_hz=networks.capacity_hz[of, node],
            peer_capacity_hz=networks.capacity_hz[of],
            peer_failure_rate=networks.failure_rate[of],
            rate_bps=rate_bps,
            link_failure_rate=link_failure_rate,
            execution_queue_length=known.execution_length[episode, node].astype(np.int64),
            execution_backlog_s=backlog_s,
            sending_queue_length=known.sending_length[episode, node].astype(np.int64),
            sending_backlog_s=known.sending_backlog_s[episode, node],
            receiving_queue_length=known.receiving_length[episode, node].astype(np.int64),
            receiving_work_s=known.receiving_work_s[episode, node],
            overloaded=overloaded,
        )

    def reports(
        self,
        episode: IntArray,
        node: IntArray,
        probed: IntArray,
        enough: int | None = None,
        reservations: bool = False,
    ) -> Reports:
        """The answers of the probed nodes.

        episode, node: (R,) the probing nodes; probed: (R, d) the nodes that they probe, −1 for none
        enough: a probing node waits for this many answers of other nodes; for all by default
        reservations: the probes carry their tasks (`offload.protocols.reserves`)

        The order of the answers to a broadcast is drawn, keyed by slot, probing node and answering node. A node's own
        answer comes first.
        """
        if not probed.shape[1]:
            return Reports.none(len(node))
        known, networks = self.knowledge, self.networks
        asked, j = probed >= 0, np.maximum(probed, 0)
        own = probed == node[:, None]
        if enough is None:
            # All answers are used, so their order does not matter. Use the order of the columns.
            after = np.broadcast_to(np.arange(probed.shape[1]) + 1.0, probed.shape)
        else:
            trace = self.episodes.number[episode][:, None]
            after = uniform(self.seed, Purpose.ANSWER, trace, self.slot, node[:, None], j)
        after = np.where(asked, np.where(own, 0.0, after), np.inf)
        answered = asked
        if enough is not None and probed.shape[1] > enough:
            others = np.where(own, np.inf, after)
            last = np.partition(others, enough - 1, axis=1)[:, enough - 1 : enough] if enough > 0 else -np.inf
            answered = asked & (own | (others <= last))
        # Indices of flat arrays: `take` is faster than an index per dimension.
        of_node = episode[:, None] * self.nodes + j
        in_network = networks.of[episode][:, None] * self.nodes + j
        capacity_hz, cycles = networks.capacity_hz.take(in_network), self.slot_facts().tasks[..., arrays.CYCLES]
        if reservations:
            order = self._order(episode, node)
            work_s = cycles[episode, node][:, None] / capacity_hz
            asked_work_s, asked_count = asked_before(episode, node, probed, work_s, order)
        else:
            asked_work_s, asked_count = np.zeros(probed.shape), np.zeros(probed.shape, np.int64)
        return Reports(
            node=probed,
            answered=answered,
            answered_after_s=after,
            capacity_hz=capacity_hz,
            failure_rate=networks.failure_rate.take(in_network),
            execution_queue_length=known.execution_length.take(of_node).astype(np.int64),
            execution_backlog_s=known.execution_backlog_s.take(of_node),
            receiving_work_s=known.receiving_work_s.take(of_node),
            pending_cycles=cycles.take(of_node),  # 0 where there is no task
            asked_work_s=asked_work_s,
            asked_count=asked_count,
        )

    # --- deciding -------------------------------------------------------------------------------------------------

    def decisions(self, scheduler: Scheduler) -> SlotDecisions:
        """What a scheduler decides on the R tasks of this slot."""
        episode, node = np.nonzero(self.has_task)
        states = self.states(episode, node)
        draws = Draws(self.seed, self.episodes.number[episode], states.slot, node)
        probed = scheduler.probes(states, draws)
        reports = self.reports(episode, node, probed, scheduler.enough_reports, reserves(scheduler))
        choice = scheduler.choose(states, reports, draws)
        tick = states
        if confirms(scheduler):
            order = self._order(episode, node)
            states, reports, choice = confirm(scheduler, episode, states, reports, choice, draws, order)
        return SlotDecisions(episode, tick, states, reports, choice)

    def _order(self, episode: IntArray, node: IntArray) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = uniform(self.seed, Purpose.ORDER, self.episodes.number[episode], self.slot, node)
        return drawn

    def decide(self, destinations: IntArray) -> None:
        """Send this slot's tasks to `destinations` (B, N), and go on to the next slot.

        Entries without a task are ignored. Raises ValueError when all slots are decided, or for a wrong shape or node.
        """
        if self.slot >= self.slots:
            raise ValueError(f"all {self.slots} slots are decided already")
        given = self._checked(destinations, self.has_task, f"in slot {self.slot} ")
        core.decide(
            self.rules,
            self.networks,
            self.episodes,
            self._knowledge,
            self.overload_threshold_s,
            PUSH_LEAD,
            self.slot,
            given,
        )
        self._destinations[:, self.slot] = given
        self.slot += 1
        if self.slot == self.slots:
            core.finish(self.rules, self.networks, self.episodes)

    def play(self, scheduler: Scheduler) -> TaskOutcomes:
        """Play all remaining slots with a scheduler."""
        while self.slot < self.slots:
            destinations = np.full((self.batch, self.nodes), -1, np.int64)
            if self.has_task.any():
                made = self.decisions(scheduler)
                destinations[made.episode, made.node] = made.choice.destination
            self.decide(destinations)
        return self.task_outcomes()

    def play_given(self, destinations: IntArray) -> TaskOutcomes:
        """Play all slots of fresh episodes with given decisions (B, T, N). Entries without a task are ignored."""
        if self.slot:
            raise ValueError(f"{self.slot} slots are decided already")
        self._destinations = self._checked(destinations, self.episodes.has_task, "")
        core.play_given(self.rules, self.networks, self.episodes, self._destinations)
        self.slot = self.slots
        return self.task_outcomes()

    # --- results --------------------------------------------------------------------------------------------------

    @property
    def team_reward(self) -> NDArray[np.float64]:
        """(B, T) the sum of the feedback of all nodes' tasks that end in a slot; 0 in slots that are not decided."""
        if self._rewarded < self.slot:
            core.add_rewards(self.rules, self.episodes, self._longest_slots, self._rewarded, self.slot)
            self._rewarded = self.slot
        return self.episodes.team_reward

    def task_outcomes(self) -> TaskOutcomes:
        """The outcomes of the tasks, as far as they are known."""
        shape = self.batch, self.slots, self.nodes
        tasks = self.episodes.tasks.reshape(*shape, arrays.COLUMNS)
        return TaskOutcomes(
            destination=self._destinations,
            outcome=self.episodes.outcome.reshape(shape),
            transmission_waiting_s=tasks[..., arrays.TRANSMISSION_WAITING_S],
            transmission_s=tasks[..., arrays.TRANSMISSION_S],
            execution_waiting_s=tasks[..., arrays.EXECUTION_WAITING_S],
            execution_s=tasks[..., arrays.EXECUTION_S],
            end_s=tasks[..., arrays.END_S],
        )

    def _checked(self, destinations: IntArray, has_task: NDArray[np.bool_], where: str) -> IntArray:
        if destinations.shape != has_task.shape:
            raise ValueError(f"the destinations {where}have shape {destinations.shape}, not {has_task.shape}")
        checked = np.empty(has_task.shape, np.int64)
        given = np.ascontiguousarray(destinations, np.int64)
        wrong = core.copy_destinations(np.ascontiguousarray(has_task), given, checked)
        if wrong >= 0:
            place = tuple(int(part) for part in np.unravel_index(wrong, checked.shape))
            node = checked[place]
            raise ValueError(f"a task {where}goes to node {node} (at {place}); the nodes are 0 to {self.nodes - 1}")
        return checked


def _require_alike(networks: Sequence[Network], traces: Sequence[Trace]) -> None:
    if not networks or not traces:
        raise ValueError("a twin needs at least one network and one trace")
    first = traces[0]
    for trace in traces:
        if (trace.slots, trace.nodes, trace.slot_s) != (first.slots, first.nodes, first.slot_s):
            raise ValueError("the traces of one twin need the same number of slots and nodes, and the same slot_s")
    for network in networks:
        if network.nodes != first.nodes:
            raise ValueError(f"a network has {network.nodes} nodes, the traces have {first.nodes}")
