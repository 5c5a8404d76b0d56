"""An edge node: the methods that its HTTP interface calls, and its current episode.

Concurrency: request threads (`http/`) call the public methods. `_opening` guards the change from one episode to the
next. An episode's parts (`runtime.py`) are replaced as a whole. A thread that still uses the previous ones finds them
stopped. Links have their own threads (`receivers.py`), and so has the outbox.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgenode.activation import Activation
from edgenode.clock import EpisodeClock
from edgenode.errors import WrongEpisode
from edgenode.facts import NodeTask
from edgenode.identity import NodeIdentity
from edgenode.loop import EpisodeLoop
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.receivers import Receivers
from edgenode.reports import Report, Reservation
from edgenode.runtime import EpisodeRuntime
from offload.protocols import Application
from offload.tasks import Task

_BEGINNING_S, _CLOSING_S = 5.0, 5.0
"""How long a node that is leaving waits for an opened episode to be started, and for an ended one to be closed.

Both in real seconds.
"""


class EdgeNode:
    """One node. Open an episode before other calls; call `end_episode` at the end."""

    def __init__(
        self, identity: NodeIdentity, activation: Activation, outbox: Outbox, application: Application, metrics: Metrics
    ) -> None:
        self.identity = identity
        self.activation = activation
        self.outbox = outbox
        self.metrics = metrics
        self.receivers = Receivers()
        self._application = application
        self._runtime: EpisodeRuntime | None = None
        self._closed = 0
        self._opened_s = -math.inf
        self._opening = threading.Lock()

    def open_episode(
        self,
        episode: int,
        episode_uid: str,
        trace: int,
        peers: Sequence[str],
        offset_s: float,
        check: Callable[[], None],
    ) -> None:
        """Prepare an episode, and end the one before.

        peers: all nodes' addresses, by index
        offset_s: the controller's monotonic clock minus this machine's; it belongs to the episode
        check: called first; no other controller is admitted between it and the opening. Its error opens nothing

        A repeated request for the open episode changes only `offset_s`, with one exception. If a peer's address has
        changed before the start, the node prepares the episode anew. Otherwise tasks to that peer would be lost. A
        delayed request must not reopen an episode that is over: raises WrongEpisode.
        """
        with self._opening:
            check()
            if self._runtime is not None:
                facts = self._runtime.facts
                here = facts.episode
                if episode < here:
                    raise WrongEpisode(f"episode {episode} is over; this node's current episode is {here}")
                same = (episode, episode_uid) == (here, facts.episode_uid)
                if same and (self._runtime.has_begun or self._runtime.addresses == list(peers)):
                    self._runtime.offset_s = offset_s
                    return
            self.end_episode()
            self.receivers.end(episode - 1)
            self._runtime = EpisodeRuntime(
                self.identity.facts(episode, episode_uid, trace),
                peers,
                offset_s,
                self.identity,
                self.activation,
                self.outbox,
                self._application,
                self.metrics,
            )
            self._opened_s = time.monotonic()

    def change_controller(self) -> None:
        """Another controller controls the run: end the current episode, and accept any new episode number."""
        with self._opening:
            self.end_episode()
            self.receivers.end_all()
            self._closed = 0

    def start_episode(self, episode: int, start_s: float) -> None:
        """Start the episode at `start_s` of the controller's monotonic clock. Raises WrongEpisode."""
        with self._opening:
            runtime = self._runtime_of(episode)
            runtime.begin(EpisodeClock(start_s - runtime.offset_s, self.identity.settings.time.time_scale))

    def tick(self, episode: int, slot: int, task: Task | None) -> None:
        """Take a slot's tick, with a task or None. An early tick is held until the slot's planned instant.

        Raises AlreadyTicked, WrongEpisode.
        """
        runtime = self._runtime_of(episode)
        at_s = max(runtime.clock().now(), slot * self.identity.settings.time.slot_s)
        runtime.expect_tick(slot)
        runtime.loop.hold_tick(slot, task, at_s)

    def report(self, episode: int, slot: int, reservation: Reservation | None) -> Report:
        """The answer to a probe, from the snapshot of its slot. Raises ProbeTimeout, WrongEpisode."""
        return self._runtime_of(episode).report(slot, reservation)

    def loop_of(self, episode: int) -> EpisodeLoop:
        """The loop of the current episode, to pass on other nodes' messages. Raises WrongEpisode."""
        return self._runtime_of(episode).loop

    def handed_over(self, episode: int, episode_uid: str, task: NodeTask, elapsed_s: float) -> bool:
        """Own a transferred task from now on. Returns False if this node owned it already.

        episode_uid: detects a sender whose episode has the same number in another database

        Raises WrongEpisode if this node has another episode, or has not started this one. Raises Unsettled if the loop
        thread is too busy to answer.
        """
        runtime = self._runtime_of(episode, episode_uid)
        runtime.clock()
        return runtime.loop.accept(task, elapsed_s)

    def overload_received(self, node: int, overloaded: bool, sequence: int) -> None:
        """Another node has sent its overload bit. Without an open episode it is ignored."""
        runtime = self._runtime
        if runtime is not None:
            runtime.loop.overload_received(node, overloaded, sequence)

    def clock_of(self, episode: int, episode_uid: str) -> EpisodeClock:
        """The clock of the current episode. Raises WrongEpisode."""
        return self._runtime_of(episode, episode_uid).clock()

    def progress(self, episode: int) -> dict[str, int]:
        """Counts of the episode's tasks at this node, at one instant (`facts.TaskCounts`).

        `owned` includes held ticks. `incarnation` changes if the episode was opened anew. Raises WrongEpisode,
        Unsettled.
        """
        runtime = self._runtime_of(episode)
        return {"incarnation": runtime.incarnation, **dataclasses.asdict(runtime.progress())}

    def close_episode(self, episode: int) -> dict[str, int]:
        """Deliver all records of the episode. Returns their numbers, and how many tasks this node still owned.

        From then on this node records nothing of the episode and abandons those tasks. Raises OutboxError while the
        database does not take the records, Unsettled while decisions are not recorded, and WrongEpisode.
        """
        if self._runtime is None or self._runtime.facts.episode != episode:
            self.outbox.flush()  # records of this node's previous process
        runtime = self._runtime_of(episode)
        abandoned = runtime.finish()
        self.outbox.flush()
        self._closed = episode
        self.receivers.end(episode)
        return {**runtime.counts, "abandoned": abandoned}

    def status(self) -> dict[str, Any]:
        """The node's status, for people and for the controller."""
        runtime, active = self._runtime, self.activation.current
        return {
            "run": self.identity.run,
            "node": self.identity.node,
            "episode": None if runtime is None else runtime.facts.episode,
            "slot": None if runtime is None else runtime.loop.last_slot,
            "pending": 0 if runtime is None else runtime.loop.pending,
            "queues": runtime.loop.queue_lengths if runtime else {"execution": 0, "sending": 0, "receiving": 0},
            "scheduler": active.choice.name if active else None,
            "model": active.model if active else None,
            "revision": active.revision if active else 0,
            "problem": self.activation.problem,
            "outbox": self.outbox.waiting,
            "outbox_in_memory": self.outbox.in_memory,
            "outbox_problem": self.outbox.problem,
            "refused_records": self.outbox.refused,
            "dropped_records": self.outbox.dropped,
        }

    def has_open_episode(self) -> bool:
        """Whether an open episode still needs this node: it is neither closed nor over for long."""
        runtime = self._runtime
        if runtime is None or runtime.facts.episode == self._closed:
            return False
        if not runtime.has_begun:
            return time.monotonic() - self._opened_s < _BEGINNING_S
        settings = self.identity.settings
        last_end_s = settings.time.slots * settings.time.slot_s + settings.tasks.deadline_s
        return runtime.clock().now() < last_end_s + _CLOSING_S * settings.time.time_scale

    def end_episode(self) -> None:
        """End the threads of the current episode."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.stop()

    def _runtime_of(self, episode: int, episode_uid: str | None = None) -> EpisodeRuntime:
        runtime = self._runtime
        if runtime is None or runtime.facts.episode != episode:
            here = "none" if runtime is None else str(runtime.facts.episode)
            raise WrongEpisode(f"this node's current episode is {here}, not {episode}")
        if episode_uid not in (None, runtime.facts.episode_uid):
            raise WrongEpisode(
                f"this node's current episode {episode} is of another database, not that of uid {episode_uid}"
            )
        return runtime
