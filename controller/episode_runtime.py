"""Plays an episode on the nodes (docs/contracts.md): opens it, starts it, sends ticks, drains it, closes it.

Concurrency:

* `open` runs in one thread at a time, which the caller ensures (`player.py` holds a lock). It writes `state`, `_trace`,
  `_revision` and `_clients` for the episode that it opens.
* `play` runs in the player thread. That thread owns these fields until the episode ends. It then sets `state` to None.
  After the player thread has ended, `Player.stop` calls `play` in the main thread, to abort a queued episode.
* Any thread may read `state`, once for each use, and call `abort`.
* Helper threads open the episode again on restarted nodes (`ticks.py`). They read what `open` has set. They
  share the episode's dict of addresses (`_ticks`): each writes the entry of its own node, and reads the others.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from controller.clock import SlotClock
from controller.closing import close_nodes
from controller.draining import drain
from controller.metrics import Metrics
from controller.nodes import UNREACHABLE, NodeClients
from controller.ticks import Ticks
from middleware.configuration import Configuration, LiveSettings, NoLiveSettings
from middleware.database import (
    Database,
    EpisodeSummary,
    LeaseHolder,
    Run,
    abort_episode,
    close_episode,
    open_episode,
)
from middleware.errors import ServiceError
from middleware.http.access import Access
from middleware.http.problems import SERVICE_REFUSED
from middleware.retrying import log_refusal, retry_while_unavailable
from offload.episodes import EpisodePlan, EpisodeStatus
from offload.network import Network
from offload.scheduler_choice import SchedulerChoice
from offload.tasks import Trace, draw_trace

OPENING_S = 30.0
"""How long the opening waits for nodes that are not ready or do not answer, in real seconds."""
_START_LEAD_S, _START_LEAD_PER_NODE_S = 0.05, 0.01
"""Real seconds from the opening of the last node to slot 0. In this time the nodes connect to one another."""
_START_PATIENCE_S = 0.25
_TICK_LEAD_S = 0.05
_TICKS_TIMEOUT_S = 5.0
_LATE_SHARE = 0.1
_DRAIN_MARGIN_S = 2.0
_RETRY_S = 0.2
_REFUSED = 424
"""The status of a node that cannot apply a revision, or of a service that refuses the node's calls."""

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class OpeningError(RuntimeError):
    """The episode could not be opened. The message has the nodes' answers."""


class RefusedError(OpeningError):
    """A node refuses the scheduler or model of the live settings. Another try will not help."""


class BusyError(RuntimeError):
    """Another episode is being played."""


@dataclass
class EpisodeState:
    """The state of the episode that is open or being played. Any thread may read it."""

    episode: int
    uid: str
    plan: EpisodePlan
    slots: int
    slot: int | None = None
    aborting: str | None = None
    interrupt: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def abort(self, reason: str) -> None:
        """Make the episode end soon, without a verdict. An episode that is closing already is still closed."""
        self.aborting = reason
        self.interrupt.set()


class Episodes:
    """Plays episodes on the run's nodes.

    holder: holds the run's lease; methods that write episodes raise LeaseLost if the lease was lost
    addresses: returns the current addresses of the nodes that are ready
    own_address: the controller's address
    stopping: after it is set, no episode is opened
    """

    def __init__(
        self,
        db: Database,
        run: Run,
        holder: LeaseHolder,
        network: Network,
        configuration: Configuration,
        addresses: Callable[[], Mapping[int, str]],
        own_address: str,
        metrics: Metrics,
        access: Access,
        stopping: threading.Event,
    ) -> None:
        self._db = db
        self._run = run
        self._holder = holder
        self._network = network
        self._configuration = configuration
        self._addresses = addresses
        self._own_address = own_address
        self._metrics = metrics
        self._stopping = stopping
        self._clients = NodeClients({}, run.uid, access)
        self._timeout_s = run.settings.node.request_timeout_s
        self._trace: Trace
        self._revision: int
        self.state: EpisodeState | None = None

    def trace_of(self, plan: EpisodePlan, recorded: Trace | None) -> Trace:
        """The recorded trace if there is one, else the trace drawn for the plan's number."""
        settings = self._run.settings
        if recorded is not None:
            return recorded
        return draw_trace(
            settings.tasks, self._network, settings.time.slot_s, settings.time.slots, settings.seed, plan.trace
        )

    def live_scheduler(self) -> SchedulerChoice:
        """The scheduler choice of the current live settings. Raises NoLiveSettings if the run has none."""
        record = self._retry_while_unavailable(lambda: self._configuration.read(self._run.name))
        if record is None:
            raise NoLiveSettings(
                f"run '{self._run.name}' has no live settings; the controller creates them when it starts"
            )
        return record.scheduler

    def open(self, plan: EpisodePlan, recorded: Trace | None = None) -> EpisodeState:
        """Set the live settings, write the episode to the database, and open it on all nodes.

        Raises BusyError while another episode is being played, and SettingsError for an impossible scheduler. Raises
        OpeningError if nodes refuse or do not answer, or if the controller is stopping. The episode is then aborted.
        Raises LeaseLost if another process controls the run, NoLiveSettings if the run has none, and ServiceError.
        """
        if (playing := self.state) is not None:
            raise BusyError(f"episode {playing.episode} is being played")
        trace = self.trace_of(plan, recorded)
        self._retry_while_unavailable(self._holder.confirm)
        record = self._set_live_settings(plan)
        uid = uuid.uuid4().hex  # made once: a retry finds what an earlier try wrote
        lease = self._holder.lease
        number = self._retry_while_unavailable(
            lambda: open_episode(self._db, self._run, plan, trace, record.revision, uid, lease=lease)
        )
        state = EpisodeState(number, uid, plan, self._run.settings.time.slots)
        try:
            self._open_nodes(state, record)
        except Exception as failed:  # after any failure, the episode must not stay open
            known = isinstance(failed, OpeningError | ServiceError)
            reason = str(failed) if known else f"could not be opened: {type(failed).__name__}"
            self._retry_while_unavailable(lambda: abort_episode(self._db, self._run, number, reason, lease=lease))
            self._metrics.episodes.labels(EpisodeStatus.ABORTED).inc()
            raise
        self._trace, self._revision = trace, record.revision
        self.state = state
        return state

    def play(self, state: EpisodeState) -> EpisodeSummary | None:
        """Play an open episode until it is closed; None if it was aborted, before its first slot or later."""
        try:
            if state.aborting:
                self._abort(state)
                return None
            return self._play(state)
        finally:
            self.state = None
            state.ended.set()

    def abort(self, reason: str, episode: int | None = None) -> bool:
        """Abort the current episode, or only the given one; False if it is not being played."""
        state = self.state
        if state is None or episode not in (None, state.episode):
            return False
        state.abort(reason)
        return True

    # --- opening ------------------------------------------------------------------------------------------------

    def _set_live_settings(self, plan: EpisodePlan) -> LiveSettings:
        record = self._retry_while_unavailable(lambda: self._configuration.read(self._run.name))
        if record is not None and record.scheduler == plan.scheduler:
            return record
        return self._retry_while_unavailable(
            lambda: self._configuration.change(
                self._run.name,
                {"scheduler": plan.scheduler.to_json()},
                f"controller: {plan.phase} {plan.method}",
            )
        )

    def _open_nodes(self, state: EpisodeState, record: LiveSettings) -> None:
        until = time.monotonic() + OPENING_S
        waiting = set(range(self._network.nodes))
        trouble: dict[int, str] = {}
        while waiting:
            if self._stopping.is_set():
                raise OpeningError("the controller is stopping")
            addresses = self._retry_while_unavailable(lambda: dict(self._addresses()))
            if addresses != self._clients.addresses:
                self._clients.close()
                epoch = self._holder.lease.epoch
                self._clients = NodeClients(addresses, self._run.uid, self._clients.access, epoch)
                waiting = set(range(self._network.nodes))
            there = sorted(waiting & set(addresses))
            trouble = {node: "is not ready" for node in waiting if node not in addresses}
            if len(addresses) == self._network.nodes:
                body = self._opening(state, record.revision, addresses, None)
                answers = self._clients.ask("POST", "/v1/episodes", dict.fromkeys(there, body), self._timeout_s + 1)
                for node, answer in answers.items():
                    if answer.ok:
                        waiting.discard(node)
                    elif answer.status not in UNREACHABLE and 400 <= answer.status < 500:
                        revision = answer.status == _REFUSED and answer.body.get("title") != SERVICE_REFUSED
                        kind = RefusedError if revision else OpeningError
                        raise kind(f"node {node} refuses: {answer.detail}")
                    else:
                        trouble[node] = answer.detail
            if waiting and time.monotonic() > until:
                message = "; ".join(f"node {node}: {text}" for node, text in sorted(trouble.items()))
                raise OpeningError(f"the episode could not be opened on all nodes: {message}")
            if waiting:
                self._stopping.wait(_RETRY_S)

    def _retry_while_unavailable(self, call: Callable[[], _Result]) -> _Result:
        return retry_while_unavailable(call, stopping=self._stopping)

    def _opening(
        self, state: EpisodeState, revision: int, addresses: Mapping[int, str], start_s: float | None
    ) -> dict[str, Any]:
        return {
            "episode": state.episode,
            "episode_uid": state.uid,
            "trace": state.plan.trace,
            "controller": self._own_address,
            "revision": revision,
            "peers": [addresses[node] for node in range(self._network.nodes)],
            "start_s": start_s,
        }

    # --- playing ------------------------------------------------------------------------------------------------

    def _play(self, state: EpisodeState) -> EpisodeSummary | None:
        settings = self._run.settings.time
        start_s = time.monotonic() + _START_LEAD_S + _START_LEAD_PER_NODE_S * self._network.nodes
        self._start_nodes(state, start_s)
        clock = SlotClock(start_s, settings.slot_s, settings.time_scale)
        ticks = self._ticks(state, start_s)
        late_slots = 0
        # Ticks are sent early, and the nodes hold them until the slot begins. So no delay includes the delivery time.
        lead_s = min(_TICK_LEAD_S, 0.5 * settings.slot_s / settings.time_scale)
        for slot in range(settings.slots + 1):
            ticks.serve_until(clock.instant_s(slot) - lead_s, state.interrupt)
            if ticks.refused:
                state.abort(ticks.refused)
            if state.aborting:
                break
            late = clock.late_s(slot)
            self._metrics.slot_lateness_seconds.observe(max(0.0, late))
            late_slots += late > _LATE_SHARE * clock.slot_s
            ticks.put(slot, {node: self._tick(state, slot, node) for node in range(self._network.nodes)})
            state.slot = slot
        down = ticks.finish(0.0 if state.aborting else _TICKS_TIMEOUT_S)
        if ticks.refused:
            state.abort(ticks.refused)
        if not state.aborting:
            self._drain(state, clock)
        if state.aborting:
            self._abort(state)
            return None
        return self._close(state, down, late_slots)

    def _abort(self, state: EpisodeState) -> None:
        reason = state.aborting or "aborted"
        self._retry_while_unavailable(
            lambda: abort_episode(self._db, self._run, state.episode, reason, lease=self._holder.lease)
        )
        self._metrics.episodes.labels(EpisodeStatus.ABORTED).inc()

    def _start_nodes(self, state: EpisodeState, start_s: float) -> None:
        path = f"/v1/episodes/{state.episode}/start"
        nodes = {node: {"start_s": start_s} for node in range(self._network.nodes)}
        # The time-out is short, because the ticks are due. A node that misses the start refuses its first tick, and the
        # episode is opened on it again.
        for answer in self._clients.ask("POST", path, nodes, _START_PATIENCE_S).values():
            if not answer.ok:
                _logger.warning("episode %d, start: %s", state.episode, answer.detail)

    def _tick(self, state: EpisodeState, slot: int, node: int) -> dict[str, Any]:
        task = self._trace.task(slot, node)
        facts = None
        if task is not None:
            facts = {"size_bits": task.size_bits, "cycles": task.cycles, "deadline_s": task.deadline_s}
        return {"episode": state.episode, "slot": slot, "task": facts}

    def _ticks(self, state: EpisodeState, start_s: float) -> Ticks:
        addresses = dict(self._clients.addresses)

        def opening(node: int, address: str) -> dict[str, Any]:
            addresses[node] = address
            return self._opening(state, self._revision, addresses, start_s)

        return Ticks(self._clients, self._address_now, opening)

    def _address_now(self, node: int) -> str | None:
        """Where a node that is ready answers; None while none does, or the registry is unavailable."""
        try:
            return self._addresses().get(node)
        except ServiceError as error:  # the caller tries again
            log_refusal(error, "looking for the nodes")
            return None

    def _drain(self, state: EpisodeState, clock: SlotClock) -> None:
        """Wait until no node owns a task; at most until the last deadline plus `_DRAIN_MARGIN_S`."""
        longest = self._run.settings.tasks.deadline_s
        if self._trace.has_task.any():
            longest = float(self._trace.deadline_s.max())
        until = clock.instant_s(state.slots) + longest / clock.time_scale + _DRAIN_MARGIN_S
        drain(self._clients, state.episode, self._address_now, until, self._timeout_s, state.interrupt)

    def _close(self, state: EpisodeState, down: Mapping[int, list[int]], late_slots: int) -> EpisodeSummary:
        recorded = close_nodes(self._clients, state.episode, self._address_now, self._timeout_s + 60)
        record = retry_while_unavailable(lambda: self._configuration.read(self._run.name))
        mixed = None
        if record is not None and record.revision != self._revision:
            mixed = f"the live settings went from revision {self._revision} to {record.revision} ({record.written_by})"
        summary = retry_while_unavailable(
            lambda: close_episode(
                self._db,
                self._run,
                state.episode,
                down=down,
                late_slots=late_slots,
                mixed=mixed,
                recorded=recorded,
                lease=self._holder.lease,
            )
        )
        self._metrics.episodes.labels(summary.verdict or summary.status).inc()
        for outcome, count in summary.outcomes.items():
            self._metrics.tasks.labels(outcome).inc(count)
        return summary
