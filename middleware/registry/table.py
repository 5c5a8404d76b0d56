"""`database:`: the registry as a table with heartbeats."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from middleware.database.engine import Database
from middleware.database.schema import instances
from middleware.registry.port import Instance


class TableRegistry:
    """Instances as rows; a heartbeat updates its row. The clocks of all machines are assumed to agree within a second or two."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(self, instance: Instance) -> None:
        """See `Registry.register`."""
        with self._db.transaction() as connection:
            connection.execute(sa.delete(instances).where(*_key(instance.service, instance.instance, instance.run)))
            connection.execute(
                sa.insert(instances).values(
                    service=instance.service,
                    instance=instance.instance,
                    run=instance.run,
                    address=instance.address,
                    metadata=dict(instance.metadata),
                    started_at=instance.started_at,
                    heartbeat_at=instance.heartbeat_at,
                )
            )

    def heartbeat(self, service: str, instance: str, run: str, metadata: Mapping[str, Any]) -> None:
        """See `Registry.heartbeat`."""
        with self._db.transaction() as connection:
            changed = connection.execute(
                sa.update(instances)
                .where(*_key(service, instance, run))
                .values(metadata=dict(metadata), heartbeat_at=time.time())
            ).rowcount
        if not changed:
            raise LookupError(f"{service} {instance} of run '{run}' is not registered")

    def deregister(self, service: str, instance: str, run: str) -> None:
        """See `Registry.deregister`."""
        with self._db.transaction() as connection:
            connection.execute(sa.delete(instances).where(*_key(service, instance, run)))

    def instances(self, service: str, run: str | None = None) -> list[Instance]:
        """See `Registry.instances`."""
        statement = sa.select(instances).where(instances.c.service == service)
        if run is not None:
            statement = statement.where(instances.c.run == run)
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        found = [
            Instance(
                row.service,
                row.instance,
                row.run,
                row.address,
                row._mapping["metadata"],
                row.started_at,
                row.heartbeat_at,
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (one.run, len(one.instance), one.instance))


def _key(service: str, instance: str, run: str) -> tuple[Any, ...]:
    return instances.c.service == service, instances.c.instance == instance, instances.c.run == run
