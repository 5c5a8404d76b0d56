"""Keeps a node's records on the node's own disk until they are delivered to the database in batches.

* A record is first appended to the current segment, a file of JSON lines.
* In every write interval the delivery thread closes the segment and delivers all closed ones, oldest first.
* A segment is deleted when the database has its records. It stays while the database is unavailable.
* Records that a killed node left behind are delivered at its next start. The operating system keeps what was written
  before the process was killed. Only a crash of the machine can lose the records of the last second.

Some lines cannot be delivered and are set aside in the same folder. Records that the database refuses permanently go
to `refused.jsonl`, with the reason. Lines of segment NNN that are not records go to `NNN.damaged`, unchanged.

While the disk is not writable, at most `most_in_memory` records are kept in memory. They are delivered from there, or
written when the disk is writable again. Further records are dropped and counted. The controller notices at the close
that the episode lacks records.

Concurrency: any thread may call `append`. `_lock` guards the current segment, the memory, the counts and the disk's
problem. The delivery thread and `flush` deliver, one at a time (`_delivering`), and only they use what was delivered
and what has to be set aside. Any thread may read the counts without a lock. `stop` ends the thread after one last
attempt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenode.segments import (
    REFUSED,
    SUFFIX,
    WholeWriter,
    append,
    content_of,
    is_writable,
    line_of,
    lines_of,
    number,
    read_segment,
    segments_in,
)
from middleware.database import Refused
from middleware.errors import ServiceError
from middleware.outages import FULL_DISK
from offload.records import Record

Deliver = Callable[[Sequence[Mapping[str, Any]]], Sequence[Refused]]
"""Writes records to the database; returns those that the database refuses permanently."""

_logger = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 5.0
_MOST_IN_MEMORY = 100_000
_AT_ONCE = 256
"""How many records are written from memory to the disk at once, while `append` waits."""
_MOST_ASIDE = 1000
"""How many deliveries' refused records are kept in memory while the disk is not writable."""


def most_records(nodes: int, slots: int) -> int:
    """How many records may be kept in memory: what one episode leaves at a node at most, and never more than 100,000.

    An episode leaves a decision per slot, T + 1, and an outcome per task. At most all N·T tasks end at one node.
    """
    return min(slots + 1 + nodes * slots, _MOST_IN_MEMORY)


class OutboxError(RuntimeError):
    """Records are still on this node, because the database does not accept them now. The message says why."""


class Outbox:
    """The records of one node, in `folder`.

    deliver: writes a batch to the database
    interval_s: real seconds between two deliveries
    """

    def __init__(
        self, folder: Path, deliver: Deliver, interval_s: float, most_in_memory: int = _MOST_IN_MEMORY
    ) -> None:
        self._folder = folder
        self._deliver = deliver
        self._interval_s = interval_s
        self._most_in_memory = most_in_memory
        self._lock = threading.Lock()
        self._delivering = threading.Lock()
        self._stopping = threading.Event()
        self._trouble: str | None = None
        self._disk_trouble: str | None = None
        self._memory: list[bytes] = []
        self._aside: list[tuple[str, bytes]] = []
        self._delivered: set[Path] = set()
        self.refused = 0
        self.dropped = 0
        self.waiting = 0
        self._next = 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            left = segments_in(folder)
            self.waiting = sum(len(lines_of(path)) for path in left)
            self._next = 1 + max(map(number, left), default=0)
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise
            with self._lock:
                self._disk_failed(error)
        self._writer: WholeWriter | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    @property
    def in_memory(self) -> int:
        """How many records are in memory, because the disk is not writable."""
        return len(self._memory)

    @property
    def problem(self) -> str | None:
        """Why records wait, and what is wrong with the disk; None if nothing is wrong."""
        return "; ".join(message for message in (self._trouble, self._disk_message()) if message) or None

    def start(self) -> None:
        """Start the delivery thread."""
        self._thread.start()

    def append(self, record: Record) -> None:
        """Write a record to the disk, or to memory while the disk is not writable."""
        line = line_of(record.content())
        with self._lock:
            # While older records are in memory, the delivery thread tests the disk. So not every record has to try it.
            if not self._memory:
                try:
                    self._write(line)
                    self.waiting += 1
                    return
                except OSError as error:
                    self._disk_failed(error)
            if len(self._memory) < self._most_in_memory:
                self._memory.append(line)
                self.waiting += 1
                return
            self.dropped += 1
            if self.dropped == 1:
                _logger.error("%d records are in memory, the maximum: further records are dropped", len(self._memory))

    def flush(self) -> None:
        """Deliver the records that were appended before the call. Raises OutboxError if that is not possible now."""
        with self._delivering:
            self._deliver_all()
            if self._trouble is not None:
                raise OutboxError(self.problem or self._trouble)

    def stop(self) -> None:
        """End the thread, after one last attempt to deliver. What cannot be delivered stays on the disk."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        try:
            self.flush()
        except OutboxError as trouble:
            _logger.warning("%d records stay in %s: %s", self.waiting - self.in_memory, self._folder, trouble)
            if self._memory:
                _logger.error("%d records that could not be written to the disk are lost", len(self._memory))
        lost = sum(piece.count(b"\n") for _, piece in self._aside)
        if lost:
            _logger.error("%d refused records that could not be set aside are lost", lost)

    def _run(self) -> None:
        pause = self._interval_s
        while not self._stopping.wait(pause):
            with self._delivering:
                self._deliver_all()
            pause = self._interval_s if self._trouble is None else min(2 * pause, _LONGEST_PAUSE_S)

    # --- the disk -----------------------------------------------------------------------------------------------

    def _write(self, line: bytes) -> None:
        """Append to the current segment. Requires `_lock`. Raises OSError; the next call then begins a new segment."""
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = WholeWriter(self._folder / f"{self._next:09d}{SUFFIX}")
            self._next += 1
        try:
            self._writer.write(line)
        except OSError:
            self._close_segment()
            raise

    def _close_segment(self) -> None:
        """Close the current segment. Requires `_lock`."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        """Log the problem once, until the disk is writable again. Requires `_lock`."""
        if self._disk_trouble is None:
            _logger.error(
                "%s is not writable (%s); up to %d records are kept in memory",
                self._folder, error.strerror or error, self._most_in_memory,
            )  # fmt: skip
        self._disk_trouble = error.strerror or str(error)

    def _disk_message(self) -> str | None:
        if self._disk_trouble is None:
            return None
        dropped = f", {self.dropped} dropped" if self.dropped else ""
        return f"the disk is not writable ({self._disk_trouble}): {len(self._memory)} records in memory{dropped}"

    def _leave_memory(self) -> None:
        """If the disk is writable again, write the records in memory to it, and those that have to be set aside."""
        if not (self._disk_trouble or self._memory or self._aside) or not is_writable(self._folder):
            return
        try:
            while self._aside:
                name, piece = self._aside[0]
                append(self._folder / name, piece)
                del self._aside[0]
            more = True
            while more:
                with self._lock:
                    some = self._memory[:_AT_ONCE]
                    if some:
                        self._write(b"".join(some))
                        del self._memory[: len(some)]
                    more = bool(self._memory)
        except OSError as error:
            with self._lock:
                self._disk_failed(error)
            return
        with self._lock:
            if self._memory or self._aside:
                return  # the disk has refused another record meanwhile
            self._disk_trouble = None
        _logger.warning("%s is writable again", self._folder)

    # --- delivery -----------------------------------------------------------------------------------------------

    def _deliver_all(self) -> None:
        self._leave_memory()
        troubles: list[str] = []
        with self._lock:
            self._close_segment()
            # Listed under the lock: a segment that is opened after this is still being written.
            try:
                segments = segments_in(self._folder)
            except OSError as error:
                segments = []
                troubles.append(f"{self._folder} cannot be read ({error.strerror or error})")
        try:
            for segment in segments:
                trouble = self._deliver_segment(segment)
                troubles += [trouble] if trouble else []
            self._deliver_memory()
        except ServiceError as error:
            troubles.append(f"{error}; {self.waiting} records wait on this node")
        self._log_trouble("; ".join(troubles) or None)

    def _deliver_segment(self, segment: Path) -> str | None:
        """Deliver one segment. Returns why it could not be read, or None. Raises the database's errors."""
        try:
            if segment not in self._delivered:
                found = read_segment(segment)
                refused = self._deliver(found.contents)
                self._delivered.add(segment)
                self._keep_damaged(segment, found.damaged)
                self._keep_refused(refused)
                with self._lock:
                    self.waiting = max(0, self.waiting - found.lines)
            segment.unlink()
        except FileNotFoundError:
            _logger.error("%s has vanished, with the records in it", segment)
        except OSError as error:
            if segment in self._delivered:  # the disk is read-only now: the file is deleted later
                with self._lock:
                    self._disk_failed(error)
                return None
            return f"{segment.name} cannot be read ({error.strerror or error})"
        self._delivered.discard(segment)
        return None

    def _deliver_memory(self) -> None:
        with self._lock:
            lines = list(self._memory)
        contents = [content for line in lines if (content := content_of(line)) is not None]
        if contents:
            self._keep_refused(self._deliver(contents))
            with self._lock:
                del self._memory[: len(lines)]
                self.waiting = max(0, self.waiting - len(lines))

    def _log_trouble(self, trouble: str | None) -> None:
        """Log once that records wait, and once that they are delivered."""
        if trouble is not None and self._trouble is None:
            _logger.warning("%s", trouble)
        if trouble is None and self._trouble is not None:
            _logger.info("the records that waited on this node are delivered")
        self._trouble = trouble

    # --- records that are set aside -----------------------------------------------------------------------------

    def _keep_damaged(self, segment: Path, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        with self._lock:
            self.refused += len(lines)
        self._keep(f"{segment.stem}.damaged", b"\n".join(lines) + b"\n")
        _logger.warning(
            "%s: %d lines are not records, as after a power loss; kept in %s.damaged",
            segment.name, len(lines), segment.stem,
        )  # fmt: skip

    def _keep_refused(self, refused: Sequence[Refused]) -> None:
        if not refused:
            return
        with self._lock:
            self.refused += len(refused)
        self._keep(REFUSED, b"".join(line_of(one.content, refused=one.reason) for one in refused))
        _logger.warning(
            "%d records were refused, the first because: %s; kept in %s", len(refused), refused[0].reason, REFUSED
        )

    def _keep(self, name: str, piece: bytes) -> None:
        try:
            append(self._folder / name, piece)
        except OSError as error:
            lost = piece.count(b"\n") if len(self._aside) >= _MOST_ASIDE else 0
            with self._lock:
                self._disk_failed(error)
                self.dropped += lost
            if not lost:
                self._aside.append((name, piece))
                return
            _logger.error("%d refused records could not be set aside: they are lost", lost)
