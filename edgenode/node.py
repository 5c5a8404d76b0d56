"""An edge node: what its HTTP interface calls, and the episode that is being played.

Concurrency: request threads (`http.py`) call the public methods. `_opening` guards the change from one episode to the next:
an episode's parts (`runtime.py`) are replaced as a whole, and whatever still refers to the one before finds it closed.
Tasks' bytes come on links, which have threads of their own (`receivers.py`); the outbox has its own.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgenode.activation import Activation
from edgenode.clock import EpisodeClock
from edgenode.errors import WrongEpisode
from edgenode.facts import Journey
from edgenode.identity import NodeIdentity
from edgenode.metrics import Metrics
from edgenode.outbox import Outbox
from edgenode.receivers import Receivers
from edgenode.reports import Report
from edgenode.runtime import EpisodeRuntime
from offload.protocols import Application

_BEGINNING_S, _CLOSING_S = 5.0, 5.0
"""Real seconds after which an opened episode that has not begun, or one that nobody has closed, is given up by a node that leaves."""


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
        self._runtime: EpisodeRuntime | None = None
        self._closed = 0
        self._opened_s = -math.inf
        self._opening = threading.Lock()

    def open_episode(self, episode: int, episode_uid: str, trace: int, peers: Sequence[str]) -> None:
        """Be ready for an episode; the one before is over. `peers`: all nodes' addresses, by index.

        Told again of one that is open here, nothing changes, unless a peer has moved before it began: its tasks would be gone. A
        request that was held up somewhere must not bring back an episode that is over: raises WrongEpisode.
        """
        with self._opening:
            if self._runtime is not None:
                facts = self._runtime.facts
                here = facts.episode
                if episode < here:
                    raise WrongEpisode(f"episode {episode} is over; this node is playing episode {here}")
                same = (episode, episode_uid) == (here, facts.episode_uid)
                if same and (self._runtime.has_begun or self._runtime.addresses == list(peers)):
                    return
            self.end_episode()
            self.receivers.end(episode - 1)
            self._runtime = EpisodeRuntime(
                self.identity.facts(episode, episode_uid, trace),
                peers,
                self.identity,
                self.activation,
                self.outbox,
                self._application,
                self.metrics,
            )
            self._opened_s = time.monotonic()

    def change_controller(self) -> None:
        """Another process controls the run: what is being played here is over, and its numbers say nothing of new episodes."""
        with self._opening:
            self.end_episode()
            self.receivers.end_all()
            self._closed = 0

    def start_episode(self, episode: int, start_s: float) -> None:
        """The episode starts at `start_s` of this machine's monotonic clock."""
        with self._opening:
            self._playing(episode).begin(EpisodeClock(start_s, self.identity.settings.time.time_scale))

    def tick(self, episode: int, slot: int, task: Mapping[str, float] | None) -> None:
        """A slot's tick, with a task or with none. One that comes early is held until the slot's planned instant."""
        runtime = self._playing(episode)
        at_s = max(runtime.clock().now(), slot * self.identity.settings.time.slot_s)
        runtime.expect_tick(slot)
        runtime.loop.hold_tick(slot, task, at_s)

    def report(self, episode: int, slot: int) -> Report:
        """The answer to a probe, from the snapshot of its slot. Raises ProbeTimeout."""
        return self._playing(episode).report(slot)

    def announced(self, episode: int, slot: int, source: int, cycles: float, forget_after_s: float) -> None:
        """A task of `source` has entered its sending queue to this node."""
        self._playing(episode).loop.announced(source, slot, cycles, forget_after_s)

    def withdrawn(self, episode: int, slot: int, source: int) -> None:
        """That task will not come."""
        self._playing(episode).loop.withdrawn(source, slot)

    def handed_over(self, episode: int, episode_uid: str, journey: Journey, elapsed_s: float) -> bool:
        """Own a transferred task from now on; False when it was owned already. Returns when it is.

        episode_uid: another database's episode of the same number may be what the sender is playing still.
        Raises WrongEpisode, also where the episode has not begun; Unsettled where the loop is too busy to say whether it is owned.
        """
        runtime = self._playing(episode, episode_uid)
        runtime.clock()
        return runtime.loop.accept(journey, elapsed_s)

    def overload_heard(self, node: int, overloaded: bool, sequence: int) -> None:
        """Another node's overload bit. Between episodes nobody needs it."""
        runtime = self._runtime
        if runtime is not None:
            runtime.loop.overload_heard(node, overloaded, sequence)

    def clock_of(self, episode: int, episode_uid: str) -> EpisodeClock:
        """The clock of the episode that is being played. Raises WrongEpisode."""
        return self._playing(episode, episode_uid).clock()

    def progress(self, episode: int) -> dict[str, int]:
        """What this node has done with the episode's tasks, at one instant: see `core.Progress`.

        `owned` counts ticks that are held as well. `incarnation` differs where the episode was opened anew in between.
        Raises WrongEpisode, Unsettled.
        """
        runtime = self._playing(episode)
        return {"incarnation": runtime.incarnation, **dataclasses.asdict(runtime.progress())}

    def close_episode(self, episode: int) -> dict[str, int]:
        """Deliver all records of the episode; how many there were of this node, and how many tasks it still owned.

        From then on this node records nothing of it: those tasks are given up. Raises OutboxError while the database
        does not take the records, Unsettled while decisions are being made, WrongEpisode.
        """
        if self._runtime is None or self._runtime.facts.episode != episode:
            self.outbox.flush()  # what the process before this one has recorded
        runtime = self._playing(episode)
        abandoned = runtime.finish()
        self.outbox.flush()
        self._closed = episode
        self.receivers.end(episode)
        return {**runtime.counts, "abandoned": abandoned}

    def status(self) -> dict[str, Any]:
        """For people and for the controller."""
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

    def is_playing(self) -> bool:
        """Whether an episode is opened here whose records are still wanted: it is neither closed nor long over."""
        runtime = self._runtime
        if runtime is None or runtime.facts.episode == self._closed:
            return False
        if not runtime.has_begun:
            return time.monotonic() - self._opened_s < _BEGINNING_S
        settings = self.identity.settings
        last_end_s = settings.time.slots * settings.time.slot_s + settings.tasks.deadline_s
        return runtime.clock().now() < last_end_s + _CLOSING_S * settings.time.time_scale

    def end_episode(self) -> None:
        """End the threads of the episode that is being played."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.stop()

    def _playing(self, episode: int, episode_uid: str | None = None) -> EpisodeRuntime:
        runtime = self._runtime
        if runtime is None or runtime.facts.episode != episode:
            here = "none" if runtime is None else str(runtime.facts.episode)
            raise WrongEpisode(f"this node is playing episode {here}, not {episode}")
        if episode_uid not in (None, runtime.facts.episode_uid):
            raise WrongEpisode(
                f"this node is playing another database's episode {episode}, not that of uid {episode_uid}"
            )
        return runtime
