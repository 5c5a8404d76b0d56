"""Gives a run's lease to one process at a time, which is then the only writer of the run's episodes.

The lease is a row per run: the holder, the expiry by the database's clock, and the epoch, which each acquisition
increments. A write to the run's episodes commits only if the row still has the writer's holder and epoch (`fenced`).
Edge nodes obey only the epoch in the row (`edgenode/fencing.py`). A holder that was suspended and replaced can
therefore change nothing, even before it notices.

An expired lease still belongs to its holder until another process acquires it. An outage of the database therefore
ends no process.

Concurrency: `LeaseHolder.acquire` starts a thread that renews the lease until `stopping` is set or the lease is lost.
Any thread may use `confirm` and `lease`.
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
"""Real seconds after the last renewal until another process may acquire the lease."""
RENEW_S = 1.5
_POLL_S = 0.25
_LONGEST_HOLDER = 64

_logger = logging.getLogger(__name__)


class LeaseHeld(UserError):
    """Another process, `holder`, has the lease and renews it. message: replaces the default message"""

    def __init__(self, run: str, holder: str, message: str | None = None) -> None:
        super().__init__(
            message
            or f"run '{run}' is already controlled by {holder}; stop that process, or choose another name for this run"
        )
        self.holder = holder


class LeaseLost(UserError):
    """Another process has acquired the lease. This process must not change the run any more."""


@dataclass(frozen=True)
class Lease:
    """A lease as its holder knows it. epoch: 1, 2, …; different for each acquisition of the run's lease"""

    run: Run
    holder: str
    epoch: int


def holder_of(environment: Mapping[str, str]) -> str:
    """The holder name of this process: `OFFLOAD_HOLDER`, which a restarted process keeps, or else a new name."""
    if given := environment.get("OFFLOAD_HOLDER"):
        return given[-_LONGEST_HOLDER:]  # the end of a pod's name is unique
    return new_holder()


def new_holder() -> str:
    """A unique holder name with the process id and the host, for people."""
    return f"process {os.getpid()} on {socket.gethostname()[:24]}, {uuid.uuid4().hex[:8]}"


def acquire(db: Database, run: Run, holder: str, stopping: threading.Event | None = None) -> Lease:
    """Acquire a run's lease: at once if it is free, expired, or held under the same name.

    Otherwise waits at most `LEASE_S` until the lease expires. Raises LeaseHeld if the other holder renews it, or if
    `stopping` is set.
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
    """Extend the lease to `LEASE_S` from now. Raises LeaseLost."""
    with db.transaction() as connection:
        statement = sa.update(leases).where(*_ours(lease)).values(expires_at=db.now + LEASE_S)
        if not connection.execute(statement).rowcount:
            require(connection, lease)


def release(db: Database, lease: Lease) -> None:
    """Let any process acquire the lease at once. Does nothing if the lease is lost."""
    with db.transaction() as connection:
        connection.execute(sa.update(leases).where(*_ours(lease)).values(expires_at=0.0))


def require(connection: Connection, lease: Lease) -> None:
    """Raise LeaseLost unless the lease is held. No process can acquire it before this transaction ends."""
    statement = sa.select(leases.c.holder, leases.c.epoch).where(leases.c.run == lease.run.number)
    row = connection.execute(statement.with_for_update(read=True)).one_or_none()
    if row is None or (row.holder, row.epoch) != (lease.holder, lease.epoch):
        raise LeaseLost(
            f"another process controls run '{lease.run.name}' now: {'unknown' if row is None else row.holder}; "
            f"this process did not renew its lease for more than {LEASE_S:g} s, and ends"
        )


@contextmanager
def fenced(db: Database, lease: Lease | None) -> Iterator[Connection]:
    """A writing transaction that commits only if the lease is held at its end, and otherwise raises LeaseLost.

    The check is at the end, so that the lease can be renewed during a long transaction. None: the caller is the run's
    only writer.
    """
    with db.transaction() as connection:
        yield connection
        if lease is not None:
            require(connection, lease)


def current_epoch(db: Database, run: Run) -> int:
    """The epoch of the process that controls the run, or controlled it last. 0 if there was none."""
    with db.reading() as connection:
        return connection.execute(sa.select(leases.c.epoch).where(leases.c.run == run.number)).scalar() or 0


class LeaseHolder:
    """A process that holds a run's lease.

    holder: its name, see `holder_of`
    lost: the renewing thread calls it when another process has acquired the lease
    stopping: when set, renewal stops, so that another process can replace one that takes too long to end
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
        """The acquired lease."""
        assert self._lease is not None, "a run's episodes are written by the holder of its lease"
        return self._lease

    def acquire(self) -> None:
        """Acquire the lease and start to renew it. Raises LeaseHeld like the function `acquire`."""
        self._lease = acquire(self._db, self._run, self.holder, self._stopping)
        self._thread.start()

    def confirm(self) -> None:
        """Raise LeaseLost unless the lease is held now."""
        with self._db.reading() as connection:
            require(connection, self.lease)

    def release(self) -> None:
        """Stop the renewal, and let any process acquire the lease. If the database does not answer, it just expires."""
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
                # Only another holder ends this process, never an error of the database.
                if not failing:
                    _logger.warning("the lease of run '%s' is not renewed (%s)", self._run.name, error)
                failing = True


def _ours(lease: Lease) -> tuple[Any, ...]:
    return leases.c.run == lease.run.number, leases.c.holder == lease.holder, leases.c.epoch == lease.epoch


def _take(db: Database, run: Run, holder: str) -> Any:
    """The lease. If another process holds it: its row, with the remaining seconds as `left_s`."""
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
        pass  # another process inserted the row first
    return _take(db, run, holder)
