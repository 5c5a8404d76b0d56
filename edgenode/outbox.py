"""The node's records on their way to the database: first on the node's own disk, then delivered in batches.

A record is appended to the current segment (a file of JSON lines) before anything else happens to it. Every write
interval the delivery thread closes the segment and delivers all closed ones, oldest first; a segment is deleted when
the database has it, and stays while the database is away. What a killed node left behind is delivered at the next start.
The operating system keeps what was written when the process is killed; only a crash of the machine can lose the last second.

Concurrency: `append` may be called by any thread; `_lock` guards the current segment. Deliveries are made by the delivery
thread and by `flush`, one at a time (`_delivering`). `stop` ends the thread after one last attempt.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from sqlalchemy.exc import SQLAlchemyError

from middleware.patience import is_away

Deliver = Callable[[Sequence[Mapping[str, Any]]], list[Mapping[str, Any]]]
"""Writes records to the database; returns those that it refused."""

_logger = logging.getLogger(__name__)
_SUFFIX = ".jsonl"
_BYTES = "base64:"
_LONGEST_PAUSE_S = 5.0


class OutboxError(RuntimeError):
    """Records are still on this node's disk: the database does not take them now. The message says why."""


class Outbox:
    """Records of one node in `folder`; `deliver` writes a batch to the database."""

    def __init__(self, folder: Path, deliver: Deliver, interval_s: float) -> None:
        self._folder = folder
        self._deliver = deliver
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._stopping = threading.Event()
        self._trouble: str | None = None
        self.refused = 0
        self.waiting = 0
        folder.mkdir(parents=True, exist_ok=True)
        left = self._closed_segments()
        self.waiting = sum(sum(1 for _ in path.open("rb")) for path in left)
        self._next = 1 + max((int(path.stem) for path in left), default=0)
        self._current: IO[str] | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Start the delivery thread."""
        self._thread.start()

    def append(self, record: Mapping[str, Any]) -> None:
        """Put a record (a row of `decisions` or `outcomes`, see `write_records`) on the disk."""
        line = json.dumps({key: _plain(value) for key, value in record.items()}, separators=(",", ":")) + "\n"
        with self._lock:
            if self._current is None:
                self._current = (self._folder / f"{self._next:09d}{_SUFFIX}").open("a", encoding="ascii")
                self._next += 1
            self._current.write(line)
            self._current.flush()
            self.waiting += 1

    def flush(self) -> None:
        """Deliver everything that was appended before the call. Raises OutboxError when the database does not take it."""
        with self._delivering:
            self._deliver_all()
            if self._trouble is not None:
                raise OutboxError(self._trouble)

    def stop(self) -> None:
        """End the thread, after an attempt to deliver what is left; what cannot be delivered stays on the disk."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        try:
            self.flush()
        except OutboxError as trouble:
            _logger.warning("%d records stay in %s: %s", self.waiting, self._folder, trouble)

    def _run(self) -> None:
        pause = self._interval_s
        while not self._stopping.wait(pause):
            with self._delivering:
                self._deliver_all()
            pause = self._interval_s if self._trouble is None else min(2 * pause, _LONGEST_PAUSE_S)

    def _deliver_all(self) -> None:
        with self._lock:
            if self._current is not None:
                self._current.close()
                self._current = None
            # Listed within the lock: a segment that is opened from now on is still being written.
            segments = self._closed_segments()
        for segment in segments:
            records, lines = _read(segment)
            try:
                refused = self._deliver(records)
            except SQLAlchemyError as error:
                self._hold(error)
                return
            self._keep_aside(refused)
            segment.unlink()
            with self._lock:
                self.waiting -= lines
        if self._trouble is not None:
            _logger.info("the records that waited on this node's disk are delivered")
        self._trouble = None

    def _hold(self, error: SQLAlchemyError) -> None:
        """The database does not take the records now. Told once: its adapter tells how long it is away."""
        # The driver's text may hold a password or whole rows: only the kind of error is told.
        why = "the database is away" if is_away(error) else "the database refuses the records"
        trouble = f"{why} ({type(error).__name__}); {self.waiting} records wait on this node's disk"
        if self._trouble is None:
            _logger.warning("%s", trouble)
        self._trouble = trouble

    def _keep_aside(self, refused: Sequence[Mapping[str, Any]]) -> None:
        if not refused:
            return
        self.refused += len(refused)
        with (self._folder / "refused.jsonl").open("a", encoding="ascii") as file:
            file.writelines(
                json.dumps({key: _plain(value) for key, value in record.items()}) + "\n" for record in refused
            )
        _logger.warning(
            "%d records were refused, mostly because their episode is closed; kept in refused.jsonl", len(refused)
        )

    def _closed_segments(self) -> list[Path]:
        return sorted(path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def _plain(value: Any) -> Any:
    return _BYTES + base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_BYTES):
        return base64.b64decode(value[len(_BYTES) :])
    return value


def _read(segment: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a segment, and how many lines it has.

    A torn last line, of a node that was killed while writing it, is left out and told.
    """
    records = []
    lines = segment.read_text(encoding="ascii", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            records.append({key: _parsed(value) for key, value in json.loads(line).items()})
        except ValueError:
            _logger.warning("%s: line %d is torn and left out", segment.name, number)
    return records, len(lines)
