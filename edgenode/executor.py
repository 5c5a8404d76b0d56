"""Runs the applications of an episode's tasks, one after the other, in a thread.

Concurrency: the loop thread calls `execute`. The executor thread reports each end through the callback. Any thread may
call `stop`, even while an application runs; the end of that application is then not reported.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from edgenode.clock import EpisodeClock
from edgenode.effects import Execute
from edgenode.facts import Key
from offload.protocols import Application

_logger = logging.getLogger(__name__)
TaskEnded = Callable[[Key, float, bool], None]
"""The task, the model instant of its end, and whether the application raised."""


class Executor:
    """Runs an episode's tasks. `ended` is called at the end of each."""

    def __init__(self, application: Application, ended: TaskEnded) -> None:
        self._application = application
        self._ended = ended
        self._tasks: queue.SimpleQueue[Execute | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, clock: EpisodeClock) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, args=(clock,), name="executor", daemon=True)
        self._thread.start()

    def execute(self, effect: Execute) -> None:
        """Queue a task; its application runs after those before it."""
        self._tasks.put(effect)

    def stop(self) -> None:
        """End the thread; `join` waits until it has ended."""
        self._stopping.set()
        self._tasks.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended, at most `timeout_s` real seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, clock: EpisodeClock) -> None:
        while (execute := self._tasks.get()) is not None and not self._stopping.is_set():
            start, end = execute.start_s, execute.end_s

            def wait_until(share: float, start: float = start, end: float = end) -> None:
                delay = clock.real_delay_s(start + share * (end - start))
                if delay > 0:
                    self._stopping.wait(delay)

            try:
                self._application.execute(execute.task.cycles, (end - start) / clock.time_scale, wait_until)
                broken = False
            except Exception:  # an application is third-party code; any exception is an execution failure
                _logger.exception("the application failed in task %s", execute.task.key)
                broken = True
            if self._stopping.is_set():
                return
            self._ended(execute.task.key, clock.now(), broken)
