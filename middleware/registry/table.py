"""Implements the registry as a database table with heartbeats (`database:`), by the database's clock only."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.schema import instances
from middleware.registry.port import MAX_AGE_S, ForeignEntries, Instance, checked_instance

_logger = logging.getLogger(__name__)


class TableRegistry:
    """Stores instances as rows. A heartbeat updates its row."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._foreign = ForeignEntries(_logger)
        self._age_s = (db.now - instances.c.heartbeat_at).label("age_s")

    def register(self, instance: Instance) -> None:
        """See `Registry.register`."""
        with self._db.transaction() as connection:
            connection.execute(sa.delete(instances).where(*_named(instance)))
            connection.execute(
                sa.insert(instances).values(
                    service=instance.service,
                    instance=instance.instance,
                    run=instance.run,
                    address=instance.address,
                    metadata=dict(instance.metadata),
                    started_at=instance.started_at,
                    heartbeat_at=self._db.now,
                )
            )

    def heartbeat(self, instance: Instance) -> bool:
        """See `Registry.heartbeat`."""
        with self._db.transaction() as connection:
            statement = sa.update(instances).where(*_own(instance))
            values = {"metadata": dict(instance.metadata), "heartbeat_at": self._db.now}
            if connection.execute(statement.values(values)).rowcount:
                return True
            age_s = connection.execute(sa.select(self._age_s).where(*_named(instance))).scalar()
        if age_s is None or age_s > MAX_AGE_S:
            raise LookupError(f"{instance.service} {instance.instance} of run '{instance.run}' is not registered")
        return False

    def deregister(self, instance: Instance) -> None:
        """See `Registry.deregister`."""
        with self._db.transaction() as connection:
            connection.execute(sa.delete(instances).where(*_own(instance)))

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """See `Registry.instances`."""
        statement = sa.select(instances, self._age_s).where(instances.c.service == service)
        if run is not None:
            statement = statement.where(instances.c.run == run)
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        found = [one for row in rows if (one := self._read(row)) is not None]
        return sorted(found, key=lambda one: (one.run, len(one.instance), one.instance))

    def _read(self, row: sa.Row[Any]) -> Instance | None:
        metadata = row._mapping["metadata"]
        try:
            return checked_instance(
                row.service, row.instance, row.run, row.address, metadata, row.started_at, row.age_s
            )
        except ValueError as wrong:
            self._foreign.log(f"{row.service} {row.instance!r} of run {row.run!r}", wrong)
            return None


def _named(one: Instance) -> tuple[Any, ...]:
    return instances.c.service == one.service, instances.c.instance == one.instance, instances.c.run == one.run


def _own(one: Instance) -> tuple[Any, ...]:
    return *_named(one), instances.c.address == one.address, instances.c.started_at == one.started_at
