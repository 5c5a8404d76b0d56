"""One heartbeat of a process that wants to stay registered, whatever the registry goes through."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from middleware.outages import OutageLog, ServiceAway
from middleware.registry.port import Instance, Registry


def keep_registered(registry: Registry, instance: Instance, outage: OutageLog) -> None:
    """Send a heartbeat with the instance's metadata; register again where the registry has forgotten it.

    A registry that is away is told of once, and raises nothing: the next heartbeat may come through.
    """
    try:
        try:
            registry.heartbeat(instance.service, instance.instance, instance.run, instance.metadata)
        except LookupError:
            registry.register(instance)
    except (SQLAlchemyError, ServiceAway) as error:
        outage.failed(error)
    else:
        outage.answered()
