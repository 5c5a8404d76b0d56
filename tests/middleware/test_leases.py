"""Tests that one process at a time writes the episodes of a run."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from recorded_episodes import opened

from middleware.database import (
    Database,
    LeaseHeld,
    LeaseHolder,
    LeaseLost,
    Run,
    abort_episode,
    close_episode,
    current_epoch,
    find_episodes,
    forget_episodes,
    holder_of,
    load_trace,
    open_episode,
)
from middleware.database.leases import LEASE_S, acquire, release, renew
from middleware.database.schema import leases


def expire(db: Database) -> None:
    """Let the lease expire, as without renewals."""
    with db.transaction() as connection:
        connection.execute(sa.update(leases).values(expires_at=db.now - 1.0))


def left_s(db: Database) -> float:
    with db.reading() as connection:
        return connection.execute(sa.select(leases.c.expires_at - db.now)).scalar_one()


def test_the_databases_clock_is_unix_time(db: Database) -> None:
    with db.reading() as connection:
        assert connection.execute(sa.select(db.now)).scalar_one() == pytest.approx(time.time(), abs=5.0)


def test_a_free_lease_is_acquired_at_once_and_released_for_the_next(db: Database, run: Run) -> None:
    assert current_epoch(db, run) == 0
    first = acquire(db, run, "a")
    assert LEASE_S - 3 < left_s(db) <= LEASE_S
    release(db, first)
    assert acquire(db, run, "b").epoch == first.epoch + 1 == current_epoch(db, run)


def test_of_many_that_want_it_at_once_one_gets_it(db: Database, run: Run) -> None:
    barrier = threading.Barrier(8)

    def attempt(number: int) -> bool:
        barrier.wait()
        holder = LeaseHolder(db, run, f"holder {number}", stopping, lambda lost: None)
        try:
            holder.acquire()
        except LeaseHeld:
            return False
        return True

    stopping = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    stopping.set()


def test_a_lease_that_is_renewed_is_refused_with_its_holder(db: Database, run: Run) -> None:
    stopping = threading.Event()
    holder = LeaseHolder(db, run, "process 7 on there", stopping, lambda lost: None)
    holder.acquire()
    with pytest.raises(LeaseHeld, match=r"run 'small' is already controlled by process 7 on there; stop that process"):
        acquire(db, run, "b")
    holder.release()
    assert acquire(db, run, "b").epoch == 2


def test_a_lease_whose_holder_was_killed_is_waited_for(db: Database, run: Run) -> None:
    acquire(db, run, "killed")
    began = time.monotonic()
    assert acquire(db, run, "b").epoch == 2
    assert time.monotonic() - began > LEASE_S - 3


def test_a_process_that_was_restarted_under_its_holders_name_does_not_wait(db: Database, run: Run) -> None:
    first = acquire(db, run, "supervisor")
    assert acquire(db, run, "supervisor").epoch == 2
    with pytest.raises(LeaseLost, match="another process controls run 'small' now: supervisor"):
        renew(db, first)


def test_an_expired_lease_is_kept_by_its_holder_until_another_one_comes(db: Database, run: Run) -> None:
    lease = acquire(db, run, "a")
    expire(db)
    renew(db, lease)
    assert left_s(db) > 0
    expire(db)
    acquire(db, run, "b")
    with pytest.raises(LeaseLost, match="another process controls run 'small' now: b"):
        renew(db, lease)
    release(db, lease)
    assert left_s(db) > 0, "what was lost is not released"


def test_who_was_overtaken_changes_no_episode(db: Database, run: Run) -> None:
    number, _ = opened(db, run)
    trace, plan = load_trace(db, run, number), find_episodes(db, run, status=None)[0].plan
    lease = acquire(db, run, "a")
    second = open_episode(db, run, plan, trace, 1, "a" * 32, lease=lease)
    expire(db)
    acquire(db, run, "b")
    for write in (
        lambda: open_episode(db, run, plan, trace, 1, "b" * 32, lease=lease),
        lambda: close_episode(db, run, second, lease=lease),
        lambda: abort_episode(db, run, second, "for no reason", lease=lease),
        lambda: forget_episodes(db, run, plan.phase, 0, lease=lease),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert [(one.episode, one.status) for one in find_episodes(db, run, status=None)] == [(1, "open"), (2, "open")]


def test_a_holder_notices_that_it_was_overtaken(db: Database, run: Run) -> None:
    noticed = threading.Event()
    holder = LeaseHolder(db, run, "a", threading.Event(), lambda lost: noticed.set())
    holder.acquire()
    holder.confirm()
    with db.transaction() as connection:
        connection.execute(sa.update(leases).values(holder="b", epoch=9))
    with pytest.raises(LeaseLost):
        holder.confirm()
    assert noticed.wait(30)


def test_a_long_transaction_of_the_holder_does_not_cost_it_the_lease(db: Database, run: Run) -> None:
    """Renewals continue during a transaction. Only SQLite, which has one writer, delays them."""
    if db.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    from middleware.database.leases import fenced

    lease = acquire(db, run, "a")
    with fenced(db, lease) as connection:
        connection.execute(sa.text("SELECT COUNT(*) FROM episodes"))
        began = time.monotonic()
        renew(db, lease)
        assert time.monotonic() - began < 5


def test_a_pod_is_known_by_the_name_that_it_was_given() -> None:
    assert holder_of({"OFFLOAD_HOLDER": "pod a/b-7"}) == "pod a/b-7"
    assert holder_of({"OFFLOAD_HOLDER": "x" * 80 + "-7"}).endswith("x-7")
    assert len(holder_of({"OFFLOAD_HOLDER": "x" * 80})) == 64
    assert holder_of({}) != holder_of({}) and len(holder_of({})) <= 64
