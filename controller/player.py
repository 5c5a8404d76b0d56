"""Plays a run's episodes one after the other: requested episodes, or continuous arrivals while serving.

Concurrency:

* The player thread plays. It takes requested episodes from `_requested`. A None there only wakes it up.
* Request threads call `request`, which opens an episode and queues it. A thread holds `_opening` while it opens an
  episode, so one thread at a time opens one. Request threads and the main thread set and clear `_serving`.
* The player thread writes `trouble`, `_next_trace` and `_last`. Before it starts, the main thread fills the last two
  (`resume`). Any thread may read `trouble` and `last`.
* The player thread ends after `Lifecycle.stopping` is set. No episode is opened then. The main thread calls `stop`. It
  waits until no thread is opening an episode, and aborts the current episode. It then wakes the player thread up, waits
  for its end, and aborts the episodes that are left in the queue.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from controller.closing import ClosingError
from controller.episode_runtime import BusyError, Episodes, EpisodeState, OpeningError, RefusedError
from controller.lifecycle import Lifecycle
from controller.readiness import Fallback
from controller.run_services import RunServices
from middleware.configuration import NoLiveSettings
from middleware.database import (
    EpisodeSummary,
    LeaseHolder,
    LeaseLost,
    abort_episode,
    find_episodes,
    forget_episodes,
)
from middleware.errors import ServiceError
from middleware.retrying import log_refusal, retry_while_unavailable
from offload.episodes import CONTINUOUS_TRACES, EpisodePhase, EpisodePlan, EpisodeStatus
from offload.settings import SettingsError
from offload.tasks import Trace

SERVE_PHASE: Final = EpisodePhase.SERVE
LAST_EPISODES: Final = 10
_REFUSED_S = 1.0
_ENDING_S = 5.0
_STOPPED = "the controller was stopped"

_logger = logging.getLogger(__name__)


class Player:
    """Plays a run's episodes. continuously: whether the controller was started for continuous arrivals."""

    def __init__(
        self,
        services: RunServices,
        holder: LeaseHolder,
        episodes: Episodes,
        fallback: Fallback,
        lifecycle: Lifecycle,
        continuously: bool,
    ) -> None:
        self.continuously = continuously
        self.trouble: str | None = None
        """Why no further episode of the continuous arrivals can be opened; None if it can."""
        self._services = services
        self._holder = holder
        self._episodes = episodes
        self._fallback = fallback
        self._lifecycle = lifecycle
        self._requested: queue.SimpleQueue[EpisodeState | None] = queue.SimpleQueue()
        self._opening = threading.Lock()
        self._serving = threading.Event()
        self._last: deque[EpisodeSummary] = deque(maxlen=LAST_EPISODES)
        self._next_trace = CONTINUOUS_TRACES
        self._thread = threading.Thread(target=self._play_all, name="player", daemon=True)

    # --- start and end: the main thread -------------------------------------------------------------------------

    def resume(self) -> None:
        """Load the last episodes from the database, and abort those that a dead controller left open."""
        database, run = self._services.database, self._services.run
        stopping = self._lifecycle.stopping
        for episode in retry_while_unavailable(lambda: find_episodes(database, run, status=None), stopping=stopping):
            if episode.status == EpisodeStatus.OPEN:
                number, lease = episode.episode, self._holder.lease
                abort = partial(abort_episode, database, run, number, "its controller died", lease=lease)
                retry_while_unavailable(abort, stopping=stopping)
                _logger.warning("aborted episode %d: a controller died and left it open", episode.episode)
            elif episode.status == EpisodeStatus.CLOSED:
                self._last.append(episode)
            if episode.plan.phase == SERVE_PHASE:
                self._next_trace = max(self._next_trace, episode.plan.trace + 1)

    def start(self) -> None:
        """Start the player thread."""
        self._thread.start()

    def stop(self) -> None:
        """Abort the current episode and the queued ones. `Lifecycle.stopping` must be set before."""
        with self._opening:
            pass  # no thread is opening an episode now, and no further one is opened
        self._requested.put(None)
        self._episodes.abort(_STOPPED)
        if self._thread.is_alive():
            self._thread.join(timeout=_ENDING_S)
        while not self._requested.empty():
            state = self._requested.get()
            if state is not None:
                state.abort(_STOPPED)
                try:
                    self._episodes.play(state)
                except ServiceError as error:  # the next controller aborts it
                    log_refusal(error, f"aborting episode {state.episode}")

    # --- requests: any thread -----------------------------------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Whether arrivals are continuous now."""
        return self._serving.is_set()

    @property
    def last(self) -> Sequence[EpisodeSummary]:
        """The last closed episodes, oldest first; `LAST_EPISODES` at most."""
        return list(self._last)

    def require_no_arrivals(self) -> None:
        """Raise BusyError while arrivals are continuous."""
        if self._serving.is_set():
            raise BusyError("arrivals are continuous; DELETE /v1/serve ends them")

    def request(self, plan: EpisodePlan, recorded: Trace | None = None) -> int:
        """Open an episode, queue it, and return its number. Raises BusyError, and what `Episodes.open` raises."""
        self.require_no_arrivals()
        if not self._opening.acquire(blocking=False):
            raise BusyError("another episode is being opened")
        try:
            state = self._episodes.open(plan, recorded)
            self._requested.put(state)
        finally:
            self._opening.release()
        return state.episode

    def set_serving(self, serving: bool, timeout_s: float = threading.TIMEOUT_MAX) -> None:
        """Begin or end continuous arrivals. An end lets the current episode finish.

        timeout_s: real seconds that an end waits for the opening of an episode
        """
        if serving:
            self._serving.set()
            self._requested.put(None)
        else:
            self._serving.clear()
            if self._opening.acquire(timeout=timeout_s):
                self._opening.release()  # if an episode was being opened, it is open now, and the caller can see it

    # --- the player thread --------------------------------------------------------------------------------------

    def _play_all(self) -> None:
        try:
            while not self._lifecycle.stopping.is_set():
                state = self._next()
                if state is not None:
                    summary = self._episodes.play(state)
                    if summary is not None:
                        self._last.append(summary)
                    if state.plan.phase == SERVE_PHASE:
                        self._forget()
        except LeaseLost as lost:
            self._lifecycle.lose(lost)
        except ServiceError as error:  # the message is enough, a traceback does not help
            if self._lifecycle.stopping.is_set():
                log_refusal(error, "ending the last episode")  # the next controller aborts it
                return
            self._lifecycle.fail(error, f"no episode can be played: {error}")
        except ClosingError as error:
            self._lifecycle.fail(error)
        except Exception as error:  # the process must end with the reason, not only this thread
            _logger.exception("the episode failed")
            self._lifecycle.fail(error, f"the player failed: {type(error).__name__}: {error}")

    def _forget(self) -> None:
        """Delete old episodes of the continuous arrivals, so that the database does not grow."""
        try:
            run = self._services.run
            kept = run.settings.kept_episodes
            forget_episodes(self._services.database, run, SERVE_PHASE, kept, lease=self._holder.lease)
        except ServiceError as error:  # the next episode's end tries again
            log_refusal(error, "deleting old episodes")

    def _next(self) -> EpisodeState | None:
        """The next episode to play: a requested one, or one of the continuous arrivals; None if there is none yet."""
        try:
            state = self._requested.get(block=not self._serving.is_set())
        except queue.Empty:
            state = None
        if state is not None or not self._serving.is_set() or self._lifecycle.stopping.is_set():
            return state
        with self._opening:
            if not self._serving.is_set():
                return None
            try:
                state = self._open_or_take_over()
            except BusyError:
                return None  # a requested episode is in the queue now
            except (OpeningError, SettingsError, NoLiveSettings) as refused:
                # Serving resumes as soon as there are settings that the nodes accept.
                if not self._lifecycle.stopping.is_set():
                    self._note_trouble(refused)
        if state is None:
            self._forget()  # an opening that failed has left an aborted episode with all its tasks
            self._lifecycle.stopping.wait(_REFUSED_S)
        return state

    def _open_or_take_over(self) -> EpisodeState | None:
        """The next episode of the continuous arrivals; None if the fallback scheduler was set instead."""
        try:
            state = self._open_continuous()
        except RefusedError as refused:
            if not self._fallback.take_over(str(refused)):
                raise
            return None
        self.trouble = None
        return state

    def _note_trouble(self, refused: Exception) -> None:
        self.trouble = str(refused)
        _logger.error("no episode can be opened: %s", refused)

    def _open_continuous(self) -> EpisodeState:
        """Open the next episode of the continuous arrivals, with the scheduler of the live settings."""
        choice = self._episodes.live_scheduler()
        plan = EpisodePlan(SERVE_PHASE, choice.name, self._next_trace, choice)
        self._next_trace += 1
        return self._episodes.open(plan)
