"""One heartbeat of a process that wants to stay registered, whatever the registry goes through."""

from __future__ import annotations

from middleware.patience import is_away_or_refuses
from middleware.registry.port import Instance, Registry


def keep_registered(registry: Registry, instance: Instance) -> None:
    """Send a heartbeat with the instance's metadata; register again where the registry has forgotten it.

    A registry that is away, or refuses us, raises nothing: its adapter tells, and the next heartbeat may come through.
    """
    try:
        try:
            registry.heartbeat(instance.service, instance.instance, instance.run, instance.metadata)
        except LookupError:
            registry.register(instance)
    except Exception as error:
        if not is_away_or_refuses(error):
            raise
