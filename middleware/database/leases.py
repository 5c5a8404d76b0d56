"""A run's lease: it makes one process at a time the writer of a run's episodes.

The row of a run says who holds the lease, until when by the database's clock, and its epoch, a number that grows each time
that somebody acquires it. Every write to the run's episodes is committed only if the row still has the writer's holder and
epoch (`fenced`), and edge nodes obey the epoch that is in the row (`edgenode/fencing.py`). So a holder that was stopped for a
while and was replaced meanwhile can change nothing any more, however late it notices.

A lease that expires is not lost: only another process that acquires it takes it. So an outage of the database ends nobody.

Concurrency: `LeaseHolder.acquire` starts a thread that renews the lease until `stopping` is set or the lease is lost;
`confirm` and `lease` may be used by any thread.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from middleware.database.engine import Database
from middleware.database.errors import ConstraintRefused
from middleware.database.runs import Run
from middleware.database.schema import leases
from middleware.errors import ServiceError
from offload.errors import UserError

LEASE_S = 6.0
"""A process that has not renewed its lease for so many real seconds can be replaced."""
RENEW_S = 1.5
_POLL_S = 0.25
_LONGEST_HOLDER = 64

_logger = logging.getLogger(__name__)


class LeaseHeld(UserError):
    """Another process holds the lease and renews it. `holder` says which; words: what its message says instead of that."""

    def __init__(self, run: str, holder: str, words: str | None = None) -> None:
        super().__init__(
            words
            or f"run '{run}' is being played already, by {holder}; stop that one, or choose another name for this run"
        )
        self.holder = holder


class LeaseLost(UserError):
    """Another process has acquired the lease: this one must change nothing of the run any more."""


@dataclass(frozen=True)
class Lease:
    """What a holder knows of its lease. epoch: 1, 2, …; no two processes have the same one of a run."""

    run: Run
    holder: str
    epoch: int


def holder_of(environment: Mapping[str, str]) -> str:
    """This process as a holder: `OFFLOAD_HOLDER`, by which a restarted process is known again; else a new name."""
    if given := environment.get("OFFLOAD_HOLDER"):
        return given[-_LONGEST_HOLDER:]  # of a pod's name the end is what no other has
    return new_holder()


def new_holder() -> str:
    """A name that no other process has, which tells people where to find this one."""
    return f"process {os.getpid()} on {socket.gethostname()[:24]}, {uuid.uuid4().hex[:8]}"


def acquire(db: Database, run: Run, holder: str, stopping: threading.Event | None = None) -> Lease:
    """Acquire a run's lease, at once where it is free, expired, or held under the same name.

    Waits for one that is not renewed until it has expired, at most `LEASE_S`. Raises LeaseHeld as soon as another holder
    renews it, or when `stopping` is set meanwhile.
    """
    ending = stopping or threading.Event()
    first: Any = None
    while True:
        found = _take(db, run, holder)
        if isinstance(found, Lease):
            return found
        seen = (found.holder, found.epoch, found.expires_at)
        if (first is not None and seen != first) or ending.is_set():
            raise LeaseHeld(run.name, found.holder)
        first = seen
        ending.wait(max(0.0, min(_POLL_S, found.left_s)))


def renew(db: Database, lease: Lease) -> None:
    """Hold the lease for another `LEASE_S`. Raises LeaseLost."""
    with db.transaction() as connection:
        statement = sa.update(leases).where(*_ours(lease)).values(expires_at=db.now + LEASE_S)
        if not connection.execute(statement).rowcount:
            require(connection, lease)


def release(db: Database, lease: Lease) -> None:
    """Let anybody acquire the lease at once. One that was lost is left alone."""
    with db.transaction() as connection:
        connection.execute(sa.update(leases).where(*_ours(lease)).values(expires_at=0.0))


def require(connection: Connection, lease: Lease) -> None:
    """Raise LeaseLost unless the lease is held; nobody acquires it before this transaction has ended."""
    statement = sa.select(leases.c.holder, leases.c.epoch).where(leases.c.run == lease.run.number)
    row = connection.execute(statement.with_for_update(read=True)).one_or_none()
    if row is None or (row.holder, row.epoch) != (lease.holder, lease.epoch):
        raise LeaseLost(
            f"another process controls run '{lease.run.name}' now: {'unknown' if row is None else row.holder}; "
            f"this one had not renewed its lease for more than {LEASE_S:g} s, and ends"
        )


@contextmanager
def fenced(db: Database, lease: Lease | None) -> Iterator[Connection]:
    """A writing transaction that is committed only if the lease is still held then: else it raises LeaseLost.

    Asked at the end, so that the lease can be renewed while a long transaction runs. None: the caller is the run's only writer.
    """
    with db.transaction() as connection:
        yield connection
        if lease is not None:
            require(connection, lease)


def current_epoch(db: Database, run: Run) -> int:
    """The epoch of the process that controls the run, or did so last; 0 where none ever has."""
    with db.reading() as connection:
        return connection.execute(sa.select(leases.c.epoch).where(leases.c.run == run.number)).scalar() or 0


class LeaseHolder:
    """A process that holds a run's lease.

    holder: its name, see `holder_of`; lost: called by the renewing thread when another process has acquired the lease
    stopping: when it is set the lease is renewed no more: a process that ends may be replaced when it takes too long
    """

    def __init__(
        self, db: Database, run: Run, holder: str, stopping: threading.Event, lost: Callable[[LeaseLost], None]
    ) -> None:
        self._db, self._run, self.holder = db, run, holder
        self._stopping, self._lost = stopping, lost
        self._lease: Lease | None = None
        self._thread = threading.Thread(target=self._renew_all, name="lease", daemon=True)

    @property
    def lease(self) -> Lease:
        """The lease that was acquired."""
        assert self._lease is not None, "a run's episodes are written by the holder of its lease"
        return self._lease

    def acquire(self) -> None:
        """Acquire the lease and keep renewing it. Raises as the function `acquire`."""
        self._lease = acquire(self._db, self._run, self.holder, self._stopping)
        self._thread.start()

    def confirm(self) -> None:
        """Raise LeaseLost unless the lease is held now."""
        with self._db.reading() as connection:
            require(connection, self.lease)

    def release(self) -> None:
        """Renew no more, and let anybody acquire the lease. A database that does not answer lets it expire."""
        self._stopping.set()
        self._thread.join(timeout=LEASE_S)
        try:
            release(self._db, self.lease)
        except ServiceError as error:
            _logger.warning("the lease of run '%s' expires by itself (%s)", self._run.name, error)

    def _renew_all(self) -> None:
        failing = False
        while not self._stopping.wait(RENEW_S):
            try:
                renew(self._db, self.lease)
                failing = False
            except LeaseLost as lost:
                self._lost(lost)
                return
            except ServiceError as error:
                # Whatever the database answers: only another holder ends this process.
                if not failing:
                    _logger.warning("the lease of run '%s' is not renewed (%s)", self._run.name, error)
                failing = True


def _ours(lease: Lease) -> tuple[Any, ...]:
    return leases.c.run == lease.run.number, leases.c.holder == lease.holder, leases.c.epoch == lease.epoch


def _take(db: Database, run: Run, holder: str) -> Any:
    """The lease; or, where somebody else holds it, its row, with the seconds that are left as `left_s`."""
    here = leases.c.run == run.number
    with db.transaction() as connection:
        free = sa.or_(leases.c.holder == holder, leases.c.expires_at <= db.now)
        values = {"holder": holder, "epoch": leases.c.epoch + 1, "expires_at": db.now + LEASE_S}
        if connection.execute(sa.update(leases).where(here, free).values(values)).rowcount:
            return Lease(run, holder, connection.execute(sa.select(leases.c.epoch).where(here)).scalar_one())
        left = (leases.c.expires_at - db.now).label("left_s")
        row = connection.execute(sa.select(leases, left).where(here)).one_or_none()
    if row is not None:
        return row
    try:
        with db.transaction() as connection:
            connection.execute(sa.insert(leases).values(run=run.number, holder="", epoch=0, expires_at=0.0))
    except ConstraintRefused:
        pass  # another process was quicker
    return _take(db, run, holder)
