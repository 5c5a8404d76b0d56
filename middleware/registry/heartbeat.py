"""One heartbeat of a process that wants to stay registered, whatever the registry goes through."""

from __future__ import annotations

from middleware.errors import ServiceError
from middleware.patience import bear
from middleware.registry.port import Instance, Registry


def keep_registered(registry: Registry, instance: Instance) -> bool:
    """Send a heartbeat with the instance's metadata; register again where the registry has forgotten it.

    False: the name is another living process's by now. Whatever else the registry answers raises nothing: it is logged once, and
    the next heartbeat may come through.
    """
    try:
        try:
            return registry.heartbeat(instance)
        except LookupError:
            registry.register(instance)
    except ServiceError as error:
        bear(error, f"the heartbeat of {instance.service} {instance.instance}")
    return True
